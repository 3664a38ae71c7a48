/**
 * One run, kept current by its project's events: state, participants, rounds, log.
 */

import { UUID } from '@lumino/coreutils';
import { type ISignal, Signal } from '@lumino/signaling';

import type { EventStream, EventStreams } from '../events';
import { problemOf } from '../request';
import type { IApi, IEvent, IModel, IProblem, IRound, IRun, Liveness } from '../tokens';
import { follow, linkOf } from './links';
import { coalesced, readAll } from './lists';

/** Events that the log keeps. */
const LOG_LENGTH = 500;

/** Whether a run has not ended. */
export function isActive(run: IRun): boolean {
  return !['completed', 'failed', 'cancelled'].includes(run.state);
}

/**
 * Stop a run, as its link says.
 *
 * @throws RequestError The API's refusal: the run has ended, or the caller may not stop it.
 */
export async function stopRun(api: IApi, run: IRun): Promise<void> {
  const link = run._links?.cancel;
  if (link) {
    await api.api(link.href, { method: link.method ?? 'POST', idempotencyKey: UUID.uuid4() });
  }
}

/**
 * One run.
 */
export class RunModel implements IModel {
  constructor(api: IApi, streams: EventStreams, id: string) {
    this._api = api;
    this._streams = streams;
    this.id = id;
    this._path = `/v1/runs/${encodeURIComponent(id)}`;
    this._loadRun = coalesced(async () => {
      this._run = await api.api<IRun>(this._path);
    });
    this._loadRounds = coalesced(async () => {
      const rounds = await readAll<IRound>(api, `${this._path}/rounds`, 'rounds');
      this._rounds = new Map(rounds.map(round => [round.number, round]));
    });
    this._loadLog = coalesced(async () => {
      const events = await readAll<IEvent>(api, `${this._path}/events`, 'events');
      this._log = new Map(events.slice(-LOG_LENGTH).map(event => [event.id, event]));
    });
  }

  readonly id: string;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get run(): IRun | null {
    return this._run;
  }

  /** In order. */
  get rounds(): IRound[] {
    return [...this._rounds.values()].sort((a, b) => a.number - b.number);
  }

  /** What happened, in order. */
  get log(): IEvent[] {
    return [...this._log.values()].sort((a, b) => a.id - b.id);
  }

  get updated(): Date | null {
    return this._updated;
  }

  get liveness(): Liveness {
    return this._stream?.liveness ?? 'connecting';
  }

  get problem(): IProblem | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** The name that a participating node goes by. */
  nameOf(node: string | null): string {
    return (
      this._run?.participants.find(participant => participant.node === node)?.name ?? node?.slice(0, 8) ?? ''
    );
  }

  /** Read everything, and follow the project's events from then on; never fails, the outcome is `problem`. */
  async refresh(): Promise<void> {
    await this._read(this._loadRun, this._loadRounds, this._loadLog);
    if (this._run && !this._stream && !this._disposed) {
      this._stream = this._streams.acquire(this._run.project);
      this._stream.event.connect(this._onEvent, this);
      this._stream.resync.connect(this._onResync, this);
      this._stream.livenessChanged.connect(this._emit, this);
      this._stream.start();
    }
  }

  /** Stop the run; see {@link stopRun}. */
  async stop(): Promise<void> {
    if (this._run) {
      await stopRun(this._api, this._run);
      await this._read(this._loadRun);
    }
  }

  /** Have it pause after its present round, or go on. @throws RequestError The API's refusal. */
  async follow(relation: 'pause' | 'resume'): Promise<void> {
    const link = linkOf(this._run, relation);
    if (link) {
      await follow(this._api, link);
      await this._read(this._loadRun);
    }
  }

  /** Try to follow the events now, instead of after the back-off. */
  retry(): void {
    this._stream?.retry();
    void this.refresh();
  }

  dispose(): void {
    if (this._disposed) {
      return;
    }
    this._disposed = true;
    Signal.disconnectReceiver(this);
    if (this._stream && this._run) {
      this._streams.release(this._run.project);
    }
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
    if (event.run !== this.id) {
      if (event.type.startsWith('node.') && isActive(this._run!)) {
        void this._read(this._loadRun); // whether a participant is online
      }
      return;
    }
    this._log.set(event.id, event);
    for (const id of [...this._log.keys()].slice(0, -LOG_LENGTH)) {
      this._log.delete(id);
    }
    if (event.type === 'run.round') {
      const round = event.data as unknown as IRound;
      this._rounds.set(round.number, round);
      this._run = { ...this._run!, round: Math.max(this._run!.round, round.number) };
      this._emit();
    } else {
      void this._read(this._loadRun);
    }
  }

  private _onResync(): void {
    void this.refresh();
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _api: IApi;
  private _streams: EventStreams;
  private _stream: EventStream | null = null;
  private _path: string;
  private _changed = new Signal<this, void>(this);
  private _run: IRun | null = null;
  private _rounds = new Map<number, IRound>();
  private _log = new Map<number, IEvent>();
  private _updated: Date | null = null;
  private _problem: IProblem | null = null;
  private _disposed = false;
  private _loadRun: () => Promise<void>;
  private _loadRounds: () => Promise<void>;
  private _loadLog: () => Promise<void>;
}
