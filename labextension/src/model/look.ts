/** What is read whole, again and again while somebody watches: a failed look leaves what was known before. */

import { type ISignal, Signal } from '@lumino/signaling';

import { problemOf } from '../request';
import type { IModel, IProblem } from '../tokens';
import { coalesced } from './lists';

export class LookModel<T> implements IModel {
  /**
   * @param read Reads all of it.
   * @param nothing What it is before it was read, and when it is forgotten.
   */
  constructor(
    read: () => Promise<T>,
    private readonly _nothing: T
  ) {
    this._found = _nothing;
    this._load = coalesced(async () => {
      const turn = this._turn;
      let [found, problem]: [T, IProblem | null] = [this._found, null];
      try {
        found = await read();
      } catch (error) {
        problem = problemOf(error);
      }
      if (turn === this._turn) {
        this._set(found, problem);
      } // else nobody, or somebody else, is signed in meanwhile
    });
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** What the last look has found that did not fail. */
  protected get found(): T {
    return this._found;
  }

  /** Why the last look failed; what was known before is still there. */
  get problem(): IProblem | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Look anew; never fails, the outcome is `problem`. */
  refresh(): Promise<void> {
    return this._load();
  }

  /** Nobody, or somebody else, is signed in. */
  forget(): void {
    this._turn++;
    this._set(this._nothing, null);
  }

  dispose(): void {
    this._disposed = true;
    Signal.clearData(this);
  }

  private _set(found: T, problem: IProblem | null): void {
    this._found = found;
    this._problem = problem;
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _load: () => Promise<void>;
  private _changed = new Signal<this, void>(this);
  private _found: T;
  private _problem: IProblem | null = null;
  private _turn = 0;
  private _disposed = false;
}
