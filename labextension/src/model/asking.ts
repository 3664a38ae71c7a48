/** Code that is run in a kernel for what it displays to the panel under a name of its own. */

import type { IKernels, IProblem, KernelOutput } from '../tokens';
import { literal } from './experiment';

/** What the kernel displayed, or why there is nothing. */
export interface IHeard<T> {
  displayed: T | null;
  problem: IProblem | null;
}

/** What each of the kernel's answers may be instead. */
interface IRefusal {
  error?: { code: string; message: string; hint: string };
}

/** One who asks in kernels, one thing at a time. */
export class Asking {
  /** @param mime Under which name the kernel displays answers. */
  constructor(
    readonly kernels: IKernels,
    readonly mime: string
  ) {}

  /** What the kernel tells meanwhile; its last line. */
  get progress(): string {
    return this._progress;
  }

  /**
   * Run code, and take what it displays last; never fails.
   *
   * @param choice The kernel, as `IKernels` has it.
   * @param told Called whenever there is progress.
   */
  async ask<T>(choice: string, code: string, told: () => void): Promise<IHeard<T>> {
    this._progress = '';
    this._stopped = false;
    this._runsIn = choice;
    let displayed: (T & IRefusal) | null = null;
    let problem: IProblem | null = null;
    const tell = (output: KernelOutput): void => {
      if (output.kind === 'data') {
        displayed = (output.data[this.mime] as (T & IRefusal) | undefined) ?? displayed;
      } else if (output.kind === 'error') {
        problem = this._problemIn(output.name, output.value);
      } else {
        this._progress = output.text.trim().split('\n').pop() ?? '';
        told();
      }
    };
    try {
      await this.kernels.execute(choice, code, tell);
    } catch (error) {
      problem = own('kernel-lost', error instanceof Error ? error.message : String(error));
    }
    this._progress = '';
    const shown = displayed as (T & IRefusal) | null;
    if (shown?.error) {
      const { code: kind, message, hint } = shown.error;
      problem = { ...own(kind, ''), title: message, hint };
    } else if (!shown && !problem) {
      problem = own('no-answer', '');
    }
    return { displayed: shown, problem };
  }

  /** Interrupt the kernel. */
  async stop(): Promise<void> {
    this._stopped = true;
    await this.kernels.interrupt(this._runsIn).catch(() => undefined); // gone already
  }

  private _problemIn(name: string, value: string): IProblem {
    if (this._stopped && name === 'KeyboardInterrupt') {
      return own('stopped', '');
    }
    const missing = /^No module named ['"]flaas_jupyter/.test(value);
    return own(missing ? 'not-installed' : 'kernel-error', `${name}: ${value}`);
  }

  private _progress = '';
  private _stopped = false;
  private _runsIn = '';
}

/**
 * One statement that calls a function of `flaas_jupyter.notebook` with a text; nothing of the request is code, and no
 * name of the notebook changes.
 */
export function callIn(module: string, action: string, request: unknown): string {
  const name = literal(`flaas_jupyter.notebook.${module}`);
  return `__import__(${name}, fromlist=[${literal(action)}]).${action}(${literal(JSON.stringify(request))})`;
}

/** The kernel of a form: that of its notebook while that is open, else the one without a notebook. */
export function kernelOf(kernels: IKernels, chosen: string): string {
  return kernels.choices.some(({ id }) => id === chosen) ? chosen : '';
}

/** A problem that has its words from the view, which can translate them. */
export function own(code: string, detail: string): IProblem {
  return { status: 0, code, title: '', detail, hint: '' };
}
