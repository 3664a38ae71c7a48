/** How the nodes of a project are connected: a graph, the same as a table, and what to do about what is missing. */

import * as React from 'react';

import { milliseconds, rate } from '../format';
import {
  connectedPairs,
  type IConnection,
  MeshModel,
  membersOf,
  type ProjectModel,
  relaysOf,
  silent,
  unconnectedPairs
} from '../model';
import type { IApi, IMesh, IMeshNode, PathKind } from '../tokens';
import { TablesContext } from './chartframe';
import { useLooks, useModel, useTrans } from './hooks';
import { MeshGraph, pathName, Sample } from './meshgraph';
import { OldNotice, ProblemNotice } from './notice';
import { TableToggle } from './tabletoggle';

/** Milliseconds between looks; nodes tell no more often. */
const EVERY = 10_000;
/** Pairs that are named one by one. */
const NAMED = 6;

/** What the legend always has; others are there when a connection is of them. */
const KINDS: readonly PathKind[] = ['direct', 'relay'];

export interface IMeshProps {
  project: ProjectModel;
  api: IApi;
}

export function Mesh({ project, api }: IMeshProps): JSX.Element {
  const trans = useTrans();
  const host = React.useRef<HTMLDivElement>(null);
  const [model, setModel] = React.useState<MeshModel | null>(null);
  React.useEffect(() => {
    const made = new MeshModel(api, project.project.id);
    setModel(made);
    return () => made.dispose();
  }, [api, project]);
  const look = React.useCallback(() => void model?.refresh(), [model]);
  useLooks(host, look, EVERY);
  useModel(model);
  useModel(project);
  const { nodes } = project;
  React.useEffect(() => {
    // At first, and whenever an event has told that a node came or went.
    look();
  }, [look, nodes]);
  const mesh = model?.mesh ?? null;
  const problem = model?.problem ?? null;
  return (
    <div ref={host} className="flaas-Mesh">
      {problem && mesh === null && <ProblemNotice problem={problem} retry={look} />}
      {problem && mesh !== null && <OldNotice problem={problem} retry={look} />}
      {!problem && mesh === null && <p className="flaas-Empty">{trans.__('Loading …')}</p>}
      {mesh && <Shown mesh={mesh} />}
    </div>
  );
}

function Shown({ mesh }: { mesh: IMesh }): JSX.Element {
  const trans = useTrans();
  const own = React.useState(false);
  const [asTable, setAsTable] = React.useContext(TablesContext) ?? own;
  const members = membersOf(mesh);
  const connections = connectedPairs(mesh);
  const relays = relaysOf(mesh);
  if (members.length < 2) {
    return (
      <p className="flaas-Empty">{trans.__('There is nobody to be connected to: a mesh has two nodes.')}</p>
    );
  }
  const all = (members.length * (members.length - 1)) / 2;
  return (
    <>
      <div className="flaas-Chart-head">
        <p className="flaas-Hint">{trans.__('%1 of %2 pairs are connected', connections.length, all)}</p>
        <TableToggle asTable={asTable} show={setAsTable} />
      </div>
      {asTable ? (
        <Connections connections={connections} />
      ) : (
        <>
          <MeshGraph members={members} connections={connections} />
          <ul className="flaas-Legend" aria-label={trans.__('Kinds of paths')}>
            {[...new Set([...KINDS, ...connections.flatMap(({ kinds }) => kinds)])].map(kind => (
              <li key={kind}>
                <Sample kind={kind} />
                {pathName(trans, kind)}
              </li>
            ))}
          </ul>
        </>
      )}
      {relays.length > 0 && (
        <p className="flaas-Hint">
          {trans.__('Relays: %1', relays.map(relay => standing(trans, relay)).join(', '))}
        </p>
      )}
      <Advice mesh={mesh} />
    </>
  );
}

function Connections({ connections }: { connections: readonly IConnection[] }): JSX.Element {
  const trans = useTrans();
  if (connections.length === 0) {
    return <p className="flaas-Empty">{trans.__('No connections.')}</p>;
  }
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table" aria-label={trans.__('Connections between nodes')}>
        <thead>
          <tr>
            <th scope="col">{trans.__('Nodes')}</th>
            <th scope="col">{trans.__('Path')}</th>
            <th scope="col" className="flaas-mod-number">
              {trans.__('Round trip')}
            </th>
            <th scope="col" className="flaas-mod-number">
              {trans.__('Throughput')}
            </th>
          </tr>
        </thead>
        <tbody>
          {connections.map(({ ends: [one, other], kinds, rtt, throughput }) => (
            <tr key={`${one.id} ${other.id}`}>
              <th scope="row">{trans.__('%1 and %2', one.name, other.name)}</th>
              <td>{kinds.map(kind => pathName(trans, kind)).join(' / ')}</td>
              <td className="flaas-mod-number">{milliseconds(rtt)}</td>
              <td className="flaas-mod-number">{rate(throughput)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What to do about what is missing. */
function Advice({ mesh }: { mesh: IMesh }): JSX.Element | null {
  const trans = useTrans();
  const offline = membersOf(mesh).filter(node => !node.online);
  const quiet = silent(mesh);
  const apart = unconnectedPairs(mesh);
  if (offline.length + quiet.length + apart.length === 0) {
    return null;
  }
  const named = apart.slice(0, NAMED).map(([one, other]) => trans.__('%1 and %2', one.name, other.name));
  const names = named.join(', ');
  const more = apart.length - named.length;
  return (
    <ul className="flaas-Mesh-advice">
      {offline.length > 0 && (
        <li>
          {trans.__('Offline: %1.', offline.map(node => node.name).join(', '))}{' '}
          {trans.__('Each is started with flaas node run.')}
        </li>
      )}
      {quiet.length > 0 && (
        <li>
          {trans.__(
            'Nothing is told of its connections by %1; its log says why, or it runs an older version.',
            quiet.map(node => node.name).join(', ')
          )}
        </li>
      )}
      {apart.length > 0 && (
        <li>
          {more > 0
            ? trans._n(
                'Not connected: %2 and %1 pair more.',
                'Not connected: %2 and %1 pairs more.',
                more,
                names
              )
            : trans.__('Not connected: %1.', names)}{' '}
          {trans.__('Nodes connect when they have something to tell each other.')}{' '}
          {trans.__('If a run fails for it, flaas doctor --network at both says what is blocked.')}
        </li>
      )}
    </ul>
  );
}

function standing(trans: ReturnType<typeof useTrans>, node: IMeshNode): string {
  return node.online ? node.name : trans.__('%1 (offline)', node.name);
}
