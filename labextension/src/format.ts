/**
 * Times, sizes and numbers as people read them.
 */

import type { TranslationBundle } from '@jupyterlab/translation';

import type { IRun, ISimulation } from './tokens';

/** How long ago `time` was, coarse enough not to flicker. */
export function ago(trans: TranslationBundle, time: string | null, now: Date): string {
  if (time === null) {
    return trans.__('never');
  }
  const seconds = Math.max(0, (now.getTime() - Date.parse(time)) / 1000);
  if (seconds < 60) {
    return trans.__('just now');
  }
  if (seconds < 3600) {
    return trans.__('%1 min ago', Math.floor(seconds / 60));
  }
  if (seconds < 86_400) {
    return trans.__('%1 h ago', Math.floor(seconds / 3600));
  }
  return trans.__('%1 d ago', Math.floor(seconds / 86_400));
}

/** Date and time in the reader's own form. */
export function dateTime(time: string | null): string {
  return time === null ? '–' : new Date(time).toLocaleString();
}

/** A time as text or in seconds since 1970, in the reader's own form. */
export function moment(time: string | number): string {
  return typeof time === 'number' ? new Date(time * 1000).toLocaleString() : dateTime(time);
}

export function clock(time: Date): string {
  return time.toLocaleTimeString();
}

/** Bytes with a decimal prefix. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  while (count >= 1000 && unit < units.length - 1) {
    count /= 1000;
    unit += 1;
  }
  return `${unit === 0 ? count : count.toFixed(1)} ${units[unit]}`;
}

/** A rate of bytes. */
export function rate(bytesPerSecond: number | null): string {
  return bytesPerSecond === null ? '–' : `${bytes(bytesPerSecond)}/s`;
}

/** Seconds as milliseconds, three significant digits. */
export function milliseconds(value: number | null): string {
  return value === null ? '–' : `${Number((1000 * value).toPrecision(3))} ms`;
}

/** Seconds, with milliseconds while they matter. */
export function seconds(value: number): string {
  return `${value < 10 ? value.toFixed(2) : value.toFixed(1)} s`;
}

/** A metric: four significant digits. */
export function metric(value: number | undefined): string {
  return value === undefined || !Number.isFinite(value) ? '–' : String(Number(value.toPrecision(4)));
}

/** A value as it is, but for digits that say nothing. */
export function exact(value: number): string {
  return Number.isFinite(value) ? String(Number(value.toPrecision(8))) : '–';
}

/** Options of a rule or an attack, as they are given in Python. */
export function options(values: { [name: string]: unknown }): string {
  return Object.entries(values)
    .filter(([, value]) => value !== null)
    .map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`)
    .join(', ');
}

/** A share as a percentage. */
export function percent(share: number): string {
  return `${Number((100 * share).toPrecision(3))} %`;
}

export function count(value: number): string {
  return value.toLocaleString();
}

/** The name that a simulation goes by. */
export function simulationName(simulation: ISimulation): string {
  return simulation.name ?? simulation.id;
}

/** The name that a run goes by. */
export function runName(run: IRun): string {
  return run.name ?? `${run.dataset} ${run.id.slice(0, 8)}`;
}

/** An amount of money: two digits after the point, more where they are all there is. */
export function money(value: number, currency: string): string {
  const digits = value !== 0 && Math.abs(value) < 0.01 ? 4 : 2;
  const amount = value.toLocaleString(undefined, {
    minimumFractionDigits: digits,
    maximumFractionDigits: digits
  });
  return `${amount} ${currency}`;
}

export function usd(value: number): string {
  return money(value, 'USD');
}

/** A price by the hour. */
export function hourly(value: number): string {
  return value.toLocaleString(undefined, { minimumFractionDigits: 3, maximumFractionDigits: 4 });
}

/** Whole days from `day`, YYYY-MM-DD, to now; 0 if it is no day. */
export function daysSince(day: string, now: Date): number {
  const days = Math.floor((now.getTime() - Date.parse(day)) / 86_400_000);
  return Number.isFinite(days) ? Math.max(0, days) : 0;
}

/** Hours as hours and minutes. */
export function duration(trans: TranslationBundle, hours: number): string {
  const minutes = Math.max(0, Math.round(hours * 60));
  if (minutes < 60) {
    return trans.__('%1 min', minutes);
  }
  return minutes % 60 === 0
    ? trans.__('%1 h', minutes / 60)
    : trans.__('%1 h %2 min', Math.floor(minutes / 60), minutes % 60);
}
