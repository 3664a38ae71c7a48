/** What is known of a data set before any figure: its nodes, its columns, and where nodes differ in them. */

import * as React from 'react';

import { count, exact } from '../format';
import { canBeAsked } from '../model';
import type { IExploration, IExploredColumn, ITable } from '../tokens';
import { ChartFrame } from './chartframe';
import { MOST_LISTED, useFinder } from './columnpicker';
import { declaredText, fieldName, rangeText, levelName, listed, roleName, tableWords } from './explorerwords';
import { useTrans } from './hooks';
import { BudgetMeter } from './privacybudget';
import { RowBars } from './rowbars';

export interface IOverviewProps extends Pick<
  IExploration,
  'rows' | 'nodes' | 'columns' | 'notes' | 'budget'
> {
  dataset: string;
  /** Whether the nodes have been asked; else this is what the API knows. */
  asked: boolean;
  /** Shows a column's distribution. */
  open: (column: string) => void;
}

export function ExplorerOverview(props: IOverviewProps): JSX.Element {
  const { dataset, nodes, notes, budget, asked } = props;
  const trans = useTrans();
  return (
    <div className="flaas-Explorer-part">
      {notes.length > 0 && (
        <ul className="flaas-Explorer-notes">
          {notes.map(note => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
      <Nodes {...props} />
      <Columns {...props} />
      <Budget dataset={dataset} nodes={nodes} budget={budget} />
      {!asked && (
        <p className="flaas-Hint">{trans.__('So far this is what nodes have described to the API.')}</p>
      )}
    </div>
  );
}

/** What nodes account of this person's queries, and what is left; nothing where nobody has said it. */
export function Budget({
  dataset,
  nodes,
  budget
}: Pick<IOverviewProps, 'dataset' | 'nodes' | 'budget'>): JSX.Element | null {
  const trans = useTrans();
  if (!budget || budget.length === 0) {
    return null;
  }
  const names = new Map(nodes.map(({ node, name }) => [node, name]));
  return (
    <section aria-label={trans.__('Privacy budget of %1', dataset)}>
      <h4>{trans.__('Privacy budget')}</h4>
      {budget.map(line => (
        <BudgetMeter
          key={line.node}
          line={{ ...line, node: names.get(line.node) ?? line.node, dataset, problem: null }}
        />
      ))}
    </section>
  );
}

function Nodes({ dataset, rows, nodes, asked }: IOverviewProps): JSX.Element {
  const trans = useTrans();
  const title = rows === null ? trans.__('Rows by node') : trans.__('Rows by node, %1 in all', count(rows));
  const withheld = trans.__('The node does not tell.');
  const table: ITable = {
    index: [trans.__('node'), trans.__('organisation')],
    columns: [tableWords(trans).rows],
    rows: nodes.map(node => ({
      key: [node.name, node.organisation],
      values: [node.rows],
      hidden: [node.rows === null],
      reason: node.rows === null ? (node.problem?.message ?? withheld) : ''
    }))
  };
  return (
    <section className="flaas-Explorer-part" aria-label={trans.__('Nodes')}>
      <ChartFrame
        title={title}
        table={table}
        chart={
          nodes.length === 0 ? null : (
            <RowBars
              title={trans.__('Chart of %1', title)}
              bars={nodes.map((node, place) => ({
                name: node.name,
                value: node.rows,
                words: node.rows === null ? undefined : count(node.rows),
                withheld: node.rows === null,
                reason: table.rows[place].reason ?? ''
              }))}
            />
          )
        }
        file={[dataset, trans.__('rows by node')]}
        notes={[trans.__('Data set %1', dataset)]}
      />
      {asked && (
        <table className="flaas-Table" aria-label={trans.__('What nodes show')}>
          <thead>
            <tr>
              <th scope="col">{trans.__('Node')}</th>
              <th scope="col">{trans.__('Shows you')}</th>
            </tr>
          </thead>
          <tbody>
            {nodes.map(node => (
              <tr key={node.node}>
                <th scope="row">
                  {node.name}
                  <span className="flaas-Secondary">{node.organisation}</span>
                </th>
                <td>
                  {levelName(trans, node.level)}
                  {!node.online && <span className="flaas-Secondary">{trans.__('offline')}</span>}
                  {node.drift !== null && (
                    <span className="flaas-Secondary">
                      {node.drift
                        ? trans.__('tells how far it is from the whole')
                        : trans.__('does not tell how far it is from the whole')}
                    </span>
                  )}
                  {node.problem && (
                    <span className="flaas-Secondary">
                      {[node.problem.message, node.problem.hint].filter(Boolean).join(' ')}
                    </span>
                  )}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function Columns({ nodes, columns, asked, open }: IOverviewProps): JSX.Element {
  const trans = useTrans();
  const [matches, finder] = useFinder(columns.length);
  const found = columns.filter(({ name }) => matches(name));
  const differing = columns.filter(({ differences }) => differences.length > 0).length;
  const names = new Map(nodes.map(({ node, name }) => [node, name]));
  return (
    <section className="flaas-Explorer-part" aria-label={trans.__('Columns')}>
      <h4>{trans._n('%1 column', '%1 columns', columns.length)}</h4>
      {differing > 0 && (
        <p className="flaas-Freshness">
          {trans._n(
            'Nodes differ in %1 column: see below, and map it before training.',
            'Nodes differ in %1 columns: see below, and map them before training.',
            differing
          )}
        </p>
      )}
      {finder}
      <div className="flaas-Scroll">
        <table className="flaas-Table" aria-label={trans.__('Columns')}>
          <thead>
            <tr>
              <th scope="col">{trans.__('Name')}</th>
              <th scope="col">{trans.__('Type')}</th>
              <th scope="col">{trans.__('Declared')}</th>
            </tr>
          </thead>
          <tbody>
            {found.slice(0, MOST_LISTED).map(column => (
              <tr key={column.name}>
                <th scope="row">
                  {asked && canBeAsked(column) ? (
                    <button
                      type="button"
                      className="flaas-Run-open"
                      title={trans.__('Show how its values are distributed')}
                      onClick={() => open(column.name)}
                    >
                      {column.name}
                    </button>
                  ) : (
                    column.name
                  )}
                  {column.description && <span className="flaas-Secondary">{column.description}</span>}
                </th>
                <td>
                  {column.dtype}
                  {column.role && <span className="flaas-Secondary">{roleName(trans, column.role)}</span>}
                </td>
                <td>
                  {declaredText(trans, column).map((text, place) => (
                    <span key={place} className={place > 0 ? 'flaas-Secondary' : undefined}>
                      {text}
                    </span>
                  ))}
                  <Differences column={column} names={names} />
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {found.length === 0 && columns.length > 0 && (
        <p className="flaas-Empty">{trans.__('No column has this in its name.')}</p>
      )}
      {found.length > MOST_LISTED && (
        <p className="flaas-Empty">{trans.__('and %1 more', found.length - MOST_LISTED)}</p>
      )}
    </section>
  );
}

function Differences({
  column,
  names
}: {
  column: IExploredColumn;
  names: Map<string, string>;
}): JSX.Element {
  const trans = useTrans();
  return (
    <>
      {column.differences.map(({ node, field, value }, place) => (
        <span key={place} className="flaas-Explorer-differs">
          {field === 'absent'
            ? trans.__('%1 does not have it', names.get(node) ?? node)
            : trans.__(
                '%1 has %2: %3',
                names.get(node) ?? node,
                fieldName(trans, field),
                rangeText(trans, field === 'range' ? value : null) ?? said(value)
              )}
        </span>
      ))}
    </>
  );

  /** What a node says instead. */
  function said(value: unknown): string {
    if (Array.isArray(value)) {
      return listed(
        trans,
        value.map(each => (each === null ? '–' : typeof each === 'number' ? exact(each) : String(each)))
      );
    }
    return typeof value === 'string'
      ? value
      : typeof value === 'number'
        ? exact(value)
        : value === null || value === undefined
          ? '–'
          : JSON.stringify(value);
  }
}
