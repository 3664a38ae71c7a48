/**
 * What stands around every chart of figures that were released: its title, the same figures as a table, files of both,
 * and what was withheld and why.
 */

import { Button } from '@jupyterlab/ui-components';
import * as React from 'react';

import { saveFile, saveTable } from '../download';
import { exact } from '../format';
import { csvOf, fileName, reasonsIn, withheldIn } from '../model';
import type { ITable } from '../tokens';
import { pngOf, svgOf } from './chartexport';
import { useTrans } from './hooks';
import { TableToggle } from './tabletoggle';

/** Rows of a table that are shown; the file has all of them. */
const MOST_ROWS = 500;

/** Whether the charts of a view are shown as tables, and how that is changed; null: each chart for itself. */
export const TablesContext = React.createContext<readonly [boolean, (asTable: boolean) => void] | null>(null);

export interface IChartFrameProps {
  title: string;
  table: ITable;
  /** The chart; null where there is nothing to draw. */
  chart: JSX.Element | null;
  /** What files are called after. */
  file: readonly string[];
  /** What a picture says below the chart. */
  notes: readonly string[];
  /** Why figures were withheld, beside what the table's rows say. */
  reasons?: readonly string[];
}

export function ChartFrame({ title, table, chart, file, notes, reasons }: IChartFrameProps): JSX.Element {
  const trans = useTrans();
  const own = React.useState(false);
  const [asTable, setAsTable] = React.useContext(TablesContext) ?? own;
  const [failure, setFailure] = React.useState('');
  const figure = React.useRef<HTMLDivElement>(null);
  const withheld = withheldIn(table);
  const why = [...new Set([...(reasons ?? []), ...reasonsIn(table)])];
  const summary =
    withheld > 0
      ? trans._n('%1 figure is withheld', '%1 figures are withheld', withheld)
      : trans.__('Some figures are told together');
  const save = async (kind: 'png' | 'svg' | 'csv'): Promise<void> => {
    setFailure('');
    const name = fileName(file, kind);
    try {
      if (kind === 'csv') {
        saveTable(name, csvOf(table));
        return;
      }
      const gaps = why.length > 0 ? [`${summary}: ${why.join('; ')}`] : [];
      const svg = svgOf(figure.current!, { title, notes: [...notes, ...gaps] });
      saveFile(name, kind === 'svg' ? new Blob([svg], { type: 'image/svg+xml' }) : await pngOf(svg));
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <>
      <div className="flaas-Chart-head">
        <h4>{title}</h4>
        <div className="flaas-Chart-tools">
          {chart && <TableToggle asTable={asTable} show={setAsTable} />}
          <span role="group" aria-label={trans.__('Save')} className="flaas-Chart-save">
            {(chart ? (['png', 'svg', 'csv'] as const) : (['csv'] as const)).map(kind => (
              <Button
                key={kind}
                small
                className="flaas-Button"
                aria-label={trans.__('Save as %1', kind.toUpperCase())}
                title={trans.__('Save as %1', kind.toUpperCase())}
                onClick={() => void save(kind)}
              >
                {kind.toUpperCase()}
              </Button>
            ))}
          </span>
        </div>
      </div>
      {failure && (
        <p className="flaas-Reason flaas-mod-problem" role="alert">
          {trans.__('The file could not be made: %1', failure)}
        </p>
      )}
      {chart && (
        // It stays in the page, so that files can be made of it while the table is shown.
        <div ref={figure} hidden={asTable}>
          {chart}
        </div>
      )}
      {(asTable || !chart) && <FigureTable table={table} title={title} />}
      {(withheld > 0 || why.length > 0) && (
        <div className="flaas-Withheld">
          <strong>{summary}</strong>
          <ul>
            {why.map(reason => (
              <li key={reason}>{reason}</li>
            ))}
          </ul>
        </div>
      )}
    </>
  );
}

export function FigureTable({ table, title }: { table: ITable; title: string }): JSX.Element {
  const trans = useTrans();
  const { index, columns, rows } = table;
  const more = rows.length - MOST_ROWS;
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table" aria-label={title}>
        <thead>
          <tr>
            {index.map((name, place) => (
              <th key={`index ${place}`} scope="col">
                {name}
              </th>
            ))}
            {columns.map((name, place) => (
              <th key={place} scope="col" className="flaas-mod-number">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.slice(0, MOST_ROWS).map((row, at) => (
            <tr key={at}>
              {row.key.map((part, place) => (
                <th key={place} scope="row">
                  {part}
                </th>
              ))}
              {row.values.map((value, place) => (
                <td key={place} className="flaas-mod-number" title={row.reason || undefined}>
                  {value !== null ? exact(value) : row.hidden[place] ? trans.__('withheld') : '–'}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {more > 0 && (
        <p className="flaas-Empty">
          {trans._n('and %1 more, in the file', 'and %1 more, in the file', more)}
        </p>
      )}
    </div>
  );
}
