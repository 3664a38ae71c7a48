/**
 * One project, kept current by its events: nodes, data sets and runs.
 */

import { type ISignal, Signal } from '@lumino/signaling';

import type { EventStream, EventStreams } from '../events';
import { problemOf } from '../request';
import type { IModelVersion } from '../governance';
import type {
  IApi,
  IDataset,
  IEvent,
  IModel,
  INode,
  IProblem,
  IProject,
  IQuery,
  IRound,
  IRun,
  Liveness
} from '../tokens';
import { coalesced, readAll } from './lists';
import { isActive } from './run';

/**
 * Nodes, data sets and runs of a project.
 */
export class ProjectModel implements IModel {
  constructor(api: IApi, streams: EventStreams, project: IProject) {
    this._api = api;
    this._streams = streams;
    this.project = project;
    this._stream = streams.acquire(project.id);
    this._stream.event.connect(this._onEvent, this);
    this._stream.resync.connect(this._onResync, this);
    this._stream.livenessChanged.connect(this._onLiveness, this);
    this._path = `/v1/projects/${encodeURIComponent(project.id)}`;
    this._loadNodes = coalesced(async () => {
      const path = `/v1/nodes?project=${encodeURIComponent(project.id)}`;
      this._nodes = byName(await readAll<INode>(api, path, 'nodes'));
    });
    this._loadDatasets = coalesced(async () => {
      this._datasets = byName(await readAll<IDataset>(api, `${this._path}/datasets`, 'datasets'));
    });
    this._loadModels = coalesced(async () => {
      try {
        const models = await readAll<IModelVersion>(api, `${this._path}/models`, 'models', 2);
        this._models = models.sort((a, b) => b.created.localeCompare(a.created));
      } catch {
        this._models = []; // not everybody may see them
      }
    });
    this._loadQueries = coalesced(async () => {
      try {
        this._queries = await readAll<IQuery>(api, `${this._path}/queries`, 'queries', 1);
      } catch {
        this._queries = []; // as for models
      }
    });
    this._loadRuns = coalesced(async () => {
      this._runs = newestFirst(await readAll<IRun>(api, `${this._path}/runs`, 'runs'));
    });
  }

  readonly project: IProject;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** A request for approval came up, or was decided. */
  get approvalChanged(): ISignal<this, void> {
    return this._approvalChanged;
  }

  get nodes(): readonly INode[] {
    return this._nodes;
  }

  get datasets(): readonly IDataset[] {
    return this._datasets;
  }

  /** Newest first. */
  get runs(): readonly IRun[] {
    return this._runs;
  }

  /** Versions of models that runs have made, newest first; none where the caller may not see them. */
  get models(): readonly IModelVersion[] {
    return this._models;
  }

  /** The latest questions that were asked over rows, newest first; none where the caller may not see them. */
  get queries(): readonly IQuery[] {
    return this._queries;
  }

  get activeRuns(): number {
    return this._runs.filter(isActive).length;
  }

  /** Whether everything was read once. */
  get loaded(): boolean {
    return this._loaded;
  }

  /** When what is shown was last known to be true. */
  get updated(): Date | null {
    return this._updated;
  }

  get liveness(): Liveness {
    return this._stream.liveness;
  }

  /** Why the last look failed. */
  get problem(): IProblem | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Read everything, and follow the events from then on. */
  async start(): Promise<void> {
    this._stream.start();
    await this.refresh();
  }

  /** Read everything anew; never fails, the outcome is `problem`. */
  async refresh(): Promise<void> {
    await this._read(
      this._loadNodes,
      this._loadDatasets,
      this._loadRuns,
      this._loadModels,
      this._loadQueries
    );
    this._loaded ||= this._problem === null;
    this._emit();
  }

  /** Try to follow the events now, instead of after the back-off. */
  retry(): void {
    this._stream.retry();
  }

  dispose(): void {
    if (this._disposed) {
      return;
    }
    this._disposed = true;
    Signal.disconnectReceiver(this);
    this._streams.release(this.project.id);
    Signal.clearData(this);
  }

  private async _read(...loads: (() => Promise<void>)[]): Promise<void> {
    try {
      await Promise.all(loads.map(load => load()));
      this._problem = null;
      this._updated = new Date();
    } catch (error) {
      this._problem = problemOf(error);
    }
    this._emit();
  }

  private _onEvent(_: EventStream, event: IEvent): void {
    this._updated = new Date();
    if (event.type === 'run.round') {
      const round = event.data as unknown as IRound;
      this._runs = this._runs.map(run =>
        run.id === event.run ? { ...run, round: Math.max(run.round, round.number) } : run
      );
      this._emit();
    } else if (event.type.startsWith('run.') && event.run) {
      const id = event.run;
      void this._read(() => this._loadRun(id), this._loadModels);
    } else if (event.type.startsWith('approval.')) {
      this._approvalChanged.emit();
    } else if (event.type.startsWith('query.')) {
      void this._read(this._loadQueries);
    } else if (event.type.startsWith('model.')) {
      void this._read(this._loadModels);
    } else {
      // Whether a node is online shows with the data sets, too; what it holds shows with the nodes.
      void this._read(this._loadNodes, this._loadDatasets);
    }
  }

  private async _loadRun(id: string): Promise<void> {
    const run = await this._api.api<IRun>(`/v1/runs/${encodeURIComponent(id)}`);
    this._runs = newestFirst([run, ...this._runs.filter(other => other.id !== id)]);
  }

  private _onResync(): void {
    void this.refresh();
  }

  private _onLiveness(): void {
    this._emit();
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _api: IApi;
  private _streams: EventStreams;
  private _stream: EventStream;
  private _path: string;
  private _changed = new Signal<this, void>(this);
  private _approvalChanged = new Signal<this, void>(this);
  private _nodes: INode[] = [];
  private _datasets: IDataset[] = [];
  private _runs: IRun[] = [];
  private _models: IModelVersion[] = [];
  private _queries: IQuery[] = [];
  private _loaded = false;
  private _updated: Date | null = null;
  private _problem: IProblem | null = null;
  private _disposed = false;
  private _loadNodes: () => Promise<void>;
  private _loadDatasets: () => Promise<void>;
  private _loadRuns: () => Promise<void>;
  private _loadModels: () => Promise<void>;
  private _loadQueries: () => Promise<void>;
}

function byName<T extends { name: string }>(items: T[]): T[] {
  return items.sort((a, b) => a.name.localeCompare(b.name));
}

function newestFirst(runs: IRun[]): IRun[] {
  return runs.sort((a, b) => b.created.localeCompare(a.created));
}
