/** What the kernel displays for the data explorer. */

import { EXPLORATION_MIME } from '../model';
import type { ExplorationPart, IDistribution, IExploration, IExploredColumn, KernelOutput } from '../tokens';

export function shown(part: ExplorationPart, changes: Partial<IExploration> = {}): KernelOutput[] {
  return [{ kind: 'data', data: { [EXPLORATION_MIME]: { exploration: exploration(part, changes) } } }];
}

export function refused(code: string, message: string, hint = ''): KernelOutput[] {
  return [{ kind: 'data', data: { [EXPLORATION_MIME]: { error: { code, message, hint } } } }];
}

export function column(name: string, changes: Partial<IExploredColumn> = {}): IExploredColumn {
  return {
    name,
    dtype: 'float64',
    role: 'feature',
    kind: 'number',
    unit: null,
    description: null,
    range: null,
    categories: null,
    differences: [],
    ...changes
  };
}

export function exploration(part: ExplorationPart, changes: Partial<IExploration> = {}): IExploration {
  return {
    version: 1,
    part,
    dataset: 'biopsies',
    time: '2026-01-01T00:00:00+00:00',
    level: 'aggregates',
    rows: 1450,
    nodes: [
      {
        node: 'id-hospital-a',
        name: 'hospital-a',
        organisation: 'north',
        rows: 1000,
        level: 'aggregates',
        online: true,
        drift: null,
        problem: null
      },
      {
        node: 'id-hospital-b',
        name: 'hospital-b',
        organisation: 'east',
        rows: null,
        level: 'nothing',
        online: false,
        drift: null,
        problem: { code: 'explore-nothing', message: 'Its owner shows nothing.', hint: 'Ask its owner.' }
      }
    ],
    columns: [
      column('radius', { unit: 'mm', range: [0, 50], description: 'Mean radius' }),
      column('texture', { differences: [{ node: 'id-hospital-b', field: 'unit', value: 'cm' }] }),
      column('malignant', { role: 'label', kind: 'label', categories: ['no', 'yes'] })
    ],
    column: null,
    missing: null,
    labels: null,
    correlations: null,
    drift: null,
    budget: null,
    notes: [],
    ...changes
  };
}

export function distribution(changes: Partial<IDistribution> = {}): IDistribution {
  return {
    name: 'radius',
    kind: 'histogram',
    edges: [0, 10, 20, 30],
    labels: [],
    counts: [100, 1340, null],
    suppressed: [false, false, true],
    reasons: { '2': 'fewer than 10 rows' },
    summary: { count: 1440, missing: 10, mean: 14.1, std: 3.5, min: null, median: 13.4, max: null },
    error_bound: 0,
    bounds_error: null,
    epsilon: null,
    ...changes
  };
}
