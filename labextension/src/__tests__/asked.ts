/**
 * A kernel that answers what the test says, and what it answers with.
 */

import { Signal } from '@lumino/signaling';

import { ANALYTICS_MIME } from '../model';
import type { IAnalyticsAnswer, IBudgetLine, IKernelChoice, IKernels, IQuery, KernelOutput } from '../tokens';

export class FakeKernels implements IKernels {
  /** Outputs of the next executions, in order; an Error is thrown. */
  readonly outputs: (KernelOutput[] | Error)[] = [];
  readonly executed: { choice: string; code: string }[] = [];
  readonly interrupted: string[] = [];
  choices: IKernelChoice[] = [];
  owned = false;
  /** Whether executions wait until they are released. */
  held = false;

  get changed(): Signal<this, void> {
    return this._changed;
  }

  async execute(choice: string, code: string, tell: (output: KernelOutput) => void): Promise<void> {
    this.executed.push({ choice, code });
    const outputs = this.outputs.shift() ?? [];
    this.owned ||= choice === '';
    if (outputs instanceof Error) {
      throw outputs;
    }
    if (this.held) {
      tell({ kind: 'text', text: 'step 1\nstep 2\n' });
      await new Promise<void>(resolve => {
        this.release = resolve;
      });
    }
    outputs.forEach(tell);
  }

  release = (): void => undefined;

  async interrupt(choice: string): Promise<void> {
    this.interrupted.push(choice);
    await Promise.resolve();
  }

  async end(): Promise<void> {
    this.owned = false;
    this._changed.emit();
    await Promise.resolve();
  }

  private _changed = new Signal<this, void>(this);
}

/** What the kernel displays for the panel. */
export function displayed(content: unknown): KernelOutput[] {
  return [{ kind: 'data', data: { [ANALYTICS_MIME]: content } }];
}

export function answer(changes: Partial<IAnalyticsAnswer> = {}): IAnalyticsAnswer {
  return {
    index: ['malignant'],
    columns: ['mean of radius'],
    rows: [
      { key: [0], values: [12.15], hidden: [false] },
      { key: [1], values: [17.46], hidden: [false] },
      { key: [2], values: [null], hidden: [true] }
    ],
    chart: 'bars',
    reasons: ['fewer than 10 rows'],
    nodes: ['hospital-a', 'hospital-b', 'hospital-c'],
    via: 'mpc',
    epsilon: null,
    error_bound: 1e-9,
    seconds: 0.4,
    ...changes
  };
}

export function budgetLine(node: string, spent: number, budget: number | null): IBudgetLine {
  const remaining = budget === null ? null : budget - spent;
  return { node, dataset: 'biopsies', spent, budget, remaining, problem: null };
}

export function query(id: string, changes: Partial<IQuery> = {}): IQuery {
  return {
    id,
    dataset: 'biopsies',
    operation: 'mean',
    via: 'mpc',
    state: 'closed',
    outcome: 'released',
    reason: null,
    participants: [{ node: 'id-hospital-a', name: 'hospital-a', organisation: 'north', rows: 1000 }],
    releaser: 'id-hospital-a',
    created_by: 'ana',
    organisation: 'north',
    created: '2026-01-01T00:00:00Z',
    ...changes
  };
}
