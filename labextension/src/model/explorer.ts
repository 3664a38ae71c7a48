/**
 * Looks at the data sets of one project, asked in a kernel part by part. What comes out goes over the mesh to the kernel
 * and from there to the page, as a cell's output does; it is kept here until somebody else signs in, and nowhere else.
 */

import { type ISignal, Signal } from '@lumino/signaling';

import type {
  ExplorationLevel,
  ExplorationPart,
  IExploration,
  IExplorationRequest,
  IKernels,
  IModel,
  IProblem
} from '../tokens';
import { Asking, callIn, kernelOf, own } from './asking';
import { literal } from './experiment';
import { explorationOf, needsEpsilon, PARTS } from './exploration';
import { type IFormMemory, PerProject } from './perproject';
import { numberOf } from './question';

/** Under which name the kernel displays what the panel shows. */
export const EXPLORATION_MIME = 'application/vnd.flaas.exploration+json';

/** What is shown together: what the nodes say of themselves stands in the overview. */
export type ExplorerTab = Exclude<ExplorationPart, 'nodes'>;

export const TABS: readonly ExplorerTab[] = PARTS.filter((part): part is ExplorerTab => part !== 'nodes');

/** What is chosen in the explorer; numbers are texts until they are asked with. */
export interface IExplorerChoice {
  dataset: string;
  tab: ExplorerTab;
  /** Whose distribution is shown; '' for none. */
  column: string;
  /** Whose correlations are shown; none chosen: those that come first. */
  columns: string[];
  /** '' for figures without noise. */
  epsilon: string;
  /** Limits of the column's values, for noise, where none are declared. */
  low: string;
  high: string;
  /** "yes": only the rows of the node on this machine. */
  own: string;
  /** "yes": tables instead of charts. */
  tables: string;
  /** The notebook to run in; '' for a kernel without one. */
  kernel: string;
  /** Whether the panel shows the explorer: "yes" or ''. */
  open: string;
}

export const EMPTY_CHOICE: IExplorerChoice = {
  dataset: '',
  tab: 'overview',
  column: '',
  columns: [],
  epsilon: '',
  low: '',
  high: '',
  own: '',
  tables: '',
  kernel: '',
  open: ''
};

/** A look that was asked for, and what came of it. */
export interface ILook {
  request: IExplorationRequest;
  state: 'waiting' | 'asking' | 'done';
  /** Of an earlier time, while it is asked for again. */
  answer: IExploration | null;
  problem: IProblem | null;
}

/** What the choice asks for, or what is missing of it. */
export type Wanted =
  | { request: IExplorationRequest; fault: null }
  | {
      request: null;
      fault: 'no-dataset' | 'not-shown' | 'no-column' | 'epsilon-needed' | 'bad-epsilon' | 'bad-bounds';
    };

export class ExplorerModel implements IModel {
  /**
   * @param project Id of the project.
   * @param kernels Where looks are asked for.
   * @param keep Called with the choice whenever it changes.
   */
  constructor(
    readonly project: string,
    readonly kernels: IKernels,
    choice: IExplorerChoice,
    keep: (choice: IExplorerChoice) => void
  ) {
    this._choice = choice;
    this._keep = keep;
    this._asking = new Asking(kernels, EXPLORATION_MIME);
    kernels.changed.connect(this._emit, this);
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get form(): IExplorerChoice {
    return this._choice;
  }

  /** Whether anything is asked or waits to be. */
  get busy(): boolean {
    return this._working;
  }

  /** What the kernel tells meanwhile; its last line. */
  get progress(): string {
    return this._asking.progress;
  }

  /** The kernel that is used. */
  get kernel(): string {
    return kernelOf(this.kernels, this._choice.kernel);
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** The overview of the chosen data set; null until there is one. */
  get overview(): IExploration | null {
    return this._looks.get(keyOf(this._request('overview')))?.answer ?? null;
  }

  /** What the nodes say of themselves; null until they have. */
  get nodes(): IExploration | null {
    return this._looks.get(keyOf(this._request('nodes')))?.answer ?? null;
  }

  /** Why the nodes could not be asked what they show, if they could not. */
  get nodesProblem(): IProblem | null {
    return this._looks.get(keyOf(this._request('nodes')))?.problem ?? null;
  }

  /** What was last told of the privacy budget of the chosen data set. */
  get budget(): IExploration['budget'] {
    return this._budgets.get(this._choice.dataset) ?? null;
  }

  /** What the owners show this person; null until it is known. */
  get level(): ExplorationLevel | null {
    const { overview, nodes } = this;
    return overview && this._choice.own === '' ? (nodes ?? overview).level : (overview?.level ?? null);
  }

  /** Whether the nodes give figures with noise only. */
  get noisy(): boolean {
    const told = [this.overview, this.nodes].filter((each): each is IExploration => each !== null);
    return this._choice.own === '' && told.some(needsEpsilon);
  }

  /** Name of the node on this machine, if it has rows of the data set: its owner may look at them. */
  get ownNode(): string | null {
    const everybody = this._looks.get(keyOf({ ...this._request('overview'), own: false }))?.answer;
    const told = [...(everybody?.nodes ?? []), ...(this.nodes?.nodes ?? [])];
    return told.find(({ level }) => level === 'owner')?.name ?? null;
  }

  /** What a tab shows by the choice, or what is missing. */
  wanted(tab: ExplorerTab = this._choice.tab): Wanted {
    const { dataset, column, columns, epsilon, low, high } = this._choice;
    if (dataset === '') {
      return { request: null, fault: 'no-dataset' };
    }
    const request = this._request(tab);
    if (tab !== 'overview' && (this.level === 'nothing' || this.level === 'schema')) {
      return { request: null, fault: 'not-shown' };
    }
    if (tab === 'column') {
      if (column === '') {
        return { request: null, fault: 'no-column' };
      }
      request.column = column;
    } else if (tab === 'correlations' && columns.length > 1) {
      request.columns = columns;
    }
    if (tab === 'overview' || tab === 'drift' || request.own) {
      return { request, fault: null }; // there is no noise in it that could be asked for
    }
    if (epsilon.trim() === '') {
      return this.noisy ? { request: null, fault: 'epsilon-needed' } : { request, fault: null };
    }
    request.epsilon = numberOf(epsilon);
    if (request.epsilon === null || request.epsilon <= 0) {
      return { request: null, fault: 'bad-epsilon' };
    }
    if (tab === 'column' && (low.trim() !== '' || high.trim() !== '')) {
      const [least, greatest] = [numberOf(low), numberOf(high)];
      if (least === null || greatest === null || least >= greatest) {
        return { request: null, fault: 'bad-bounds' };
      }
      request.bounds = [least, greatest];
    }
    return { request, fault: null };
  }

  /** What came of a look; null if it was not asked for. */
  lookOf(request: IExplorationRequest): ILook | null {
    return this._looks.get(keyOf(request)) ?? null;
  }

  /** Change the choice; what it shows then is asked for, unless that would spend of a privacy budget. */
  change(changes: Partial<IExplorerChoice>): void {
    const other = changes.dataset !== undefined && changes.dataset !== this._choice.dataset;
    const anew: Partial<IExplorerChoice> = other
      ? { column: '', columns: [], low: '', high: '', own: '' }
      : changes.column !== undefined && changes.column !== this._choice.column
        ? { low: '', high: '' }
        : {};
    this._choice = { ...this._choice, ...anew, ...changes };
    this._keep(this._choice);
    this._emit();
    this._show();
  }

  /** Take in a choice that was kept; nothing is asked for by that. */
  take(choice: IExplorerChoice): void {
    this._choice = choice;
    this._emit();
  }

  /** Begin with the chosen data set, or look at it anew. */
  start(): void {
    const { dataset } = this._choice;
    for (const [key, { request }] of this._looks) {
      if (request.dataset === dataset) {
        this._looks.delete(key);
      }
    }
    this._queue = this._queue.filter(({ request }) => request.dataset !== dataset);
    this.look({ ...this._request('overview'), own: false });
    this.look(this._request('nodes'));
    if (this._choice.own !== '') {
      this.look(this._request('overview'));
    }
  }

  /** Ask for a look; never fails, the outcome is `lookOf`. */
  look(request: IExplorationRequest): void {
    const key = keyOf(request);
    const before = this._looks.get(key);
    if (before && before.state !== 'done') {
      return;
    }
    const look: ILook = { request, state: 'waiting', answer: before?.answer ?? null, problem: null };
    this._looks.set(key, look);
    this._queue.push(look);
    this._emit();
    void this._work();
  }

  /** Interrupt the kernel, and ask for nothing of what waits. */
  async stop(): Promise<void> {
    this._drop();
    this._emit();
    await this._asking.stop();
  }

  dispose(): void {
    if (!this._disposed) {
      this._disposed = true;
      this._drop();
      this._looks.clear();
      this._budgets.clear();
      Signal.disconnectReceiver(this);
      Signal.clearData(this);
    }
  }

  private _request(part: ExplorationPart): IExplorationRequest {
    const { dataset, own } = this._choice;
    const none = { column: null, columns: null, bounds: null, epsilon: null };
    return { project: this.project, dataset, part, ...none, own: own !== '' && part !== 'nodes' };
  }

  /** Ask for what is chosen once the data set was begun with, and if nothing is spent by it. */
  private _show(): void {
    const { dataset, own } = this._choice;
    const begun = this._looks.has(keyOf({ ...this._request('overview'), own: false }));
    if (dataset === '' || !begun) {
      return;
    }
    const { request } = this.wanted();
    const needed = own !== '' && !this.overview ? [this._request('overview')] : [];
    if (this.overview && request && request.epsilon === null) {
      needed.push(request);
    }
    // What was chosen on the way here, and did not come to be asked for, is not wanted any more.
    this._drop(({ request: waiting }) => waiting.part === request?.part && waiting.part !== 'overview');
    needed.filter(each => this.lookOf(each) === null).forEach(each => this.look(each));
  }

  /** Take out of the queue what waits, or some of it. */
  private _drop(some: (look: ILook) => boolean = () => true): void {
    this._queue.filter(some).forEach(({ request }) => this._looks.delete(keyOf(request)));
    this._queue = this._queue.filter(look => !some(look));
  }

  private async _work(): Promise<void> {
    if (this._working) {
      return;
    }
    this._working = true;
    for (let look = this._queue.shift(); look; look = this._queue.shift()) {
      look.state = 'asking';
      this._emit();
      const { request } = look;
      const code = callIn('exploration_request', 'show', request);
      const { displayed, problem } = await this._asking.ask<{ exploration?: unknown }>(
        this.kernel,
        code,
        () => this._emit()
      );
      this._take(look, displayed?.exploration, problem);
    }
    this._working = false;
    this._emit();
  }

  private _take(look: ILook, displayed: unknown, problem: IProblem | null): void {
    const { request } = look;
    if (this._looks.get(keyOf(request)) !== look) {
      return; // it was begun anew meanwhile, or somebody else is there
    }
    const answer = problem ? null : explorationOf(displayed);
    look.state = 'done';
    look.answer = answer ?? look.answer;
    look.problem = problem ?? (answer ? null : own('other-version', ''));
    if (answer?.budget) {
      this._budgets.set(request.dataset, answer.budget);
    } else if (answer && request.epsilon !== null) {
      this.look({ ...request, part: 'nodes', column: null, columns: null, bounds: null, epsilon: null });
    }
    this._emit();
    if (answer && (request.part === 'overview' || request.part === 'nodes')) {
      this._show();
    }
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _choice: IExplorerChoice;
  private _keep: (choice: IExplorerChoice) => void;
  private _asking: Asking;
  private _looks = new Map<string, ILook>();
  private _queue: ILook[] = [];
  private _working = false;
  private _budgets = new Map<string, NonNullable<IExploration['budget']>>();
  private _disposed = false;
  private _changed = new Signal<this, void>(this);
}

/** The explorer of each project. */
export class ExplorerModels extends PerProject<IExplorerChoice, ExplorerModel> {
  constructor(
    readonly kernels: IKernels,
    memory: IFormMemory | null
  ) {
    super(memory, EMPTY_CHOICE, restoredChoice);
  }

  protected make(
    project: string,
    choice: IExplorerChoice,
    keep: (choice: IExplorerChoice) => void
  ): ExplorerModel {
    return new ExplorerModel(project, this.kernels, choice, keep);
  }
}

/** What was kept of a choice, as far as it can be used. */
export function restoredChoice(kept: unknown): IExplorerChoice {
  const from = (typeof kept === 'object' && kept !== null ? kept : {}) as { [field: string]: unknown };
  const choice: { [field: string]: unknown } = { ...EMPTY_CHOICE };
  for (const [field, empty] of Object.entries(EMPTY_CHOICE)) {
    if (typeof empty === 'string' && typeof from[field] === 'string') {
      choice[field] = from[field];
    }
  }
  const columns = Array.isArray(from.columns) ? from.columns : [];
  return {
    ...(choice as unknown as IExplorerChoice),
    tab: TABS.find(tab => tab === choice.tab) ?? 'overview',
    columns: columns.filter((name): name is string => typeof name === 'string'),
    own: '' // there may be another node on this machine by now
  };
}

/** The tab as a notebook has it; what was chosen is literals in it. */
export function explorationCode(choice: IExplorerChoice, project: string): string {
  const { dataset, tab, column, columns, epsilon, low, high, own: mine } = choice;
  const listed: string[] = [];
  if (tab === 'column') {
    listed.push(literal(column));
  } else if (tab === 'correlations' && columns.length > 1) {
    listed.push(literal(columns));
  }
  const noise = numberOf(epsilon);
  if (noise !== null && mine === '' && tab !== 'overview' && tab !== 'drift') {
    const [least, greatest] = [numberOf(low), numberOf(high)];
    if (tab === 'column' && least !== null && greatest !== null) {
      listed.push(`bounds=(${least}, ${greatest})`);
    }
    listed.push(`epsilon=${noise}`);
  }
  // Without a column there is nothing but the overview to be seen.
  const view = tab === 'column' && column === '' ? 'overview()' : `${tab}(${listed.join(', ')})`;
  const whole = `flaas.connect().project(${literal(project)}).federation(dataset=${literal(dataset)})`;
  const begin =
    mine === ''
      ? [`federation = ${whole}`, 'exploration = federation.explore()']
      : [`exploration = flaas.explore(${literal(dataset)})`];
  return ['import flaas_jupyter as flaas', '', ...begin, `exploration.${view}`].join('\n');
}

function keyOf(request: IExplorationRequest): string {
  return JSON.stringify(request);
}
