/**
 * How the nodes of a project are connected, as they have said in the last minute, looked at again and again while
 * somebody watches.
 */

import type { IApi, IMesh, IMeshLink, IMeshNode, PathKind } from '../tokens';
import { LookModel } from './look';

/** Two nodes that are connected, and what they say of it. */
export interface IConnection {
  ends: readonly [IMeshNode, IMeshNode];
  /** The kinds that they say; one, unless the path has just changed or there are two. */
  kinds: readonly PathKind[];
  /** The lesser round trip of the two that were measured. */
  rtt: number | null;
  /** The greater rate of the two that were measured. */
  throughput: number | null;
}

/** What is drawn where two nodes say different things: the path that is further round, and one that is known. */
const FURTHEST: readonly PathKind[] = ['relay', 'tls', 'direct'];

export class MeshModel extends LookModel<IMesh | null> {
  constructor(api: IApi, project: string) {
    super(() => api.api<IMesh>(`/v1/projects/${encodeURIComponent(project)}/mesh`), null);
  }

  /** null before it was read. */
  get mesh(): IMesh | null {
    return this.found;
  }
}

/** Nodes that take part themselves, by name; one that is a relay besides is among them. */
export function membersOf(mesh: IMesh): IMeshNode[] {
  return mesh.nodes
    .filter(node => !isRelayAlone(node))
    .sort((a, b) => a.name.localeCompare(b.name) || a.id.localeCompare(b.id));
}

/** Nodes that only pass on what others say. */
export function relaysOf(mesh: IMesh): IMeshNode[] {
  return mesh.nodes.filter(isRelayAlone);
}

/** The pairs of members that are connected, by name. */
export function connectedPairs(mesh: IMesh): IConnection[] {
  const told = new Map<string, IMeshLink[]>();
  for (const link of mesh.links) {
    const key = keyOf(link.from, link.to);
    told.set(key, [...(told.get(key) ?? []), link]);
  }
  return pairs(membersOf(mesh)).flatMap(ends => {
    const links = told.get(keyOf(ends[0].id, ends[1].id));
    return links ? [connection(ends, links)] : [];
  });
}

/** The pairs of members that could be connected and are not: both are there, and tell of their connections. */
export function unconnectedPairs(mesh: IMesh): (readonly [IMeshNode, IMeshNode])[] {
  const linked = new Set(mesh.links.map(link => keyOf(link.from, link.to)));
  return pairs(membersOf(mesh).filter(node => node.online && node.reported)).filter(
    ([one, other]) => !linked.has(keyOf(one.id, other.id))
  );
}

/** Members that are online and have told nothing of their connections for a minute. */
export function silent(mesh: IMesh): IMeshNode[] {
  return membersOf(mesh).filter(node => node.online && !node.reported);
}

function connection(ends: readonly [IMeshNode, IMeshNode], links: readonly IMeshLink[]): IConnection {
  const kinds = [...new Set(links.map(link => link.kind))].sort((a, b) => rank(a) - rank(b));
  const rtts = links.flatMap(({ rtt }) => (rtt === null ? [] : [rtt]));
  const rates = links.flatMap(({ throughput }) => (throughput === null ? [] : [throughput]));
  return {
    ends,
    kinds,
    rtt: rtts.length > 0 ? Math.min(...rtts) : null,
    throughput: rates.length > 0 ? Math.max(...rates) : null
  };
}

function rank(kind: PathKind): number {
  const place = FURTHEST.indexOf(kind);
  return place < 0 ? FURTHEST.length : place;
}

function isRelayAlone({ roles }: IMeshNode): boolean {
  return roles.length === 1 && roles[0] === 'relay';
}

function pairs(nodes: readonly IMeshNode[]): (readonly [IMeshNode, IMeshNode])[] {
  return nodes.flatMap((one, place) => nodes.slice(place + 1).map(other => [one, other] as const));
}

function keyOf(one: string, other: string): string {
  return one < other ? `${one} ${other}` : `${other} ${one}`;
}
