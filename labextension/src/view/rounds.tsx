/** Rounds: what each took, and who was in it. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { bytes, percent, seconds } from '../format';
import type { IRound } from '../tokens';
import { useTrans } from './hooks';

type Compression = NonNullable<IRound['compression']>;

export interface IRoundsProps {
  rounds: readonly IRound[];
  nameOf: (node: string) => string;
}

export function Rounds({ rounds, nameOf }: IRoundsProps): JSX.Element {
  const trans = useTrans();
  const compressed = rounds.some(round => round.compression);
  if (rounds.length === 0) {
    return <p className="flaas-Empty">{trans.__('No round is done yet.')}</p>;
  }
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table" aria-label={trans.__('Rounds')}>
        <thead>
          <tr>
            {[
              trans.__('Round'),
              trans.__('Time'),
              trans.__('Nodes'),
              trans.__('Dropped'),
              trans.__('Sent'),
              trans.__('Received'),
              ...(compressed ? [trans.__('Compression')] : [])
            ].map(title => (
              <th key={title} scope="col" className="flaas-mod-number">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {[...rounds].reverse().map(round => (
            <tr key={round.number}>
              <th scope="row" className="flaas-mod-number">
                {round.number}
              </th>
              <td className="flaas-mod-number" title={phases(round)}>
                {seconds(total(round))}
              </td>
              <td
                className="flaas-mod-number"
                title={round.clients.map(client => nameOf(client.node)).join(', ')}
              >
                {round.clients.length}
              </td>
              <td className="flaas-mod-number flaas-mod-names">
                {round.dropped.length === 0
                  ? '0'
                  : round.dropped.map(drop => `${nameOf(drop.node)} (${drop.phase})`).join(', ')}
              </td>
              <td className="flaas-mod-number">{bytes(round.bytes.up)}</td>
              <td className="flaas-mod-number">{bytes(round.bytes.down)}</td>
              {compressed && (
                <td className="flaas-mod-number" title={lost(trans, round)}>
                  {round.compression && (
                    <>
                      {shortened(trans, round.compression)}
                      <span className="flaas-Secondary">{loss(trans, round.compression)}</span>
                    </>
                  )}
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What the updates took, of what they would have taken. */
function shortened(trans: TranslationBundle, { name, bytes: taken, plain }: Compression): string {
  return trans.__('%1: %2 of %3', name, bytes(taken), bytes(plain));
}

/** What was lost by it, in a word; the sentence is the cell's title. */
function loss(trans: TranslationBundle, { error }: Compression): string {
  return trans.__('lost: %1', error === null ? trans.__('not known') : percent(error));
}

function lost(trans: TranslationBundle, round: IRound): string | undefined {
  const error = round.compression?.error;
  if (error === undefined) {
    return undefined;
  }
  return error === null
    ? trans.__('What was lost by it nobody may know: the updates are protected.')
    : trans.__('%1 of the updates was lost by it, by the Euclidean norm.', percent(error));
}

/** Seconds of the whole round: as reported, else the sum of its phases. */
function total(round: IRound): number {
  return round.seconds.total ?? Object.values(round.seconds).reduce((sum, value) => sum + value, 0);
}

function phases(round: IRound): string {
  return Object.entries(round.seconds)
    .map(([phase, value]) => `${phase} ${seconds(value)}`)
    .join(', ');
}
