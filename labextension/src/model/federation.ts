/**
 * The federation that the user is signed in to: session, projects, and the project that is shown.
 */

import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import { EventStreams, TIMINGS } from '../events';
import { problemOf } from '../request';
import type { Connection, IApi, IFederation, IProblem, IProject, IStatus, Liveness } from '../tokens';
import { readAll } from './lists';
import { ApprovalsModel } from './approvals';
import { DeviceModel } from './device';
import { DocumentsModel } from './documents';
import { ProjectModel } from './project';
import { RunModel } from './run';
import { SessionModel } from './session';
import { SimulationsModel } from './simulations';

/** Where the choice of a project is kept between visits. */
export interface IMemory {
  recall(): Promise<string | null>;
  remember(project: string): void;
}

export interface IOptions {
  api: IApi;
  /** Version of this half. */
  version: string;
  memory?: IMemory;
}

/**
 * The one model that panel, run views and status bar share.
 */
export class FederationModel implements IFederation {
  constructor({ api, version, memory }: IOptions) {
    this.api = api;
    this._memory = memory;
    this.session = new SessionModel(api, version);
    this.simulations = new SimulationsModel(api);
    this.approvals = new ApprovalsModel(api);
    this.approvals.changed.connect(this._emit, this);
    this.documents = new DocumentsModel(api, () => this._projects.map(({ id }) => id));
    this.device = new DeviceModel(api, () => this.session.refresh());
    this.device.changed.connect(this._emit, this);
    this.session.changed.connect(this._onSession, this);
    this.streams = new EventStreams(api, () => ({ ...TIMINGS, poll: this._pollInterval }));
    this._poll = new Poll({
      name: '@flaas/labextension:status',
      factory: async () => {
        await this.session.refresh();
      },
      frequency: { interval: this._pollInterval, backoff: true, max: 300_000 },
      standby: 'when-hidden',
      auto: false
    });
  }

  readonly api: IApi;
  readonly session: SessionModel;
  /** Those on this machine: they need nobody to be signed in. */
  readonly simulations: SimulationsModel;
  /** Critical actions that wait for approval. */
  readonly approvals: ApprovalsModel;
  /** What waits for holders of the domain keys; looked at while somebody watches. */
  readonly documents: DocumentsModel;
  /** A sign-in by code that is under way. */
  readonly device: DeviceModel;
  readonly streams: EventStreams;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get connection(): Connection {
    return this.session.connection;
  }

  get status(): IStatus | null {
    return this.session.status;
  }

  /** Why there is nothing to show, or why it is old. */
  get problem(): IProblem | null {
    return this.session.problem ?? this._problem;
  }

  get projects(): readonly IProject[] {
    return this._projects;
  }

  /** The project that is shown. */
  get project(): ProjectModel | null {
    return this._project;
  }

  /** Who is signed in, and where; null while nobody is. */
  get identity(): string | null {
    return this._identity;
  }

  get activeRuns(): number {
    return this._project?.activeRuns ?? 0;
  }

  /** How many requests wait for this person's decision. */
  get waitingApprovals(): number {
    return this.approvals.waiting;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Seconds between two looks where nothing comes by itself. */
  set pollInterval(seconds: number) {
    this._pollInterval = seconds * 1000;
    this._poll.frequency = { ...this._poll.frequency, interval: this._pollInterval };
  }

  /** The project to show while the user has not chosen one. */
  defaultProject = '';

  /** Shake hands, and go on doing so. */
  async start(): Promise<void> {
    await Promise.all([this._poll.start(), this.simulations.start()]);
  }

  /** Look at everything now: the way out of every problem. */
  async refresh(): Promise<void> {
    void this.simulations.refresh();
    await this.session.refresh();
    this._project?.retry();
    await this._project?.refresh();
  }

  async signIn(url: string, token: string): Promise<void> {
    await this.session.signIn(url, token);
  }

  /** Sign out; what is returned is why the API could not be told. */
  async signOut(): Promise<IProblem | null> {
    return this.session.signOut();
  }

  /** Show another project. */
  select(id: string): void {
    const project = this._projects.find(candidate => candidate.id === id);
    if (!project || project.id === this._project?.project.id) {
      return;
    }
    this._memory?.remember(id);
    this._show(project);
  }

  /** A model of one run; the caller disposes of it. */
  openRun(id: string): RunModel {
    return new RunModel(this.api, this.streams, id);
  }

  dispose(): void {
    if (this._disposed) {
      return;
    }
    this._disposed = true;
    this._poll.dispose();
    this._show(null);
    this.session.dispose();
    this.simulations.dispose();
    this.approvals.dispose();
    this.documents.dispose();
    this.device.dispose();
    Signal.clearData(this);
  }

  private _onSession(): void {
    const { connection, status } = this.session;
    if (connection === 'signed-in' && status) {
      const { subject, organisation } = status.session;
      const identity = [status.api.url, subject, organisation].join(' ');
      if (identity !== this._identity) {
        this._identity = identity;
        this.approvals.forget();
        this.documents.forget();
        void this.approvals.start();
        void this._loadProjects();
      } else if (this._project?.liveness === 'lost') {
        this._project.retry();
      } else if (this._problem) {
        void this._loadProjects();
      }
    } else if (connection === 'signed-out') {
      if (this._identity !== null) {
        this.approvals.forget();
        this.documents.forget();
      } else if (!this._looked) {
        void this.device.look(); // one that was begun before a reload
      }
      this._looked = true;
      this._identity = null;
      this._projects = [];
      this._show(null);
    }
    this._emit();
  }

  private async _loadProjects(): Promise<void> {
    const identity = this._identity;
    try {
      const projects = await readAll<IProject>(this.api, '/v1/projects', 'projects');
      const remembered = (await this._memory?.recall()) ?? null;
      if (identity !== this._identity) {
        return; // signed out, or in as somebody else, meanwhile
      }
      this._problem = null;
      this._projects = projects;
      const wanted = [this._project?.project.id, remembered, this.defaultProject];
      const found = wanted.map(id => projects.find(project => project.id === id)).find(Boolean);
      this._show(found ?? projects[0] ?? null);
    } catch (error) {
      this._problem = problemOf(error);
    }
    this._emit();
  }

  private _show(project: IProject | null): void {
    const previous = this._project;
    this._project = project ? new ProjectModel(this.api, this.streams, project) : null;
    this._project?.changed.connect(this._onProject, this);
    this._project?.approvalChanged.connect(() => void this.approvals.refresh(), this);
    previous?.dispose();
    void this._project?.start();
    this._emit();
  }

  private _onProject(project: ProjectModel): void {
    const { liveness } = project;
    if (liveness !== this._liveness) {
      this._liveness = liveness;
      // Lost: the API is down, or the token is no longer good. Found: look at once, not at the next poll.
      if (liveness === 'lost' || (liveness === 'live' && this.connection !== 'signed-in')) {
        void this.session.refresh();
      }
    }
    this._emit();
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _changed = new Signal<this, void>(this);
  private _memory: IMemory | undefined;
  private _poll: Poll;
  private _pollInterval = TIMINGS.poll;
  private _projects: IProject[] = [];
  private _project: ProjectModel | null = null;
  private _problem: IProblem | null = null;
  private _identity: string | null = null;
  private _looked = false;
  private _liveness: Liveness = 'connecting';
  private _disposed = false;
}
