/**
 * Questions over the rows of one project's data sets, asked in a kernel: what comes out goes over the mesh to the kernel
 * and from there to the page, as a cell's output does, and is kept nowhere.
 */

import { type ISignal, Signal } from '@lumino/signaling';

import type {
  IAnalyticsAnswer,
  IAnalyticsRequest,
  IBudgetLine,
  IKernels,
  IModel,
  IProblem,
  KernelOutput
} from '../tokens';
import { callOf, EMPTY_FORM, type IAnalyticsForm, restored } from './question';

/** Under which name the kernel displays what the panel shows. */
export const ANALYTICS_MIME = 'application/vnd.flaas.analytics+json';

/** Where forms are kept between visits. */
export interface IAnalyticsMemory {
  recall(): Promise<unknown>;
  remember(kept: unknown): Promise<void>;
}

/** What the kernel displays: one of these. */
interface IDisplayed {
  answer?: IAnalyticsAnswer;
  budget?: IBudgetLine[];
  error?: { code: string; message: string; hint: string };
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
    return this._progress;
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

  /** The kernel that is used: that of the notebook in the form while it is open, else the one without a notebook. */
  get kernel(): string {
    return this.kernels.choices.some(({ id }) => id === this._form.kernel) ? this._form.kernel : '';
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
  async stop(): Promise<void> {
    this._stopped = true;
    await this.kernels.interrupt(this._runsIn).catch(() => undefined); // gone already
  }

  dispose(): void {
    if (!this._disposed) {
      this._disposed = true;
      Signal.disconnectReceiver(this);
      Signal.clearData(this);
    }
  }

  private async _run(
    what: 'asking' | 'budget',
    code: string
  ): Promise<{ displayed: IDisplayed | null; problem: IProblem | null }> {
    this._busy = what;
    this._progress = '';
    this._stopped = false;
    this._runsIn = this.kernel;
    this._emit();
    let displayed: IDisplayed | null = null;
    let problem: IProblem | null = null;
    const tell = (output: KernelOutput): void => {
      if (output.kind === 'data') {
        displayed = (output.data[ANALYTICS_MIME] as IDisplayed | undefined) ?? displayed;
      } else if (output.kind === 'error') {
        problem = this._problemIn(output.name, output.value);
      } else {
        this._progress = output.text.trim().split('\n').pop() ?? '';
        this._emit();
      }
    };
    try {
      await this.kernels.execute(this._runsIn, code, tell);
    } catch (error) {
      problem = own('kernel-lost', error instanceof Error ? error.message : String(error));
    }
    this._busy = null;
    this._progress = '';
    const shown = displayed as IDisplayed | null;
    if (shown?.error) {
      const { code, message, hint } = shown.error;
      problem = { ...own(code, message), title: message, detail: '', hint };
    } else if (!shown && !problem) {
      problem = own('no-answer', '');
    }
    return { displayed: shown, problem };
  }

  private _problemIn(name: string, value: string): IProblem {
    if (this._stopped && name === 'KeyboardInterrupt') {
      return own('stopped', '');
    }
    const missing = /^No module named ['"]flaas_jupyter/.test(value);
    return own(missing ? 'not-installed' : 'kernel-error', `${name}: ${value}`);
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _form: IAnalyticsForm;
  private _keep: (form: IAnalyticsForm) => void;
  private _busy: 'asking' | 'budget' | null = null;
  private _runsIn = '';
  private _stopped = false;
  private _progress = '';
  private _asked: IAsked | null = null;
  private _budgets = new Map<string, readonly IBudgetLine[]>();
  private _budgetProblem: IProblem | null = null;
  private _disposed = false;
  private _changed = new Signal<this, void>(this);
}

/** The questions of each project: one model, however many views show it, with a form that survives a reload. */
export class AnalyticsModels {
  constructor(
    readonly kernels: IKernels,
    private readonly _memory: IAnalyticsMemory | null
  ) {
    this._recalled = this._recall();
  }

  of(project: string): AnalyticsModel {
    let model = this._models.get(project);
    if (!model) {
      const made = new AnalyticsModel(project, this.kernels, this._kept[project] ?? EMPTY_FORM, form => {
        this._kept = { ...this._kept, [project]: form };
        void this._memory?.remember(this._kept);
      });
      this._models.set(project, made);
      void this._recalled.then(() => {
        const form = this._kept[project];
        if (form && made.form === EMPTY_FORM) {
          made.take(form);
        }
      });
      model = made;
    }
    return model;
  }

  /** Forget what was asked and answered: somebody else is there. Forms stay, they hold no data. */
  forget(): void {
    this._models.forEach(model => model.dispose());
    this._models.clear();
  }

  private async _recall(): Promise<void> {
    const kept = await Promise.resolve(this._memory?.recall()).catch(() => null);
    if (typeof kept === 'object' && kept !== null) {
      const forms = Object.entries(kept).map(([project, form]) => [project, restored(form)] as const);
      this._kept = { ...Object.fromEntries(forms), ...this._kept };
    }
  }

  private _recalled: Promise<void>;
  private _kept: { [project: string]: IAnalyticsForm } = {};
  private _models = new Map<string, AnalyticsModel>();
}

/** A problem that has its words from the view, which can translate them. */
function own(code: string, detail: string): IProblem {
  return { status: 0, code, title: '', detail, hint: '' };
}
