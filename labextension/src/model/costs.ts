/**
 * What federated projects cost: bill and estimate of some days, the cloud accounts that the bill comes from.
 */

import { UUID } from '@lumino/coreutils';
import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import { problemOf } from '../request';
import type { CostGroup, IAccount, IApi, IBudget, ICostSummary, IModel, IProblem, Trouble } from '../tokens';
import { readAll } from './lists';

/** Milliseconds between two looks: while a bill is being fetched, and otherwise. */
export const COST_LOOKS = { fetching: 3_000, idle: 120_000, most: 600_000 };

const DAY = 86_400_000;

/** Days from `from` to before `to`, as YYYY-MM-DD. */
export interface IDays {
  from: string;
  to: string;
}

/** What the dashboard is asked to show; null shows all. */
export interface ICostQuery extends IDays {
  group: CostGroup;
  project: string | null;
  provider: string | null;
}

/** Ranges of days that have a name. */
export type NamedRange = 'week' | 'month' | 'last-month' | 'quarter';

function day(time: number): string {
  return new Date(time).toISOString().slice(0, 10);
}

/** The days of a named range, all of them in UTC, as clouds bill. */
export function daysOf(range: NamedRange, now: Date): IDays {
  const [year, month] = [now.getUTCFullYear(), now.getUTCMonth()];
  const tomorrow = day(now.getTime() + DAY);
  switch (range) {
    case 'week':
      return { from: day(now.getTime() - 6 * DAY), to: tomorrow };
    case 'month':
      return { from: day(Date.UTC(year, month, 1)), to: tomorrow };
    case 'last-month':
      return { from: day(Date.UTC(year, month - 1, 1)), to: day(Date.UTC(year, month, 1)) };
    case 'quarter':
      return { from: day(now.getTime() - 89 * DAY), to: tomorrow };
  }
}

/** Each day of a range. */
export function eachDay({ from, to }: IDays): string[] {
  const days: string[] = [];
  for (let time = Date.parse(from); time < Date.parse(to) && days.length < 1000; time += DAY) {
    days.push(day(time));
  }
  return days;
}

/** The path that answers a query, or exports its days. */
export function costsPath(what: 'summary' | 'export', query: ICostQuery): string {
  const asked = new URLSearchParams({ from: query.from, to: query.to });
  if (what === 'summary') {
    asked.set('group', query.group);
    if (query.project !== null) {
      asked.set('project', query.project);
    }
    if (query.provider !== null) {
      asked.set('provider', query.provider);
    }
  }
  return `/v1/costs/${what}?${asked}`;
}

/** A figure for each currency that there is one in; they are never converted into each other. */
export interface ITotal {
  currency: string;
  billed: number;
}

/** The bill's totals, one a currency. */
export function billedTotals(summary: ICostSummary): ITotal[] {
  return summary.currencies.map(currency => ({
    currency,
    billed: sum(summary.billed.filter(row => row.currency === currency).map(row => row.billed))
  }));
}

/** The estimate's total in USD: prices are in USD whatever an account is billed in. */
export function estimatedTotal(summary: ICostSummary): number {
  return sum(summary.estimated.map(({ usd }) => usd));
}

function sum(values: number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** What a chart shows of the days: a stack for each day, and the estimate beside it. */
export interface IDayBars {
  days: string[];
  /** Keys from the bottom of the stacks to their top, greatest first; `null` is the rest, taken together. */
  keys: (string | null)[];
  /** Billed, by key, then day. */
  billed: number[][];
  /** Estimated in USD, by day; null where the currency is another one. */
  estimated: number[] | null;
}

/** Keys with a colour of their own; what is beyond is shown together. */
const MOST_KEYS = 5;

/** The days of one currency. */
export function dayBars(summary: ICostSummary, currency: string): IDayBars {
  const days = eachDay(summary);
  const places = new Map(days.map((name, place) => [name, place]));
  const byKey = new Map<string, number[]>();
  for (const row of summary.days) {
    const place = places.get(row.day);
    if (row.currency === currency && place !== undefined) {
      const values = byKey.get(row.key) ?? days.map(() => 0);
      values[place] += row.billed;
      byKey.set(row.key, values);
    }
  }
  const sorted = [...byKey].sort((one, other) => sum(other[1]) - sum(one[1]) || (one[0] < other[0] ? -1 : 1));
  // Grouped by day there is nothing to tell apart within a day.
  const most = summary.group === 'day' ? 0 : sorted.length > MOST_KEYS + 1 ? MOST_KEYS : sorted.length;
  const [shown, rest] = [sorted.slice(0, most), sorted.slice(most)];
  const keys: (string | null)[] = shown.map(([key]) => key);
  const billed = shown.map(([, values]) => values);
  if (rest.length > 0) {
    keys.push(null);
    billed.push(days.map((_, place) => sum(rest.map(([, values]) => values[place]))));
  }
  let estimated: number[] | null = null;
  if (currency === 'USD' && summary.estimated_days.length > 0) {
    estimated = days.map(() => 0);
    for (const row of summary.estimated_days) {
      const place = places.get(row.day);
      if (place !== undefined) {
        estimated[place] += row.usd;
      }
    }
  }
  return { days, keys, billed, estimated };
}

/** Something that does not work, in words. */
export function words(trouble: Trouble): { title: string; hint: string } {
  if (typeof trouble === 'string') {
    return { title: trouble, hint: '' };
  }
  const { title, detail, message, code, hint } = trouble;
  return { title: detail || message || title || code || '?', hint: hint ?? '' };
}

/**
 * Bill and estimate of some days, kept current by looking again.
 */
export class CostsModel implements IModel {
  constructor(
    private _api: IApi,
    private _now: () => Date = () => new Date()
  ) {
    this._query = { ...daysOf('month', _now()), group: 'project', project: null, provider: null };
    this._poll = new Poll({
      name: '@flaas/labextension:costs',
      factory: () => this._look(),
      frequency: { interval: COST_LOOKS.idle, backoff: true, max: COST_LOOKS.most },
      standby: 'when-hidden',
      auto: false
    });
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get query(): ICostQuery {
    return this._query;
  }

  /** Which of the named ranges is shown, null if none. */
  get range(): NamedRange | null {
    return this._range;
  }

  get summary(): ICostSummary | null {
    return this._summary;
  }

  /** Empty until they were read, and where the caller may not see them. */
  get accounts(): readonly IAccount[] {
    return this._accounts;
  }

  /** Whether what is shown answers another query than the one asked now. */
  get loading(): boolean {
    return this._loading;
  }

  /** When what is shown was last known to be true. */
  get updated(): Date | null {
    return this._updated;
  }

  /** Why the last look failed. */
  get problem(): IProblem | null {
    return this._problem;
  }

  /** Why a bill could not be fetched or exported. */
  get refusal(): IProblem | null {
    return this._refusal;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  /** The worst budget first. */
  get budgets(): IBudget[] {
    return [...(this._summary?.budgets ?? [])].sort((one, other) => other.share - one.share);
  }

  /** Look, and go on looking; never fails, the outcome is `problem`. */
  async start(): Promise<void> {
    await this._lookNow();
  }

  /** Look now; never fails, the outcome is `problem`. */
  async refresh(): Promise<void> {
    if (this._range) {
      this._query = { ...this._query, ...daysOf(this._range, this._now()) };
    }
    this._refusal = null;
    await this._lookNow();
  }

  /** Forget what was read: somebody else is signed in. */
  forget(): void {
    this._summary = null;
    this._accounts = [];
    this._updated = null;
    this._problem = this._refusal = null;
    this._query = { ...this._query, project: null, provider: null };
    this._emit();
  }

  /** Show the days of a named range. */
  showRange(range: NamedRange): void {
    this._range = range;
    this._ask(daysOf(range, this._now()));
  }

  /** Show these days; nothing happens while they are no range. */
  showDays(days: IDays): void {
    this._range = null;
    this._ask(days);
  }

  show(changes: Partial<Pick<ICostQuery, 'group' | 'project' | 'provider'>>): void {
    this._ask(changes);
  }

  /** Have an account's bill of these days fetched; the outcome is in its `fetch`, or `refusal`. */
  async fetch(account: IAccount): Promise<void> {
    const { from, to } = this._query;
    await this._attempt(async () => {
      const path = `/v1/costs/accounts/${encodeURIComponent(account.id)}/fetch`;
      await this._api.api(path, { method: 'POST', body: { from, to }, idempotencyKey: UUID.uuid4() });
    });
    await this._lookNow();
  }

  /** The bill of these days as a table (CSV, FOCUS columns); null if it cannot be had, and then there is a `refusal`. */
  async export(): Promise<string | null> {
    let table: string | null = null;
    await this._attempt(async () => {
      table = await this._api.text(costsPath('export', this._query));
    });
    return table;
  }

  dispose(): void {
    this._poll.dispose();
    Signal.clearData(this);
  }

  private _ask(changes: Partial<ICostQuery>): void {
    this._query = { ...this._query, ...changes };
    if (!this._query.from || !this._query.to || this._query.from >= this._query.to) {
      this._emit();
      return;
    }
    this._loading = true;
    this._emit();
    void this._lookNow();
  }

  private async _attempt(act: () => Promise<void>): Promise<void> {
    this._refusal = null;
    try {
      await act();
    } catch (error) {
      this._refusal = problemOf(error);
    }
    this._emit();
  }

  /** Look now, and next when the interval is over. */
  private async _lookNow(): Promise<void> {
    await this._look().catch(() => undefined);
    if (!this.isDisposed) {
      void this._poll.schedule({ interval: this._poll.frequency.interval, phase: 'refreshed' });
    }
  }

  private async _look(): Promise<void> {
    const query = this._query;
    try {
      const [summary, accounts] = await Promise.all([
        this._api.api<ICostSummary>(costsPath('summary', query)),
        // Who may see the bill need not be one who sees the accounts.
        readAll<IAccount>(this._api, '/v1/costs/accounts', 'accounts').catch(() => [])
      ]);
      if (query !== this._query) {
        return; // a later question is being asked
      }
      this._summary = summary;
      this._accounts = accounts;
      this._problem = null;
      this._updated = this._now();
      this._loading = false;
      const fetching = accounts.some(({ fetch }) => fetch.state === 'running');
      const interval = fetching ? COST_LOOKS.fetching : COST_LOOKS.idle;
      this._poll.frequency = { ...this._poll.frequency, interval };
    } catch (error) {
      this._problem = problemOf(error);
      this._loading = false;
      throw error; // the poll backs off
    } finally {
      this._emit();
    }
  }

  private _emit(): void {
    if (!this.isDisposed) {
      this._changed.emit();
    }
  }

  private _changed = new Signal<this, void>(this);
  private _poll: Poll;
  private _query: ICostQuery;
  private _range: NamedRange | null = 'month';
  private _summary: ICostSummary | null = null;
  private _accounts: readonly IAccount[] = [];
  private _loading = true;
  private _updated: Date | null = null;
  private _problem: IProblem | null = null;
  private _refusal: IProblem | null = null;
}
