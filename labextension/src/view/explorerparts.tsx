/** The parts of the explorer that have figures: what is to be chosen for them, and their charts. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { count, exact, metric, moment, percent } from '../format';
import {
  canBeAsked,
  correlationsTable,
  distributionTable,
  driftTable,
  type ExplorerModel,
  labelsTable,
  missingTable,
  reasonAt,
  scaleOf
} from '../model';
import type { IDistribution, IExploration, IExploredColumn, ITable } from '../tokens';
import { ChartFrame, type IChartFrameProps } from './chartframe';
import { ColumnPicker } from './columnpicker';
import { levelName, listed, SUMMARY, summaryName, tableWords } from './explorerwords';
import { TextField } from './fields';
import { binName, Histogram } from './histogram';
import { useTrans } from './hooks';
import { Matrix } from './matrix';
import { type IBar, RowBars } from './rowbars';
import { type Setting, Settings } from './settings';

/** Which column, and with noise the limits of its values unless they are declared. */
export function ColumnChoice({ model }: { model: ExplorerModel }): JSX.Element {
  const trans = useTrans();
  const { form: choice, overview } = model;
  const columns = (overview?.columns ?? []).filter(canBeAsked);
  const chosen = columns.find(({ name }) => name === choice.column);
  const bounded = chosen?.kind === 'number' && choice.epsilon.trim() !== '' && choice.own === '';
  const [low, high] = chosen?.range ?? [null, null];
  return (
    <>
      <ColumnPicker
        columns={columns.map(({ name }) => name)}
        chosen={[choice.column]}
        single
        choose={([column]) => model.change({ column })}
      />
      {bounded && (
        <div className="flaas-Form-row">
          <TextField
            label={trans.__('Least value')}
            value={choice.low}
            placeholder={low === null ? '' : exact(low)}
            title={trans.__('Take limits from what is known, not from the data.')}
            change={text => model.change({ low: text })}
          />
          <TextField
            label={trans.__('Greatest value')}
            value={choice.high}
            placeholder={high === null ? '' : exact(high)}
            title={trans.__('Take limits from what is known, not from the data.')}
            change={text => model.change({ high: text })}
          />
        </div>
      )}
    </>
  );
}

/** Which columns are compared; none chosen: those that come first. */
export function CorrelationsChoice({ model }: { model: ExplorerModel }): JSX.Element {
  const trans = useTrans();
  const { form: choice, overview } = model;
  const columns = (overview?.columns ?? []).filter(column => canBeAsked(column) && column.kind !== 'text');
  return (
    <details className="flaas-Section flaas-Part">
      <summary>
        <h4>{trans.__('Which columns')}</h4>
        <span className="flaas-Section-figure">
          {choice.columns.length > 1
            ? trans.__('%1 chosen', choice.columns.length)
            : trans.__('those that come first')}
        </span>
      </summary>
      <ColumnPicker
        columns={columns.map(({ name }) => name)}
        chosen={choice.columns}
        single={false}
        choose={chosen => model.change({ columns: chosen })}
      />
    </details>
  );
}

interface IAnswerProps {
  answer: IExploration;
  columns: readonly IExploredColumn[];
}

/** The figures of a part, and nothing where there are none. */
export function PartAnswer({ answer, columns }: IAnswerProps): JSX.Element | null {
  const { column, missing, labels, correlations, drift } = answer;
  if (column) {
    return <Distribution answer={answer} columns={columns} distribution={column} />;
  }
  if (missing) {
    return <Missing answer={answer} missing={missing} />;
  }
  if (labels) {
    return <Labels answer={answer} labels={labels} />;
  }
  if (correlations) {
    return <Correlations answer={answer} correlations={correlations} />;
  }
  return drift ? <Drift answer={answer} drift={drift} /> : null;
}

interface IPartProps extends Omit<IChartFrameProps, 'file' | 'notes'> {
  answer: IExploration;
  /** What files are called after, beside the data set; else the title. */
  name?: string;
  /** What a picture says beside where its figures come from. */
  notes?: readonly string[];
  /** What stands above the figures. */
  lead?: React.ReactNode;
  /** What stands below them. */
  children?: React.ReactNode;
}

/** One part: its chart, and where its figures come from. */
function Part({ answer, name, notes = [], lead, children, ...frame }: IPartProps): JSX.Element {
  const trans = useTrans();
  return (
    <section className="flaas-Explorer-part" aria-label={frame.title}>
      {lead}
      <ChartFrame
        {...frame}
        file={[answer.dataset, name ?? frame.title]}
        notes={[...provenance(trans, answer), ...notes]}
      />
      {children}
    </section>
  );
}

function Distribution({
  answer,
  columns,
  distribution
}: IAnswerProps & { distribution: IDistribution }): JSX.Element {
  const trans = useTrans();
  const { name, kind, counts, summary, error_bound, bounds_error, epsilon, reasons } = distribution;
  const unit = columns.find(column => column.name === name)?.unit ?? null;
  const table = distributionTable(distribution, tableWords(trans));
  const title = trans.__('Distribution of %1', name);
  const scale = kind === 'histogram' ? scaleOf(distribution) : null;
  const facts: Setting[] = SUMMARY.filter(figure => figure in summary).map(figure => [
    summaryName(trans, figure),
    summary[figure] === null
      ? trans.__('not told')
      : `${metric(summary[figure] ?? undefined)}${unit && figure !== 'count' && figure !== 'missing' ? ` ${unit}` : ''}`
  ]);
  if (error_bound !== null && error_bound > 0) {
    facts.push([
      trans.__('Counts are exact to'),
      trans.__('± %1, with a probability of 95 %', metric(error_bound))
    ]);
  }
  if (bounds_error !== null && bounds_error > 0) {
    facts.push([trans.__('Least, middle and greatest value are exact to'), `± ${metric(bounds_error)}`]);
  }
  if (epsilon !== null) {
    facts.push([trans.__('Privacy spent, ε'), metric(epsilon)]);
  }
  return (
    <Part
      answer={answer}
      title={title}
      table={table}
      chart={
        counts.length === 0 ? null : scale ? (
          <Histogram
            distribution={distribution}
            scale={scale}
            title={trans.__('Chart of %1', title)}
            unit={unit}
          />
        ) : (
          <RowBars title={trans.__('Chart of %1', title)} bars={barsOf(trans, table, distribution)} />
        )
      }
      name={name}
      notes={[facts.map(([fact, value]) => `${fact}: ${value}`).join(' · ')]}
      reasons={reasons[''] ? [reasons['']] : []}
    >
      <Settings settings={facts} />
    </Part>
  );
}

function barsOf(trans: TranslationBundle, table: ITable, distribution: IDistribution): IBar[] {
  const { kind, edges } = distribution;
  return table.rows.map(({ key, values, hidden, reason }, place) => ({
    name:
      kind === 'histogram' && key.length === 2
        ? binName(trans, edges[place] ?? null, edges[place + 1] ?? null)
        : String(key[0]),
    value: values[0],
    withheld: hidden[0],
    reason: reason ?? ''
  }));
}

function Missing({
  answer,
  missing
}: {
  answer: IExploration;
  missing: NonNullable<IExploration['missing']>;
}): JSX.Element {
  const trans = useTrans();
  const title = trans.__('Missing values');
  // What misses most comes first; what is withheld is not among it, nobody knows where it would stand.
  const sorted = [...missing].sort((one, other) => (other.share ?? -1) - (one.share ?? -1));
  const gone = sorted.filter(({ share, suppressed }) => suppressed || (share ?? 0) > 0);
  return (
    <Part
      answer={answer}
      title={title}
      lead={
        gone.length === 0 &&
        missing.length > 0 && <p className="flaas-Empty">{trans.__('No value is missing.')}</p>
      }
      table={missingTable(sorted, tableWords(trans))}
      chart={
        gone.length === 0 ? null : (
          <RowBars
            title={trans.__('Chart of %1', title)}
            bars={gone.map(({ column, share, count: values, suppressed, reason }) => ({
              name: column,
              value: share,
              words:
                share === null
                  ? undefined
                  : values === null
                    ? percent(share)
                    : trans.__('%1 (%2)', percent(share), count(Math.round(values))),
              withheld: suppressed,
              reason: reason ?? ''
            }))}
          />
        )
      }
    />
  );
}

function Labels({
  answer,
  labels
}: {
  answer: IExploration;
  labels: NonNullable<IExploration['labels']>;
}): JSX.Element | null {
  const trans = useTrans();
  const { column, classes, counts, suppressed, reasons } = labels;
  if (classes.length === 0) {
    return null;
  }
  const title = trans.__('Rows by %1', column);
  const table = labelsTable(labels, tableWords(trans));
  return (
    <Part
      answer={answer}
      title={title}
      table={table}
      chart={
        <RowBars
          title={trans.__('Chart of %1', title)}
          bars={classes.map((label, place) => {
            const [value, share] = table.rows[place].values;
            return {
              name: String(label),
              value: counts[place] ?? null,
              words:
                value === null
                  ? undefined
                  : share === undefined || share === null
                    ? exact(value)
                    : trans.__('%1 (%2)', exact(value), percent(share)),
              withheld: suppressed[place] ?? false,
              reason: reasonAt(reasons, place)
            };
          })}
        />
      }
    />
  );
}

function Correlations({
  answer,
  correlations
}: {
  answer: IExploration;
  correlations: NonNullable<IExploration['correlations']>;
}): JSX.Element | null {
  const trans = useTrans();
  const title = trans.__('Correlations');
  if (correlations.columns.length === 0) {
    return null;
  }
  const table = correlationsTable(correlations, tableWords(trans));
  return (
    <Part
      answer={answer}
      title={title}
      table={table}
      chart={
        <Matrix
          title={trans.__('Chart of %1', title)}
          table={table}
          most={1}
          nameOf={(one, other) => trans.__('%1 and %2', one, other)}
        />
      }
    />
  );
}

function Drift({
  answer,
  drift
}: {
  answer: IExploration;
  drift: NonNullable<IExploration['drift']>;
}): JSX.Element | null {
  const trans = useTrans();
  const title = trans.__('Distance of each node from the whole');
  if (drift.length === 0) {
    return null;
  }
  const names = new Map(answer.nodes.map(({ node, name }) => [node, name]));
  const table = driftTable(
    drift.map(each => ({ ...each, node: names.get(each.node) ?? each.node })),
    tableWords(trans)
  );
  return (
    <Part
      answer={answer}
      title={title}
      table={table}
      chart={
        <Matrix
          title={trans.__('Chart of %1', title)}
          table={table}
          most={1}
          nameOf={(column, node) => trans.__('%1 at %2', column, node)}
        />
      }
    >
      <p className="flaas-Hint">
        {trans.__(
          'Jensen-Shannon distance of a node’s rows from those of all nodes: 0 is the same distribution, 1 another altogether. Each node tells it itself, rounded.'
        )}
      </p>
    </Part>
  );
}

/** Where figures come from, for who sees a picture of them without this page. */
function provenance(trans: TranslationBundle, answer: IExploration): string[] {
  const { dataset, nodes, level, time } = answer;
  const parts = [
    trans.__('Data set %1', dataset),
    trans.__(
      'nodes: %1',
      listed(
        trans,
        nodes.map(({ name }) => name)
      )
    ),
    levelName(trans, level),
    time === null ? '' : moment(time)
  ];
  return [parts.filter(part => part !== '').join(' · ')];
}
