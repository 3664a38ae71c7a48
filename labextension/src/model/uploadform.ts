/**
 * What is said about a file before it is uploaded. The file is looked into here, in the browser, to offer its columns.
 */

import type { IDetails } from '../upload/seal';

/** Endings of files that nodes read. */
export const READABLE = [
  '.csv',
  '.csv.gz',
  '.tsv',
  '.tsv.gz',
  '.parquet',
  '.pq',
  '.arrow',
  '.feather',
  '.ipc',
  '.jsonl',
  '.jsonl.gz',
  '.ndjson',
  '.ndjson.gz',
  '.json',
  '.json.gz',
  '.npz'
] as const;

/** How data sets may be named at a node. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
/** Most characters of a file's name. */
const LONGEST = 255;
/** Bytes of a file in which its columns are looked for. */
const HEAD = 65_536;

export interface IUploadForm {
  dataset: string;
  /** Id of the node. */
  node: string;
  target: string;
  idColumn: string;
  /** How many classes the target has; empty: they are counted. */
  classes: string;
  raw: boolean;
}

export const EMPTY_UPLOAD: IUploadForm = {
  dataset: '',
  node: '',
  target: '',
  idColumn: '',
  classes: '',
  raw: false
};

/** What is amiss with a file or a form. */
export type UploadFault =
  | 'several-files'
  | 'folder'
  | 'empty-file'
  | 'unknown-format'
  | 'long-name'
  | 'bad-name'
  | 'no-node'
  | 'bad-classes'
  | 'same-column';

/** What is amiss with a file; null if it can be uploaded. */
export function faultOf(file: Pick<File, 'name' | 'size'>): UploadFault | null {
  if (file.size === 0) {
    return 'empty-file';
  }
  if (file.name.length > LONGEST) {
    return 'long-name';
  }
  return READABLE.some(ending => file.name.toLowerCase().endsWith(ending)) ? null : 'unknown-format';
}

/** A name that a data set may have, after that of a file. */
export function datasetName(file: string): string {
  const ending = READABLE.filter(each => file.toLowerCase().endsWith(each)).sort(
    (one, other) => other.length - one.length
  )[0];
  const stem = file.slice(0, file.length - (ending?.length ?? 0));
  return stem
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .replace(/[^A-Za-z0-9._-]+/g, '-')
    .replace(/^[^A-Za-z0-9]+/, '')
    .replace(/-+$/, '')
    .slice(0, 64);
}

/** What is amiss with a form. */
export function faultsOf(form: IUploadForm): UploadFault[] {
  const faults: UploadFault[] = [];
  if (!NAME.test(form.dataset)) {
    faults.push('bad-name');
  }
  if (form.node === '') {
    faults.push('no-node');
  }
  if (form.classes.trim() !== '' && !(/^\d{1,6}$/.test(form.classes.trim()) && Number(form.classes) > 1)) {
    faults.push('bad-classes');
  }
  if (form.target !== '' && form.target === form.idColumn) {
    faults.push('same-column');
  }
  return faults;
}

export function detailsOf(form: IUploadForm, file: string): IDetails {
  return {
    name: file,
    target: form.target || null,
    id_column: form.idColumn || null,
    classes: form.classes.trim() === '' ? null : Number(form.classes),
    raw: form.raw
  };
}

/** Columns of a file that says them in its beginning; none for others. */
export async function columnsIn(file: File): Promise<string[]> {
  const name = file.name.toLowerCase();
  if (!/\.(csv|jsonl|ndjson|json)$/.test(name)) {
    return [];
  }
  try {
    const head = new TextDecoder().decode(await file.slice(0, HEAD).arrayBuffer());
    return name.endsWith('.csv') ? firstRow(head) : keysOf(head);
  } catch {
    return []; // the node says what is wrong with it
  }
}

/** The first record of a table with commas (RFC 4180). */
function firstRow(text: string): string[] {
  const cells: string[] = [];
  const cell = /(?:"((?:[^"]|"")*)"|((?!")[^,\r\n]*))(,|\r?\n|$)/y;
  cell.lastIndex = text.startsWith('\ufeff') ? 1 : 0;
  for (;;) {
    const match = cell.exec(text);
    if (!match) {
      return []; // something stands behind a quote
    }
    cells.push(match[1] === undefined ? match[2] : match[1].replace(/""/g, '"'));
    if (match[3] !== ',') {
      return cells.filter(Boolean);
    }
  }
}

function keysOf(text: string): string[] {
  const first: unknown = JSON.parse(text.slice(0, text.indexOf('\n') < 0 ? undefined : text.indexOf('\n')));
  return typeof first === 'object' && first !== null && !Array.isArray(first) ? Object.keys(first) : [];
}
