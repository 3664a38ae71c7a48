/**
 * What each client had in each round, as a heat map: rounds from left to right, clients from top to bottom. It is
 * painted on a canvas, so that thousands of clients over hundreds of rounds stay fluid; it can be walked with the arrow
 * keys, which a line under it, and a screen reader, follow; and one round of it stands in a table.
 */

import type { TranslationBundle } from '@jupyterlab/translation';
import { HTMLSelect } from '@jupyterlab/ui-components';
import type { ISignal } from '@lumino/signaling';
import * as React from 'react';

import { count, exact, metric } from '../format';
import { ordered, type Order, type Quantities } from '../model';
import { colourOf, css, type IPalette, palette, type Rgb, themeColour } from './colours';
import { type IShape, type ISummary, labelStep, means, summarised, together } from './grid';
import { useTrans } from './hooks';
import { RoundTable } from './roundtable';
import { TableToggle } from './tabletoggle';

/** Pixels. */
const LEFT = 108;
const GUTTER = 10;
const BOTTOM = 34;
const MOST_HEIGHT = 440;
const MOST_ROW = 20;
const MOST_COLUMN = 56;
/** Cells of this size are set apart by a line. */
const SPACED = 6;
/** As many columns at least, lest the first round fills the map. */
const LEAST_COLUMNS = 10;

/** A client in a round: index of the round, rank of the client in the order. */
interface ICell {
  round: number;
  rank: number;
}

export interface IHeatMapProps {
  quantities: Quantities;
  /** Changes when rounds were added to the quantities. */
  version: number;
  themeChanged: ISignal<unknown, unknown> | null;
}

export function HeatMap({ quantities, version, themeChanged }: IHeatMapProps): JSX.Element {
  const trans = useTrans();
  const { names } = quantities;
  const [wanted, setWanted] = React.useState<string | null>(null);
  const [order, setOrder] = React.useState<Order>('attackers');
  const [asTable, setAsTable] = React.useState(false);
  const [cursor, setCursor] = React.useState<ICell | null>(null);
  const quantity = wanted !== null && names.includes(wanted) ? wanted : (names[0] ?? '');
  const ranks = React.useMemo(
    () => ordered(quantities, order, quantity),
    // eslint-disable-next-line react-hooks/exhaustive-deps -- quantities grow in place; `version` tells
    [quantities, order, quantity, order === 'mean' ? version : 0]
  );
  const orders: { value: Order; label: string }[] = [
    { value: 'attackers', label: trans.__('attackers first') },
    { value: 'name', label: trans.__('by name') },
    { value: 'mean', label: trans.__('by mean, greatest first') }
  ];
  const last = quantities.rounds.length - 1;
  return (
    <section className="flaas-Heat" aria-label={trans.__('Clients by round')}>
      <div className="flaas-Chart-head">
        <h3>{trans.__('Clients by round')}</h3>
        {last >= 0 && (
          <div className="flaas-Heat-controls">
            <label>
              {trans.__('Quantity')}
              <HTMLSelect
                value={quantity}
                onChange={event => setWanted(event.target.value)}
                options={names.map(name => ({ label: name, value: name }))}
              />
            </label>
            <label>
              {trans.__('Clients')}
              <HTMLSelect
                value={order}
                onChange={event => setOrder(event.target.value as Order)}
                options={orders}
              />
            </label>
            <TableToggle asTable={asTable} show={setAsTable} />
          </div>
        )}
      </div>
      {last < 0 ? (
        <p className="flaas-Empty">{trans.__('The first round is not done yet.')}</p>
      ) : asTable ? (
        <RoundTable
          quantities={quantities}
          order={ranks}
          round={Math.min(cursor?.round ?? last, last)}
          choose={round => setCursor({ round, rank: cursor?.rank ?? 0 })}
        />
      ) : (
        <Cells
          {...{ quantities, version, themeChanged, quantity, cursor, setCursor }}
          order={ranks}
          words={wordsFor(trans, quantities, quantity, ranks)}
        />
      )}
    </section>
  );
}

/** What cells say, in words. */
interface IWords {
  /** One client in one round. */
  single: (cell: ICell) => string;
  /** A painted cell of several. */
  several: (summary: ISummary) => string;
}

function wordsFor(
  trans: TranslationBundle,
  quantities: Quantities,
  quantity: string,
  order: Int32Array
): IWords {
  const number = (index: number): number => quantities.rounds[index]?.number ?? index + 1;
  return {
    single: ({ round, rank }) => {
      const client = quantities.clients[order[rank]];
      const who = client.attacker ? trans.__('%1 (attacker)', client.name) : client.name;
      const value = quantities.value(quantity, round, order[rank]);
      return value === null
        ? trans.__('Round %1, %2: not in this round', number(round), who)
        : trans.__('Round %1, %2: %3 %4', number(round), who, quantity, exact(value));
    },
    several: ({ clients, rounds, attackers, values, mean, least, greatest }) => {
      const many = clients.to - clients.from;
      const who =
        many === 1
          ? quantities.clients[order[clients.from]].name
          : trans.__('%1 clients, of them %2 attackers', count(many), count(attackers));
      const when =
        rounds.to - rounds.from === 1
          ? trans.__('Round %1', number(rounds.from))
          : trans.__('Rounds %1 to %2', number(rounds.from), number(rounds.to - 1));
      return values === 0
        ? trans.__('%1, %2: no value', when, who)
        : trans.__(
            '%1, %2: %3 %4 on average, from %5 to %6',
            when,
            who,
            quantity,
            exact(mean),
            exact(least),
            exact(greatest)
          );
    }
  };
}

interface ICellsProps extends IHeatMapProps {
  quantity: string;
  order: Int32Array;
  words: IWords;
  cursor: ICell | null;
  setCursor: (cell: ICell | null) => void;
}

function Cells(props: ICellsProps): JSX.Element {
  const { quantities, version, themeChanged, quantity, order, words, cursor, setCursor } = props;
  const trans = useTrans();
  const host = React.useRef<HTMLDivElement>(null);
  const canvas = React.useRef<HTMLCanvasElement>(null);
  const [width, setWidth] = React.useState(0);
  const [hover, setHover] = React.useState<ICell | null>(null);
  const [theme, setTheme] = React.useState<ITheme | null>(null);
  const hint = React.useId();

  React.useEffect(() => {
    const element = host.current!;
    const follow = (): void => setWidth(element.clientWidth);
    const read = (): void => setTheme(themeOf(element));
    follow();
    read();
    const observer = new ResizeObserver(follow);
    observer.observe(element);
    themeChanged?.connect(read);
    return () => {
      observer.disconnect();
      themeChanged?.disconnect(read);
    };
  }, [themeChanged]);

  const done = quantities.rounds.length;
  const layout = React.useMemo(() => layoutFor(width, done, order.length), [width, done, order.length]);
  const extent = quantities.extent(quantity) ?? { least: 0, greatest: 1 };
  const { least, greatest } = extent;
  const colours = React.useMemo(
    () => (theme ? palette(theme, least, greatest) : null),
    [theme, least, greatest]
  );

  React.useEffect(() => {
    const frame = requestAnimationFrame(() => {
      const context = canvas.current?.getContext('2d');
      if (context && colours && theme) {
        const values = means(quantities, quantity, order, layout.shape);
        paint(context, { layout, values, colours, theme, quantities, order, axis: trans.__('round') });
      }
    });
    return () => cancelAnimationFrame(frame);
  }, [quantities, version, quantity, order, layout, colours, theme, trans]);

  const cellAt = (event: React.MouseEvent): ICell | null => {
    const box = canvas.current!.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left - LEFT, event.clientY - box.top];
    const round = Math.floor((x / layout.width) * layout.shape.rounds);
    const rank = Math.floor((y / layout.height) * order.length);
    return x >= 0 && round < done && y >= 0 && rank < order.length ? { round, rank } : null;
  };
  const told = ({ round, rank }: ICell): string => {
    const summary = summarised(quantities, quantity, order, layout.shape, round, rank);
    const one = (range: { from: number; to: number }): boolean => range.to - range.from === 1;
    return one(summary.clients) && one(summary.rounds)
      ? words.single({ round, rank })
      : words.several(summary);
  };
  const walk = (event: React.KeyboardEvent): void => {
    const next = walked(event.key, cursor ?? { round: done - 1, rank: 0 }, cursor === null);
    if (next === null) {
      return;
    }
    event.preventDefault();
    setCursor({
      round: Math.min(done - 1, Math.max(0, next.round)),
      rank: Math.min(order.length - 1, Math.max(0, next.rank))
    });
  };
  const attackers = quantities.clients.filter(client => client.attacker).length;
  const marked = cursor && cursor.round < done && cursor.rank < order.length ? cursor : null;
  return (
    <>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- an application is what takes keys */}
      <div
        ref={host}
        className="flaas-Heat-map"
        role="application"
        aria-roledescription={trans.__('heat map')}
        aria-label={trans.__(
          'Heat map of %1: %2 clients, of them %3 attackers, in %4 rounds; from %5 to %6.',
          quantity,
          count(order.length),
          count(attackers),
          count(done),
          exact(least),
          exact(greatest)
        )}
        aria-describedby={hint}
        // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- as above
        tabIndex={0}
        onKeyDown={walk}
      >
        <canvas
          ref={canvas}
          aria-hidden="true"
          width={Math.round((LEFT + layout.width + 8) * layout.ratio)}
          height={Math.round((layout.height + BOTTOM) * layout.ratio)}
          style={{ width: LEFT + layout.width + 8, height: layout.height + BOTTOM }}
          onMouseMove={event => setHover(cellAt(event))}
          onMouseLeave={() => setHover(null)}
          onClick={event => setCursor(cellAt(event))}
        />
        {marked && <div className="flaas-Heat-cursor" style={boxOf(layout, marked)} />}
        {hover && (
          <div className="flaas-Heat-tip" style={tipPlace(layout, hover)}>
            {told(hover)}
          </div>
        )}
      </div>
      <p className="flaas-Heat-told" role="status">
        {marked ? (
          words.single(marked)
        ) : (
          <span id={hint}>{trans.__('Point at a cell for its value, or walk with the arrow keys.')}</span>
        )}
      </p>
      {colours && <Legend colours={colours} attackers={attackers} />}
    </>
  );
}

function Legend({ colours, attackers }: { colours: IPalette; attackers: number }): JSX.Element {
  const trans = useTrans();
  const stops = colours.colours.filter((_, step) => step % 15 === 0).map(css);
  return (
    <ul className="flaas-Legend" aria-label={trans.__('Legend')}>
      <li>
        {metric(colours.least)}
        <span
          className="flaas-Heat-scale"
          style={{ background: `linear-gradient(to right, ${stops.join(', ')})` }}
        />
        {metric(colours.greatest)}
      </li>
      <li>
        <span className="flaas-Heat-swatch" />
        {trans.__('not in the round')}
      </li>
      {attackers > 0 && (
        <li>
          <span className="flaas-Heat-attacker" />▲ {trans._n('%1 attacker', '%1 attackers', attackers)}
        </li>
      )}
    </ul>
  );
}

/** Where a key leads from a cell; the first key shows where one is. */
function walked(key: string, { round, rank }: ICell, first: boolean): ICell | null {
  const steps: { [key: string]: ICell } = {
    ArrowLeft: { round: round - 1, rank },
    ArrowRight: { round: round + 1, rank },
    ArrowUp: { round, rank: rank - 1 },
    ArrowDown: { round, rank: rank + 1 },
    PageUp: { round, rank: rank - 10 },
    PageDown: { round, rank: rank + 10 },
    Home: { round: 0, rank },
    End: { round: Infinity, rank }
  };
  return key in steps ? (first ? { round, rank } : steps[key]) : null;
}

interface ILayout {
  width: number;
  height: number;
  /** Device pixels a pixel. */
  ratio: number;
  shape: IShape;
}

function layoutFor(available: number, done: number, clients: number): ILayout {
  const ratio = window.devicePixelRatio || 1;
  const rounds = Math.max(done, LEAST_COLUMNS);
  const width = Math.max(160, Math.min(available - LEFT - 8, rounds * MOST_COLUMN));
  const height = Math.max(MOST_ROW, Math.min(MOST_HEIGHT, clients * MOST_ROW));
  const across = Math.min(rounds, Math.floor(width * ratio));
  const down = Math.min(clients, Math.floor(height * ratio));
  return { width, height, ratio, shape: { rounds, clients, across, down } };
}

/** The painted cell that a cell is in, in pixels. */
function boxOf(layout: ILayout, { round, rank }: ICell): React.CSSProperties {
  const { rounds, clients, across, down } = layout.shape;
  const columns = together(round, rounds, across);
  const rows = together(rank, clients, down);
  const [x, y] = [layout.width / rounds, layout.height / clients];
  return {
    left: LEFT + columns.from * x,
    top: rows.from * y,
    width: Math.max(4, (columns.to - columns.from) * x),
    height: Math.max(4, (rows.to - rows.from) * y)
  };
}

/** Beside the cell, on the side where there is room. */
function tipPlace(layout: ILayout, cell: ICell): React.CSSProperties {
  const { left, top, width, height } = boxOf(layout, cell) as { [side: string]: number };
  const below = top < layout.height / 2;
  return {
    ...(left < LEFT + layout.width / 2
      ? { left: left + width + 6 }
      : { right: `calc(100% - ${left - 6}px)` }),
    ...(below ? { top: top + height + 6 } : { bottom: `calc(100% - ${top - 6}px)` })
  };
}

interface ITheme {
  background: Rgb;
  ink: Rgb;
  above: Rgb;
  below: Rgb;
  attacker: Rgb;
  line: Rgb;
  font: string;
}

function themeOf(element: HTMLElement): ITheme {
  return {
    background: themeColour(element, '--jp-layout-color1'),
    ink: themeColour(element, '--jp-ui-font-color0'),
    above: themeColour(element, '--jp-brand-color1'),
    below: themeColour(element, '--jp-warn-color1'),
    attacker: themeColour(element, '--jp-error-color1'),
    line: themeColour(element, '--jp-border-color1'),
    font: getComputedStyle(element).getPropertyValue('--jp-ui-font-family').trim() || 'sans-serif'
  };
}

interface IPicture {
  layout: ILayout;
  values: Float64Array;
  colours: IPalette;
  theme: ITheme;
  quantities: Quantities;
  order: Int32Array;
  /** What stands below the axis. */
  axis: string;
}

function paint(context: CanvasRenderingContext2D, picture: IPicture): void {
  const { layout, theme } = picture;
  context.setTransform(layout.ratio, 0, 0, layout.ratio, 0, 0);
  context.clearRect(0, 0, LEFT + layout.width + 8, layout.height + BOTTOM);
  context.font = `11px ${theme.font}`;
  paintCells(context, picture);
  paintClients(context, picture);
  paintRounds(context, picture);
}

function paintCells(context: CanvasRenderingContext2D, picture: IPicture): void {
  const { layout, values, colours, theme } = picture;
  const { across, down } = layout.shape;
  // One pixel a cell, then stretched: as fast for a million cells as for a hundred.
  const cells = document.createElement('canvas');
  cells.width = across;
  cells.height = down;
  const inner = cells.getContext('2d')!;
  const image = inner.createImageData(across, down);
  values.forEach((value, cell) => {
    if (!Number.isNaN(value)) {
      image.data.set(colourOf(colours, value), 4 * cell);
      image.data[4 * cell + 3] = 255;
    }
  });
  inner.putImageData(image, 0, 0);
  context.imageSmoothingEnabled = false;
  context.drawImage(cells, LEFT, 0, layout.width, layout.height);
  context.strokeStyle = css(theme.background);
  context.lineWidth = 1;
  context.beginPath();
  for (let column = 1; column < across && layout.width / across >= SPACED; column++) {
    context.moveTo(LEFT + (column * layout.width) / across, 0);
    context.lineTo(LEFT + (column * layout.width) / across, layout.height);
  }
  for (let row = 1; row < down && layout.height / down >= SPACED; row++) {
    context.moveTo(LEFT, (row * layout.height) / down);
    context.lineTo(LEFT + layout.width, (row * layout.height) / down);
  }
  context.stroke();
  context.strokeStyle = css(theme.line);
  context.strokeRect(LEFT - 0.5, 0.5, layout.width + 1, layout.height - 1);
}

/** Names on the left, and a hatched bar at attackers. */
function paintClients(context: CanvasRenderingContext2D, picture: IPicture): void {
  const { layout, theme, quantities, order } = picture;
  const size = layout.height / order.length;
  const left = LEFT - GUTTER - 2;
  context.save();
  context.beginPath();
  order.forEach((client, rank) => {
    if (quantities.clients[client].attacker) {
      context.rect(left, rank * size, GUTTER, Math.max(size, 1));
    }
  });
  context.fillStyle = css(theme.attacker);
  context.fill();
  context.clip();
  context.strokeStyle = css(theme.background);
  context.lineWidth = 1.5;
  context.beginPath();
  for (let y = -GUTTER; y < layout.height; y += 6) {
    context.moveTo(left, y + GUTTER);
    context.lineTo(left + GUTTER, y);
  }
  context.stroke();
  context.restore();
  context.fillStyle = css(theme.ink);
  context.textAlign = 'right';
  context.textBaseline = 'middle';
  const step = labelStep(size, 13);
  // The first name that is not cut at the top, then one at each step.
  for (let rank = Math.min(Math.ceil(5 / size), order.length - 1); rank < order.length; rank += step) {
    const { attacker, name } = quantities.clients[order[rank]];
    const label = fitted(context, attacker ? `▲ ${name}` : name, left - 6);
    context.fillText(label, left - 4, (rank + 0.5) * size);
  }
}

function paintRounds(context: CanvasRenderingContext2D, picture: IPicture): void {
  const { layout, theme, quantities, axis } = picture;
  const size = layout.width / layout.shape.rounds;
  context.fillStyle = context.strokeStyle = css(theme.ink);
  context.textAlign = 'center';
  context.textBaseline = 'top';
  const step = labelStep(size, 40);
  quantities.rounds.forEach(({ number }, index) => {
    if (index === 0 || (number % step === 0 && index * size > 24)) {
      context.fillText(String(number), LEFT + (index + 0.5) * size, layout.height + 5);
    }
  });
  context.fillText(axis, LEFT + layout.width / 2, layout.height + 20);
}

/** As much of a text as fits. */
function fitted(context: CanvasRenderingContext2D, text: string, width: number): string {
  if (context.measureText(text).width <= width) {
    return text;
  }
  let length = text.length - 1;
  while (length > 1 && context.measureText(`${text.slice(0, length)}…`).width > width) {
    length -= 1;
  }
  return `${text.slice(0, length)}…`;
}
