/**
 * Nodes in a circle, and a line for each connection. The kind of a path shows in the line's pattern, in its colour and,
 * while there is room, in words; its figures show where one points or walks to.
 */

import * as React from 'react';

import { milliseconds, rate } from '../format';
import type { IConnection } from '../model';
import type { IMeshNode, PathKind } from '../tokens';
import { useTrans } from './hooks';
import { Walkable } from './walkable';

/** Pixels: of a node, of a line of text, and of the largest circle. */
const [NODE, LINE, LARGEST] = [8, 14, 210];
/** Pixels that a character takes, about, that names take beside the circle, and from where on there is room for that. */
const [CHARACTER, WORDS, ROOMY] = [6.6, 120, 400];
/** Connections up to which each says in words what it is. */
const IN_WORDS = 10;

export interface IMeshGraphProps {
  members: readonly IMeshNode[];
  connections: readonly IConnection[];
}

interface IPoint {
  x: number;
  y: number;
}

export function MeshGraph({ members, connections }: IMeshGraphProps): JSX.Element {
  const trans = useTrans();
  const told = ({ ends: [one, other], kinds, rtt, throughput }: IConnection): string =>
    trans.__(
      '%1 and %2: %3, round trip %4, throughput %5',
      one.name,
      other.name,
      kinds.map(kind => pathName(trans, kind)).join(' / '),
      milliseconds(rtt),
      rate(throughput)
    );
  return (
    <Walkable
      kind={trans.__('graph')}
      label={trans.__(
        'Connections between nodes: %1 nodes, %2 connections',
        members.length,
        connections.length
      )}
      across={connections.length}
      down={1}
      told={({ across }) => told(connections[across])}
      keyOf={({ across }) => keyOf(connections[across])}
    >
      {(room, marked, mark) => {
        const radius = Math.max(36, Math.min(LARGEST, room / 2 - (room < ROOMY ? 2 * NODE : WORDS)));
        const height = 2 * (radius + NODE + 3 * LINE);
        const centre = { x: room / 2, y: height / 2 };
        const places = new Map(
          members.map((node, place) => [node.id, around(centre, radius, angleOf(place, members.length))])
        );
        const ends = marked ? connections[marked.across].ends.map(node => node.id) : [];
        return (
          <svg width={room} height={height} aria-hidden="true">
            {connections.map((connection, across) => (
              <Line
                key={keyOf(connection)}
                from={places.get(connection.ends[0].id)!}
                to={places.get(connection.ends[1].id)!}
                kind={connection.kinds[0]}
                name={connections.length <= IN_WORDS ? pathName(trans, connection.kinds[0]) : ''}
                marked={marked?.across === across}
                point={() => mark({ across, down: 0 })}
              />
            ))}
            {members.map((node, place) => (
              <Node
                key={node.id}
                node={node}
                at={places.get(node.id)!}
                angle={angleOf(place, members.length)}
                room={room}
                end={ends.includes(node.id)}
                offline={trans.__('offline')}
              />
            ))}
          </svg>
        );
      }}
    </Walkable>
  );
}

/** Which two nodes a connection is of. */
function keyOf({ ends }: IConnection): string {
  return ends.map(node => node.id).join(' ');
}

export function pathName(trans: ReturnType<typeof useTrans>, kind: PathKind): string {
  switch (kind) {
    case 'direct':
      return trans.__('direct');
    case 'tls':
      return trans.__('TLS');
    case 'relay':
      return trans.__('relay');
    default:
      return kind;
  }
}

/** A line of a kind, for the legend. */
export function Sample({ kind }: { kind: PathKind }): JSX.Element {
  return (
    <svg width={36} height={8} aria-hidden="true">
      <line className={`flaas-Mesh-path flaas-mod-${kind}`} x1={0} y1={4} x2={36} y2={4} />
    </svg>
  );
}

interface ILineProps {
  from: IPoint;
  to: IPoint;
  kind: PathKind;
  /** The kind in words; empty where there is no room. */
  name: string;
  marked: boolean;
  point: () => void;
}

function Line({ from, to, kind, name, marked, point }: ILineProps): JSX.Element {
  const ends = { x1: from.x, y1: from.y, x2: to.x, y2: to.y };
  return (
    <g className={marked ? 'flaas-mod-marked' : ''} data-kind={kind} onMouseEnter={point}>
      <line className={`flaas-Mesh-path flaas-mod-${kind}`} {...ends} />
      <line className="flaas-Mesh-hold" {...ends} />
      {name && (
        // Nearer to one end, so that the words of lines that cross do not meet.
        <text
          className="flaas-Mesh-kind"
          textAnchor="middle"
          x={from.x + 0.4 * (to.x - from.x)}
          y={from.y + 0.4 * (to.y - from.y) + 4}
        >
          {name}
        </text>
      )}
    </g>
  );
}

interface INodeProps {
  node: IMeshNode;
  at: IPoint;
  angle: number;
  /** Pixels of the whole graph. */
  room: number;
  /** Whether it is an end of the connection that is marked. */
  end: boolean;
  /** In words, what it is if it is not there. */
  offline: string;
}

/** A node, with its name and organisation on the side away from the centre. */
function Node({ node, at, angle, room, end, offline }: INodeProps): JSX.Element {
  const [across, down] = [Math.cos(angle), Math.sin(angle)];
  const state = node.online ? node.organisation : `${node.organisation}, ${offline}`;
  const beside = room >= ROOMY && Math.abs(across) > 0.3;
  const most = Math.floor((beside ? WORDS - NODE - 6 : room / 2) / CHARACTER);
  const [name, below] = [shortened(node.name, most), shortened(state, most)];
  const half = (CHARACTER * Math.max(name.length, below.length)) / 2;
  const x = beside ? at.x + Math.sign(across) * (NODE + 6) : Math.min(room - half, Math.max(half, at.x));
  const first = beside ? at.y - 2 : down > 0.01 ? at.y + NODE + LINE : at.y - NODE - LINE - 4;
  const anchor = beside ? (across > 0 ? 'start' : 'end') : 'middle';
  const classes = ['flaas-Mesh-node', node.online ? '' : 'flaas-mod-offline', end ? 'flaas-mod-end' : ''];
  return (
    <g className={classes.filter(Boolean).join(' ')}>
      <title>{`${node.name}, ${state}`}</title>
      <circle cx={at.x} cy={at.y} r={NODE} />
      <text textAnchor={anchor} x={x} y={first}>
        {name}
      </text>
      <text className="flaas-mod-organisation" textAnchor={anchor} x={x} y={first + LINE}>
        {below}
      </text>
    </g>
  );
}

/** The first node is at the top, the others follow clockwise; two lie beside each other. */
function angleOf(place: number, count: number): number {
  return (count === 2 ? Math.PI : -Math.PI / 2) + (2 * Math.PI * place) / count;
}

function around(centre: IPoint, radius: number, angle: number): IPoint {
  return { x: centre.x + radius * Math.cos(angle), y: centre.y + radius * Math.sin(angle) };
}

function shortened(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}
