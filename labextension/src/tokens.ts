/**
 * What the parts of the extension know of each other, and the shapes that the coordination API answers with.
 */

import { Token } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import type { ISignal } from '@lumino/signaling';

/** A link of HAL; `method` is given when it is not GET. */
export interface ILink {
  href: string;
  method?: string;
}

/** What every resource carries: links to what the caller may do now. */
export interface IResource {
  _links?: { [relation: string]: ILink | undefined };
}

/** A list of resources, page by page. */
export interface IPage<T> extends IResource {
  _embedded: { [plural: string]: T[] };
}

/** Problem details, RFC 9457. */
export interface IProblem {
  status: number;
  code: string;
  title: string;
  detail: string;
  hint: string;
}

/** An error as runs and participants keep it. */
export interface IReason {
  kind: string;
  code: string;
  message: string;
  hint: string;
}

export interface IProject extends IResource {
  id: string;
  name: string;
  description: string;
  organisations: string[];
}

export interface INode extends IResource {
  id: string;
  name: string;
  organisation: string;
  state: 'online' | 'offline';
  last_seen: string | null;
  version: string;
  datasets: string[];
}

export interface IDataset {
  name: string;
  /** Over all nodes. */
  rows: number;
  nodes: { node: string; node_name: string; organisation: string; rows: number; online: boolean }[];
  features: { name: string; dtype: string; shape: number[] }[];
  target: {
    name: string;
    dtype: string;
    kind: 'binary' | 'multiclass' | 'regression';
    classes: number | null;
  };
}

export type RunState =
  'queued' | 'gathering' | 'running' | 'finishing' | 'completed' | 'failed' | 'cancelled';

export interface IParticipant {
  node: string;
  name: string;
  organisation: string;
  state: 'invited' | 'accepted' | 'refused' | 'failed';
  reason: IReason | null;
  rows: number | null;
  online: boolean;
}

export interface IRun extends IResource {
  id: string;
  name: string | null;
  project: string;
  state: RunState;
  reason: IReason | null;
  /** What it waits for, in words, while it does. */
  waiting_for?: string | null;
  dataset: string;
  /** Rounds asked for. */
  rounds: number;
  /** Rounds done. */
  round: number;
  local_epochs: number;
  batch_size: number;
  secure_aggregation: boolean;
  aggregation: string;
  aggregation_options: { [name: string]: unknown };
  privacy: { [name: string]: unknown } | null;
  clients_per_round: number | null;
  minimum_nodes: number | null;
  seed: number | null;
  parameters: number;
  aggregator: string | null;
  created_by: string;
  organisation: string;
  created: string;
  started: string | null;
  ended: string | null;
  participants: IParticipant[];
}

/** What the aggregator reports of a round. */
export interface IRound {
  number: number;
  started: string;
  seconds: { [phase: string]: number };
  bytes: { up: number; down: number };
  metrics: { [name: string]: number };
  clients: { node: string; examples: number; weight: number }[];
  dropped: { node: string; phase: string; reason: string }[];
  /** Privacy spent after this round; null without differential privacy. */
  epsilon: number | null;
}

export interface IEvent {
  id: number;
  type: string;
  time: string;
  project: string;
  run: string | null;
  node: string | null;
  data: { [name: string]: unknown };
}

export type SimulationState = 'running' | 'completed' | 'failed' | 'cancelled' | 'interrupted';

/** A rule or an attack with the options it was made with. */
export interface IChosen {
  name: string;
  options: { [name: string]: unknown };
}

/** A simulation on this machine, as the server half tells it; lists leave its clients out. */
export interface ISimulation {
  id: string;
  name: string | null;
  created: string;
  updated: string;
  state: SimulationState;
  /** It was asked to stop, and ends after the round it is at. */
  stopping: boolean;
  /** Rounds asked for. */
  rounds: number;
  /** Rounds done. */
  round: number;
  aggregation: string;
  aggregation_options: { [name: string]: unknown };
  attack: IChosen | null;
  privacy: { [name: string]: unknown } | null;
  partition: unknown;
  backend: string;
  error: { code: string; message: string; hint: string } | null;
  client_count: number;
  attacker_count: number;
  parameters?: number;
  local_epochs?: number;
  seed?: number;
}

export interface ISimulatedClient {
  id: string | number;
  name: string;
  rows: number;
  attacker: boolean;
}

export interface ISimulationHeader extends ISimulation {
  clients: ISimulatedClient[];
}

export interface ISimulationList {
  simulations: ISimulation[];
  total: number;
}

/** The report of a simulated round, its clients in columns. */
export interface ISimulatedRound {
  number: number;
  metrics: { [name: string]: number | null };
  seconds?: { [phase: string]: number };
  dropped?: unknown[];
  epsilon?: number | null;
  clients: {
    /** Positions in `nodes` of the page. */
    node: number[];
    /** A value for each client of the round, by quantity. */
    columns: { [quantity: string]: (number | null)[] };
  };
}

/** Some rounds of a simulation's journal. */
export interface IRoundsPage {
  /** Ids of the clients that these rounds name. */
  nodes: string[];
  rounds: ISimulatedRound[];
  /** Where to go on. */
  after: number;
  total: number;
  /** Another one: what was read before no longer stands. */
  journal: string;
  simulation: ISimulation;
}

/** An option of a rule or an attack. */
export interface IProtocolOption {
  name: string;
  type?: string;
  default?: unknown;
  required?: boolean;
  help?: string;
}

/** What a rule and an attack have in common. */
export interface IProtocol {
  name: string;
  summary: string;
  options: IProtocolOption[];
}

export interface IRule extends IProtocol {
  defends: string;
  limits: string;
  /** What it must see of the clients: "sum", "scalars" or "updates". */
  needs: string;
  secure_aggregation: { supported: boolean; reason: string };
}

export interface IAttack extends IProtocol {
  /** Its class in `flaas.attacks`. */
  class: string;
  knowledge: string;
}

/** What there is to choose from. */
export interface ICatalogue {
  aggregation: IRule[];
  attacks: IAttack[];
}

/** What the server half answers to the handshake. */
export interface IStatus {
  version: string;
  api: { url: string; reachable: boolean; version: string | null; problem: IProblem | null };
  session: {
    signed_in: boolean;
    /** Whether the server half has a token, be it good or not. */
    has_token: boolean;
    subject: string | null;
    organisation: string | null;
    role: string | null;
    /** Name of the node on this machine, if there is one. */
    node: string | null;
  };
}

/** How to ask; `request.ts` has the one implementation that goes over the network. */
export interface IApi {
  /** Ask the server half itself. */
  server<T>(endpoint: string, method?: string, body?: unknown): Promise<T>;
  /** Ask the coordination API, through the server half. */
  api<T>(path: string, init?: { method?: string; idempotencyKey?: string }): Promise<T>;
  /** Follow an event stream of the coordination API; ends when the stream does, or when `signal` aborts. */
  events(path: string, lastEventId: number | null, signal: AbortSignal): Promise<AsyncIterable<string>>;
}

/** Something with a state to show. */
export interface IModel extends IDisposable {
  readonly changed: ISignal<unknown, void>;
}

/** What stands between the user and the federation, if anything. */
export type Connection =
  | 'starting'
  | 'server-missing'
  | 'server-failing'
  | 'version-mismatch'
  | 'api-unreachable'
  | 'signed-out'
  | 'signed-in';

/** How events come in. */
export type Liveness = 'connecting' | 'live' | 'polling' | 'lost' | 'standby';

/** The federation that the user is signed in to: the one model that the views share. */
export interface IFederation extends IModel {
  readonly connection: Connection;
  readonly status: IStatus | null;
  readonly problem: IProblem | null;
  readonly projects: readonly IProject[];
  readonly activeRuns: number;
}

/** The token of {@link IFederation}, for other extensions. */
export const IFederation = new Token<IFederation>(
  '@flaas/labextension:IFederation',
  'The federation that the user is signed in to.'
);
