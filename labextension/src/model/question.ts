/**
 * A question over the rows of a data set: the form in which it is put together, what is missing of it, the request that
 * goes to the kernel, and the same as code.
 */

import type { AnalyticsOperation, Comparison, IAnalyticsRequest, IDataset, Via } from '../tokens';
import { callIn } from './asking';
import { literal } from './experiment';

/** What is typed in the form; numbers are texts until they are asked for. */
export interface IAnalyticsForm {
  dataset: string;
  operation: AnalyticsOperation;
  columns: string[];
  filters: { column: string; comparison: Comparison; value: string }[];
  /** Column that makes groups; '' for none. */
  by: string;
  /** Whether `groups` has values or edges between ranges. */
  ranges: string;
  /** The groups' values or edges, with commas between them. */
  groups: string;
  /** What groups are aggregated by. */
  functions: string[];
  low: string;
  high: string;
  bins: string;
  /** With commas between them. */
  quantiles: string;
  via: Via;
  epsilon: string;
  bounds: { [column: string]: { low: string; high: string } };
  /** The notebook to run in; '' for a kernel without one. */
  kernel: string;
  /** Whether the panel shows the form: "yes" or ''. */
  open: string;
}

export const EMPTY_FORM: IAnalyticsForm = {
  dataset: '',
  operation: 'describe',
  columns: [],
  filters: [],
  by: '',
  ranges: '',
  groups: '',
  functions: ['count', 'mean'],
  low: '',
  high: '',
  bins: '10',
  quantiles: '0.25, 0.5, 0.75',
  via: 'mpc',
  epsilon: '',
  bounds: {},
  kernel: '',
  open: ''
};

/** What an operation takes. */
export interface IOperation {
  name: AnalyticsOperation;
  /** Columns at least and at most. */
  columns: [number, number];
  grouped: 'no' | 'may' | 'must';
  /** Whether noise needs limits of the columns. */
  bounded: boolean;
}

const ANY = Number.POSITIVE_INFINITY;

export const OPERATIONS: readonly IOperation[] = [
  { name: 'count', columns: [0, 0], grouped: 'may', bounded: false },
  { name: 'sum', columns: [1, ANY], grouped: 'may', bounded: true },
  { name: 'mean', columns: [1, ANY], grouped: 'may', bounded: true },
  { name: 'var', columns: [1, ANY], grouped: 'may', bounded: true },
  { name: 'std', columns: [1, ANY], grouped: 'may', bounded: true },
  { name: 'min', columns: [1, ANY], grouped: 'may', bounded: true },
  { name: 'max', columns: [1, ANY], grouped: 'may', bounded: true },
  { name: 'describe', columns: [1, ANY], grouped: 'no', bounded: true },
  { name: 'histogram', columns: [1, 1], grouped: 'no', bounded: false },
  { name: 'quantile', columns: [1, ANY], grouped: 'may', bounded: true },
  { name: 'group_by', columns: [1, ANY], grouped: 'must', bounded: true },
  { name: 'correlation', columns: [2, ANY], grouped: 'no', bounded: true }
];

/** What groups can be aggregated by. */
export const FUNCTIONS: readonly string[] = ['count', 'sum', 'mean', 'var', 'std', 'min', 'median', 'max'];

export const COMPARISONS: readonly Comparison[] = ['>', '>=', '<', '<=', '==', '!='];

export function operationOf(name: AnalyticsOperation): IOperation {
  return OPERATIONS.find(operation => operation.name === name) ?? OPERATIONS[0];
}

/** A column that can be asked about. */
export interface IColumn {
  name: string;
  numeric: boolean;
  /** Whether its values are known: those of a label. */
  known: boolean;
}

/** Most numbers of one array that are offered one by one; with more of them nobody would find one. */
const MOST_ELEMENTS = 1000;

/** The columns of a data set as nodes name them: its features, arrays number by number, and its target. */
export function columnsOf({ features, target }: Pick<IDataset, 'features' | 'target'>): IColumn[] {
  const columns = features.flatMap(({ name, dtype, shape }) => {
    const numeric = isNumeric(dtype);
    if (shape.length === 0) {
      return [{ name, numeric, known: false }];
    }
    const length = shape.reduce((product, size) => product * size, 1);
    return length <= MOST_ELEMENTS
      ? Array.from({ length }, (_, place) => ({ name: `${name}[${place}]`, numeric, known: false }))
      : [];
  });
  return target
    ? [...columns, { name: target.name, numeric: isNumeric(target.dtype), known: target.classes !== null }]
    : columns;
}

function isNumeric(dtype: string): boolean {
  return /^(u?int|float|bool)/.test(dtype);
}

/** What is amiss with a form, and with which of its parts. */
export type Fault =
  | {
      code:
        | 'no-dataset'
        | 'no-groups'
        | 'no-functions'
        | 'bad-edges'
        | 'no-group-column'
        | 'bad-bins'
        | 'bad-range';
    }
  | { code: 'too-few-columns'; least: number }
  | { code: 'bad-number'; where: string; text: string }
  | { code: 'bad-quantile'; text: string }
  | { code: 'bad-epsilon'; text: string }
  | { code: 'no-bounds'; column: string };

/** A form as a request, or what is amiss with it. */
export type Checked =
  { request: IAnalyticsRequest; faults: [] } | { request: null; faults: [Fault, ...Fault[]] };

/**
 * Check a form against the data set that it asks about.
 *
 * @param project Id of the project.
 * @param dataset The data set of the form, as it is described now; undefined if there is none of the name.
 */
export function checked(form: IAnalyticsForm, project: string, dataset: IDataset | undefined): Checked {
  const faults: Fault[] = [];
  if (!dataset) {
    return { request: null, faults: [{ code: 'no-dataset' }] };
  }
  const operation = operationOf(form.operation);
  const known = new Map(columnsOf(dataset).map(column => [column.name, column]));
  const [least, most] = operation.columns;
  const columns = most === 0 ? [] : form.columns.filter(name => known.has(name)).slice(0, most);
  if (columns.length < least) {
    faults.push({ code: 'too-few-columns', least });
  }

  const valueOf = (column: string, text: string): number | string => {
    if (!known.get(column)?.numeric) {
      return text;
    }
    const value = numberOf(text);
    if (value === null) {
      faults.push({ code: 'bad-number', where: column, text });
    }
    return value ?? 0;
  };
  const where = form.filters
    .filter(({ column }) => known.has(column))
    .map(({ column, comparison, value }) => ({ column, comparison, value: valueOf(column, value) }));

  let by: IAnalyticsRequest['by'] = null;
  if (operation.grouped !== 'no' && known.has(form.by)) {
    const values = listOf(form.groups).map(text => valueOf(form.by, text));
    if (form.ranges !== '') {
      const edges = values.filter((value): value is number => typeof value === 'number');
      const rising = edges.every((edge, place) => place === 0 || edge > edges[place - 1]);
      if (edges.length < 2 || edges.length < values.length || !rising) {
        faults.push({ code: 'bad-edges' });
      }
      by = { column: form.by, edges };
    } else {
      const { known: needless = false } = known.get(form.by) ?? {};
      if (values.length === 0 && !needless) {
        faults.push({ code: 'no-groups' });
      }
      by = values.length > 0 ? { column: form.by, values } : { column: form.by };
    }
  } else if (operation.grouped === 'must') {
    faults.push({ code: 'no-group-column' });
  }

  const epsilon = form.epsilon.trim() === '' ? null : numberOf(form.epsilon);
  if (form.epsilon.trim() !== '' && (epsilon === null || epsilon <= 0)) {
    faults.push({ code: 'bad-epsilon', text: form.epsilon });
  }
  let functions: string[] | null = null;
  if (operation.name === 'group_by') {
    functions = FUNCTIONS.filter(name => form.functions.includes(name));
    if (functions.length === 0) {
      faults.push({ code: 'no-functions' });
    }
  }

  let bins: IAnalyticsRequest['bins'] = null;
  if (operation.name === 'histogram') {
    const [low, high, count] = [form.low, form.high, form.bins].map(numberOf);
    const free = epsilon === null && form.low.trim() === '' && form.high.trim() === '';
    if (!free && (low === null || high === null || low >= high)) {
      faults.push({ code: 'bad-range' });
    } else if (count === null || !Number.isInteger(count) || count < 1 || count > 1000) {
      faults.push({ code: 'bad-bins' });
    } else {
      bins = { low, high, count };
    }
  }

  let quantiles: number[] | null = null;
  if (operation.name === 'quantile') {
    quantiles = listOf(form.quantiles).map(text => {
      const value = numberOf(text);
      if (value === null || value < 0 || value > 1) {
        faults.push({ code: 'bad-quantile', text });
      }
      return value ?? 0;
    });
    if (quantiles.length === 0) {
      faults.push({ code: 'bad-quantile', text: '' });
    }
  }

  const bounds: IAnalyticsRequest['bounds'] = {};
  if (needsBounds(form)) {
    for (const column of columns) {
      const { low, high } = form.bounds[column] ?? { low: '', high: '' };
      const [from, to] = [numberOf(low), numberOf(high)];
      if (from === null || to === null || from >= to) {
        faults.push({ code: 'no-bounds', column });
      } else {
        bounds[column] = [from, to];
      }
    }
  }

  const [first, ...rest] = faults;
  return first
    ? { request: null, faults: [first, ...rest] }
    : {
        request: {
          project,
          dataset: dataset.name,
          operation: operation.name,
          columns,
          where,
          by,
          functions,
          bounds,
          bins,
          quantiles,
          via: form.via,
          epsilon
        },
        faults: []
      };
}

/** Whether the columns' limits have to be said: noise is measured by them. */
export function needsBounds(form: IAnalyticsForm): boolean {
  return form.epsilon.trim() !== '' && operationOf(form.operation).bounded;
}

/** A number as it was typed, or null if it is none. */
export function numberOf(text: string): number | null {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  return Number.isFinite(value) ? value : null;
}

function listOf(text: string): string[] {
  return text
    .split(',')
    .map(part => part.trim())
    .filter(part => part !== '');
}

/** What was kept of a form, as far as it can be used. */
export function restored(kept: unknown): IAnalyticsForm {
  const form: { [field: string]: unknown } = { ...EMPTY_FORM };
  for (const [field, value] of Object.entries(objectOf(kept))) {
    if (typeof form[field] === 'string' && typeof value === 'string') {
      form[field] = value;
    }
  }
  const { columns, functions, filters, bounds } = objectOf(kept);
  form.columns = arrayOf(columns).filter(name => typeof name === 'string');
  form.functions = Array.isArray(functions)
    ? FUNCTIONS.filter(name => functions.includes(name))
    : EMPTY_FORM.functions;
  form.filters = arrayOf(filters).filter(each => {
    const { column, comparison, value } = objectOf(each);
    return (
      typeof column === 'string' &&
      typeof value === 'string' &&
      COMPARISONS.some(known => known === comparison)
    );
  });
  form.bounds = Object.fromEntries(
    Object.entries(objectOf(bounds)).filter(([, each]) => {
      const { low, high } = objectOf(each);
      return typeof low === 'string' && typeof high === 'string';
    })
  );
  const whole = form as unknown as IAnalyticsForm;
  return {
    ...whole,
    operation: OPERATIONS.some(({ name }) => name === whole.operation) ? whole.operation : 'describe',
    via: whole.via === 'he' ? 'he' : 'mpc'
  };
}

function objectOf(value: unknown): { [field: string]: unknown } {
  return typeof value === 'object' && value !== null ? (value as { [field: string]: unknown }) : {};
}

function arrayOf(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [];
}

/** Have the kernel answer a question, or tell the budget. */
export function callOf(action: 'show' | 'show_budget', request: unknown): string {
  return callIn('analytics_request', action, request);
}

/** The question as a notebook has it, with the answer at the end; what was typed is literals in it. */
export function questionCode(request: IAnalyticsRequest): string {
  const { operation, columns, where, by } = request;
  const lines = [
    'import flaas_jupyter as flaas',
    '',
    `federation = flaas.connect().project(${literal(request.project)}).federation(dataset=${literal(request.dataset)})`
  ];
  const listed: string[] = [];
  if (operation === 'group_by') {
    listed.push(literal(by?.column), literal(request.functions), literal(columns));
  } else if (columns.length > 0) {
    listed.push(literal(operation === 'histogram' ? columns[0] : columns));
  }
  if (request.quantiles) {
    listed.push(`q=${literal(request.quantiles)}`);
  }
  if (request.bins) {
    const { count, low, high } = request.bins;
    listed.push(`bins=${count}`, ...(low === null ? [] : [`range=(${low}, ${high})`]));
  }
  if (where.length > 0) {
    lines.push('frame = federation.frame()');
    const conditions = where.map(
      ({ column, comparison, value }) => `(frame[${literal(column)}] ${comparison} ${literal(value)})`
    );
    listed.push(`where=${conditions.join(' & ')}`);
  }
  if (by) {
    listed.push(...(operation === 'group_by' ? [] : [`by=${literal(by.column)}`]));
    listed.push(...(by.values ? [`values=${literal(by.values)}`] : []));
    listed.push(...(by.edges ? [`edges=${literal(by.edges)}`] : []));
  }
  listed.push(`via=${literal(request.via)}`);
  if (request.epsilon !== null) {
    listed.push(`epsilon=${request.epsilon}`);
  }
  if (Object.keys(request.bounds).length > 0) {
    listed.push(`bounds=${literal(request.bounds)}`);
  }
  lines.push(
    `result = federation.analytics.${operation}(`,
    ...listed.map(each => `    ${each},`),
    ')',
    'result'
  );
  return lines.join('\n');
}
