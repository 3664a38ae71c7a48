/**
 * Metrics round by round: losses on the left axis, scores on the right. The same figures stand in a table for who
 * cannot see a chart, or would rather read.
 */

import type { ISignal } from '@lumino/signaling';
import * as React from 'react';
import uPlot from 'uplot';

import { metric } from '../format';
import type { IRound } from '../tokens';
import { useTrans } from './hooks';
import { TableToggle } from './tabletoggle';

const HEIGHT = 260;
const MOST_POINTS = 100;
/** Rows of the table; the last ones are shown. */
const MOST_ROWS = 500;

/** Colours of the theme, and a dash for each: never a colour alone. */
const STROKES: { variable: string; dash: number[] }[] = [
  { variable: '--jp-brand-color1', dash: [] },
  { variable: '--jp-warn-color1', dash: [8, 4] },
  { variable: '--jp-success-color1', dash: [2, 4] },
  { variable: '--jp-error-color1', dash: [10, 4, 2, 4] },
  { variable: '--jp-info-color1', dash: [4, 2] },
  { variable: '--jp-error-color1', dash: [] },
  { variable: '--jp-success-color1', dash: [12, 3] },
  { variable: '--jp-brand-color1', dash: [2, 2] }
];

/** Whether it is a share, 0 to 1, rather than a loss: what belongs on the right axis. */
export function isScore(name: string): boolean {
  return (
    /(^|_)(acc|accuracy|auc|precision|recall|f\d|f\d_score|score|iou|dice|r2|r2_score|specificity|sensitivity)($|_)/.test(
      name
    ) || /(accuracy|auc|precision|recall|success_rate)$/.test(name)
  );
}

/** The metrics that occur, losses first. */
export function metricNames(rounds: readonly IMeasured[]): string[] {
  const names = [...new Set(rounds.flatMap(round => Object.keys(round.metrics)))];
  return [...names.filter(name => !isScore(name)), ...names.filter(isScore)];
}

/** A round's number and what was measured in it. */
export type IMeasured = Pick<IRound, 'number' | 'metrics'>;

export interface IChartProps {
  rounds: readonly IMeasured[];
  /** Rounds asked for: the length of the axis. */
  total: number;
  themeChanged: ISignal<unknown, unknown> | null;
}

export function MetricsChart(props: IChartProps): JSX.Element {
  const trans = useTrans();
  const [asTable, setAsTable] = React.useState(false);
  const names = metricNames(props.rounds);
  return (
    <section className="flaas-Chart" aria-label={trans.__('Metrics')}>
      <div className="flaas-Chart-head">
        <h3>{trans.__('Metrics')}</h3>
        <TableToggle asTable={asTable} show={setAsTable} />
      </div>
      {names.length === 0 ? (
        <p className="flaas-Empty">{trans.__('The first round is not done yet.')}</p>
      ) : asTable ? (
        <MetricsTable rounds={props.rounds} names={names} />
      ) : (
        <Plot {...props} names={names} />
      )}
    </section>
  );
}

function MetricsTable({ rounds, names }: { rounds: readonly IMeasured[]; names: string[] }): JSX.Element {
  const trans = useTrans();
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table" aria-label={trans.__('Metrics by round')}>
        <thead>
          <tr>
            <th scope="col" className="flaas-mod-number">
              {trans.__('Round')}
            </th>
            {names.map(name => (
              <th key={name} scope="col" className="flaas-mod-number">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rounds.slice(-MOST_ROWS).map(round => (
            <tr key={round.number}>
              <th scope="row" className="flaas-mod-number">
                {round.number}
              </th>
              {names.map(name => (
                <td key={name} className="flaas-mod-number">
                  {metric(round.metrics[name])}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Plot({ rounds, total, names, themeChanged }: IChartProps & { names: string[] }): JSX.Element {
  const trans = useTrans();
  const host = React.useRef<HTMLDivElement>(null);
  const plot = React.useRef<uPlot | null>(null);
  const [theme, redraw] = React.useReducer((turn: number) => turn + 1, 0);
  const data = React.useMemo(() => columns(rounds, names), [rounds, names]);
  const latest = React.useRef(data);
  latest.current = data;
  const key = names.join(' ');

  React.useEffect(() => {
    themeChanged?.connect(redraw);
    return () => {
      themeChanged?.disconnect(redraw);
    };
  }, [themeChanged]);

  React.useEffect(() => {
    const element = host.current!;
    const chart = new uPlot(options(element, key.split(' '), total, trans), latest.current, element);
    plot.current = chart;
    const observer = new ResizeObserver(() => {
      chart.setSize({ width: Math.max(200, element.clientWidth), height: HEIGHT });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      chart.destroy();
      plot.current = null;
    };
  }, [key, total, theme, trans]);

  React.useEffect(() => {
    plot.current?.setData(data);
  }, [data]);

  const last = rounds[rounds.length - 1];
  const figures = names.map(name => `${name} ${metric(last.metrics[name])}`).join(', ');
  return (
    <>
      <div
        ref={host}
        className="flaas-Chart-plot"
        role="img"
        aria-label={trans.__(
          'Line chart of %1 by round. Round %2: %3.',
          names.join(', '),
          last.number,
          figures
        )}
      />
      <ul className="flaas-Legend" aria-hidden="true">
        {names.map((name, index) => {
          const { variable, dash } = STROKES[index % STROKES.length];
          return (
            <li key={name}>
              <svg width="28" height="8">
                <line
                  x1="0"
                  x2="28"
                  y1="4"
                  y2="4"
                  strokeWidth="2"
                  strokeDasharray={dash.join(' ')}
                  style={{ stroke: `var(${variable})` }}
                />
              </svg>
              {name} <strong>{metric(last.metrics[name])}</strong>
              {isScore(name) ? ` (${trans.__('right')})` : ''}
            </li>
          );
        })}
      </ul>
    </>
  );
}

/** Rounds as uPlot's columns: round numbers, then each metric, null where a round has none. */
function columns(rounds: readonly IMeasured[], names: string[]): uPlot.AlignedData {
  const values = names.map(name =>
    rounds.map(round => (Number.isFinite(round.metrics[name]) ? round.metrics[name] : null))
  );
  return [rounds.map(round => round.number), ...values];
}

function options(
  element: HTMLElement,
  names: string[],
  total: number,
  trans: ReturnType<typeof useTrans>
): uPlot.Options {
  const style = getComputedStyle(element);
  const colour = (variable: string): string => style.getPropertyValue(variable).trim();
  const font = `12px ${colour('--jp-ui-font-family') || 'sans-serif'}`;
  const text = colour('--jp-ui-font-color1');
  const grid = { stroke: colour('--jp-border-color2'), width: 1 };
  const axis = { stroke: text, font, labelFont: font, grid, ticks: grid };
  const scales = new Set(names.map(name => (isScore(name) ? 'score' : 'loss')));
  return {
    width: Math.max(200, element.clientWidth),
    height: HEIGHT,
    legend: { show: false },
    cursor: { drag: { x: false, y: false } },
    scales: { x: { time: false, range: () => [1, Math.max(2, total)] } },
    axes: [
      {
        ...axis,
        label: trans.__('round'),
        size: 30,
        labelSize: 20,
        incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000]
      },
      ...(scales.has('loss') ? [{ ...axis, scale: 'loss', label: trans.__('loss'), size: 60 }] : []),
      ...(scales.has('score')
        ? [
            {
              ...axis,
              scale: 'score',
              label: trans.__('score'),
              size: 60,
              side: 1 as const,
              grid: { show: !scales.has('loss') }
            }
          ]
        : [])
    ],
    series: [
      {},
      ...names.map((name, index) => {
        const { variable, dash } = STROKES[index % STROKES.length];
        const stroke = colour(variable);
        return {
          label: name,
          scale: isScore(name) ? 'score' : 'loss',
          stroke,
          width: 2,
          dash,
          // Where there is no room for points a line says the same.
          points: { show: total <= MOST_POINTS, size: 6, stroke, fill: stroke }
        };
      })
    ]
  };
}
