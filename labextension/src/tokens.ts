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
  /** Since when it is kept out of runs, and why. */
  quarantined?: string | null;
  quarantine_reason?: string | null;
  last_seen: string | null;
  version: string;
  datasets: string[];
  /** Whether it takes sealed uploads. */
  uploads?: boolean;
}

/** How two nodes are connected: `direct` (QUIC), by `tls` over TCP, by `relay`, or in a way that a later version has. */
export type PathKind = string;

/** A node of a project's mesh. */
export interface IMeshNode {
  id: string;
  name: string;
  organisation: string;
  /** What the domain key has signed it to be. */
  roles: string[];
  online: boolean;
  /** When it last told of its connections; null if that is more than a minute ago. */
  reported: string | null;
}

/** A connection, as the node `from` has told of it. */
export interface IMeshLink {
  from: string;
  to: string;
  kind: PathKind;
  /** Round trip in seconds. */
  rtt: number | null;
  /** Bytes a second of the largest recent transfer. */
  throughput: number | null;
  bytes: number;
}

export interface IMesh extends IResource {
  project: string;
  nodes: IMeshNode[];
  links: IMeshLink[];
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
  } | null;
  /** Names who each row is about, for vertical runs. */
  id_column?: string | null;
  /** What its owner has declared of columns. */
  schema?: Partial<IExploredColumn>[] | null;
}

export type RunState =
  | 'queued'
  | 'gathering'
  | 'running'
  | 'pausing'
  | 'paused'
  | 'finishing'
  | 'completed'
  | 'failed'
  | 'cancelled';

export interface IParticipant {
  node: string;
  name: string;
  organisation: string;
  state: 'invited' | 'accepted' | 'refused' | 'failed';
  reason: IReason | null;
  rows: number | null;
  online: boolean;
}

/** How a vertical run stands. */
export interface IVerticalReport {
  phase: 'alignment' | 'training' | 'done';
  /** Ids that all parties have. */
  intersection: number | null;
  /** Ids that each party brings, by its name. */
  sizes: { [party: string]: number };
  /** Sent between the parties. */
  bytes: number | null;
  /** What the mode lets a party learn of the others' data, in sentences. */
  statement: string[];
  figures: { [name: string]: number };
}

export type VerticalMode = 'oneway' | 'split' | 'linear_he';

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
  /** Whether nodes have other rows of the same columns, or other columns of the same people. */
  kind?: 'horizontal' | 'vertical';
  /** Of a vertical run: who brings which data set. */
  parties?: { node: string; name: string; dataset: string }[] | null;
  id_column?: string | null;
  label?: { node: string; column: string } | null;
  mode?: VerticalMode | null;
  report?: IVerticalReport | null;
  /** Under secure aggregation: members of a group, of which the rule sees the mean only. */
  group_size?: number | null;
  /** Under secure aggregation: every node adds up a part of the model. */
  sharded?: boolean;
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
  /** In group mode: the least size of a group, how many groups there were, and how many of them could be opened. */
  groups?: { size: number; formed: number; opened: number } | null;
  /** Of a sharded sum: its parts, and the most bytes that one node sent and received. */
  shards?: { count: number; up: number; down: number } | null;
  /**
   * What the updates were sent in: their bytes and those without it, and the part that was lost; null where nobody may
   * know that.
   */
  compression?: { name: string; bytes: number; plain: number; error: number | null } | null;
}

/** A question over the rows of several nodes: who has asked, of what kind. Neither the question nor its answer. */
export interface IQuery extends IResource {
  id: string;
  dataset: string;
  operation: string;
  via: 'mpc' | 'he';
  state: 'open' | 'closed' | 'expired';
  /** How it ended, as its notebook has told; null while it has not. */
  outcome: 'released' | 'refused' | 'failed' | null;
  reason: IReason | null;
  participants: { node: string; name: string; organisation: string; rows: number }[];
  /** Id of the node that released the result. */
  releaser: string;
  created_by: string;
  organisation: string;
  created: string;
}

export type AnalyticsOperation =
  | 'count'
  | 'sum'
  | 'mean'
  | 'var'
  | 'std'
  | 'min'
  | 'max'
  | 'describe'
  | 'histogram'
  | 'quantile'
  | 'group_by'
  | 'correlation';

export type Comparison = '>' | '>=' | '<' | '<=' | '==' | '!=';

/** How rows are computed over: secure sums, or homomorphic encryption. */
export type Via = 'mpc' | 'he';

/** A question over the rows of a data set's nodes, as it goes to the kernel. */
export interface IAnalyticsRequest {
  project: string;
  dataset: string;
  operation: AnalyticsOperation;
  columns: string[];
  /** All of them hold for a row that counts. */
  where: { column: string; comparison: Comparison; value: number | string }[];
  /** Groups: their values or edges, unless they are known, as those of a label are. */
  by: { column: string; values?: (number | string)[]; edges?: number[] } | null;
  /** What groups are aggregated by, for `group_by`. */
  functions: string[] | null;
  /** Limits that values are clipped to: what noise is measured by. */
  bounds: { [column: string]: [number, number] };
  /** A histogram's bins, and their limits if they are not to be asked for. */
  bins: { low: number | null; high: number | null; count: number } | null;
  quantiles: number[] | null;
  via: Via;
  epsilon: number | null;
}

/** Figures in rows; a chart's, too. */
export interface ITable {
  /** Names of what rows are known by. */
  index: string[];
  columns: string[];
  /** `hidden` says which figures were withheld, `reason` why, where each row has its own. */
  rows: { key: (number | string)[]; values: (number | null)[]; hidden: boolean[]; reason?: string }[];
}

/** What was released, as the kernel displays it. */
export interface IAnalyticsAnswer extends ITable {
  chart: 'bars' | 'line' | null;
  /** Why figures were withheld. */
  reasons: string[];
  /** Names of the nodes that answered. */
  nodes: string[];
  via: Via;
  epsilon: number | null;
  error_bound: number | null;
  seconds: number;
}

/** What a node accounts of this person's queries over a data set. */
export interface IBudgetLine {
  node: string;
  dataset: string;
  spent: number;
  /** null: there is no limit. */
  budget: number | null;
  remaining: number | null;
  /** Why the node told nothing, if it did not; figures are 0 then. */
  problem: string | null;
}

/** What of a data set is looked at; each is asked for by itself. `nodes` is what each node itself says of you. */
export type ExplorationPart =
  'overview' | 'nodes' | 'column' | 'missing' | 'correlations' | 'labels' | 'drift';

/** What an owner shows: nothing, names and types, figures about many rows, figures with noise, or one's own rows. */
export type ExplorationLevel = 'nothing' | 'schema' | 'aggregates' | 'private' | 'owner';

/** A look at a data set, as it goes to the kernel. */
export interface IExplorationRequest {
  project: string;
  dataset: string;
  part: ExplorationPart;
  /** Of `column`: which one. */
  column: string | null;
  /** Of `correlations`: which ones; null for those that come first. */
  columns: string[] | null;
  /** Of `column` with noise: limits that values are clipped to, where none are declared. */
  bounds: [number, number] | null;
  epsilon: number | null;
  /** Whether only the rows of the node on this machine are looked at. */
  own: boolean;
}

/** A column as owners have described it. */
export interface IExploredColumn {
  name: string;
  dtype: string;
  role: string | null;
  /** A text has no histogram, a label's values are known. */
  kind: 'number' | 'text' | 'label';
  unit: string | null;
  description: string | null;
  range: [number | null, number | null] | null;
  categories: (string | number)[] | null;
  /** What nodes say of it that others say otherwise. */
  differences: { node: string; field: string; value: unknown }[];
}

/** Why figures were withheld, by their positions; '' is all of them. */
export interface IReasons {
  [position: string]: string;
}

/** How the values of one column are distributed. */
export interface IDistribution {
  name: string;
  kind: 'histogram' | 'categories';
  /** Limits of a histogram's bins, one more than there are bins; null where one is open. */
  edges: (number | null)[];
  labels: (string | number)[];
  counts: (number | null)[];
  suppressed: boolean[];
  reasons: IReasons;
  /** Figures by name; null where one is withheld. */
  summary: { [figure: string]: number | null };
  /** What counts are off by at most, or with noise nearly always. */
  error_bound: number | null;
  /** What least and greatest value and median are off by; null if it is not known. */
  bounds_error: number | null;
  epsilon: number | null;
}

/** What came of a look, as the kernel displays it; only the part that was asked for is there. */
export interface IExploration {
  version: number;
  part: ExplorationPart;
  dataset: string;
  time: string | number | null;
  level: ExplorationLevel;
  rows: number | null;
  nodes: {
    node: string;
    name: string;
    organisation: string;
    rows: number | null;
    level: ExplorationLevel;
    online: boolean;
    /** Whether its owner lets it say how far it is from the whole; null if it was not asked. */
    drift: boolean | null;
    problem: { code: string; message: string; hint: string } | null;
  }[];
  columns: IExploredColumn[];
  column: IDistribution | null;
  missing:
    | {
        column: string;
        count: number | null;
        share: number | null;
        suppressed: boolean;
        reason: string | null;
      }[]
    | null;
  labels: {
    column: string;
    classes: (string | number)[];
    counts: (number | null)[];
    suppressed: boolean[];
    reasons: IReasons;
  } | null;
  correlations: {
    columns: string[];
    values: (number | null)[][];
    suppressed: boolean[][];
    reason: string | null;
  } | null;
  drift:
    | { column: string; node: string; distance: number | null; suppressed: boolean; reason: string | null }[]
    | null;
  /** What nodes account of this person's queries; null where nobody sets a limit. */
  budget: { node: string; spent: number; budget: number | null; remaining: number | null }[] | null;
  notes: string[];
}

/** What code displays while it runs. */
export type KernelOutput =
  | { kind: 'data'; data: { [mime: string]: unknown } }
  | { kind: 'text'; text: string }
  | { kind: 'error'; name: string; value: string };

/** A notebook whose kernel can be used. */
export interface IKernelChoice {
  /** Its path. */
  id: string;
  /** Whether it is the notebook that was used last. */
  current: boolean;
}

/** Kernels to run code in; `kernels.ts` has the one implementation. */
export interface IKernels {
  readonly changed: ISignal<unknown, void>;
  /** Open notebooks with a kernel of Python. */
  readonly choices: IKernelChoice[];
  /** Whether the kernel without a notebook runs. */
  readonly owned: boolean;
  /**
   * Run code; what it displays is told as it comes.
   *
   * @param choice A notebook's path, or '' for the kernel without a notebook, which is started if need be.
   */
  execute(choice: string, code: string, tell: (output: KernelOutput) => void): Promise<void>;
  interrupt(choice: string): Promise<void>;
  /** End the kernel without a notebook. */
  end(): Promise<void>;
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
    /** Roles and where they are held. */
    roles: { role: string; scope: string }[];
    /** Whether the session renews itself until it is ended. */
    renewed: boolean;
    /** Name of the node on this machine, if there is one. */
    node: string | null;
  };
}

/** What a node needs of its machine; lower bounds. */
export interface INeed {
  vcpus: number;
  memory_gib: number;
  gpu_count: number;
  gpu_memory_gib: number;
  gpu_names: string[];
  burstable: boolean;
  arch: string;
}

/** "EU", "all", or names of countries or regions. */
export type Area = string | string[];

export type Market = 'on_demand' | 'spot';

/** A set-up to start from: machines, rounds, and what is trained. */
export interface ITemplate extends IResource {
  name: string;
  title: string;
  description: string;
  need: INeed;
  nodes: number;
  disk_gib: number;
  area: Area;
  market: Market;
  rounds: number;
  hours: number | null;
  parameters: number;
  rows_per_node: number;
  local_epochs: number;
  batch_size: number;
  aggregation: string;
  secure_aggregation: boolean;
  tags: string[];
  builtin: boolean;
}

/** A machine that a provider sells, and its price. */
export interface IOffer {
  provider: string;
  region: string;
  country: string;
  instance_type: string;
  vcpus: number;
  memory_gib: number;
  gpu_name: string;
  gpu_count: number;
  price_usd_hour: number;
  kind: string;
  as_of: string;
  source: string;
  warning: string;
}

/** A machine that would do, or the reason why it was set aside. */
export interface ICandidate extends Omit<IOffer, 'price_usd_hour'> {
  price_usd_hour: number | null;
  reason: string;
}

/** A node of a plan: where it is, and what it costs. */
export interface IPlannedNode {
  name: string;
  provider: string;
  region: string;
  country: string;
  instance_type: string;
  market: Market;
  usd_hour: number;
  compute_usd: number;
  egress_usd: number;
  storage_usd: number;
}

export interface IPlan {
  total_usd: number;
  compute_usd: number;
  egress_usd: number;
  storage_usd: number;
  hours: number;
  nodes: IPlannedNode[];
  /** What could be saved without each constraint. */
  constraints: { constraint: string; usd: number }[];
  runner_up: { provider: string; total_usd: number }[];
  explanation: string[];
}

/** What one provider has for a template. */
export interface IProviderOffer {
  provider: string;
  title: string;
  account: string | null;
  launchable: boolean;
  why_not: string;
  recommended: boolean;
  reason: string;
  offer: IOffer | null;
  plan: IPlan | null;
  candidates: ICandidate[];
}

/** The clouds compared for a template. */
export interface IRecommendation extends IResource {
  template: ITemplate;
  rounds: number;
  hours: number | null;
  seconds_per_round: number | null;
  providers: IProviderOffer[];
  /** The cheapest over all providers; null if there is none, and then `why_not` says why. */
  plan: IPlan | null;
  why_not?: string;
  assumptions: string[];
  warnings: string[];
  as_of: { [provider: string]: string };
}

/** What is asked of a recommendation. */
export interface IRecommendationRequest {
  template: string;
  area?: Area | null;
  market?: Market | null;
  rounds?: number | null;
  hours?: number | null;
  nodes?: { name: string; provider: string | null; area: Area | null }[] | null;
  parameters?: number | null;
  rows_per_node?: number | null;
  budget_usd?: number | null;
  deadline_hours?: number | null;
}

/** Why something does not work, as launches, accounts and sources of a bill keep it; shapes differ. */
export type Trouble =
  string | { title?: string; detail?: string; message?: string; code?: string; hint?: string };

/** An organisation's account in a cloud; its credentials never come here. */
export interface IAccount extends IResource {
  id: string;
  provider: string;
  title: string;
  identity: { account: string; principal: string; currency: string | null };
  permissions: { permission: string; granted: boolean; needed_for: string }[];
  created: string;
  checked: string;
  fetch: {
    state: 'never' | 'running' | 'done' | 'failed';
    at: string | null;
    from: string | null;
    to: string | null;
    rows: number;
    problem: Trouble | null;
  };
}

export type CostGroup = 'project' | 'provider' | 'service' | 'node' | 'day';

export type BudgetState = 'ok' | 'warning' | 'exceeded';

export interface IBudget {
  project: string;
  budget_usd: number;
  spent_usd: number;
  share: number;
  state: BudgetState;
}

/** Where figures of a bill come from, and how old they are. */
export interface ICostSource {
  source: string;
  title: string;
  provider: string;
  fetched: string | null;
  complete_until: string | null;
  problem: Trouble | null;
}

/** Bill and estimate beside the difference; never added up. */
export interface ICostComparison {
  key: string;
  currency: string;
  billed: number | null;
  estimated: number | null;
  difference: number | null;
  explanation: string;
}

/** What was billed and what is estimated in some days. An empty key is spending without a project. */
export interface ICostSummary extends IResource {
  from: string;
  to: string;
  group: CostGroup;
  billed: { key: string; currency: string; billed: number; effective: number; list: number }[];
  estimated: { key: string; usd: number }[];
  days: { day: string; key: string; currency: string; billed: number }[];
  estimated_days: { day: string; key: string; usd: number }[];
  comparison: ICostComparison[];
  without_project: { currency: string; billed: number }[];
  currencies: string[];
  sources: ICostSource[];
  budgets: IBudget[];
}

export type NodeLaunchState =
  'planned' | 'launching' | 'booting' | 'registered' | 'joined' | 'training' | 'ending' | 'ended' | 'failed';

export type LaunchState =
  'launching' | 'booting' | 'joining' | 'ready' | 'training' | 'ending' | 'ended' | 'failed' | 'stuck';

export interface ILaunchedNode {
  name: string;
  provider: string;
  account: string | null;
  region: string;
  instance_type: string;
  market: Market;
  usd_hour: number;
  state: NodeLaunchState;
  machine: string | null;
  node_id: string | null;
  started: string | null;
  ended: string | null;
  spent_usd: number;
  attempts: number;
  problem: Trouble | null;
}

/** Machines that were launched for a project. */
export interface ILaunch extends IResource {
  id: string;
  project: string;
  title: string | null;
  template: string | null;
  state: LaunchState;
  created: string;
  created_by: string;
  hours: number;
  ends_at: string | null;
  accepted_usd: number;
  spent_usd: number;
  rounds: number | null;
  run: string | null;
  round: number | null;
  problem: Trouble | null;
  nodes: ILaunchedNode[];
}

/** Data that a launched machine offers for training. */
export interface ILaunchedData {
  name: string;
  source: string;
  target: string | null;
}

/** What is to be launched. */
export interface ILaunchOrder {
  title: string | null;
  template: string | null;
  hours: number;
  rounds: number | null;
  /** The total that the user saw and accepted. */
  accepted_usd: number;
  budget_usd: number | null;
  nodes: (Pick<IPlannedNode, 'name' | 'provider' | 'region' | 'instance_type' | 'market' | 'usd_hour'> & {
    account: string | null;
    disk_gib: number;
    dataset: ILaunchedData | null;
  })[];
}

/** What goes with a request. */
export interface IApiInit {
  method?: string;
  idempotencyKey?: string;
  /** Tag of what is to be changed, as it was read. */
  ifMatch?: string;
  body?: unknown;
}

/** How to ask; `request.ts` has the one implementation that goes over the network. */
export interface IApi {
  /** Ask the server half itself. */
  server<T>(endpoint: string, method?: string, body?: unknown): Promise<T>;
  /** Send bytes to the server half. */
  put<T>(endpoint: string, bytes: Uint8Array<ArrayBuffer>, signal: AbortSignal): Promise<T>;
  /** Ask the coordination API, through the server half. */
  api<T>(path: string, init?: IApiInit): Promise<T>;
  /** Read a resource of the coordination API with its entity tag. */
  tagged<T>(path: string): Promise<{ body: T; tag: string }>;
  /** Ask the coordination API for something that is no JSON, such as a table. */
  text(path: string): Promise<string>;
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
  /** How many requests for approval wait for this person's decision. */
  readonly waitingApprovals: number;
}

/** The token of {@link IFederation}, for other extensions. */
export const IFederation = new Token<IFederation>(
  '@flaas/labextension:IFederation',
  'The federation that the user is signed in to.'
);
