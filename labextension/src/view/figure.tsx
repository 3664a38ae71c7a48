/**
 * Figures as bars or lines: by group, by bin, by quantile. Series differ in colour and in pattern or dash; what was
 * withheld is a hatched stub with no height. The arrow keys walk over the figures, which are told in words.
 */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { exact } from '../format';
import { roomFor, shortened, ticks, ValueAxis, WithheldKey } from './axes';
import { useTrans } from './hooks';
import { type IPlace, Walkable } from './walkable';

const HEIGHT = 240;
const MOST_WIDTH = 720;
const MARGIN = { right: 12, top: 12, bottom: 34 };
/** Pixels of a label below the axis. */
const LABEL = 72;

export interface IFigureProps {
  kind: 'bars' | 'line';
  /** What it shows, in words. */
  title: string;
  /** Along the axis. */
  labels: readonly string[];
  /** Where the labels stand on the axis, in order, for lines over a quantity; evenly by default. */
  at?: readonly number[];
  series: readonly { name: string; values: readonly (number | null)[] }[];
}

/** Colours of the theme, with the pattern of bars and the dash of lines: never a colour alone. */
const STYLES: { variable: string; pattern: JSX.Element | null; dash: string }[] = [
  { variable: '--jp-brand-color1', pattern: null, dash: '' },
  {
    variable: '--jp-warn-color1',
    pattern: <path d="M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4" strokeWidth="2" />,
    dash: '8 4'
  },
  { variable: '--jp-success-color1', pattern: <path d="M2,2 h2 M6,6 h2" strokeWidth="2" />, dash: '2 4' },
  {
    variable: '--jp-error-color1',
    pattern: <path d="M-2,6 l4,4 M0,0 l8,8 M6,-2 l4,4" strokeWidth="2" />,
    dash: '10 4 2 4'
  },
  { variable: '--jp-info-color1', pattern: <path d="M0,2 h8 M0,6 h8" strokeWidth="1.5" />, dash: '4 2' },
  { variable: '--jp-ui-font-color2', pattern: <path d="M0,4 h8 M4,0 v8" strokeWidth="1.5" />, dash: '12 3' }
];

/** Most series that can be told apart. */
export const MOST_SERIES = STYLES.length;

export function Figure({ kind, title, labels, at, series }: IFigureProps): JSX.Element {
  const trans = useTrans();
  const id = React.useId().replace(/:/g, '');
  const values = series.flatMap(each => each.values).filter((value): value is number => value !== null);
  const low = Math.min(0, ...values);
  const high = Math.max(...values, kind === 'bars' ? 0 : Number.NEGATIVE_INFINITY);
  const scale = ticks(kind === 'bars' ? low : Math.min(...values, high), Number.isFinite(high) ? high : 1);
  const [bottom, top] = [scale[0], scale[scale.length - 1]];
  const height = HEIGHT - MARGIN.top - MARGIN.bottom;
  const y = (value: number): number => MARGIN.top + height * (1 - (value - bottom) / (top - bottom || 1));
  const left = roomFor(scale);
  const [from, to] = [at?.[0] ?? 0, at?.[at.length - 1] ?? 0];
  const drawn = (room: number, marked: IPlace | null, mark: (place: IPlace) => void): JSX.Element => {
    const width = Math.min(MOST_WIDTH, room);
    const band = (width - left - MARGIN.right) / Math.max(1, labels.length);
    const x = (label: number): number =>
      at && to > from
        ? left + band / 2 + ((at[label] - from) / (to - from)) * (width - left - MARGIN.right - band)
        : left + band * (label + 0.5);
    const wide = Math.min(36, (band * 0.8) / series.length);
    const every = Math.ceil((labels.length * LABEL) / (width - left));
    const start = (label: number, which: number): number => x(label) + (which - series.length / 2) * wide;
    return (
      <svg width={width} height={HEIGHT} aria-hidden="true">
        <defs>
          {STYLES.map(({ variable, pattern }, place) => (
            <pattern key={variable} id={`${id}-${place}`} width="8" height="8" patternUnits="userSpaceOnUse">
              <rect width="8" height="8" style={{ fill: `var(${variable})` }} />
              <g style={{ stroke: 'var(--jp-layout-color1)' }}>{pattern}</g>
            </pattern>
          ))}
        </defs>
        <ValueAxis scale={scale} y={y} left={left} right={width - MARGIN.right} />
        {labels.map((label, place) =>
          place % every === 0 ? (
            <text key={place} x={x(place)} y={HEIGHT - 12} textAnchor="middle">
              {shortened(label)}
            </text>
          ) : null
        )}
        {series.map((each, which) => (
          <g key={each.name}>
            {kind === 'line' && (
              <path
                d={pathOf(each.values, x, y)}
                className="flaas-Figure-line"
                strokeDasharray={STYLES[which % MOST_SERIES].dash}
                style={{ stroke: `var(${STYLES[which % MOST_SERIES].variable})` }}
              />
            )}
            {each.values.map((value, place) => (
              <g
                key={place}
                className={marked?.across === place && marked.down === which ? 'flaas-mod-marked' : undefined}
                onClick={() => mark({ across: place, down: which })}
              >
                <title>{told({ across: place, down: which })}</title>
                {value === null ? (
                  <rect
                    x={kind === 'bars' ? start(place, which) : x(place) - 6}
                    y={y(Math.max(bottom, 0)) - 10}
                    width={kind === 'bars' ? wide : 12}
                    height={10}
                    className="flaas-Figure-withheld"
                  />
                ) : kind === 'bars' ? (
                  <rect
                    x={start(place, which)}
                    y={y(Math.max(0, value))}
                    width={wide}
                    height={Math.max(1, Math.abs(y(value) - y(0)))}
                    fill={`url(#${id}-${which % MOST_SERIES})`}
                    className="flaas-Figure-bar"
                  />
                ) : (
                  <circle
                    cx={x(place)}
                    cy={y(value)}
                    r="4"
                    className="flaas-Figure-bar"
                    style={{ fill: `var(${STYLES[which % MOST_SERIES].variable})` }}
                  />
                )}
              </g>
            ))}
          </g>
        ))}
      </svg>
    );
  };
  const told = ({ across, down }: IPlace): string => toldOf(trans, labels, series, across, down);
  return (
    <div className="flaas-Figure">
      <Walkable
        kind={kind === 'bars' ? trans.__('bar chart') : trans.__('line chart')}
        label={title}
        across={labels.length}
        down={series.length}
        told={told}
      >
        {drawn}
      </Walkable>
      <ul className="flaas-Legend" aria-label={trans.__('Legend')}>
        {series.map((each, which) => (
          <li key={each.name}>
            <svg width="16" height="12" aria-hidden="true">
              <rect
                width="16"
                height="12"
                fill={`url(#${id}-${which % MOST_SERIES})`}
                className="flaas-Figure-bar"
              />
            </svg>
            {each.name}
          </li>
        ))}
        {series.some(each => each.values.includes(null)) && <WithheldKey words={trans.__('withheld')} />}
      </ul>
    </div>
  );
}

function toldOf(
  trans: TranslationBundle,
  labels: readonly string[],
  series: IFigureProps['series'],
  label: number,
  which: number
): string {
  const value = series[which].values[label];
  return value === null
    ? trans.__('%1, %2: withheld', labels[label], series[which].name)
    : trans.__('%1, %2: %3', labels[label], series[which].name, exact(value));
}

/** A line through the values, broken where one is withheld. */
function pathOf(
  values: readonly (number | null)[],
  x: (place: number) => number,
  y: (value: number) => number
): string {
  let path = '';
  values.forEach((value, place) => {
    if (value !== null) {
      const joined = place > 0 && values[place - 1] !== null;
      path += `${joined ? 'L' : 'M'}${x(place)},${y(value)} `;
    }
  });
  return path;
}
