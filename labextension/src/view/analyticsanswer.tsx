/** What was released: chart and table, what was withheld and why, who answered. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { metric, seconds } from '../format';
import { scaleOf } from '../model';
import type { IAnalyticsAnswer, IAnalyticsRequest } from '../tokens';
import { operationName } from './analyticsfields';
import { ChartFrame } from './chartframe';
import { Figure, MOST_SERIES } from './figure';
import { Histogram, type IBins } from './histogram';
import { useTrans } from './hooks';
import { Matrix } from './matrix';
import { Settings, type Setting } from './settings';

export interface IAnswerProps {
  request: IAnalyticsRequest;
  answer: IAnalyticsAnswer;
}

export function AnalyticsAnswer({ request, answer }: IAnswerProps): JSX.Element {
  const trans = useTrans();
  const series = React.useMemo(() => seriesOf(answer), [answer]);
  const title = titleOf(trans, request);
  const settings = facts(trans, answer);
  return (
    <section className="flaas-Answer" aria-label={trans.__('Result')}>
      <ChartFrame
        title={title}
        table={answer}
        chart={chartOf(trans, request, answer, series, trans.__('Chart of %1', title))}
        file={[request.dataset, title]}
        notes={[
          trans.__('Data set %1', request.dataset),
          settings.map(([name, value]) => `${name}: ${value}`).join(' · ')
        ]}
        reasons={answer.reasons}
      />
      <Settings settings={settings} />
    </section>
  );
}

type Series = { name: string; values: (number | null)[] }[];

/** The figures as they are best seen; null where a table says it all. */
function chartOf(
  trans: TranslationBundle,
  request: IAnalyticsRequest,
  answer: IAnalyticsAnswer,
  series: Series,
  title: string
): JSX.Element | null {
  const { operation } = request;
  const { rows, columns, index, chart } = answer;
  if (operation === 'correlation' && rows.length > 1 && rows.length === columns.length) {
    const nameOf = (one: string, other: string): string => trans.__('%1 and %2', one, other);
    return <Matrix title={title} table={answer} most={1} nameOf={nameOf} />;
  }
  if (chart === null || series.length === 0 || rows.length === 0) {
    return null;
  }
  const distribution = operation === 'histogram' ? binsOf(request.columns[0] ?? '', answer) : null;
  const scale = distribution ? scaleOf(distribution) : null;
  return distribution && scale ? (
    <Histogram distribution={distribution} scale={scale} title={title} unit={null} />
  ) : (
    <Figure
      kind={chart}
      title={title}
      labels={rows.map(({ key }) => key.join(index[0] === 'from' ? ' – ' : ', '))}
      at={chart === 'line' ? placesOf(answer) : undefined}
      series={series}
    />
  );
}

/** A histogram's bins; null if they do not lie side by side. */
function binsOf(column: string, { rows }: IAnalyticsAnswer): IBins | null {
  const edges = [rows[0].key[0], ...rows.map(({ key }) => key[1])];
  const joined = rows.every(({ key }, place) => key.length === 2 && key[0] === edges[place]);
  return joined
    ? {
        name: column,
        edges: edges.map(edge => (typeof edge === 'number' ? edge : null)),
        counts: rows.map(({ values }) => values[0]),
        suppressed: rows.map(({ hidden }) => hidden[0]),
        reasons: {}
      }
    : null;
}

/** The columns of numbers, as many as can be told apart. */
function seriesOf({ columns, rows }: IAnalyticsAnswer): Series {
  return columns
    .map((name, place) => ({
      name,
      values: rows.map(({ values }) => values[place])
    }))
    .filter(({ values }) => values.some(value => value !== null))
    .slice(0, MOST_SERIES);
}

/** Where rows stand on an axis of numbers, if they do in order. */
function placesOf({ rows }: IAnalyticsAnswer): number[] | undefined {
  const places = rows.map(({ key }) => key[0]);
  const numbers = places.filter((place): place is number => typeof place === 'number');
  const ordered = numbers.every((place, at) => at === 0 || place > numbers[at - 1]);
  return numbers.length === places.length && ordered ? numbers : undefined;
}

/** What was asked, in a few words. */
export function titleOf(trans: TranslationBundle, request: IAnalyticsRequest): string {
  const name = operationName(trans, request.operation);
  const { columns, by, where } = request;
  let title = columns.length > 0 ? trans.__('%1 of %2', name, columns.join(', ')) : name;
  if (by) {
    title = trans.__('%1 by %2', title, by.column);
  }
  const conditions = where.map(({ column, comparison, value }) => `${column} ${comparison} ${value}`);
  return conditions.length > 0 ? trans.__('%1, where %2', title, conditions.join(trans.__(' and '))) : title;
}

function facts(trans: TranslationBundle, answer: IAnalyticsAnswer): Setting[] {
  const settings: Setting[] = [
    [trans.__('Nodes that answered'), answer.nodes.join(', ')],
    [
      trans.__('Computed by'),
      answer.via === 'he' ? trans.__('homomorphic encryption') : trans.__('secure sums')
    ],
    [trans.__('Privacy spent, ε'), answer.epsilon === null ? trans.__('none') : metric(answer.epsilon)]
  ];
  if (answer.error_bound !== null) {
    const within = answer.error_bound > 0 ? `± ${metric(answer.error_bound)}` : trans.__('yes');
    settings.push([
      trans.__('Exact'),
      answer.epsilon === null ? within : trans.__('%1, with a probability of 95 %', within)
    ]);
  }
  settings.push([trans.__('Time'), seconds(answer.seconds)]);
  return settings;
}
