/**
 * Figures in rows and columns, tinted by size: correlations, distances between nodes. The figure stands in its cell, so
 * that nothing is told by colour alone; its sign has a colour of its own.
 */

import * as React from 'react';

import { exact } from '../format';
import type { ITable } from '../tokens';
import { shortened, WithheldKey } from './axes';
import { useTrans } from './hooks';
import { type IPlace, Walkable } from './walkable';

/** Rows and columns that are drawn; the table has all. */
export const MOST_CELLS = 40;

const CHARACTER = 7;
const MOST_NAME = 16;
/** A figure has room in the least; where all of them have not, the matrix scrolls. */
const LEAST_CELL = 40;
const MOST_CELL = 64;
const ROW = 26;
/** A tint is never so strong that the figure on it could not be read. */
const STRONGEST = 0.5;

export interface IMatrixProps {
  title: string;
  table: ITable;
  /** The size that has the strongest tint. */
  most: number;
  /** What a row and a column are called together. */
  nameOf: (row: string, column: string) => string;
}

export function Matrix({ title, table, most, nameOf }: IMatrixProps): JSX.Element {
  const trans = useTrans();
  const rows = table.rows.slice(0, MOST_CELLS);
  const columns = table.columns.slice(0, MOST_CELLS);
  const nameOfRow = (row: number): string => rows[row].key.join(', ');
  const told = ({ across, down }: IPlace): string => {
    const { values, hidden, reason } = rows[down];
    const value = values[across] ?? null;
    const figure =
      value !== null ? exact(value) : hidden[across] ? trans.__('withheld') : trans.__('no figure');
    const why = value === null && hidden[across] && reason ? ` (${reason})` : '';
    return trans.__('%1: %2', nameOf(nameOfRow(down), columns[across]), figure + why);
  };
  const draw = (room: number, marked: IPlace | null, mark: (place: IPlace) => void): JSX.Element => {
    const longest = (names: string[]): number =>
      CHARACTER * Math.max(0, ...names.map(name => Math.min(MOST_NAME, name.length)));
    const left = Math.min(room / 3, 12 + longest(rows.map((_, row) => nameOfRow(row))));
    const letters = Math.max(4, Math.floor((left - 12) / CHARACTER));
    // Names of columns are slanted: half as wide as they are long.
    const above = 14 + 0.72 * longest(columns);
    const beside = 0.72 * longest(columns.slice(-1));
    const wide = Math.min(
      MOST_CELL,
      Math.max(LEAST_CELL, (room - left - beside) / Math.max(1, columns.length))
    );
    const high = Math.min(ROW, wide);
    const [width, height] = [left + wide * columns.length + beside, above + high * rows.length + 4];
    return (
      <svg width={width} height={height} aria-hidden="true">
        {columns.map((name, column) => (
          <text
            key={column}
            textAnchor="start"
            transform={`translate(${left + wide * (column + 0.5)},${above - 6}) rotate(-45)`}
          >
            {shortened(name, MOST_NAME)}
          </text>
        ))}
        {rows.map((row, down) => (
          <g key={down}>
            <text x={left - 8} y={above + high * (down + 0.5) + 4} textAnchor="end">
              {shortened(nameOfRow(down), letters)}
            </text>
            {columns.map((_, across) => {
              const value = row.values[across] ?? null;
              const [x, y] = [left + wide * across, above + high * down];
              return (
                <g
                  key={across}
                  className={
                    marked?.across === across && marked.down === down ? 'flaas-mod-marked' : undefined
                  }
                  onClick={() => mark({ across, down })}
                >
                  <title>{told({ across, down })}</title>
                  {value === null ? (
                    <rect
                      x={x + 1.5}
                      y={y + 1.5}
                      width={wide - 3}
                      height={high - 3}
                      className={row.hidden[across] ? 'flaas-Figure-withheld' : 'flaas-Matrix-none'}
                    />
                  ) : (
                    <rect
                      x={x + 0.5}
                      y={y + 0.5}
                      width={wide - 1}
                      height={high - 1}
                      className={`flaas-Matrix-cell flaas-mod-${value < 0 ? 'below' : 'above'}`}
                      fillOpacity={STRONGEST * Math.min(1, Math.abs(value) / (most || 1))}
                    />
                  )}
                  {value !== null && (
                    <text x={x + wide / 2} y={y + high / 2 + 4} textAnchor="middle">
                      {value.toFixed(2)}
                    </text>
                  )}
                </g>
              );
            })}
          </g>
        ))}
      </svg>
    );
  };
  const negative = rows.some(({ values }) => values.some(value => value !== null && value < 0));
  const left = table.rows.length - rows.length + (table.columns.length - columns.length);
  return (
    <div className="flaas-Figure flaas-Matrix">
      <Walkable
        kind={trans.__('matrix')}
        label={title}
        across={columns.length}
        down={rows.length}
        told={told}
      >
        {draw}
      </Walkable>
      <ul className="flaas-Legend" aria-label={trans.__('Legend')}>
        {negative && (
          <li>
            <Swatch sign="below" />
            {trans.__('below 0')}
          </li>
        )}
        <li>
          <Swatch sign="above" />
          {negative ? trans.__('above 0') : trans.__('the stronger, the greater')}
        </li>
        {rows.some(({ hidden }) => hidden.some(Boolean)) && <WithheldKey words={trans.__('withheld')} />}
        {left > 0 && <li>{trans.__('The table has all of them')}</li>}
      </ul>
    </div>
  );
}

function Swatch({ sign }: { sign: 'above' | 'below' }): JSX.Element {
  return (
    <svg width="16" height="12" aria-hidden="true">
      <rect
        width="16"
        height="12"
        className={`flaas-Matrix-cell flaas-mod-${sign}`}
        fillOpacity={STRONGEST}
      />
    </svg>
  );
}
