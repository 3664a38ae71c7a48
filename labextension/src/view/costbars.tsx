/**
 * Costs day by day: what was billed as a stack, what is estimated beside it. Stacks differ in colour and in pattern; the
 * same figures stand in a table.
 */

import * as React from 'react';

import { money } from '../format';
import type { IDayBars } from '../model';
import { useTrans } from './hooks';

const WIDTH = 900;
const HEIGHT = 240;
const MARGIN = { left: 64, right: 8, top: 8, bottom: 28 };

/** A colour of the theme and a pattern for each part of a stack: never a colour alone. */
const FILLS: { variable: string; pattern: 'plain' | 'rising' | 'dots' | 'falling' | 'lines' | 'cross' }[] = [
  { variable: '--jp-brand-color1', pattern: 'plain' },
  { variable: '--jp-warn-color1', pattern: 'rising' },
  { variable: '--jp-success-color1', pattern: 'dots' },
  { variable: '--jp-error-color1', pattern: 'falling' },
  { variable: '--jp-info-color1', pattern: 'lines' },
  { variable: '--jp-ui-font-color2', pattern: 'cross' }
];

const STROKES: { [pattern: string]: JSX.Element | null } = {
  plain: null,
  rising: <path d="M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4" strokeWidth="2" />,
  falling: <path d="M-2,6 l4,4 M0,0 l8,8 M6,-2 l4,4" strokeWidth="2" />,
  dots: <path d="M2,2 h2 M6,6 h2" strokeWidth="2" />,
  lines: <path d="M0,2 h8 M0,6 h8" strokeWidth="1.5" />,
  cross: <path d="M0,4 h8 M4,0 v8" strokeWidth="1.5" />
};

/** Round figures up to at least `most`. */
function ticks(most: number): number[] {
  const step = 10 ** Math.floor(Math.log10(most / 4 || 1));
  const wide = [1, 2, 2.5, 5, 10].map(factor => factor * step).find(each => each * 4 >= most) ?? step * 10;
  return [0, 1, 2, 3, 4].map(place => place * wide);
}

export interface ICostBarsProps {
  bars: IDayBars;
  currency: string;
  /** What a key is called. */
  nameOf: (key: string | null) => string;
}

export function CostBars({ bars, currency, nameOf }: ICostBarsProps): JSX.Element {
  const trans = useTrans();
  const id = React.useId().replace(/:/g, '');
  const { days, keys, billed, estimated } = bars;
  const totals = days.map((_, place) => billed.reduce((total, values) => total + values[place], 0));
  const most = Math.max(...totals, ...(estimated ?? []), 0.01);
  const scale = ticks(most);
  const top = scale[scale.length - 1];
  const height = HEIGHT - MARGIN.top - MARGIN.bottom;
  const y = (value: number): number => MARGIN.top + height * (1 - value / top);
  const band = (WIDTH - MARGIN.left - MARGIN.right) / days.length;
  const wide = Math.min(28, (band * (estimated ? 0.8 : 0.7)) / (estimated ? 2 : 1));
  const every = Math.ceil(days.length / 10);
  const sum = (values: number[]): number => values.reduce((total, value) => total + value, 0);
  const words = [
    ...keys.map((key, place) => `${nameOf(key)} ${money(sum(billed[place]), currency)}`),
    ...(estimated ? [trans.__('estimated %1', money(sum(estimated), currency))] : [])
  ].join(', ');
  return (
    <>
      <svg
        className="flaas-CostBars"
        viewBox={`0 0 ${WIDTH} ${HEIGHT}`}
        role="img"
        aria-label={trans.__(
          'Bar chart of the costs by day, %1 to %2: %3',
          days[0] ?? '',
          days[days.length - 1] ?? '',
          words
        )}
      >
        <defs>
          {FILLS.map(({ variable, pattern }, place) => (
            <pattern
              key={variable}
              id={`${id}-${place}`}
              width="8"
              height="8"
              patternUnits="userSpaceOnUse"
              style={{ stroke: 'var(--jp-layout-color1)' }}
            >
              <rect
                width="8"
                height="8"
                style={{ fill: `var(${variable})`, stroke: 'none' }}
                className="flaas-CostBars-ink"
              />
              {STROKES[pattern]}
            </pattern>
          ))}
        </defs>
        {scale.map(value => (
          <g key={value}>
            <line
              x1={MARGIN.left}
              x2={WIDTH - MARGIN.right}
              y1={y(value)}
              y2={y(value)}
              className="flaas-CostBars-grid"
            />
            <text x={MARGIN.left - 8} y={y(value) + 4} textAnchor="end">
              {value.toLocaleString()}
            </text>
          </g>
        ))}
        {days.map((day, place) => {
          const middle = MARGIN.left + band * (place + 0.5);
          let below = 0;
          return (
            <g key={day}>
              {keys.map((key, index) => {
                const value = billed[index][place];
                const from = below;
                below += value;
                return value > 0 ? (
                  <rect
                    key={key ?? ''}
                    x={estimated ? middle - wide : middle - wide / 2}
                    y={y(below)}
                    width={wide}
                    height={y(from) - y(below)}
                    fill={`url(#${id}-${index % FILLS.length})`}
                    className="flaas-CostBars-part"
                  >
                    <title>{`${day}, ${nameOf(key)}: ${money(value, currency)}`}</title>
                  </rect>
                ) : null;
              })}
              {estimated && estimated[place] > 0 && (
                <rect
                  x={middle + 1}
                  y={y(estimated[place])}
                  width={wide - 1}
                  height={y(0) - y(estimated[place])}
                  className="flaas-CostBars-estimate"
                >
                  <title>{trans.__('%1, estimated: %2', day, money(estimated[place], currency))}</title>
                </rect>
              )}
              {place % every === 0 && (
                <text x={middle} y={HEIGHT - 8} textAnchor="middle">
                  {day.slice(5)}
                </text>
              )}
            </g>
          );
        })}
      </svg>
      <ul className="flaas-Legend" aria-hidden="true">
        {keys.map((key, place) => (
          <li key={key ?? ''}>
            <svg width="16" height="12">
              <rect
                width="16"
                height="12"
                fill={`url(#${id}-${place % FILLS.length})`}
                className="flaas-CostBars-part"
              />
            </svg>
            {nameOf(key)} <strong>{money(sum(billed[place]), currency)}</strong>
          </li>
        ))}
        {estimated && (
          <li>
            <svg width="16" height="12">
              <rect x="1" y="1" width="14" height="10" className="flaas-CostBars-estimate" />
            </svg>
            {trans.__('estimated')} <strong>{money(sum(estimated), currency)}</strong>
          </li>
        )}
      </ul>
    </>
  );
}

/** The same figures, a row for each day. */
export function CostDays({ bars, currency, nameOf }: ICostBarsProps): JSX.Element {
  const trans = useTrans();
  const { days, keys, billed, estimated } = bars;
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table" aria-label={trans.__('Costs by day, %1', currency)}>
        <thead>
          <tr>
            <th scope="col">{trans.__('Day')}</th>
            {keys.map(key => (
              <th key={key ?? ''} scope="col" className="flaas-mod-number">
                {nameOf(key)}
              </th>
            ))}
            {estimated && (
              <th scope="col" className="flaas-mod-number">
                {trans.__('Estimated')}
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {days.map((day, place) => (
            <tr key={day}>
              <th scope="row">{day}</th>
              {keys.map((key, index) => (
                <td key={key ?? ''} className="flaas-mod-number">
                  {money(billed[index][place], currency)}
                </td>
              ))}
              {estimated && <td className="flaas-mod-number">{money(estimated[place], currency)}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
