/** Columns to choose from. */

import * as React from 'react';

import { useTrans } from './hooks';

/** Columns from which on they can be looked for by their names. */
const MANY = 10;
/** Columns that are listed at once. */
const MOST_LISTED = 200;

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
  const [wanted, setWanted] = React.useState('');
  const ticked = columns.filter(column => chosen.includes(column));
  const found = columns.filter(column => column.toLowerCase().includes(wanted.toLowerCase()));
  const first = single ? ticked.slice(0, 1) : ticked;
  // What is chosen is in sight, however many there are before it.
  const far = found.slice(MOST_LISTED).filter(column => first.includes(column));
  const listed = [...far, ...found.slice(0, MOST_LISTED)];
  return (
    <fieldset className="flaas-Columns">
      <legend>
        {single ? trans.__('Column') : trans.__('Columns, %1 of %2', first.length, columns.length)}
      </legend>
      {columns.length > MANY && (
        <input
          type="text"
          className="flaas-Input"
          value={wanted}
          placeholder={trans.__('Find a column')}
          aria-label={trans.__('Find a column')}
          spellCheck={false}
          onChange={event => setWanted(event.target.value)}
        />
      )}
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
