/** The nodes of a project: who takes part, and who is there now. */

import { InputDialog, showErrorMessage } from '@jupyterlab/apputils';
import { Button } from '@jupyterlab/ui-components';
import * as React from 'react';

import { ago, dateTime } from '../format';
import { linkOf } from '../model';
import { problemOf } from '../request';
import type { ILink, INode } from '../tokens';
import { useNow, useTrans } from './hooks';
import { StateLabel } from './state';

export interface INodesProps {
  nodes: readonly INode[];
  /** Name of the node on this machine. */
  own: string | null;
  /** Does what a link offers. */
  follow: (link: ILink, body?: unknown) => Promise<void>;
}

export function Nodes({ nodes, own, follow }: INodesProps): JSX.Element {
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
              <StateLabel state={node.quarantined ? 'quarantined' : node.state} />
              <span className="flaas-Secondary" title={dateTime(node.last_seen)}>
                {node.state === 'offline' && trans.__('seen %1', ago(trans, node.last_seen, now))}
              </span>
              {node.quarantined && <span className="flaas-Secondary">{node.quarantine_reason}</span>}
              <Quarantine node={node} follow={follow} />
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Keeping a node out of runs, with the reason, and letting it back. */
function Quarantine({ node, follow }: { node: INode } & Pick<INodesProps, 'follow'>): JSX.Element | null {
  const trans = useTrans();
  const [keep, lift] = [linkOf(node, 'quarantine'), linkOf(node, 'release')];
  const act = async (link: ILink, body?: unknown): Promise<void> => {
    try {
      await follow(link, body);
    } catch (error) {
      const problem = problemOf(error);
      await showErrorMessage(problem.title, `${problem.detail} ${problem.hint}`.trim());
    }
  };
  const ask = async (link: ILink): Promise<void> => {
    const reason = await InputDialog.getText({
      title: trans.__('Quarantine %1?', node.name),
      label: trans.__('It is kept out of runs until it is let back. Why:'),
      okLabel: trans.__('Quarantine'),
      required: true
    });
    if (reason.button.accept && reason.value?.trim()) {
      await act(link, { reason: reason.value.trim() });
    }
  };
  if (lift) {
    return (
      <Button
        small
        className="flaas-Button"
        aria-label={trans.__('Let %1 back', node.name)}
        onClick={() => void act({ ...lift, method: lift.method ?? 'DELETE' })}
      >
        {trans.__('Let back')}
      </Button>
    );
  }
  return keep ? (
    <Button
      small
      className="flaas-Button"
      aria-label={trans.__('Quarantine %1', node.name)}
      onClick={() => void ask(keep)}
    >
      {trans.__('Quarantine …')}
    </Button>
  ) : null;
}
