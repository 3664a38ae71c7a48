/** What is said about the columns of a file. */

import * as React from 'react';

import type { IUploadForm } from '../model';
import { Field, TextField } from './fields';
import { useTrans } from './hooks';

export interface IUploadColumnsProps {
  form: IUploadForm;
  /** Columns that the file is known to have. */
  columns: readonly string[];
  change: (changes: Partial<IUploadForm>) => void;
}

export function UploadColumns({ form, columns, change }: IUploadColumnsProps): JSX.Element {
  const trans = useTrans();
  const known = React.useId();
  const column = (
    label: string,
    value: string,
    placeholder: string,
    set: (value: string) => void
  ): JSX.Element => (
    <Field label={label}>
      {id => (
        <input
          id={id}
          type="text"
          className="flaas-Input"
          list={known}
          value={value}
          placeholder={placeholder}
          spellCheck={false}
          autoComplete="off"
          onChange={event => set(event.target.value)}
        />
      )}
    </Field>
  );
  return (
    <>
      <datalist id={known}>
        {columns.map(name => (
          <option key={name} value={name} />
        ))}
      </datalist>
      <div className="flaas-Form-row">
        {column(trans.__('Column to predict'), form.target, trans.__('none'), target => change({ target }))}
        {column(trans.__('Column of ids'), form.idColumn, trans.__('none'), idColumn => change({ idColumn }))}
      </div>
      <TextField
        label={trans.__('Classes')}
        value={form.classes}
        placeholder={trans.__('counted by the node')}
        title={trans.__(
          'How many classes the column to predict has, where this node may not have all of them.'
        )}
        change={classes => change({ classes })}
      />
      <label className="flaas-Choice">
        <input type="checkbox" checked={form.raw} onChange={event => change({ raw: event.target.checked })} />
        <span>
          {trans.__('A raw table, with texts or missing values: for statistics and runs that prepare it')}
        </span>
      </label>
    </>
  );
}
