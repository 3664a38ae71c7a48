/**
 * Who is signed in, and what stands between the user and the federation.
 */

import { type ISignal, Signal } from '@lumino/signaling';

import { problemOf } from '../request';
import type { Connection, IApi, IModel, IProblem, IStatus } from '../tokens';

/**
 * The handshake with the server half.
 */
export class SessionModel implements IModel {
  /**
   * @param api How to ask.
   * @param version Version of this half; the server half has to have the same.
   */
  constructor(api: IApi, version: string) {
    this._api = api;
    this.version = version;
  }

  readonly version: string;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get connection(): Connection {
    return this._connection;
  }

  /** The last answer of the server half. */
  get status(): IStatus | null {
    return this._status;
  }

  get problem(): IProblem | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Do the handshake; never fails, the outcome is `connection`. */
  async refresh(): Promise<void> {
    const turn = ++this._turn;
    let status: IStatus | null = null;
    let problem: IProblem | null = null;
    try {
      status = await this._api.server<IStatus>('status');
    } catch (error) {
      problem = problemOf(error);
    }
    if (turn !== this._turn || this._disposed) {
      return; // a later question was answered already
    }
    this._status = status ?? this._status;
    this._problem = problem ?? status?.api.problem ?? null;
    this._connection = status
      ? connectionIn(status, this.version)
      : this._problem?.status === 404
        ? 'server-missing'
        : 'server-failing';
    this._changed.emit();
  }

  /**
   * Sign in; the token goes to the server half, once, and is not kept here.
   *
   * @throws RequestError The API's refusal, or what was wrong with the form.
   */
  async signIn(url: string, token: string): Promise<void> {
    await this._api.server('session', 'POST', { url, token });
    await this.refresh();
  }

  /** Sign out; what is returned is why the API could not be told that the session has ended. */
  async signOut(): Promise<IProblem | null> {
    const told = await this._api.server<{ problem?: IProblem } | null>('session', 'DELETE');
    await this.refresh();
    return told?.problem ?? null;
  }

  dispose(): void {
    this._disposed = true;
    Signal.clearData(this);
  }

  private _api: IApi;
  private _changed = new Signal<this, void>(this);
  private _connection: Connection = 'starting';
  private _status: IStatus | null = null;
  private _problem: IProblem | null = null;
  private _turn = 0;
  private _disposed = false;
}

function connectionIn(status: IStatus, version: string): Connection {
  if (status.version !== version) {
    return 'version-mismatch';
  }
  if (status.session.signed_in) {
    return status.api.problem ? 'api-unreachable' : 'signed-in';
  }
  // Without a token, whoever signs in may give another address: that the last one does not answer is no obstacle.
  const refused = status.api.problem === null || status.api.problem.status < 500;
  return refused || !status.session.has_token ? 'signed-out' : 'api-unreachable';
}
