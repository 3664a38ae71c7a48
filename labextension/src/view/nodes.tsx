/** The nodes of a project: who takes part, and who is there now. */

import * as React from 'react';

import { ago, dateTime } from '../format';
import type { INode } from '../tokens';
import { useNow, useTrans } from './hooks';
import { StateLabel } from './state';

export interface INodesProps {
  nodes: readonly INode[];
  /** Name of the node on this machine. */
  own: string | null;
}

export function Nodes({ nodes, own }: INodesProps): JSX.Element {
  const trans = useTrans();
  const now = useNow();
  if (nodes.length === 0) {
    return <p className="flaas-Empty">{trans.__('No node has joined yet: flaas node join')}</p>;
  }
  return (
    <table className="flaas-Table" aria-label={trans.__('Nodes')}>
      <thead>
        <tr>
          <th scope="col">{trans.__('Name')}</th>
          <th scope="col">{trans.__('State')}</th>
        </tr>
      </thead>
      <tbody>
        {nodes.map(node => (
          <tr key={node.id}>
            <th scope="row" title={node.id}>
              {node.name}
              {node.name === own && ` (${trans.__('this machine')})`}
              <span className="flaas-Secondary">{node.organisation}</span>
            </th>
            <td>
              <StateLabel state={node.state} />
              <span className="flaas-Secondary" title={dateTime(node.last_seen)}>
                {node.state === 'offline' && trans.__('seen %1', ago(trans, node.last_seen, now))}
              </span>
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
