/**
 * The simulations on this machine. There are no events of them: they are looked at again and again, often while one
 * runs, and ever less often while Jupyter Server does not answer.
 */

import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import { problemOf } from '../request';
import type { IApi, ICatalogue, IModel, IProblem, ISimulation, ISimulationList } from '../tokens';
import { LOOKS, SimulationModel, stopSimulation } from './simulation';

/**
 * The list of simulations, newest first.
 */
export class SimulationsModel implements IModel {
  constructor(api: IApi) {
    this._api = api;
    this._poll = new Poll({
      name: '@flaas/labextension:simulations',
      factory: () => this._look(),
      frequency: { interval: LOOKS.idle, backoff: true, max: LOOKS.most },
      standby: 'when-hidden',
      auto: false
    });
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get simulations(): readonly ISimulation[] {
    return this._simulations;
  }

  /** How many there are; the list has the newest. */
  get total(): number {
    return this._total;
  }

  get running(): number {
    return this._simulations.filter(({ state }) => state === 'running').length;
  }

  /** Whether the list was read once. */
  get loaded(): boolean {
    return this._loaded;
  }

  /** Why the last look failed. */
  get problem(): IProblem | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  /** Look, and go on looking. */
  async start(): Promise<void> {
    await this._poll.start();
  }

  /** Look now. */
  async refresh(): Promise<void> {
    await this._poll.refresh();
    await this._poll.tick.catch(() => undefined); // the outcome is `problem`
  }

  /**
   * Ask a simulation to stop.
   *
   * @throws RequestError It does not run, or is gone.
   */
  async stop(id: string): Promise<void> {
    await stopSimulation(this._api, id);
    await this.refresh();
  }

  /**
   * Delete a simulation that does not run.
   *
   * @throws RequestError It runs, or is gone already.
   */
  async remove(id: string): Promise<void> {
    await this._api.server(`simulations/${encodeURIComponent(id)}`, 'DELETE');
    await this.refresh();
  }

  /** A model of one simulation; the caller disposes of it. */
  open(id: string): SimulationModel {
    return new SimulationModel(this._api, id);
  }

  /**
   * The rules and attacks that there are; asked for once.
   *
   * @throws RequestError They cannot be listed; the next call asks again.
   */
  async catalogue(): Promise<ICatalogue> {
    this._catalogue ??= this._api.server<ICatalogue>('protocols');
    try {
      return await this._catalogue;
    } catch (error) {
      this._catalogue = null;
      throw error;
    }
  }

  dispose(): void {
    this._poll.dispose();
    Signal.clearData(this);
  }

  private async _look(): Promise<void> {
    try {
      const { simulations, total } = await this._api.server<ISimulationList>('simulations');
      this._simulations = simulations;
      this._total = total;
      this._loaded = true;
      this._problem = null;
      this._poll.frequency = {
        ...this._poll.frequency,
        interval: this.running > 0 ? LOOKS.running : LOOKS.idle
      };
    } catch (error) {
      this._problem = problemOf(error);
      throw error; // the poll backs off
    } finally {
      if (!this.isDisposed) {
        this._changed.emit();
      }
    }
  }

  private _api: IApi;
  private _poll: Poll;
  private _changed = new Signal<this, void>(this);
  private _simulations: readonly ISimulation[] = [];
  private _total = 0;
  private _loaded = false;
  private _problem: IProblem | null = null;
  private _catalogue: Promise<ICatalogue> | null = null;
}
