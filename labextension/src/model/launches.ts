/**
 * One launch, kept current by its project's events, and by looking again since its cost grows without an event.
 */

import { UUID } from '@lumino/coreutils';
import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import type { EventStream, EventStreams } from '../events';
import { problemOf } from '../request';
import type { IApi, IDataset, IEvent, ILaunch, IModel, IProblem, IRun, Liveness } from '../tokens';
import { coalesced, readAll } from './lists';

/** Milliseconds between two looks while machines run. */
export const LAUNCH_LOOKS = { interval: 10_000, most: 60_000 };

/** Whether machines of it may still run. */
export function isLive(launch: ILaunch): boolean {
  return !['ended', 'failed'].includes(launch.state);
}

/** Whether its nodes have joined, so that they can train. */
export function isReady(launch: ILaunch): boolean {
  return launch.state === 'ready' || launch.state === 'training';
}

/** The path of a project's launches. */
export function launchesPath(project: string): string {
  return `/v1/projects/${encodeURIComponent(project)}/launches`;
}

/** The launches of a project, newest first. */
export async function launchesOf(api: IApi, project: string): Promise<ILaunch[]> {
  return readAll<ILaunch>(api, launchesPath(project), 'launches');
}

/**
 * One launch.
 */
export class LaunchModel implements IModel {
  /**
   * @param known What is known of it already.
   */
  constructor(
    private _api: IApi,
    private _streams: EventStreams,
    readonly id: string,
    known: ILaunch | null = null
  ) {
    this._path = `/v1/launches/${encodeURIComponent(id)}`;
    this._launch = known;
    this._load = coalesced(async () => {
      try {
        this._launch = await this._api.api<ILaunch>(this._path);
        await this._loadTraining(this._launch);
        this._problem = null;
        this._updated = new Date();
      } catch (error) {
        this._problem = problemOf(error);
      }
      this._listen();
      this._emit();
    });
    this._poll = new Poll({
      name: `@flaas/labextension:launch-${id}`,
      factory: () => this._load(),
      frequency: { interval: LAUNCH_LOOKS.interval, backoff: true, max: LAUNCH_LOOKS.most },
      standby: () => document.hidden || (this._launch !== null && !isLive(this._launch)),
      auto: false
    });
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get launch(): ILaunch | null {
    return this._launch;
  }

  /** Data sets that the launched nodes hold. */
  get datasets(): readonly IDataset[] {
    return this._datasets;
  }

  /** The newest run of the project since the launch, once its nodes have joined. */
  get run(): IRun | null {
    return this._run;
  }

  get updated(): Date | null {
    return this._updated;
  }

  get liveness(): Liveness {
    return this._stream?.liveness ?? 'connecting';
  }

  /** Why the last look failed. */
  get problem(): IProblem | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  /** Look, and follow what happens from then on; never fails, the outcome is `problem`. */
  async start(): Promise<void> {
    this._listen();
    await this._load();
    if (!this.isDisposed) {
      await this._poll.start();
    }
  }

  /** Look now, and follow the events now rather than after the back-off. */
  async refresh(): Promise<void> {
    this._stream?.retry();
    await this._load();
  }

  /**
   * End all its machines.
   *
   * @throws RequestError The API's refusal.
   */
  async terminate(): Promise<void> {
    await this._act('terminate');
  }

  /**
   * Try again what has failed.
   *
   * @throws RequestError The API's refusal.
   */
  async resume(): Promise<void> {
    await this._act('resume');
  }

  dispose(): void {
    if (this.isDisposed) {
      return;
    }
    this._poll.dispose();
    Signal.disconnectReceiver(this);
    if (this._stream && this._launch) {
      this._streams.release(this._launch.project);
    }
    Signal.clearData(this);
  }

  private async _act(verb: 'terminate' | 'resume'): Promise<void> {
    const link = this._launch?._links?.[verb];
    await this._api.api(link?.href ?? `${this._path}/${verb}`, {
      method: link?.method ?? 'POST',
      idempotencyKey: UUID.uuid4()
    });
    await this._load();
  }

  private async _loadTraining(launch: ILaunch): Promise<void> {
    if (!isReady(launch) && (launch.run === null || this._run)) {
      return;
    }
    const project = `/v1/projects/${encodeURIComponent(launch.project)}`;
    const [datasets, runs] = await Promise.all([
      readAll<IDataset>(this._api, `${project}/datasets`, 'datasets'),
      readAll<IRun>(this._api, `${project}/runs`, 'runs')
    ]);
    const own = new Set(launch.nodes.map(({ node_id }) => node_id));
    this._datasets = datasets.filter(({ nodes }) => nodes.some(({ node }) => own.has(node)));
    const since = runs
      .filter(({ created }) => created >= launch.created)
      .sort((one, other) => other.created.localeCompare(one.created));
    this._run = runs.find(({ id }) => id === launch.run) ?? since[0] ?? null;
  }

  private _listen(): void {
    if (this._stream || !this._launch || this.isDisposed) {
      return;
    }
    this._stream = this._streams.acquire(this._launch.project);
    this._stream.event.connect(this._onEvent, this);
    this._stream.resync.connect(this._onResync, this);
    this._stream.livenessChanged.connect(this._emit, this);
    this._stream.start();
  }

  private _onEvent(_: EventStream, event: IEvent): void {
    const ours = event.type === 'launch.changed' && event.data.launch === this.id;
    const maybe = /^(node\.|dataset|run\.(created|state))/.test(event.type);
    if (ours || (maybe && this._launch && isLive(this._launch))) {
      void this._load();
    }
  }

  private _onResync(): void {
    void this._load();
  }

  private _emit(): void {
    if (!this.isDisposed) {
      this._changed.emit();
    }
  }

  private _path: string;
  private _load: () => Promise<void>;
  private _poll: Poll;
  private _stream: EventStream | null = null;
  private _changed = new Signal<this, void>(this);
  private _launch: ILaunch | null;
  private _datasets: readonly IDataset[] = [];
  private _run: IRun | null = null;
  private _updated: Date | null = null;
  private _problem: IProblem | null = null;
}
