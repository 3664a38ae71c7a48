/**
 * Kernels that code can be run in: those of open notebooks, and one of the extension's own without a document.
 *
 * What code displays comes back over the kernel's channel, as the outputs of a cell do.
 */

import type { INotebookTracker, NotebookPanel } from '@jupyterlab/notebook';
import type { Kernel, KernelMessage, ServiceManager, Session } from '@jupyterlab/services';
import { type ISignal, Signal } from '@lumino/signaling';

import type { IKernelChoice, IKernels, KernelOutput } from './tokens';

/** The choice that is no notebook. */
export const OWN = '';

/** Path and name of the session without a document; also how it is found again after a reload. */
const SESSION = 'flaas analytics';

type Services = Pick<ServiceManager.IManager, 'sessions' | 'kernelspecs'>;

/**
 * @param services Where sessions and kernels are.
 * @param notebooks The open notebooks, where there are any.
 */
export class Kernels implements IKernels {
  constructor(services: Services, notebooks: INotebookTracker | null) {
    this._services = services;
    this._notebooks = notebooks;
    notebooks?.widgetAdded.connect((_, panel) => {
      panel.sessionContext.kernelChanged.connect(this._emit, this);
      panel.context.pathChanged.connect(this._emit, this);
      panel.disposed.connect(this._emit, this);
      this._emit();
    });
    notebooks?.currentChanged.connect(this._emit, this);
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get choices(): IKernelChoice[] {
    const current = this._notebooks?.currentWidget ?? null;
    return this._panels()
      .filter(panel => this._isPython(panel.sessionContext.session?.kernel))
      .map(panel => ({ id: panel.context.path, current: panel === current }));
  }

  get owned(): boolean {
    return this._session !== null && !this._session.isDisposed;
  }

  async execute(choice: string, code: string, tell: (output: KernelOutput) => void): Promise<void> {
    const kernel = choice === OWN ? await this._own() : this._kernelOf(choice);
    const future = kernel.requestExecute({
      code,
      silent: false,
      store_history: false,
      allow_stdin: false,
      stop_on_error: false
    });
    future.onIOPub = message => {
      const output = outputOf(message);
      if (output) {
        tell(output);
      }
    };
    await future.done;
  }

  async interrupt(choice: string): Promise<void> {
    await (choice === OWN ? this._session?.kernel : this._kernelOf(choice))?.interrupt();
  }

  async end(): Promise<void> {
    const session = this._session;
    this._session = null;
    await session?.shutdown();
    this._emit();
  }

  private _panels(): NotebookPanel[] {
    const panels: NotebookPanel[] = [];
    this._notebooks?.forEach(panel => panels.push(panel));
    return panels;
  }

  private _kernelOf(path: string): Kernel.IKernelConnection {
    const kernel = this._panels().find(panel => panel.context.path === path)?.sessionContext.session?.kernel;
    if (!kernel) {
      throw new Error(`The notebook ${path} has no kernel any more.`);
    }
    return kernel;
  }

  private _isPython(kernel: Kernel.IKernelConnection | null | undefined): boolean {
    const spec = kernel ? this._services.kernelspecs.specs?.kernelspecs[kernel.name] : undefined;
    return spec?.language === 'python';
  }

  /** The kernel without a document: the one there is, else the one of before a reload, else a new one. */
  private async _own(): Promise<Kernel.IKernelConnection> {
    if (!this.owned) {
      const { sessions, kernelspecs } = this._services;
      await Promise.all([kernelspecs.ready, sessions.refreshRunning()]);
      const found = [...sessions.running()].find(({ path }) => path === SESSION);
      const session = found
        ? sessions.connectTo({ model: found })
        : await sessions.startNew({
            path: SESSION,
            name: SESSION,
            type: 'flaas',
            kernel: { name: pythonOf(kernelspecs) }
          });
      session.disposed.connect(() => this._lost(session));
      session.statusChanged.connect((_, status) => status === 'dead' && this._lost(session));
      this._session = session;
      this._emit();
    }
    const kernel = this._session?.kernel;
    if (!kernel) {
      throw new Error('The kernel did not start.');
    }
    return kernel;
  }

  private _lost(session: Session.ISessionConnection): void {
    if (this._session === session) {
      this._session = null;
      this._emit();
    }
  }

  private _emit(): void {
    this._changed.emit();
  }

  private _services: Services;
  private _notebooks: INotebookTracker | null;
  private _session: Session.ISessionConnection | null = null;
  private _changed = new Signal<this, void>(this);
}

/** The usual kernel if it is one of Python, else the one that is called so. */
export function pythonOf({ specs }: ServiceManager.IManager['kernelspecs']): string {
  const usual = specs?.default ?? '';
  return specs?.kernelspecs[usual]?.language === 'python' ? usual : 'python3';
}

/** What a message on the kernel's channel shows, if anything. */
function outputOf(message: KernelMessage.IIOPubMessage): KernelOutput | null {
  const content = message.content as { [field: string]: unknown };
  switch (message.header.msg_type) {
    case 'display_data':
    case 'execute_result':
      return { kind: 'data', data: content.data as { [mime: string]: unknown } };
    case 'stream':
      return content.name === 'stdout' ? { kind: 'text', text: String(content.text) } : null;
    case 'error':
      return { kind: 'error', name: String(content.ename), value: String(content.evalue) };
    default:
      return null;
  }
}
