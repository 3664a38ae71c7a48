/** Questions that were asked over a project's data: who, what kind, of which data set. The API knows no more. */

import {
  checkIcon,
  circleEmptyIcon,
  closeIcon,
  errorIcon,
  type LabIcon,
  runIcon
} from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { ago, dateTime } from '../format';
import type { IQuery } from '../tokens';
import { useNow, useTrans } from './hooks';

/** Queries to show before the rest is asked for. */
const FIRST = 10;

/** How a query stands, in a word. */
export function queryState(trans: TranslationBundle, { state, outcome }: IQuery): string {
  const words = {
    open: trans.__('running'),
    expired: trans.__('expired'),
    released: trans.__('released'),
    refused: trans.__('refused'),
    failed: trans.__('failed'),
    closed: trans.__('ended')
  };
  return words[outcome ?? state];
}

const ICONS: { [state: string]: LabIcon } = {
  open: runIcon,
  expired: circleEmptyIcon,
  released: checkIcon,
  refused: closeIcon,
  failed: errorIcon,
  closed: checkIcon
};

/** Classes of the state labels that have the same colours. */
const CLASSES: { [state: string]: string } = {
  open: 'running',
  released: 'completed',
  refused: 'refused',
  failed: 'failed'
};

export function Queries({ queries }: { queries: readonly IQuery[] }): JSX.Element {
  const trans = useTrans();
  const now = useNow();
  const [all, setAll] = React.useState(false);
  const shown = all ? queries : queries.slice(0, FIRST);
  if (queries.length === 0) {
    return <p className="flaas-Empty">{trans.__('Nobody has asked anything yet.')}</p>;
  }
  return (
    <>
      <table className="flaas-Table" aria-label={trans.__('Queries')}>
        <thead>
          <tr>
            <th scope="col">{trans.__('What')}</th>
            <th scope="col">{trans.__('Who')}</th>
            <th scope="col">{trans.__('State')}</th>
          </tr>
        </thead>
        <tbody>
          {shown.map(query => {
            const key = query.outcome ?? query.state;
            const Icon = (ICONS[key] ?? circleEmptyIcon).react;
            return (
              <tr key={query.id}>
                <th
                  scope="row"
                  title={trans.__('Nodes: %1', query.participants.map(({ name }) => name).join(', '))}
                >
                  {query.operation}
                  <span className="flaas-Secondary">{query.dataset}</span>
                </th>
                <td>
                  {query.created_by}
                  <span className="flaas-Secondary">{query.organisation}</span>
                </td>
                <td>
                  <span className={`flaas-State flaas-mod-${CLASSES[key] ?? 'expired'}`}>
                    <Icon tag="span" className="flaas-State-icon" aria-hidden="true" elementSize="small" />
                    {queryState(trans, query)}
                  </span>
                  <span className="flaas-Secondary" title={dateTime(query.created)}>
                    {ago(trans, query.created, now)}
                  </span>
                  {query.reason && <span className="flaas-Secondary">{query.reason.message}</span>}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
      {shown.length < queries.length && (
        <button type="button" className="flaas-Run-open" onClick={() => setAll(true)}>
          {trans.__('Show all %1 queries', queries.length)}
        </button>
      )}
    </>
  );
}
