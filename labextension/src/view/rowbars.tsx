/** A bar for each of what has a name: categories, classes, columns. Names are on the left, figures at the bars' ends. */

import * as React from 'react';

import { exact } from '../format';
import { shortened, WithheldKey } from './axes';
import { useTrans } from './hooks';
import { type IPlace, Walkable } from './walkable';

/** Bars that are drawn; the table has all. */
export const MOST_BARS = 50;

const MOST_WIDTH = 720;
const ROW = 24;
const CHARACTER = 7;
const MOST_NAME = 22;
const STUB = 12;

export interface IBar {
  name: string;
  value: number | null;
  /** The figure as it is written and told; by default the value. */
  words?: string;
  withheld: boolean;
  reason: string;
}

export interface IRowBarsProps {
  title: string;
  bars: readonly IBar[];
  /** Where the axis ends; by default at the greatest value. */
  most?: number;
}

export function RowBars({ title, bars, most }: IRowBarsProps): JSX.Element {
  const trans = useTrans();
  const shown = bars.slice(0, MOST_BARS);
  const greatest = most ?? Math.max(0, ...shown.map(({ value }) => value ?? 0));
  const words = ({ value, words: given }: IBar): string => given ?? (value === null ? '–' : exact(value));
  const told = ({ down }: IPlace): string => {
    const bar = shown[down];
    const figure = bar.value === null && bar.withheld ? trans.__('withheld') : words(bar);
    return trans.__('%1: %2', bar.name, bar.reason ? `${figure} (${bar.reason})` : figure);
  };
  const draw = (room: number, marked: IPlace | null, mark: (place: IPlace) => void): JSX.Element => {
    const width = Math.min(MOST_WIDTH, room);
    const longest = Math.max(0, ...shown.map(({ name }) => Math.min(MOST_NAME, name.length)));
    const left = Math.min(width / 2, 12 + CHARACTER * longest);
    const figures = 12 + CHARACTER * Math.max(0, ...shown.map(bar => words(bar).length));
    const reach = Math.max(8, width - left - figures);
    const letters = Math.max(4, Math.floor((left - 12) / CHARACTER));
    return (
      <svg width={width} height={shown.length * ROW + 4} aria-hidden="true">
        <line x1={left} x2={left} y1={0} y2={shown.length * ROW + 4} className="flaas-Figure-tick" />
        {shown.map((bar, row) => {
          const long =
            bar.value === null ? STUB : Math.max(1, (reach * Math.max(0, bar.value)) / (greatest || 1));
          return (
            <g
              key={row}
              className={marked?.down === row ? 'flaas-mod-marked' : undefined}
              onClick={() => mark({ across: 0, down: row })}
            >
              <title>{told({ across: 0, down: row })}</title>
              <text x={left - 8} y={row * ROW + 17} textAnchor="end">
                {shortened(bar.name, letters)}
              </text>
              {(bar.value !== null || bar.withheld) && (
                <rect
                  x={left + 1}
                  y={row * ROW + 4}
                  width={long}
                  height={ROW - 7}
                  className={bar.value === null ? 'flaas-Figure-withheld' : 'flaas-Histogram-bin'}
                />
              )}
              {bar.value !== null && (
                <text x={left + long + 7} y={row * ROW + 17}>
                  {words(bar)}
                </text>
              )}
            </g>
          );
        })}
      </svg>
    );
  };
  return (
    <div className="flaas-Figure">
      <Walkable kind={trans.__('bar chart')} label={title} across={1} down={shown.length} told={told}>
        {draw}
      </Walkable>
      {(shown.some(({ value, withheld }) => value === null && withheld) || shown.length < bars.length) && (
        <ul className="flaas-Legend" aria-label={trans.__('Legend')}>
          {shown.some(({ value, withheld }) => value === null && withheld) && (
            <WithheldKey words={trans.__('withheld')} />
          )}
          {shown.length < bars.length && (
            <li>{trans.__('%1 of %2; the table has all of them', shown.length, bars.length)}</li>
          )}
        </ul>
      )}
    </div>
  );
}
