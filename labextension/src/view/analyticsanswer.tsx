/** What was released: chart and table, what was withheld and why, who answered. */

import { Button } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { exact, metric, seconds } from '../format';
import type { IAnalyticsAnswer, IAnalyticsRequest } from '../tokens';
import { operationName } from './analyticsfields';
import { Figure, MOST_SERIES } from './figure';
import { useTrans } from './hooks';
import { Settings, type Setting } from './settings';

export interface IAnswerProps {
  request: IAnalyticsRequest;
  answer: IAnalyticsAnswer;
}

export function AnalyticsAnswer({ request, answer }: IAnswerProps): JSX.Element {
  const trans = useTrans();
  const [asTable, setAsTable] = React.useState(false);
  const series = React.useMemo(() => seriesOf(answer), [answer]);
  const title = titleOf(trans, request);
  const withheld = answer.rows.flatMap(row => row.hidden).filter(Boolean).length;
  const drawn = answer.chart !== null && series.length > 0 && answer.rows.length > 0;
  return (
    <section className="flaas-Answer" aria-label={trans.__('Result')}>
      <div className="flaas-Chart-head">
        <h4>{title}</h4>
        {drawn && (
          <Button small className="flaas-Button" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
            {trans.__('Show as table')}
          </Button>
        )}
      </div>
      {drawn && !asTable ? (
        <Figure
          kind={answer.chart ?? 'bars'}
          title={trans.__('Chart of %1', title)}
          labels={answer.rows.map(({ key }) => key.join(answer.index[0] === 'from' ? ' – ' : ', '))}
          at={answer.chart === 'line' ? placesOf(answer) : undefined}
          series={series}
        />
      ) : (
        <AnswerTable answer={answer} title={title} />
      )}
      {(withheld > 0 || answer.reasons.length > 0) && (
        <div className="flaas-Withheld">
          <strong>
            {withheld > 0
              ? trans._n('%1 figure is withheld', '%1 figures are withheld', withheld)
              : trans.__('Some figures are told together')}
          </strong>
          <ul>
            {answer.reasons.map(reason => (
              <li key={reason}>{reason}</li>
            ))}
          </ul>
        </div>
      )}
      <Settings settings={facts(trans, answer)} />
    </section>
  );
}

function AnswerTable({ answer, title }: { answer: IAnalyticsAnswer; title: string }): JSX.Element {
  const trans = useTrans();
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table" aria-label={title}>
        <thead>
          <tr>
            {answer.index.map(name => (
              <th key={`index ${name}`} scope="col">
                {name}
              </th>
            ))}
            {answer.columns.map(name => (
              <th key={name} scope="col" className="flaas-mod-number">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {answer.rows.map(row => (
            <tr key={row.key.join(' ')}>
              {row.key.map((part, place) => (
                <th key={place} scope="row">
                  {part}
                </th>
              ))}
              {row.values.map((value, place) => (
                <td key={place} className="flaas-mod-number">
                  {value !== null ? exact(value) : row.hidden[place] ? trans.__('withheld') : '–'}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** The columns of numbers, as many as can be told apart. */
function seriesOf({ columns, rows }: IAnalyticsAnswer): { name: string; values: (number | null)[] }[] {
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
