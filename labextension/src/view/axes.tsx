/** What charts with an axis of values have in common: round figures along it, lines, and what a withheld figure is. */

import * as React from 'react';

/** Pixels of a digit. */
const DIGIT = 7;

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

/** A figure along an axis, small ones included. */
export function tickText(value: number): string {
  const size = Math.abs(value);
  return size !== 0 && (size < 1e-3 || size >= 1e9)
    ? String(Number(value.toPrecision(6)))
    : value.toLocaleString(undefined, { maximumSignificantDigits: 6 });
}

/** Room that the figures of an axis on the left take. */
export function roomFor(scale: readonly number[]): number {
  return 12 + DIGIT * Math.max(...scale.map(value => tickText(value).length));
}

export interface IValueAxisProps {
  scale: readonly number[];
  y: (value: number) => number;
  left: number;
  right: number;
}

/** An axis of values on the left, with lines across. */
export function ValueAxis({ scale, y, left, right }: IValueAxisProps): JSX.Element {
  return (
    <>
      {scale.map(value => (
        <g key={value}>
          <line x1={left} x2={right} y1={y(value)} y2={y(value)} className="flaas-Figure-grid" />
          <text x={left - 8} y={y(value) + 4} textAnchor="end">
            {tickText(value)}
          </text>
        </g>
      ))}
    </>
  );
}

/** The item of a legend for what is withheld. */
export function WithheldKey({ words }: { words: string }): JSX.Element {
  return (
    <li>
      <svg width="16" height="12" aria-hidden="true">
        <rect x="1" y="1" width="14" height="10" className="flaas-Figure-withheld" />
      </svg>
      {words}
    </li>
  );
}

/** A label, cut to so many characters. */
export function shortened(label: string, most = 14): string {
  return label.length > most ? `${label.slice(0, most - 1)}…` : label;
}
