/** The audit log: who did what, filtered, page by page, as a file. */

import { Button, downloadIcon, HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import { dateTime, moment } from '../format';
import type { IAuditEntry } from '../governance';
import { EVERYTHING, type IAuditQuery } from '../model';
import type { IAccessProps } from './accessparts';
import { Field, TextField } from './fields';
import { useModel, useTrans } from './hooks';
import { Notice, ProblemNotice } from './notice';

export function Audit({ model, save }: IAccessProps): JSX.Element {
  const { audit } = model;
  const trans = useTrans();
  useModel(audit);
  const [query, setQuery] = React.useState<IAuditQuery>(audit.query);
  React.useEffect(() => {
    if (audit.entries === null && !audit.loading) {
      void audit.show();
    }
  }, [audit]);
  const { entries, problem, loading } = audit;
  const set = (changes: Partial<IAuditQuery>): void => setQuery({ ...query, ...changes });
  const keep = async (format: 'csv' | 'jsonl'): Promise<void> => {
    const text = await audit.export(format);
    if (text !== null) {
      save(`audit.${format}`, text);
    }
  };
  if (problem?.status === 403) {
    return (
      <Notice
        title={trans.__('Your roles do not show you the audit log')}
        detail={problem.detail}
        hint={problem.hint}
      />
    );
  }
  const time = (name: 'from' | 'to', label: string): JSX.Element => (
    <Field label={label}>
      {id => (
        <input
          id={id}
          type="datetime-local"
          className="flaas-Input"
          value={query[name]}
          onChange={event => set({ [name]: event.target.value })}
        />
      )}
    </Field>
  );
  return (
    <>
      <form
        className="flaas-Controls"
        aria-label={trans.__('What to show')}
        onSubmit={event => {
          event.preventDefault();
          void audit.show(query);
        }}
      >
        <TextField label={trans.__('Who')} value={query.actor} change={actor => set({ actor })} />
        <TextField
          label={trans.__('Operation')}
          placeholder={trans.__('for example run:create')}
          value={query.operation}
          change={operation => set({ operation })}
        />
        <TextField label={trans.__('Object')} value={query.object} change={object => set({ object })} />
        <Field label={trans.__('Outcome')}>
          {id => (
            <HTMLSelect
              id={id}
              value={query.outcome}
              onChange={event => set({ outcome: event.target.value })}
              options={[
                { label: trans.__('any'), value: '' },
                { label: trans.__('done'), value: 'done' },
                { label: trans.__('asked for'), value: 'asked' },
                { label: trans.__('refused'), value: 'refused' }
              ]}
            />
          )}
        </Field>
        {time('from', trans.__('From'))}
        {time('to', trans.__('To'))}
        <div className="flaas-Buttons">
          <Button type="submit" className="flaas-Button flaas-mod-primary" disabled={loading}>
            {trans.__('Show')}
          </Button>
          <Button
            type="button"
            className="flaas-Button"
            onClick={() => {
              setQuery(EVERYTHING);
              void audit.show(EVERYTHING);
            }}
          >
            {trans.__('Clear')}
          </Button>
          <Button type="button" className="flaas-Button" onClick={() => void keep('csv')}>
            <downloadIcon.react tag="span" aria-hidden="true" elementSize="small" />
            {trans.__('Export CSV')}
          </Button>
          <Button type="button" className="flaas-Button" onClick={() => void keep('jsonl')}>
            <downloadIcon.react tag="span" aria-hidden="true" elementSize="small" />
            {trans.__('Export JSON lines')}
          </Button>
        </div>
      </form>
      <Chain {...{ audit }} />
      {problem && <ProblemNotice problem={problem} retry={() => void audit.show()} />}
      {entries === null ? (
        loading && <p className="flaas-Empty">{trans.__('Loading …')}</p>
      ) : entries.length === 0 ? (
        <p className="flaas-Empty">{trans.__('Nothing fits.')}</p>
      ) : (
        <Entries entries={entries} />
      )}
      {audit.hasMore && (
        <Button className="flaas-Button flaas-More" disabled={loading} onClick={() => void audit.more()}>
          {loading ? trans.__('Loading …') : trans.__('Show more')}
        </Button>
      )}
    </>
  );
}

/** How far the log is signed, and how to prove it. */
function Chain({ audit }: { audit: IAccessProps['model']['audit'] }): JSX.Element {
  const trans = useTrans();
  const { checkpoint } = audit;
  const time = checkpoint?.time === undefined ? '?' : moment(checkpoint.time);
  return (
    <p className="flaas-Hint">
      {checkpoint
        ? trans.__('The last signed checkpoint covers entry %1, %2.', checkpoint.sequence ?? '?', time)
        : trans.__('No signed checkpoint can be seen from here.')}{' '}
      {trans.__('Each entry is chained to the one before. To check that none is missing or changed:')}{' '}
      <code>flaas audit verify</code>
    </p>
  );
}

function Entries({ entries }: { entries: readonly IAuditEntry[] }): JSX.Element {
  const trans = useTrans();
  const outcomes: { [name: string]: string } = {
    done: trans.__('done'),
    asked: trans.__('asked for'),
    refused: trans.__('refused')
  };
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table flaas-Audit" aria-label={trans.__('Audit log')}>
        <thead>
          <tr>
            <th scope="col" className="flaas-mod-number">
              {trans.__('No.')}
            </th>
            <th scope="col">{trans.__('When')}</th>
            <th scope="col">{trans.__('Who')}</th>
            <th scope="col">{trans.__('Operation')}</th>
            <th scope="col">{trans.__('Object')}</th>
            <th scope="col">{trans.__('Outcome')}</th>
            <th scope="col">{trans.__('Details')}</th>
          </tr>
        </thead>
        <tbody>
          {entries.map(entry => (
            <tr key={entry.sequence}>
              <td className="flaas-mod-number">{entry.sequence}</td>
              <td>{dateTime(entry.time)}</td>
              <th scope="row">
                {entry.actor}
                <span className="flaas-Secondary">
                  {[entry.actor_kind, entry.organisation].filter(Boolean).join(', ')}
                </span>
              </th>
              <td>{entry.operation}</td>
              <td>{entry.object}</td>
              <td>
                <span className={`flaas-Outcome-${entry.outcome}`}>
                  <span aria-hidden="true">
                    {entry.outcome === 'done' ? '✓ ' : entry.outcome === 'asked' ? '… ' : '✗ '}
                  </span>
                  {outcomes[entry.outcome] ?? entry.outcome}
                </span>
              </td>
              <td>
                <details>
                  <summary aria-label={trans.__('Details of entry %1', entry.sequence)}>
                    <code>{entry.hash.slice(0, 10)}</code>
                  </summary>
                  <pre className="flaas-Snippet">
                    {JSON.stringify(entry.details, null, 2)}
                    {`\n${trans.__('hash')} ${entry.hash}`}
                  </pre>
                </details>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
