/**
 * Events of a project, live: server-sent events read with fetch, resumed by the last id seen, with back-off, and
 * polling where streams do not come through.
 *
 * `EventSource` is not used: it cannot send Jupyter's XSRF header, and it hides why it failed.
 */

import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { problemOf } from './request';
import type { IApi, IEvent, IPage, IProblem, Liveness } from './tokens';

/** How long to wait, in milliseconds. */
export interface ITimings {
  /** Between two polls while no stream comes through. */
  poll: number;
  /** Before the first new try when nothing comes through; doubled up to `longest`. */
  first: number;
  longest: number;
  /** For a stream to open or show a sign of life; the API shows one every 15 s. */
  silence: number;
}

export const TIMINGS: ITimings = { poll: 15_000, first: 1_000, longest: 30_000, silence: 45_000 };

/**
 * Split the text of an event stream into messages.
 *
 * @param chunks Text as it arrives, cut anywhere.
 * @returns Each message's id and data; comments are null, as signs of life.
 */
export async function* messages(
  chunks: AsyncIterable<string>
): AsyncIterable<{ id: string; data: string } | null> {
  let buffer = '';
  let message = { id: '', data: '' };
  for await (const chunk of chunks) {
    buffer += chunk;
    // A carriage return at the end may be half of a line's end.
    const whole = buffer.endsWith('\r') ? buffer.slice(0, -1) : buffer;
    const lines = whole.split(/\r\n|\n|\r/);
    const rest = lines.pop() ?? '';
    buffer = rest + buffer.slice(whole.length);
    for (const line of lines) {
      const [, field, value] = /^([^:]*)(?:: ?(.*))?$/.exec(line) ?? [];
      if (line === '') {
        if (message.data) {
          yield message;
        }
        message = { id: '', data: '' };
      } else if (field === '') {
        yield null;
      } else if (field === 'data') {
        message.data += message.data ? `\n${value ?? ''}` : (value ?? '');
      } else if (field === 'id') {
        message.id = value ?? '';
      }
    }
  }
}

/**
 * The events of one project, for as long as somebody wants them.
 *
 * `resync` is emitted whenever events may have been missed: listeners load what they show anew.
 */
export class EventStream implements IDisposable {
  /**
   * @param api How to ask.
   * @param path Path of the events, e.g. `/v1/projects/demo/events`.
   * @param timings How long to wait; read anew at every turn.
   */
  constructor(api: IApi, path: string, timings: () => ITimings = () => TIMINGS) {
    this._api = api;
    this._path = path;
    this._timings = timings;
  }

  /** An event, in order, once. */
  get event(): ISignal<this, IEvent> {
    return this._event;
  }

  /** Events may have been missed. */
  get resync(): ISignal<this, void> {
    return this._resync;
  }

  get livenessChanged(): ISignal<this, Liveness> {
    return this._livenessChanged;
  }

  get liveness(): Liveness {
    return this._liveness;
  }

  /** Why nothing comes through, while `liveness` is "lost". */
  get problem(): IProblem | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Begin to follow. */
  start(): void {
    if (!this._running && !this._disposed) {
      this._running = true;
      void this._follow();
    }
  }

  /** Let go of the connection while nobody looks: browsers have few per host. */
  setStandby(standby: boolean): void {
    if (standby === this._standby) {
      return;
    }
    this._standby = standby;
    this._abort?.abort();
    this._wake?.();
  }

  /** Try now instead of after the back-off. */
  retry(): void {
    this._failures = 0;
    this._wake?.();
  }

  dispose(): void {
    this._disposed = true;
    this._abort?.abort();
    this._wake?.();
    Signal.clearData(this);
  }

  private async _follow(): Promise<void> {
    while (!this._disposed) {
      if (this._standby) {
        this._set('standby');
        await this._pause(null);
        continue;
      }
      const streamed = await this._stream();
      if (this._disposed || this._standby) {
        continue;
      }
      const { poll, first, longest } = this._timings();
      if (streamed) {
        this._failures = 0;
        this._set('connecting');
        await this._pause(first);
      } else if (await this._poll()) {
        this._failures = 0;
        this._set('polling');
        await this._pause(poll);
      } else {
        this._failures += 1;
        this._set('lost');
        await this._pause(Math.min(longest, first * 2 ** (this._failures - 1)));
      }
    }
  }

  /** Follow the stream to its end; tell whether anything came through it. */
  private async _stream(): Promise<boolean> {
    const abort = (this._abort = new AbortController());
    const { silence } = this._timings();
    let watchdog = setTimeout(() => abort.abort(), silence);
    let alive = false;
    try {
      const chunks = await this._api.events(this._path, this._lastId, abort.signal);
      this._problem = null;
      this._set('live');
      // Without an id the stream starts at now; what happened since the last look has to be loaded.
      this._resync.emit();
      for await (const message of messages(chunks)) {
        clearTimeout(watchdog);
        watchdog = setTimeout(() => abort.abort(), silence);
        alive = true;
        if (this._disposed) {
          break;
        }
        if (message) {
          this._deliver(message.data);
        }
      }
    } catch (error) {
      this._problem = problemOf(error);
    } finally {
      clearTimeout(watchdog);
      abort.abort();
    }
    return alive;
  }

  /** Read the events since the last one as a page; tell whether that worked. */
  private async _poll(): Promise<boolean> {
    try {
      if (this._lastId !== null) {
        const page = await this._api.api<IPage<IEvent>>(`${this._path}?after=${this._lastId}&limit=200`);
        (page._embedded.events ?? []).forEach(event => this._emit(event));
      } else {
        await this._api.api(`${this._path}?limit=1`);
      }
      this._problem = null;
      this._resync.emit();
      return true;
    } catch (error) {
      this._problem = problemOf(error);
      return false;
    }
  }

  private _deliver(data: string): void {
    try {
      this._emit(JSON.parse(data) as IEvent);
    } catch {
      // One unreadable event is no reason to lose the rest: look at everything anew.
      this._resync.emit();
    }
  }

  private _emit(event: IEvent): void {
    if (this._lastId === null || event.id > this._lastId) {
      this._lastId = event.id;
      this._event.emit(event);
    }
  }

  private _set(liveness: Liveness): void {
    if (liveness !== this._liveness && !this._disposed) {
      this._liveness = liveness;
      this._livenessChanged.emit(liveness);
    }
  }

  /** Wait, or until woken; null waits for the waking alone. */
  private _pause(milliseconds: number | null): Promise<void> {
    return new Promise(resolve => {
      const timer = milliseconds === null ? undefined : setTimeout(done, milliseconds);
      function done(): void {
        clearTimeout(timer);
        resolve();
      }
      this._wake = done;
      if (this._disposed) {
        done();
      }
    });
  }

  private _api: IApi;
  private _path: string;
  private _timings: () => ITimings;
  private _event = new Signal<this, IEvent>(this);
  private _resync = new Signal<this, void>(this);
  private _livenessChanged = new Signal<this, Liveness>(this);
  private _liveness: Liveness = 'connecting';
  private _problem: IProblem | null = null;
  private _lastId: number | null = null;
  private _failures = 0;
  private _standby = false;
  private _running = false;
  private _disposed = false;
  private _abort: AbortController | null = null;
  private _wake: (() => void) | null = null;
}

/** The streams in use, one a project however many views look at it. */
export class EventStreams {
  constructor(api: IApi, timings: () => ITimings = () => TIMINGS) {
    this._api = api;
    this._timings = timings;
  }

  /** The stream of `project`; call `release` when done with it. */
  acquire(project: string): EventStream {
    let entry = this._streams.get(project);
    if (!entry) {
      const path = `/v1/projects/${encodeURIComponent(project)}/events`;
      entry = { stream: new EventStream(this._api, path, this._timings), users: 0 };
      entry.stream.setStandby(this._standby);
      this._streams.set(project, entry);
    }
    entry.users += 1;
    return entry.stream;
  }

  release(project: string): void {
    const entry = this._streams.get(project);
    if (entry && --entry.users === 0) {
      entry.stream.dispose();
      this._streams.delete(project);
    }
  }

  setStandby(standby: boolean): void {
    this._standby = standby;
    this._streams.forEach(entry => entry.stream.setStandby(standby));
  }

  private _api: IApi;
  private _timings: () => ITimings;
  private _standby = false;
  private _streams = new Map<string, { stream: EventStream; users: number }>();
}
