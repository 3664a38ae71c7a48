/**
 * A chart that the arrow keys walk over: one stop for Tab, and a line under it tells the figure that one is at. What is
 * drawn is the children's, in as much room as there is.
 */

import * as React from 'react';

import { useTrans } from './hooks';

/** Before it is known how much room there is. */
export const USUAL_WIDTH = 480;

/** A figure of a chart: from the left, and from the top. */
export interface IPlace {
  across: number;
  down: number;
}

export interface IWalkableProps {
  /** What kind of chart it is, in words. */
  kind: string;
  /** What it shows, in words. */
  label: string;
  /** Figures from left to right, and from top to bottom. */
  across: number;
  down: number;
  /** A figure in words. */
  told: (place: IPlace) => string;
  /**
   * What a figure is of. Where data change by themselves the mark then stays with it, or goes when it has gone, and only
   * what one walks or points to is announced.
   */
  keyOf?: (place: IPlace) => string;
  /** Draws, in `room` pixels. */
  children: (room: number, marked: IPlace | null, mark: (place: IPlace) => void) => React.ReactNode;
}

/** Where one walked or pointed to, and what was said of it then. */
interface IMark {
  place: IPlace;
  key?: string;
  said: string;
}

export function Walkable(props: IWalkableProps): JSX.Element {
  const { kind, label, across, down, told, keyOf, children } = props;
  const trans = useTrans();
  const hint = React.useId();
  const host = React.useRef<HTMLDivElement>(null);
  const [room, setRoom] = React.useState(USUAL_WIDTH);
  const [mark, setMark] = React.useState<IMark | null>(null);
  React.useEffect(() => {
    const element = host.current!;
    const follow = (): void => setRoom(element.clientWidth || USUAL_WIDTH);
    follow();
    const observer = new ResizeObserver(follow);
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  React.useEffect(() => {
    // What is wider than there is room scrolls after the keyboard.
    host.current
      ?.querySelector('.flaas-mod-marked')
      ?.scrollIntoView?.({ block: 'nearest', inline: 'nearest' });
  }, [mark]);
  const marked = mark && placeOf(mark, across, down, keyOf);
  const gone = keyOf !== undefined && mark !== null && marked === null;
  React.useEffect(() => {
    if (gone) {
      setMark(null); // what comes back is not marked again by itself
    }
  }, [gone]);
  const go = (place: IPlace): void => setMark({ place, key: keyOf?.(place), said: told(place) });
  const walk = (event: React.KeyboardEvent): void => {
    const next = across > 0 && down > 0 ? walked(event.key, marked, across, down) : null;
    if (next) {
      event.preventDefault();
      go(next);
    }
  };
  const how = trans.__('Walk over the figures with the arrow keys.');
  return (
    <>
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-element-interactions -- an application is what takes keys */}
      <div
        ref={host}
        role="application"
        className="flaas-Figure-plot"
        aria-roledescription={kind}
        aria-label={label}
        aria-describedby={hint}
        // eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex -- as above
        tabIndex={0}
        onKeyDown={walk}
      >
        {children(room, marked, go)}
      </div>
      {/* Describes the chart also while the line below has something else to tell. */}
      <span id={hint} hidden>
        {how}
      </span>
      <p className="flaas-Heat-told" role={keyOf ? undefined : 'status'}>
        {marked ? told(marked) : how}
      </p>
      {keyOf && (
        <p className="flaas-Hidden" role="status">
          {mark?.said}
        </p>
      )}
    </>
  );
}

/** Where a mark is now; null if what it was on is no longer there. */
function placeOf(
  { place, key }: IMark,
  across: number,
  down: number,
  keyOf: IWalkableProps['keyOf']
): IPlace | null {
  if (!keyOf) {
    return place.across < across && place.down < down ? place : null;
  }
  for (let row = 0; row < down; row++) {
    for (let column = 0; column < across; column++) {
      const candidate = { across: column, down: row };
      if (keyOf(candidate) === key) {
        return candidate;
      }
    }
  }
  return null;
}

/** Where a key leads; the first key shows where one is. */
function walked(key: string, from: IPlace | null, across: number, down: number): IPlace | null {
  const { across: x, down: y } = from ?? { across: 0, down: 0 };
  // A chart of one column is as long downwards as others are to the right.
  const [first, last]: [IPlace, IPlace] =
    across === 1
      ? [
          { across: 0, down: 0 },
          { across: 0, down: down - 1 }
        ]
      : [
          { across: 0, down: y },
          { across: across - 1, down: y }
        ];
  const steps: { [key: string]: IPlace | undefined } = {
    ArrowLeft: { across: x - 1, down: y },
    ArrowRight: { across: x + 1, down: y },
    ArrowUp: { across: x, down: y - 1 },
    ArrowDown: { across: x, down: y + 1 },
    PageUp: { across: x, down: y - 10 },
    PageDown: { across: x, down: y + 10 },
    Home: first,
    End: last
  };
  const step = steps[key];
  if (!step) {
    return null;
  }
  const next = from || key === 'Home' || key === 'End' ? step : { across: 0, down: 0 };
  return {
    across: Math.min(across - 1, Math.max(0, next.across)),
    down: Math.min(down - 1, Math.max(0, next.down))
  };
}
