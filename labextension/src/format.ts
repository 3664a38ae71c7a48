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
