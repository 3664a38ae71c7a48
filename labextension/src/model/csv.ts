/** Tables as comma-separated values, RFC 4180, for files that people open in a spreadsheet. */

import type { ITable } from '../tokens';

/** Marks the text as UTF-8 to spreadsheets that would take it for something else. */
const MARK = '\ufeff';

/**
 * A table with a header and, where something was withheld or told together, a last column that says what and why. A
 * withheld figure is left empty, so that it is not taken for a zero.
 */
export function csvOf({ index, columns, rows }: ITable): string {
  const noted = rows.some(({ hidden, reason }) => hidden.some(Boolean) || Boolean(reason));
  const lines = [[...index, ...columns, ...(noted ? ['note'] : [])].map(cell)];
  for (const { key, values, hidden, reason } of rows) {
    const line = [...key, ...columns.map((_, place) => values[place] ?? null)].map(cell);
    if (noted) {
      const names = columns.filter((_, place) => hidden[place]).join(', ');
      line.push(cell([names && `withheld: ${names}`, reason].filter(Boolean).join('; ')));
    }
    lines.push(line);
  }
  return MARK + lines.map(line => `${line.join(',')}\r\n`).join('');
}

/** One cell. A text that a spreadsheet would take for a formula gets an apostrophe in front (CWE-1236). */
function cell(value: number | string | null): string {
  if (value === null || typeof value === 'number') {
    return value === null ? '' : String(value);
  }
  const formula = /^[=+@\t\r\n]/.test(value) || (value.startsWith('-') && Number.isNaN(Number(value)));
  const text = formula && value !== '-∞' ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replace(/"/g, '""')}"` : text;
}

/** A name for a file of what these words say. */
export function fileName(words: readonly string[], ending: string): string {
  const name = words
    .filter(word => word !== '')
    .join('-')
    .replace(/[^\p{L}\p{N}._-]+/gu, '-')
    .replace(/^[-.]+|[-.]+$/g, '')
    .slice(0, 80);
  return `${name || 'chart'}.${ending}`;
}
