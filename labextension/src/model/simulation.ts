/**
 * One simulation, kept current by reading on in its journal.
 */

import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import { problemOf } from '../request';
import type {
  IApi,
  IModel,
  IProblem,
  IRoundsPage,
  ISimulatedRound,
  ISimulation,
  ISimulationHeader
} from '../tokens';
import { Quantities } from './quantities';

/** Milliseconds between two looks while a simulation runs, and while none does. */
export const LOOKS = { running: 1_000, idle: 5_000, most: 60_000 };

/** Ask that a simulation ends before its next round. */
export async function stopSimulation(api: IApi, id: string): Promise<ISimulation> {
  return api.server<ISimulation>(`simulations/${encodeURIComponent(id)}/stop`, 'POST', {});
}

/** What a round says beside its clients. */
export type RoundFigures = Omit<ISimulatedRound, 'clients' | 'metrics'> & {
  metrics: { [name: string]: number };
};

export class SimulationModel implements IModel {
  constructor(api: IApi, id: string) {
    this._api = api;
    this.id = id;
    this._path = `simulations/${encodeURIComponent(id)}`;
    this._poll = new Poll({
      name: `@flaas/labextension:simulation-${id}`,
      factory: () => this._look(),
      frequency: { interval: LOOKS.running, backoff: true, max: LOOKS.most },
      standby: 'when-hidden',
      auto: false
    });
  }

  readonly id: string;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get simulation(): ISimulation | null {
    return this._simulation;
  }

  /** In order. */
  get rounds(): readonly RoundFigures[] {
    return this._rounds;
  }

  get quantities(): Quantities {
    return this._quantities;
  }

  /** Changes whenever rounds came: what was computed from them is old. */
  get version(): number {
    return this._version;
  }

  /** When what is shown was last known to be true. */
  get updated(): Date | null {
    return this._updated;
  }

  /** Why the last look failed. */
  get problem(): IProblem | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  async start(): Promise<void> {
    await this._poll.start();
  }

  /** Look now. */
  async refresh(): Promise<void> {
    await this._poll.refresh();
    await this._poll.tick.catch(() => undefined); // the outcome is `problem`
  }

  /**
   * Ask that it ends before its next round.
   *
   * @throws RequestError It does not run, or is gone.
   */
  async stop(): Promise<void> {
    this._simulation = await stopSimulation(this._api, this.id);
    this._emit();
  }

  dispose(): void {
    this._poll.dispose();
    Signal.clearData(this);
  }

  private async _look(): Promise<void> {
    try {
      if (!this._simulation) {
        const header = await this._api.server<ISimulationHeader>(this._path);
        this._quantities = new Quantities(header.clients);
        this._simulation = header;
        this._emit();
      }
      let page: IRoundsPage;
      do {
        page = await this._api.server<IRoundsPage>(`${this._path}/rounds?after=${this._after}`);
        this._take(page);
      } while (this._after < page.total && !this.isDisposed);
      this._problem = null;
      this._updated = new Date();
      const interval = page.simulation.state === 'running' ? LOOKS.running : LOOKS.idle;
      this._poll.frequency = { ...this._poll.frequency, interval };
    } catch (error) {
      this._problem = problemOf(error);
      throw error; // the poll backs off
    } finally {
      this._emit();
    }
  }

  private _take(page: IRoundsPage): void {
    this._simulation = page.simulation;
    if (this._journal !== null && page.journal !== this._journal) {
      // Rounds were made again: start over, with the next page if this one is not the first.
      this._quantities = new Quantities(this._quantities.clients);
      this._rounds = [];
      this._version += 1;
      const first = this._after === 0;
      this._after = 0;
      if (!first) {
        this._journal = page.journal;
        return;
      }
    }
    this._journal = page.journal;
    this._after = page.after;
    if (page.rounds.length > 0) {
      this._quantities.add(page);
      const from = page.rounds[0].number;
      this._rounds = [...this._rounds.filter(({ number }) => number < from), ...page.rounds.map(figures)];
      this._version += 1;
      this._emit();
    }
  }

  private _emit(): void {
    if (!this.isDisposed) {
      this._changed.emit();
    }
  }

  private _api: IApi;
  private _path: string;
  private _poll: Poll;
  private _changed = new Signal<this, void>(this);
  private _simulation: ISimulation | null = null;
  private _quantities = new Quantities([]);
  private _rounds: RoundFigures[] = [];
  private _after = 0;
  private _journal: string | null = null;
  private _version = 0;
  private _updated: Date | null = null;
  private _problem: IProblem | null = null;
}

/** A round without its clients; a metric that is no number is none. */
function figures({ number, metrics, seconds, dropped, epsilon }: ISimulatedRound): RoundFigures {
  const numbers = Object.entries(metrics).filter((entry): entry is [string, number] => entry[1] !== null);
  return { number, metrics: Object.fromEntries(numbers), seconds, dropped, epsilon };
}
