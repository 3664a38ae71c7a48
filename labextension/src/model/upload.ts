/**
 * One upload: what of the file is at the node, and what is to be done. Pieces are read, sealed and sent a few at a time;
 * nothing else of the file is ever in memory.
 */

import { type ISignal, Signal } from '@lumino/signaling';

import { problemOf, RequestError } from '../request';
import type { IApi, IModel, IProblem } from '../tokens';
import { base64, type Bytes, fromBase64 } from '../upload/bytes';
import type { IKeptUpload, IUploadKeep } from '../upload/keep';
import {
  chunksOf,
  type IDetails,
  type IReceipt,
  opening,
  placeOf,
  rootOf,
  Sealer,
  sha256
} from '../upload/seal';

/**
 * `lost`: kept from before a reload, the file has to be chosen again. `checking-file`: the file that was chosen again is
 * compared. `waiting`: there is no connection, and another attempt comes by itself. `finishing`: the node looks at what
 * it has. `rejected`: it cannot register the file so, but has it. `stopped`: see the problem.
 */
export type UploadPhase =
  | 'lost'
  | 'checking-file'
  | 'sending'
  | 'paused'
  | 'waiting'
  | 'finishing'
  | 'registered'
  | 'rejected'
  | 'stopped';

/** What the server half answers about an upload. */
export interface IUploadAnswer {
  chunks: number;
  received: number;
  /** Chunks that the node has; both ends are included. */
  have: [number, number][];
  state: 'receiving' | 'checking' | 'registered' | 'rejected';
  receipt: string | null;
}

/** Chunks that are sent at a time. */
const LANES = 3;
/** How often a chunk that was changed on its way is sent again. */
const AGAIN = 2;
/** Milliseconds. */
export const UPLOAD_WAITS = { look: 1_000, first: 1_000, most: 30_000 };

/** Codes of what passes by itself. */
const PASSING = new Set([
  'api-unreachable',
  'call-timed-out',
  'no-bridge',
  'node-offline',
  'peer-lost',
  'peer-unreachable',
  'server-unreachable',
  'too-many-chunks',
  'upload-incomplete',
  'upload-not-open'
]);

export class UploadModel implements IModel {
  /**
   * @param kept What was begun.
   * @param file The file; null after a reload.
   */
  constructor(
    private readonly _api: IApi,
    private readonly _keep: IUploadKeep,
    private _kept: IKeptUpload,
    private _file: File | null
  ) {
    this._phase = _file || _kept.finished ? 'paused' : 'lost';
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get kept(): IKeptUpload {
    return this._kept;
  }

  get id(): string {
    return this._kept.id;
  }

  /** Null while it has to be chosen again. */
  get file(): File | null {
    return this._file;
  }

  get size(): number {
    return this._kept.header.size;
  }

  get phase(): UploadPhase {
    return this._phase;
  }

  /** Why it has stopped or waits, or why the file that was chosen again is not taken. */
  get problem(): IProblem | null {
    return this._problem;
  }

  /** Bytes of the file that are safely at the node, as far as it is known here. */
  get sent(): number {
    return this._kept.finished ? this.size : this._sent;
  }

  /** Bytes of the file that were compared. */
  get compared(): number {
    return this._compared;
  }

  /** Bytes a second since it was last begun or resumed; null while that says nothing. */
  get rate(): number | null {
    const seconds = (performance.now() - this._rate.since) / 1000;
    return this._phase === 'sending' && seconds > 1 ? this._rate.bytes / seconds : null;
  }

  /** What the node has said in the end. */
  get receipt(): IReceipt | null {
    return this._receipt;
  }

  /** Whether anything is under way. */
  get active(): boolean {
    return this._stop !== null;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Go on where it stands; never fails, the outcome is `phase`. */
  async resume(): Promise<void> {
    if (this._stop || this._disposed) {
      this._retryNow?.();
      return;
    }
    await this._run(signal => this._hold(signal));
  }

  /** Find out how much was sent before a reload. */
  async look(): Promise<void> {
    for (const chunk of (await this._keep.digests(this.id)).keys()) {
      this._sent += this._lengthOf(chunk);
    }
    this._emit();
  }

  /** Leave off; what is under way is sent again later. */
  pause(): void {
    if (this._stop) {
      this._stop.abort();
      this._stop = null;
      this._phase = this._file || this._kept.finished ? 'paused' : 'lost';
      this._problem = null;
      this._emit();
    }
  }

  /**
   * Go on with the file that was chosen again: it has to be the same, as far as it was sent. Never fails; if it is
   * another file, `problem` says so.
   */
  async take(file: File): Promise<void> {
    if (this._stop || this._disposed) {
      return;
    }
    if (file.size !== this.size) {
      this._end('lost', own('another-size', String(file.size)));
      return;
    }
    this._compared = 0;
    this._end('checking-file', null);
    await this._run(async signal => {
      try {
        const same = await this._isSame(file, signal);
        if (signal.aborted) {
          return;
        }
        if (!same) {
          this._end('lost', own('another-file'));
          return;
        }
      } catch (error) {
        this._end('lost', problemOf(error));
        return;
      }
      this._file = file;
      await this._hold(signal);
    });
  }

  /** Have the node register what it has in another way, after it was rejected. */
  async finishWith(details: IDetails): Promise<void> {
    this._kept = { ...this._kept, details };
    this._other = details;
    await this.resume();
  }

  /**
   * End it, and have the node remove what it has. Here it is gone in any case; what is returned is why the node could
   * not be told.
   */
  async discard(): Promise<IProblem | null> {
    this.pause();
    // Or it would keep something after it was removed; but a connection that hangs is not waited for.
    const late = new Promise<void>(resolve => setTimeout(resolve, UPLOAD_WAITS.first));
    await Promise.race([this._running, late]);
    let problem: IProblem | null = null;
    if (this._phase !== 'registered') {
      try {
        await this._delete();
      } catch (error) {
        // What was never sent is not there, whatever the reason.
        problem = (await this._keep.digests(this.id)).size > 0 ? problemOf(error) : null;
      }
    }
    await this._keep.remove(this.id);
    return problem;
  }

  dispose(): void {
    if (!this._disposed) {
      this._stop?.abort();
      this._disposed = true;
      Signal.clearData(this);
    }
  }

  /** Do something that can be left off, after what was left off before it has come to its end. */
  private async _run(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const stop = (this._stop = new AbortController());
    const before = this._running;
    const run = async (): Promise<void> => {
      await before;
      try {
        if (!stop.signal.aborted) {
          await work(stop.signal);
        }
      } catch (error) {
        this._end('stopped', problemOf(error)); // the browser's data base, say
      } finally {
        if (this._stop === stop) {
          this._stop = null;
        }
        this._emit();
      }
    };
    this._running = run();
    await this._running;
  }

  /** Work on it in this page alone. */
  private async _hold(signal: AbortSignal): Promise<void> {
    const release = await this._keep.hold(this.id);
    if (!release) {
      this._end('stopped', own('held-elsewhere'));
      return;
    }
    try {
      await this._work(signal);
    } finally {
      release();
    }
  }

  private async _delete(): Promise<void> {
    const remove = (): Promise<unknown> => this._api.server(`uploads/${this.id}`, 'DELETE');
    try {
      await remove().catch(async error => {
        if (problemOf(error).code !== 'upload-not-open') {
          throw error;
        }
        await this._open(); // this server has not heard of it since it was restarted
        await remove();
      });
    } catch (error) {
      if (problemOf(error).code !== 'upload-closed') {
        throw error;
      }
    }
  }

  /** Try until it is done, or there is no use in trying. */
  private async _work(signal: AbortSignal): Promise<void> {
    this._backOff = UPLOAD_WAITS.first;
    while (!signal.aborted) {
      try {
        await this._once(signal);
        return;
      } catch (error) {
        if (signal.aborted) {
          return;
        }
        const problem = problemOf(error);
        if (!passes(problem)) {
          this._end('stopped', problem);
          return;
        }
        this._end('waiting', problem);
        await this._pauseFor(this._backOff, signal);
        this._backOff = Math.min(2 * this._backOff, UPLOAD_WAITS.most);
      }
    }
  }

  /** Open, send what the node has not, say that it is all. */
  private async _once(signal: AbortSignal): Promise<void> {
    this._sealer ??= await Sealer.of(this._kept);
    const answer = await this._open();
    if (signal.aborted) {
      return;
    }
    const ended = answer.state === 'registered' || (answer.state === 'rejected' && !this._other);
    if (ended || answer.state === 'checking') {
      await this._followEnd(answer, signal);
      return;
    }
    const digests = await this._keep.digests(this.id);
    const missing = missingOf(answer, chunksOf(this._kept.header), digests);
    if (answer.state === 'receiving') {
      if (missing.length > 0 && !this._file) {
        this._end('lost', null);
        return;
      }
      this._begin(missing);
      await this._sendAll(missing, digests, signal);
    }
    if (!signal.aborted) {
      await this._finish(digests, signal);
    }
  }

  private async _open(): Promise<IUploadAnswer> {
    const { project, dataset } = this._kept;
    return this._api.server<IUploadAnswer>('uploads', 'POST', { project, dataset, ...opening(this._kept) });
  }

  private _begin(missing: number[]): void {
    const rest = missing.reduce((bytes, chunk) => bytes + this._lengthOf(chunk), 0);
    this._sent = this.size - rest;
    this._rate = { since: performance.now(), bytes: 0 };
    this._phase = 'sending';
    this._problem = null;
    this._emit();
  }

  private async _sendAll(missing: number[], digests: Map<number, Bytes>, signal: AbortSignal): Promise<void> {
    const rest = missing[Symbol.iterator]();
    // One lane that fails stops the others, or they would go on while the next attempt begins.
    const lanes = new AbortController();
    const stop = (): void => lanes.abort();
    signal.addEventListener('abort', stop);
    try {
      await allSettled(
        Array.from({ length: LANES }, async () => {
          try {
            for (const chunk of rest) {
              if (lanes.signal.aborted) {
                return;
              }
              await this._sendOne(chunk, digests, lanes.signal);
            }
          } catch (error) {
            const first = !lanes.signal.aborted;
            stop();
            if (first) {
              throw error;
            }
          }
        })
      );
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  private async _sendOne(chunk: number, digests: Map<number, Bytes>, signal: AbortSignal): Promise<void> {
    const piece = await this._pieceOf(this._file!, chunk);
    const digest = await sha256(piece);
    const before = digests.get(chunk);
    if (before && !equal(before, digest)) {
      throw new RequestError(own('file-changed'));
    }
    if (!before) {
      // Kept before it is sent: what the node may have is always known here.
      await this._keep.keepDigest(this.id, chunk, digest);
      digests.set(chunk, digest);
    }
    for (let attempt = 0; !signal.aborted; attempt++) {
      try {
        const sealed = await this._sealer!.chunk(chunk, piece);
        await this._api.put(`uploads/${this.id}/chunks/${chunk}`, sealed, signal);
        break;
      } catch (error) {
        if (!REFUSED.has(problemOf(error).code) || attempt >= AGAIN) {
          throw error;
        }
      }
    }
    if (!signal.aborted) {
      this._backOff = UPLOAD_WAITS.first;
      this._sent += piece.length;
      this._rate.bytes += piece.length;
      this._emit();
    }
  }

  private async _finish(digests: Map<number, Bytes>, signal: AbortSignal): Promise<void> {
    const chunks = Array.from({ length: chunksOf(this._kept.header) }, (_, chunk) => digests.get(chunk)!);
    this._phase = 'finishing';
    this._problem = null;
    this._emit();
    const finish = base64(await this._sealer!.finish(await rootOf(chunks), this._other));
    const answer = await this._api.server<IUploadAnswer>(`uploads/${this.id}/finish`, 'POST', { finish });
    this._other = null;
    this._kept = { ...this._kept, finished: true };
    await this._keep.keep(this._kept);
    await this._followEnd(answer, signal);
  }

  /** Look until the node has said how it ends. */
  private async _followEnd(answer: IUploadAnswer, signal: AbortSignal): Promise<void> {
    this._phase = 'finishing';
    this._problem = null;
    this._emit();
    while (answer.state === 'checking') {
      await this._pauseFor(UPLOAD_WAITS.look, signal);
      if (signal.aborted) {
        return;
      }
      answer = await this._api.server<IUploadAnswer>(`uploads/${this.id}`);
    }
    if (answer.state === 'receiving') {
      throw new RequestError(own('upload-incomplete')); // the node was restarted meanwhile
    }
    const receipt = await this._sealer!.receipt(fromBase64(answer.receipt ?? '') ?? new Uint8Array(0));
    if (signal.aborted) {
      return;
    }
    if (receipt?.state !== answer.state || receipt.size !== this.size) {
      // Whoever is on the way may say what he likes; only the node can seal a receipt.
      this._end('stopped', own('receipt-forged'));
      return;
    }
    this._receipt = receipt;
    const { code = 'rejected', message = '', hint = '' } = receipt.problem ?? {};
    this._end(
      receipt.state,
      receipt.state === 'rejected' ? { status: 0, code, title: '', detail: message, hint } : null
    );
    if (receipt.state === 'registered') {
      await this._keep.remove(this.id).catch(() => undefined); // it is removed when it is found registered again
    }
  }

  private async _isSame(file: File, signal: AbortSignal): Promise<boolean> {
    for (const [chunk, digest] of await this._keep.digests(this.id)) {
      const piece = await this._pieceOf(file, chunk);
      if (signal.aborted || !equal(await sha256(piece), digest)) {
        return false;
      }
      this._compared += piece.length;
      this._emit();
    }
    return true;
  }

  private async _pieceOf(file: File, chunk: number): Promise<Bytes> {
    const [start, end] = placeOf(this._kept.header, chunk);
    let piece: Bytes;
    try {
      piece = new Uint8Array(await file.slice(start, end).arrayBuffer());
    } catch {
      throw new RequestError(own('file-unreadable')); // it was moved, removed or changed on disk
    }
    if (piece.length !== end - start) {
      throw new RequestError(own('file-unreadable'));
    }
    return piece;
  }

  private _lengthOf(chunk: number): number {
    const [start, end] = placeOf(this._kept.header, chunk);
    return end - start;
  }

  private async _pauseFor(milliseconds: number, signal: AbortSignal): Promise<void> {
    await new Promise<void>(resolve => {
      const done = (): void => {
        clearTimeout(timer);
        signal.removeEventListener('abort', done);
        globalThis.removeEventListener?.('online', done);
        this._retryNow = null;
        resolve();
      };
      const timer = setTimeout(done, milliseconds);
      this._retryNow = done;
      signal.addEventListener('abort', done);
      globalThis.addEventListener?.('online', done);
    });
  }

  private _end(phase: UploadPhase, problem: IProblem | null): void {
    this._phase = phase;
    this._problem = problem;
    this._emit();
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _changed = new Signal<this, void>(this);
  private _phase: UploadPhase;
  private _problem: IProblem | null = null;
  private _sent = 0;
  private _compared = 0;
  private _rate = { since: 0, bytes: 0 };
  private _receipt: IReceipt | null = null;
  private _sealer: Sealer | null = null;
  private _other: IDetails | null = null;
  private _backOff = UPLOAD_WAITS.first;
  private _stop: AbortController | null = null;
  private _running: Promise<void> = Promise.resolve();
  private _retryNow: (() => void) | null = null;
  private _disposed = false;
}

/** What the node answers about a chunk that is not as it was sealed. */
const REFUSED = new Set(['chunk-refused', 'chunk-length']);

/** Chunks that the node has not, or whose digest is not known here. */
export function missingOf(
  { have }: Pick<IUploadAnswer, 'have'>,
  chunks: number,
  digests: ReadonlyMap<number, unknown>
): number[] {
  const there = new Uint8Array(chunks);
  for (const [first, last] of have) {
    there.fill(1, Math.max(0, first), last + 1);
  }
  const missing: number[] = [];
  for (let chunk = 0; chunk < chunks; chunk++) {
    if (there[chunk] === 0 || !digests.has(chunk)) {
      missing.push(chunk);
    }
  }
  return missing;
}

/** Wait for all; then fail with what one of them has failed with. */
async function allSettled(work: Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(work)) {
    if (outcome.status === 'rejected') {
      throw outcome.reason;
    }
  }
}

function passes({ status, code }: IProblem): boolean {
  return PASSING.has(code) || [429, 502, 503, 504].includes(status);
}

function equal(one: Uint8Array, other: Uint8Array): boolean {
  return one.length === other.length && one.every((byte, place) => byte === other[place]);
}

/** A problem that has its words from the view, which can translate them. */
export function own(code: string, detail = ''): IProblem {
  return { status: 0, code, title: '', detail, hint: '' };
}
