/**
 * What came of a look at a data set: read from what the kernel displays, and as the tables that stand beside charts and
 * go into files.
 */

import type {
  ExplorationLevel,
  ExplorationPart,
  IDataset,
  IDistribution,
  IExploration,
  IExploredColumn,
  IReasons,
  ITable
} from '../tokens';
import { columnsOf } from './question';

export const PARTS: readonly ExplorationPart[] = [
  'overview',
  'nodes',
  'column',
  'missing',
  'correlations',
  'labels',
  'drift'
];

export const LEVELS: readonly ExplorationLevel[] = ['nothing', 'schema', 'aggregates', 'private', 'owner'];

/** The version of the shapes that this extension reads. */
const VERSION = 1;

type Fields = { [field: string]: unknown };

/** Read what the kernel displayed; null if it is of another version, or nothing of the kind. */
export function explorationOf(displayed: unknown): IExploration | null {
  const from = fieldsOf(displayed);
  const part = PARTS.find(each => each === from.part);
  if (from.version !== VERSION || !part) {
    return null;
  }
  const { column, labels, correlations, missing, drift, budget } = from;
  return {
    version: VERSION,
    part,
    dataset: textOf(from.dataset) ?? '',
    time: typeof from.time === 'number' ? from.time : textOf(from.time),
    level: levelOf(from.level),
    rows: numberOf(from.rows),
    nodes: listOf(from.nodes).map(each => ({
      node: textOf(each.node) ?? '',
      name: textOf(each.name) ?? textOf(each.node) ?? '',
      organisation: textOf(each.organisation) ?? '',
      rows: numberOf(each.rows),
      level: levelOf(each.level),
      online: each.online !== false,
      drift: typeof each.drift === 'boolean' ? each.drift : null,
      problem: each.problem ? problemOf(each.problem) : null
    })),
    columns: listOf(from.columns).map(columnOf),
    column: column ? distributionOf(fieldsOf(column)) : null,
    missing: missing
      ? listOf(missing).map(each => ({
          column: textOf(each.column) ?? '',
          count: numberOf(each.count),
          share: numberOf(each.share),
          ...withheldOf(each)
        }))
      : null,
    labels: labels ? labelsOf(fieldsOf(labels)) : null,
    correlations: correlations ? correlationsOf(fieldsOf(correlations)) : null,
    drift: drift
      ? listOf(drift).map(each => ({
          column: textOf(each.column) ?? '',
          node: textOf(each.node) ?? '',
          distance: numberOf(each.distance),
          ...withheldOf(each)
        }))
      : null,
    budget: budget
      ? listOf(budget).map(each => ({
          node: textOf(each.node) ?? '',
          spent: numberOf(each.spent) ?? 0,
          budget: numberOf(each.budget),
          remaining: numberOf(each.remaining)
        }))
      : null,
    notes: arrayOf(from.notes).flatMap(note => textOf(note) ?? [])
  };
}

function columnOf(from: Fields): IExploredColumn {
  const range = arrayOf(from.range);
  return {
    name: textOf(from.name) ?? '',
    dtype: textOf(from.dtype) ?? '',
    role: textOf(from.role),
    kind: from.kind === 'text' || from.kind === 'label' ? from.kind : 'number',
    unit: textOf(from.unit),
    description: textOf(from.description),
    range: range.length === 2 ? [numberOf(range[0]), numberOf(range[1])] : null,
    categories: Array.isArray(from.categories) ? namesOf(from.categories) : null,
    differences: listOf(from.differences).map(({ node, field, value }) => ({
      node: textOf(node) ?? '',
      field: textOf(field) ?? '',
      value
    }))
  };
}

function distributionOf(from: Fields): IDistribution {
  return {
    name: textOf(from.name) ?? '',
    kind: from.kind === 'categories' ? 'categories' : 'histogram',
    edges: arrayOf(from.edges).map(numberOf),
    labels: namesOf(from.labels),
    counts: arrayOf(from.counts).map(numberOf),
    suppressed: arrayOf(from.suppressed).map(Boolean),
    reasons: reasonsOf(from.reasons),
    summary: Object.fromEntries(
      Object.entries(fieldsOf(from.summary)).map(([name, value]) => [name, numberOf(value)])
    ),
    error_bound: numberOf(from.error_bound),
    bounds_error: numberOf(from.bounds_error),
    epsilon: numberOf(from.epsilon)
  };
}

function labelsOf(from: Fields): IExploration['labels'] {
  return {
    column: textOf(from.column) ?? '',
    classes: namesOf(from.classes),
    counts: arrayOf(from.counts).map(numberOf),
    suppressed: arrayOf(from.suppressed).map(Boolean),
    reasons: reasonsOf(from.reasons)
  };
}

function correlationsOf(from: Fields): IExploration['correlations'] {
  return {
    columns: arrayOf(from.columns).map(String),
    values: arrayOf(from.values).map(row => arrayOf(row).map(numberOf)),
    suppressed: arrayOf(from.suppressed).map(row => arrayOf(row).map(Boolean)),
    reason: textOf(from.reason)
  };
}

function withheldOf(from: Fields): { suppressed: boolean; reason: string | null } {
  return { suppressed: Boolean(from.suppressed), reason: textOf(from.reason) };
}

function problemOf(from: unknown): IExploration['nodes'][number]['problem'] {
  const { code, message, hint } = fieldsOf(from);
  return { code: textOf(code) ?? '', message: textOf(message) ?? '', hint: textOf(hint) ?? '' };
}

function reasonsOf(from: unknown): IReasons {
  if (typeof from === 'string') {
    return { '': from };
  }
  return Object.fromEntries(
    Object.entries(fieldsOf(from)).flatMap(([place, reason]) =>
      typeof reason === 'string' ? [[place, reason]] : []
    )
  );
}

function levelOf(from: unknown): ExplorationLevel {
  return LEVELS.find(level => level === from) ?? 'nothing';
}

function fieldsOf(from: unknown): Fields {
  return typeof from === 'object' && from !== null ? (from as Fields) : {};
}

function arrayOf(from: unknown): unknown[] {
  return Array.isArray(from) ? from : [];
}

function listOf(from: unknown): Fields[] {
  return arrayOf(from).map(fieldsOf);
}

function namesOf(from: unknown): (string | number)[] {
  return arrayOf(from).map(each => (typeof each === 'number' ? each : String(each)));
}

function textOf(from: unknown): string | null {
  return typeof from === 'string' ? from : null;
}

function numberOf(from: unknown): number | null {
  return typeof from === 'number' && Number.isFinite(from) ? from : null;
}

/** What the API knows of a data set already: enough to paint before any node has been asked. */
export function described(dataset: IDataset): Pick<IExploration, 'rows' | 'nodes' | 'columns'> {
  const declared = new Map(listOf(dataset.schema).map(each => [each.name, columnOf(each)]));
  const types = new Map(dataset.features.map(({ name, dtype }) => [name, dtype]));
  return {
    rows: dataset.rows,
    nodes: dataset.nodes.map(({ node, node_name, organisation, rows, online }) => ({
      node,
      name: node_name,
      organisation,
      rows,
      level: 'schema',
      online,
      drift: null,
      problem: null
    })),
    columns: columnsOf(dataset).map(({ name, numeric }) => {
      const label = name === dataset.target?.name;
      // Numbers of an array are named by their places in it.
      const dtype = types.get(name) ?? types.get(name.replace(/\[\d+\]$/, '')) ?? '';
      return {
        ...(declared.get(name) ?? columnOf({})),
        name,
        dtype: label ? (dataset.target?.dtype ?? '') : dtype,
        role: label ? 'label' : 'feature',
        kind: label ? 'label' : numeric ? 'number' : 'text'
      };
    })
  };
}

/** A column that figures may be asked of. */
export function canBeAsked({ role }: IExploredColumn): boolean {
  return role !== 'id';
}

/** Whether the nodes give figures with noise only, so that each look costs. */
export function needsEpsilon({ level, nodes }: Pick<IExploration, 'level' | 'nodes'>): boolean {
  return level === 'private' || nodes.some(node => node.online && node.level === 'private');
}

/** Why a figure at a position was withheld. */
export function reasonAt(reasons: IReasons, place: number): string {
  return reasons[String(place)] ?? reasons[''] ?? '';
}

/** A histogram's bins on an axis. */
export interface IScale {
  /** One more than there are bins; an open bin is drawn as wide as its neighbour. */
  edges: number[];
  /** Whether the first and the last bin are open. */
  open: [boolean, boolean];
}

/** Where a histogram's bins stand; null if they cannot be drawn to scale. */
export function scaleOf({ edges, counts }: Pick<IDistribution, 'edges' | 'counts'>): IScale | null {
  const last = edges.length - 1;
  const inner = edges.slice(1, -1);
  if (edges.length !== counts.length + 1 || last < 1 || inner.includes(null)) {
    return null;
  }
  const open: [boolean, boolean] = [edges[0] === null, edges[last] === null];
  const known = edges.filter((edge): edge is number => edge !== null);
  if (known.length === 0) {
    return null;
  }
  const wide = (from: number): number => (known.length > 1 ? known[from + 1] - known[from] : 1);
  const drawn = [
    ...(open[0] ? [known[0] - wide(0)] : []),
    ...known,
    ...(open[1] ? [known[known.length - 1] + wide(known.length - 2)] : [])
  ];
  return drawn.every((edge, place) => place === 0 || edge > drawn[place - 1]) ? { edges: drawn, open } : null;
}

/** Tables as people read them and as files have them; `words` names what has no name of its own. */
export interface ITableWords {
  from: string;
  to: string;
  rows: string;
  share: string;
  column: string;
  /** Values that are missing. */
  count: string;
}

export function distributionTable(distribution: IDistribution, words: ITableWords): ITable {
  const { kind, edges, labels, counts, suppressed, reasons, name } = distribution;
  const binned = kind === 'histogram' && edges.length === counts.length + 1;
  return {
    index: binned ? [words.from, words.to] : [name],
    columns: [words.rows],
    rows: counts.map((count, place) => ({
      key: binned ? [edges[place] ?? '-∞', edges[place + 1] ?? '∞'] : [labels[place] ?? String(place + 1)],
      values: [count],
      hidden: [suppressed[place] ?? count === null],
      reason: reasonAt(reasons, place)
    }))
  };
}

export function missingTable(missing: NonNullable<IExploration['missing']>, words: ITableWords): ITable {
  return {
    index: [words.column],
    columns: [words.count, words.share],
    rows: missing.map(({ column, count, share, suppressed, reason }) => ({
      key: [column],
      values: [count, share],
      hidden: [suppressed, suppressed],
      reason: reason ?? ''
    }))
  };
}

export function labelsTable(labels: NonNullable<IExploration['labels']>, words: ITableWords): ITable {
  const { column, classes, counts, suppressed, reasons } = labels;
  // A share of what is known would be wrong as soon as something is withheld.
  const whole = counts.every((each): each is number => each !== null)
    ? counts.reduce((total, each) => total + each, 0)
    : 0;
  return {
    index: [column],
    columns: whole > 0 ? [words.rows, words.share] : [words.rows],
    rows: classes.map((label, place) => {
      const value = counts[place] ?? null;
      const hidden = suppressed[place] ?? value === null;
      return {
        key: [label],
        values: whole > 0 && value !== null ? [value, value / whole] : [value],
        hidden: whole > 0 ? [hidden, hidden] : [hidden],
        reason: reasonAt(reasons, place)
      };
    })
  };
}

export function correlationsTable(
  correlations: NonNullable<IExploration['correlations']>,
  words: ITableWords
): ITable {
  const { columns, values, suppressed, reason } = correlations;
  return {
    index: [words.column],
    columns: [...columns],
    rows: columns.map((column, place) => {
      const hidden = columns.map((_, other) => suppressed[place]?.[other] ?? false);
      return {
        key: [column],
        values: columns.map((_, other) => values[place]?.[other] ?? null),
        hidden,
        reason: hidden.some(Boolean) ? (reason ?? '') : ''
      };
    })
  };
}

/** Drift as a matrix: a row for each column, a column for each node. */
export function driftTable(drift: NonNullable<IExploration['drift']>, words: ITableWords): ITable {
  const nodes = [...new Set(drift.map(({ node }) => node))];
  const columns = [...new Set(drift.map(({ column }) => column))];
  const found = new Map(drift.map(each => [JSON.stringify([each.column, each.node]), each]));
  return {
    index: [words.column],
    columns: nodes,
    rows: columns.map(column => {
      const cells = nodes.map(node => found.get(JSON.stringify([column, node])));
      const reasons = cells.flatMap((cell, place) =>
        cell?.reason ? [`${nodes[place]}: ${cell.reason}`] : []
      );
      return {
        key: [column],
        values: cells.map(cell => cell?.distance ?? null),
        hidden: cells.map(cell => cell?.suppressed ?? false),
        reason: reasons.join('; ')
      };
    })
  };
}

/** Why figures of a table were withheld or told together, each reason once. */
export function reasonsIn({ rows }: ITable): string[] {
  return [...new Set(rows.flatMap(({ reason }) => reason || []))];
}

/** Figures of a table that were withheld. */
export function withheldIn({ rows }: ITable): number {
  return rows.reduce((total, { hidden }) => total + hidden.filter(Boolean).length, 0);
}
