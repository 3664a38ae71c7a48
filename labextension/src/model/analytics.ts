/**
 * Questions over the rows of one project's data sets, asked in a kernel: what comes out goes over the mesh to the kernel
 * and from there to the page, as a cell's output does, and is kept nowhere.
 */

import { type ISignal, Signal } from '@lumino/signaling';

import type { IAnalyticsAnswer, IAnalyticsRequest, IBudgetLine, IKernels, IModel, IProblem } from '../tokens';
import { Asking, type IHeard, kernelOf } from './asking';
import { type IFormMemory, PerProject } from './perproject';
import { callOf, EMPTY_FORM, type IAnalyticsForm, restored } from './question';

/** Under which name the kernel displays what the panel shows. */
export const ANALYTICS_MIME = 'application/vnd.flaas.analytics+json';

/** What the kernel displays: one of these. */
interface IDisplayed {
  answer?: IAnalyticsAnswer;
  budget?: IBudgetLine[];
}

/** A question that was asked, and what came of it. */
export interface IAsked {
  request: IAnalyticsRequest;
  answer: IAnalyticsAnswer | null;
  problem: IProblem | null;
}

export class AnalyticsModel implements IModel {
  /**
   * @param project Id of the project.
   * @param kernels Where questions are asked.
   * @param keep Called with the form whenever it changes.
   */
  constructor(
    readonly project: string,
    readonly kernels: IKernels,
    form: IAnalyticsForm,
    keep: (form: IAnalyticsForm) => void
  ) {
    this._form = form;
    this._keep = keep;
    this._asking = new Asking(kernels, ANALYTICS_MIME);
    kernels.changed.connect(this._emit, this);
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get form(): IAnalyticsForm {
    return this._form;
  }

  /** What is under way, if anything is. */
  get busy(): 'asking' | 'budget' | null {
    return this._busy;
  }

  /** What the kernel tells meanwhile; its last line. */
  get progress(): string {
    return this._asking.progress;
  }

  /** The last question. */
  get asked(): IAsked | null {
    return this._asked;
  }

  /** What nodes account of this person's queries over a data set; null until they were asked about it. */
  budgetOf(dataset: string): readonly IBudgetLine[] | null {
    return this._budgets.get(dataset) ?? null;
  }

  get budgetProblem(): IProblem | null {
    return this._budgetProblem;
  }

  /** The kernel that is used. */
  get kernel(): string {
    return kernelOf(this.kernels, this._form.kernel);
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  change(changes: Partial<IAnalyticsForm>): void {
    this._form = { ...this._form, ...changes };
    this._keep(this._form);
    this._emit();
  }

  /** Take in a form that was kept. */
  take(form: IAnalyticsForm): void {
    this._form = form;
    this._emit();
  }

  /** Ask; never fails, the outcome is `asked`. */
  async ask(request: IAnalyticsRequest): Promise<void> {
    if (this._busy) {
      return;
    }
    this._asked = { request, answer: null, problem: null };
    const { displayed, problem } = await this._run('asking', callOf('show', request));
    this._asked = { request, answer: displayed?.answer ?? null, problem };
    this._emit();
    if (displayed?.answer && (request.epsilon !== null || this._budgets.has(request.dataset))) {
      await this.lookAtBudget(request.dataset);
    }
  }

  /** Ask the nodes how much of the privacy budget is spent; never fails, the outcome is `budgetOf`. */
  async lookAtBudget(dataset: string): Promise<void> {
    if (this._busy) {
      return;
    }
    const question = { project: this.project, dataset };
    const { displayed, problem } = await this._run('budget', callOf('show_budget', question));
    this._budgetProblem = problem;
    if (displayed?.budget) {
      this._budgets.set(dataset, displayed.budget);
    }
    this._emit();
  }

  /** Interrupt the kernel. */
  stop(): Promise<void> {
    return this._asking.stop();
  }

  dispose(): void {
    if (!this._disposed) {
      this._disposed = true;
      Signal.disconnectReceiver(this);
      Signal.clearData(this);
    }
  }

  private async _run(what: 'asking' | 'budget', code: string): Promise<IHeard<IDisplayed>> {
    this._busy = what;
    this._emit();
    const heard = await this._asking.ask<IDisplayed>(this.kernel, code, () => this._emit());
    this._busy = null;
    return heard;
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _form: IAnalyticsForm;
  private _keep: (form: IAnalyticsForm) => void;
  private _busy: 'asking' | 'budget' | null = null;
  private _asking: Asking;
  private _asked: IAsked | null = null;
  private _budgets = new Map<string, readonly IBudgetLine[]>();
  private _budgetProblem: IProblem | null = null;
  private _disposed = false;
  private _changed = new Signal<this, void>(this);
}

/** The questions of each project. */
export class AnalyticsModels extends PerProject<IAnalyticsForm, AnalyticsModel> {
  constructor(
    readonly kernels: IKernels,
    memory: IFormMemory | null
  ) {
    super(memory, EMPTY_FORM, restored);
  }

  protected make(
    project: string,
    form: IAnalyticsForm,
    keep: (form: IAnalyticsForm) => void
  ): AnalyticsModel {
    return new AnalyticsModel(project, this.kernels, form, keep);
  }
}
