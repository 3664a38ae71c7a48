/**
 * Figures as bars or lines: by group, by bin, by quantile. Series differ in colour and in pattern or dash; what was
 * withheld is a hatched stub with no height. The arrow keys walk over the figures, which are told in words.
 */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { exact } from '../format';
import { useTrans } from './hooks';

const HEIGHT = 240;
const MOST_WIDTH = 720;
/** Before it is known how much room there is. */
const USUAL_WIDTH = 480;
const MARGIN = { right: 12, top: 12, bottom: 34 };
/** Pixels of a digit, and of a label below the axis. */
const DIGIT = 7;
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

/** Round figures from at most `least` to at least `most`, about five of them. */
export function ticks(least: number, most: number): number[] {
  const span = most - least || Math.abs(most) || 1;
  const power = 10 ** Math.floor(Math.log10(span / 4));
  const step = [1, 2, 2.5, 5, 10].map(factor => factor * power).find(each => each * 4 >= span) ?? power * 10;
  const [first, last] = [Math.floor(least / step), Math.ceil(Math.max(most, least + span) / step)];
  return Array.from({ length: last - first + 1 }, (_, place) =>
    Number(((first + place) * step).toPrecision(12))
  );
}

export function Figure({ kind, title, labels, at, series }: IFigureProps): JSX.Element {
  const trans = useTrans();
  const id = React.useId().replace(/:/g, '');
  const host = React.useRef<HTMLDivElement>(null);
  const [room, setRoom] = React.useState(USUAL_WIDTH);
  React.useEffect(() => {
    const element = host.current!;
    const follow = (): void => setRoom(element.clientWidth || USUAL_WIDTH);
    follow();
    const observer = new ResizeObserver(follow);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const [cursor, setCursor] = React.useState<{ label: number; series: number } | null>(null);
  const values = series.flatMap(each => each.values).filter((value): value is number => value !== null);
  const low = Math.min(0, ...values);
  const high = Math.max(...values, kind === 'bars' ? 0 : Number.NEGATIVE_INFINITY);
  const scale = ticks(kind === 'bars' ? low : Math.min(...values, high), Number.isFinite(high) ? high : 1);
  const [bottom, top] = [scale[0], scale[scale.length - 1]];
  const height = HEIGHT - MARGIN.top - MARGIN.bottom;
  const y = (value: number): number => MARGIN.top + height * (1 - (value - bottom) / (top - bottom || 1));
  const width = Math.min(MOST_WIDTH, room);
  const left = 12 + DIGIT * Math.max(...scale.map(value => value.toLocaleString().length));
  const band = (width - left - MARGIN.right) / Math.max(1, labels.length);
  const [from, to] = [at?.[0] ?? 0, at?.[at.length - 1] ?? 0];
  const x = (label: number): number =>
    at && to > from
      ? left + band / 2 + ((at[label] - from) / (to - from)) * (width - left - MARGIN.right - band)
      : left + band * (label + 0.5);
  const wide = Math.min(36, (band * 0.8) / series.length);
  const every = Math.ceil((labels.length * LABEL) / (width - left));
  const marked = cursor && cursor.label < labels.length && cursor.series < series.length ? cursor : null;
  const walk = (event: React.KeyboardEvent): void => {
    const next = walked(event.key, marked, labels.length, series.length);
    if (next) {
      event.preventDefault();
      setCursor(next);
    }
  };
  const told = (label: number, which: number): string => toldOf(trans, labels, series, label, which);
  const start = (label: number, which: number): number => x(label) + (which - series.length / 2) * wide;
  const hint = `${id}-hint`;
  return (
    <div className="flaas-Figure">
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- an application is what takes keys */}
      <div
        ref={host}
        role="application"
        className="flaas-Figure-plot"
        aria-roledescription={kind === 'bars' ? trans.__('bar chart') : trans.__('line chart')}
        aria-label={title}
        aria-describedby={hint}
        // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- as above
        tabIndex={0}
        onKeyDown={walk}
      >
        <svg width={width} height={HEIGHT} aria-hidden="true">
          <defs>
            {STYLES.map(({ variable, pattern }, place) => (
              <pattern
                key={variable}
                id={`${id}-${place}`}
                width="8"
                height="8"
                patternUnits="userSpaceOnUse"
              >
                <rect width="8" height="8" style={{ fill: `var(${variable})` }} />
                <g style={{ stroke: 'var(--jp-layout-color1)' }}>{pattern}</g>
              </pattern>
            ))}
          </defs>
          {scale.map(value => (
            <g key={value}>
              <line
                x1={left}
                x2={width - MARGIN.right}
                y1={y(value)}
                y2={y(value)}
                className="flaas-Figure-grid"
              />
              <text x={left - 8} y={y(value) + 4} textAnchor="end">
                {value.toLocaleString()}
              </text>
            </g>
          ))}
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
                  className={
                    marked?.label === place && marked.series === which ? 'flaas-mod-marked' : undefined
                  }
                  onClick={() => setCursor({ label: place, series: which })}
                >
                  <title>{told(place, which)}</title>
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
      </div>
      <p className="flaas-Heat-told" role="status">
        {marked ? (
          told(marked.label, marked.series)
        ) : (
          <span id={hint}>{trans.__('Walk over the figures with the arrow keys.')}</span>
        )}
      </p>
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
        {series.some(each => each.values.includes(null)) && (
          <li>
            <svg width="16" height="12" aria-hidden="true">
              <rect x="1" y="1" width="14" height="10" className="flaas-Figure-withheld" />
            </svg>
            {trans.__('withheld')}
          </li>
        )}
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

/** Where a key leads; the first key shows where one is. */
function walked(
  key: string,
  from: { label: number; series: number } | null,
  labels: number,
  series: number
): { label: number; series: number } | null {
  const { label, series: which } = from ?? { label: 0, series: 0 };
  const steps: { [key: string]: [number, number] } = {
    ArrowLeft: [label - 1, which],
    ArrowRight: [label + 1, which],
    ArrowUp: [label, which - 1],
    ArrowDown: [label, which + 1],
    Home: [0, which],
    End: [labels - 1, which]
  };
  const step = steps[key] as [number, number] | undefined;
  if (!step) {
    return null;
  }
  const [nextLabel, nextSeries] = from || key === 'Home' || key === 'End' ? step : [0, 0];
  return {
    label: Math.min(labels - 1, Math.max(0, nextLabel)),
    series: Math.min(series - 1, Math.max(0, nextSeries))
  };
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

function shortened(label: string): string {
  return label.length > 14 ? `${label.slice(0, 13)}…` : label;
}
