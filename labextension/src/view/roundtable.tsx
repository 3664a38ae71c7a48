/** One round of a simulation as a table: who was in it, and with what. */

import { Button } from '@jupyterlab/ui-components';
import * as React from 'react';

import { count, exact } from '../format';
import type { Quantities } from '../model';
import { useTrans } from './hooks';

/** Rows to show before the rest is asked for. */
const FIRST = 100;

export interface IRoundTableProps {
  quantities: Quantities;
  /** Clients from top to bottom. */
  order: Int32Array;
  /** Index of the round. */
  round: number;
  choose: (round: number) => void;
}

export function RoundTable({ quantities, order, round, choose }: IRoundTableProps): JSX.Element {
  const trans = useTrans();
  const [all, setAll] = React.useState(false);
  const { rounds, names, clients } = quantities;
  const { number, clients: present, columns } = rounds[round];
  const places = new Map([...present].map((client, place) => [client, place]));
  const rows = [...order].filter(client => places.has(client));
  return (
    <>
      <div className="flaas-Heat-controls">
        <Button small className="flaas-Button" disabled={round === 0} onClick={() => choose(round - 1)}>
          {trans.__('Earlier')}
        </Button>
        <strong role="status">
          {trans.__('Round %1: %2 of %3 clients', number, count(rows.length), count(clients.length))}
        </strong>
        <Button
          small
          className="flaas-Button"
          disabled={round === rounds.length - 1}
          onClick={() => choose(round + 1)}
        >
          {trans.__('Later')}
        </Button>
      </div>
      <div className="flaas-Scroll">
        <table className="flaas-Table" aria-label={trans.__('Clients of the round')}>
          <thead>
            <tr>
              <th scope="col">{trans.__('Client')}</th>
              <th scope="col">{trans.__('Role')}</th>
              {names.map(name => (
                <th key={name} scope="col" className="flaas-mod-number">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, all ? rows.length : FIRST).map(client => (
              <tr key={client}>
                <th scope="row">{clients[client].name}</th>
                <td>{clients[client].attacker ? trans.__('▲ attacker') : trans.__('honest')}</td>
                {names.map(name => (
                  <td key={name} className="flaas-mod-number">
                    {exact(columns.get(name)?.[places.get(client)!] ?? NaN)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {!all && rows.length > FIRST && (
        <button type="button" className="flaas-Run-open" onClick={() => setAll(true)}>
          {trans.__('Show all %1 clients', count(rows.length))}
        </button>
      )}
    </>
  );
}
