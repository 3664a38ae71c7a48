/**
 * How a column's values are distributed: bins where they stand on the axis. Where bins differ in width the height is
 * rows per unit, lest a wide bin looks like many rows; what is told is always rows.
 */

import * as React from 'react';

import { exact } from '../format';
import { type IScale, reasonAt } from '../model';
import type { IDistribution } from '../tokens';
import { roomFor, tickText, ticks, ValueAxis, WithheldKey } from './axes';
import { useTrans } from './hooks';
import { type IPlace, Walkable } from './walkable';

const HEIGHT = 260;
const MOST_WIDTH = 720;
const MARGIN = { right: 16, top: 26, bottom: 46 };
/** Pixels between the figures along the axis, at least. */
const APART = 64;
const STUB = 10;
/** By how much widths may differ, as a share, and still count as equal. */
const ALIKE = 1e-6;

/** What is drawn of a distribution. */
export type IBins = Pick<IDistribution, 'name' | 'edges' | 'counts' | 'suppressed' | 'reasons'>;

export interface IHistogramProps {
  distribution: IBins;
  scale: IScale;
  /** What it shows, in words. */
  title: string;
  unit: string | null;
}

export function Histogram({ distribution, scale, title, unit }: IHistogramProps): JSX.Element {
  const trans = useTrans();
  const { counts, suppressed, reasons, edges: given } = distribution;
  const { edges, open } = scale;
  const widths = counts.map((_, bin) => edges[bin + 1] - edges[bin]);
  const uneven = Math.max(...widths) - Math.min(...widths) > ALIKE * Math.max(...widths);
  const heights = counts.map((count, bin) => (count === null ? null : uneven ? count / widths[bin] : count));
  const marks = ticks(0, Math.max(0, ...heights.map(height => height ?? 0)));
  const top = marks[marks.length - 1];
  const y = (value: number): number =>
    MARGIN.top + (HEIGHT - MARGIN.top - MARGIN.bottom) * (1 - Math.max(0, value) / (top || 1));
  const [low, high] = [edges[0], edges[edges.length - 1]];
  const isOpen = (bin: number): boolean => (open[0] && bin === 0) || (open[1] && bin === counts.length - 1);
  const name = (bin: number): string => binName(trans, given[bin] ?? null, given[bin + 1] ?? null);
  const told = ({ across }: IPlace): string => {
    const count = counts[across];
    const reason = reasonAt(reasons, across);
    const words =
      count === null
        ? suppressed[across]
          ? trans.__('%1: withheld', name(across))
          : trans.__('%1: no figure', name(across))
        : trans._n('%2: %1 row', '%2: %1 rows', count, name(across));
    return reason ? `${words} (${reason})` : words;
  };
  const draw = (room: number, marked: IPlace | null, mark: (place: IPlace) => void): JSX.Element => {
    const width = Math.min(MOST_WIDTH, room);
    const left = roomFor(marks);
    const right = width - MARGIN.right;
    const x = (value: number): number => left + ((value - low) / (high - low)) * (right - left);
    // An open bin's outer edge is none: nothing is written there.
    const [first, last] = [open[0] ? 1 : 0, edges.length - (open[1] ? 2 : 1)];
    const labels = along(edges.slice(first, last + 1), x);
    return (
      <svg width={width} height={HEIGHT} aria-hidden="true">
        <text x={left - 8} y={12} textAnchor="start">
          {uneven ? trans.__('rows per unit') : trans.__('rows')}
        </text>
        <ValueAxis scale={marks} y={y} left={left} right={right} />
        {counts.map((count, bin) => (
          <g
            key={bin}
            className={marked?.across === bin ? 'flaas-mod-marked' : undefined}
            onClick={() => mark({ across: bin, down: 0 })}
          >
            <title>{told({ across: bin, down: 0 })}</title>
            <rect
              x={x(edges[bin]) + 0.5}
              width={Math.max(1, x(edges[bin + 1]) - x(edges[bin]) - 1)}
              y={count === null ? y(0) - STUB : y(heights[bin] ?? 0)}
              height={count === null ? STUB : Math.max(1, y(0) - y(heights[bin] ?? 0))}
              className={
                count === null
                  ? 'flaas-Figure-withheld'
                  : `flaas-Histogram-bin${isOpen(bin) ? ' flaas-mod-open' : ''}`
              }
            />
          </g>
        ))}
        {labels.map(edge => (
          <g key={edge}>
            <line x1={x(edge)} x2={x(edge)} y1={y(0)} y2={y(0) + 4} className="flaas-Figure-tick" />
            <text x={x(edge)} y={y(0) + 18} textAnchor="middle">
              {tickText(Number(edge.toPrecision(4)))}
            </text>
          </g>
        ))}
        <text x={(left + right) / 2} y={HEIGHT - 8} textAnchor="middle">
          {unit ? trans.__('%1, in %2', distribution.name, unit) : distribution.name}
        </text>
      </svg>
    );
  };
  return (
    <div className="flaas-Figure">
      <Walkable kind={trans.__('histogram')} label={title} across={counts.length} down={1} told={told}>
        {draw}
      </Walkable>
      {counts.includes(null) && (
        <ul className="flaas-Legend" aria-label={trans.__('Legend')}>
          <WithheldKey words={trans.__('withheld')} />
        </ul>
      )}
    </div>
  );
}

/** A bin in words, by the limits that it has. */
export function binName(trans: ReturnType<typeof useTrans>, from: number | null, to: number | null): string {
  return from === null && to === null
    ? trans.__('all values')
    : from === null
      ? trans.__('below %1', exact(to ?? 0))
      : to === null
        ? trans.__('%1 and more', exact(from))
        : trans.__('%1 to %2', exact(from), exact(to));
}

/** Those of the edges that can be written beside each other. */
function along(edges: readonly number[], x: (value: number) => number): number[] {
  const written: number[] = [];
  for (const edge of edges) {
    if (written.length === 0 || x(edge) - x(written[written.length - 1]) >= APART) {
      written.push(edge);
    }
  }
  return written;
}
