/** Columns to choose from. */

import * as React from 'react';

import { useTrans } from './hooks';

/** Columns from which on they can be looked for by their names. */
const MANY = 10;
/** Columns that are listed at once. */
export const MOST_LISTED = 200;

/** What tells whether a column's name has what is typed, and the field to type it, where there are many columns. */
export function useFinder(columns: number): [matches: (name: string) => boolean, field: JSX.Element | null] {
  const trans = useTrans();
  const [wanted, setWanted] = React.useState('');
  return [
    name => name.toLowerCase().includes(wanted.toLowerCase()),
    columns > MANY ? (
      <input
        type="text"
        className="flaas-Input"
        value={wanted}
        placeholder={trans.__('Find a column')}
        aria-label={trans.__('Find a column')}
        spellCheck={false}
        onChange={event => setWanted(event.target.value)}
      />
    ) : null
  ];
}

export interface IColumnPickerProps {
  columns: readonly string[];
  chosen: readonly string[];
  /** Whether there can be only one. */
  single: boolean;
  choose: (columns: string[]) => void;
}

/** Columns to tick; with many of them, those whose names have what is typed. */
export function ColumnPicker({ columns, chosen, single, choose }: IColumnPickerProps): JSX.Element {
  const trans = useTrans();
  const name = React.useId();
  const [matches, finder] = useFinder(columns.length);
  const ticked = columns.filter(column => chosen.includes(column));
  const found = columns.filter(matches);
  const first = single ? ticked.slice(0, 1) : ticked;
  // What is chosen is in sight, however many there are before it.
  const far = found.slice(MOST_LISTED).filter(column => first.includes(column));
  const listed = [...far, ...found.slice(0, MOST_LISTED)];
  return (
    <fieldset className="flaas-Columns">
      <legend>
        {single ? trans.__('Column') : trans.__('Columns, %1 of %2', first.length, columns.length)}
      </legend>
      {finder}
      <div className="flaas-Columns-list">
        {listed.map(column => (
          <label key={column}>
            <input
              type={single ? 'radio' : 'checkbox'}
              name={name}
              checked={first.includes(column)}
              onChange={event =>
                choose(
                  single
                    ? [column]
                    : event.target.checked
                      ? [...ticked, column]
                      : ticked.filter(each => each !== column)
                )
              }
            />
            <span>{column}</span>
          </label>
        ))}
        {found.length === 0 && <p className="flaas-Empty">{trans.__('No column has this in its name.')}</p>}
        {found.length > listed.length && (
          <p className="flaas-Empty">{trans.__('and %1 more', found.length - listed.length)}</p>
        )}
      </div>
    </fieldset>
  );
}
