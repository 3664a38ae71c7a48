/**
 * Signing in by a code that is entered on the API's own page. The server half asks the API; this follows it.
 */

import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import type { IDeviceSignIn } from '../governance';
import type { IApi, IModel } from '../tokens';

/** Milliseconds between two looks while a code waits to be entered. */
export const DEVICE_LOOK = 2_000;

const NONE: IDeviceSignIn = { state: 'none' };

/**
 * A sign-in by code.
 */
export class DeviceModel implements IModel {
  /**
   * @param done Called when somebody is signed in.
   */
  constructor(
    private _api: IApi,
    private _done: () => Promise<void>
  ) {
    this._poll = new Poll({
      name: '@flaas/labextension:device',
      factory: () => this.look(),
      frequency: { interval: DEVICE_LOOK, backoff: true, max: 30_000 },
      auto: false
    });
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get signIn(): IDeviceSignIn {
    return this._signIn;
  }

  /** When the code ends, in milliseconds since 1970. */
  get ends(): number {
    return this._ends;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  /**
   * Ask for a code.
   *
   * @throws RequestError Why there is none.
   */
  async start(url: string): Promise<void> {
    await this._take(await this._api.server<IDeviceSignIn>('session/device', 'POST', { url }));
  }

  /** Look how it stands: after a reload there may be one under way. */
  async look(): Promise<void> {
    let told: IDeviceSignIn;
    try {
      told = await this._api.server<IDeviceSignIn>('session/device');
    } catch (error) {
      if (this._signIn.state === 'pending') {
        throw error; // the poll backs off; the code stays on the page
      }
      return;
    }
    await this._take(told);
  }

  /** Give up, or put away how it ended. */
  async cancel(): Promise<void> {
    await this._api.server('session/device', 'DELETE').catch(() => undefined);
    await this._take(NONE);
  }

  dispose(): void {
    this._poll.dispose();
    Signal.clearData(this);
  }

  private async _take(told: IDeviceSignIn): Promise<void> {
    if (this.isDisposed) {
      return;
    }
    const before = this._signIn.state;
    // What has ended is news only to who has seen it begin.
    const old = told.state !== 'pending' && before === 'none';
    this._signIn = old ? NONE : told;
    this._ends = Date.now() + (told.expires_in ?? 0) * 1000;
    if (told.state === 'pending') {
      if (before !== 'pending') {
        void this._poll.start();
      }
    } else {
      void this._poll.stop();
    }
    this._changed.emit();
    if (told.state === 'done' && before === 'pending') {
      this._signIn = NONE;
      await this._done();
    }
  }

  private _changed = new Signal<this, void>(this);
  private _poll: Poll;
  private _signIn: IDeviceSignIn = NONE;
  private _ends = 0;
}
