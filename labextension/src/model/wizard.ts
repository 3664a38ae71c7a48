/**
 * From a template to a trained model, step by step: template, prices, choice, plan, launch, follow. What was entered
 * outlives a reload of the page; a launch outlives it in any case, and is found again.
 */

import { UUID } from '@lumino/coreutils';
import { type ISignal, Signal } from '@lumino/signaling';

import type { EventStreams } from '../events';
import { problemOf } from '../request';
import type {
  Area,
  IApi,
  ILaunch,
  ILaunchOrder,
  IModel,
  IPlan,
  IProblem,
  IProviderOffer,
  IRecommendation,
  IRecommendationRequest,
  ITemplate,
  Market
} from '../tokens';
import { isLive, LaunchModel, launchesOf, launchesPath } from './launches';
import { readAll } from './lists';

/** What is shown, in order. */
export const STEPS = ['template', 'prices', 'choice', 'plan', 'follow'] as const;

export type Step = (typeof STEPS)[number];

/** The choice of the cheapest mixture of providers. */
export const MIXED = 'mixed';

/** What is wished of one node. */
export interface INodeWish {
  name: string;
  /** null: the cheapest. */
  provider: string | null;
  /** null: as for all nodes. */
  area: Area | null;
}

/** What is wished beside the template; null leaves it as the template has it. */
export interface IWishes {
  area: Area | null;
  market: Market | null;
  rounds: number | null;
  hours: number | null;
  budget: number | null;
  deadline: number | null;
  nodes: INodeWish[];
}

/** The data set that launched machines offer; without a name they offer none. */
export interface IData {
  name: string;
  /** What to read on the machine; `{node}` stands for the node's name. */
  source: string;
  target: string;
}

/** What outlives a reload. */
interface IKept {
  version: 1;
  /** Who entered it. */
  identity: string | null;
  step: Step;
  project: string | null;
  template: string | null;
  wishes: IWishes | null;
  choice: string;
  data: IData;
  launch: string | null;
  /** A launch that was asked for and not answered yet. */
  pending: { key: string; order: ILaunchOrder; asked: string } | null;
}

/** Where it is kept. */
export interface IWizardMemory {
  recall(): Promise<unknown>;
  remember(kept: unknown): Promise<void>;
}

const NOTHING: IKept = {
  version: 1,
  identity: null,
  step: 'template',
  project: null,
  template: null,
  wishes: null,
  choice: MIXED,
  data: { name: '', source: '', target: '' },
  launch: null,
  pending: null
};

/** Milliseconds that clocks of page and API may differ by. */
const CLOCKS = 300_000;

function isKept(value: unknown): value is IKept {
  const kept = value as Partial<IKept> | null | undefined;
  return (
    typeof kept === 'object' &&
    kept !== null &&
    kept.version === NOTHING.version &&
    STEPS.includes(kept.step as Step)
  );
}

/** An area as it is typed: "EU", "all", or countries or regions with commas between them. */
export function areaOf(text: string): Area | null {
  const names = text
    .split(/[\s,;]+/)
    .map(name => name.trim())
    .filter(Boolean);
  return names.length === 0 ? null : names.length === 1 ? names[0] : names;
}

export function areaText(area: Area | null): string {
  return area === null ? '' : typeof area === 'string' ? area : area.join(', ');
}

/** Names that nodes have until they are given others. */
export function nodeName(place: number): string {
  return `node-${place + 1}`;
}

/** The same nodes, or more or fewer of them. */
export function resized(nodes: readonly INodeWish[], count: number): INodeWish[] {
  const names = new Set(nodes.slice(0, count).map(({ name }) => name));
  const sized = nodes.slice(0, count);
  for (let place = 0; sized.length < count; place++) {
    const name = nodeName(place);
    if (!names.has(name)) {
      sized.push({ name, provider: null, area: null });
    }
  }
  return sized;
}

/** What is wrong with the nodes' names, if anything: two of the same, or none. */
export function badNames(nodes: readonly INodeWish[]): string[] {
  const seen = new Set<string>();
  return nodes
    .map(({ name }) => name)
    .filter(name => !/^[a-z0-9][a-z0-9-]{0,62}$/.test(name) || seen.size === seen.add(name).size);
}

/** The options of a request that ask for something else than the template has. */
export function requestOf(template: ITemplate, wishes: IWishes): IRecommendationRequest {
  const plain = wishes.nodes.every(
    ({ name, provider, area }, place) => name === nodeName(place) && provider === null && area === null
  );
  return {
    template: template.name,
    area: wishes.area,
    market: wishes.market,
    rounds: wishes.rounds,
    hours: wishes.hours,
    budget_usd: wishes.budget,
    deadline_hours: wishes.deadline,
    nodes:
      plain && wishes.nodes.length === template.nodes
        ? null
        : wishes.nodes.map(({ name, provider, area }) => ({ name, provider, area }))
  };
}

/** A provider without which the plan cannot be launched, and the command that mends it. */
export interface IMissing {
  provider: string;
  title: string;
  why: string;
  command: string | null;
}

/**
 * The wizard. Each request that fails leaves everything as it was, and its problem in `problem`.
 */
export class WizardModel implements IModel {
  constructor(
    private _api: IApi,
    private _streams: EventStreams,
    private _memory: IWizardMemory | null = null
  ) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get step(): Step {
    return this._kept.step;
  }

  /** The project that machines are launched for. */
  get project(): string | null {
    return this._kept.project;
  }

  get templates(): readonly ITemplate[] {
    return this._templates;
  }

  /** Whether templates were read, and what was entered before. */
  get loaded(): boolean {
    return this._loaded;
  }

  get template(): ITemplate | null {
    return this._templates.find(({ name }) => name === this._kept.template) ?? null;
  }

  get wishes(): IWishes | null {
    return this._kept.wishes;
  }

  /** The clouds compared; null until they were, and after the wishes changed. */
  get recommendation(): IRecommendation | null {
    return this._recommendation;
  }

  /** Whether something else is wished than what was compared. */
  get stale(): boolean {
    return this._stale;
  }

  /** "mixed", or the provider where everything is to be. */
  get choice(): string {
    return this._kept.choice;
  }

  get data(): IData {
    return this._kept.data;
  }

  /** Whether the user accepts the total that is shown; never kept. */
  get accepted(): boolean {
    return this._accepted;
  }

  /** The launch that is followed. */
  get launch(): LaunchModel | null {
    return this._launch;
  }

  /** What is being waited for. */
  get busy(): 'templates' | 'prices' | 'launch' | null {
    return this._busy;
  }

  /** What the last request failed with. */
  get problem(): IProblem | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** The plan that is chosen. */
  get plan(): IPlan | null {
    return this.choice === MIXED ? (this._recommendation?.plan ?? null) : (this._entry?.plan ?? null);
  }

  /** The total to accept: in whole cents, so that it is the figure that was shown. */
  get total(): number {
    return Math.ceil((this.plan?.total_usd ?? 0) * 100 - 1e-6) / 100;
  }

  /** Providers of the plan where nothing can be launched. */
  get missing(): IMissing[] {
    const needed = new Set(this.plan?.nodes.map(({ provider }) => provider));
    // A provider that cannot take every node is not launchable alone; some of them it may take nevertheless.
    const blocked = ({ provider, account, launchable }: IProviderOffer): boolean =>
      provider === 'local' || provider === this.choice ? !launchable : account === null;
    return (this._recommendation?.providers ?? [])
      .filter(entry => needed.has(entry.provider) && blocked(entry))
      .map(({ provider, title, why_not, account }) => ({
        provider,
        title,
        why: why_not,
        command: account === null && provider !== 'local' ? `flaas costs account add ${provider}` : null
      }));
  }

  /** What is ordered when the plan is launched. */
  get order(): ILaunchOrder | null {
    const { plan, _recommendation: recommendation, wishes, data } = this;
    if (!plan || !recommendation || !wishes) {
      return null;
    }
    const accounts = new Map(recommendation.providers.map(({ provider, account }) => [provider, account]));
    const fill = (text: string, node: string): string => text.trim().split('{node}').join(node);
    return {
      title: recommendation.template.title,
      template: recommendation.template.name,
      hours: plan.hours,
      rounds: recommendation.rounds,
      accepted_usd: this.total,
      budget_usd: wishes.budget,
      nodes: plan.nodes.map(({ name, provider, region, instance_type, market, usd_hour }) => ({
        name,
        provider,
        account: accounts.get(provider) ?? null,
        region,
        instance_type,
        market,
        usd_hour,
        disk_gib: recommendation.template.disk_gib,
        dataset: data.name.trim()
          ? {
              name: data.name.trim(),
              source: fill(data.source, name),
              target: data.target.trim() || null
            }
          : null
      }))
    };
  }

  /**
   * Read the templates and what was entered before, and find a launch that goes on.
   *
   * @param project The project to launch for, unless another one was chosen before.
   * @param identity Who is signed in; what somebody else entered is forgotten.
   */
  async start(project: string | null, identity: string | null = null): Promise<void> {
    await this._attempt('templates', async () => {
      if (!this._recalled) {
        const kept = await this._memory?.recall();
        this._kept = isKept(kept) ? { ...NOTHING, ...kept } : NOTHING;
        this._recalled = true;
      }
      if (this._kept.identity !== identity) {
        this._launch?.dispose();
        this._launch = null;
        this._recommendation = null;
        this._kept = { ...NOTHING, identity };
      }
      this._kept = { ...this._kept, project: this._kept.project ?? project };
      this._templates = await readAll<ITemplate>(this._api, '/v1/costs/templates', 'templates');
      await this._find();
      this._loaded = true;
    });
    if (this._loaded && !this._launch) {
      const { step } = this._kept;
      if (!this.template || !this.wishes) {
        void this._keep({ step: 'template', template: null, wishes: null });
      } else if (step !== 'template') {
        // Prices may have changed meanwhile: they are never kept.
        await this.compare(step === 'follow' ? 'plan' : step);
      }
    }
  }

  /** Try again what failed. */
  async retry(): Promise<void> {
    await this._again?.();
  }

  chooseProject(project: string): void {
    void this._keep({ project });
  }

  /** Take a template; what was wished for another one is forgotten. */
  chooseTemplate(name: string): void {
    const template = this._templates.find(candidate => candidate.name === name);
    if (!template || name === this._kept.template) {
      return;
    }
    this._recommendation = null;
    this._accepted = false;
    const wishes: IWishes = {
      area: template.area,
      market: template.market,
      rounds: template.rounds,
      hours: template.hours,
      budget: null,
      deadline: null,
      nodes: resized([], template.nodes)
    };
    void this._keep({ template: name, wishes, choice: MIXED });
  }

  /** Wish for something else; prices have to be compared again. */
  wish(changes: Partial<IWishes>): void {
    if (this.wishes) {
      this._stale = true;
      this._accepted = false;
      void this._keep({ wishes: { ...this.wishes, ...changes } });
    }
  }

  /** Compare the clouds, and go to a step that shows them. */
  async compare(step: Step = 'prices'): Promise<void> {
    const { template, wishes } = this;
    if (!template || !wishes) {
      return;
    }
    void this._keep({ step });
    const turn = ++this._turn;
    await this._attempt('prices', async () => {
      const recommendation = await this._api.api<IRecommendation>('/v1/costs/recommendations', {
        method: 'POST',
        body: requestOf(template, wishes)
      });
      if (turn === this._turn) {
        this._recommendation = recommendation;
        this._stale = wishes !== this.wishes;
        this._accepted = false;
        if (!this.plan && this.choice !== MIXED) {
          void this._keep({ choice: MIXED });
        }
      }
    });
  }

  /** Take the mixture, or everything at one provider. */
  choose(choice: string): void {
    this._accepted = false;
    void this._keep({ choice });
  }

  describeData(changes: Partial<IData>): void {
    void this._keep({ data: { ...this.data, ...changes } });
  }

  accept(accepted: boolean): void {
    this._accepted = accepted;
    this._emit();
  }

  /** Whether a step can be gone to now. */
  mayGo(step: Step): boolean {
    if (this._launch) {
      return step === 'follow';
    }
    switch (step) {
      case 'template':
        return true;
      case 'prices':
        return this.template !== null;
      case 'choice':
        return this._recommendation !== null && !this._stale;
      case 'plan':
        return this.plan !== null && !this._stale;
      case 'follow':
        return false;
    }
  }

  go(step: Step): void {
    if (this._busy === 'launch' || !this.mayGo(step)) {
      return;
    }
    this._problem = null;
    if (step === 'prices' && (!this._recommendation || this._stale)) {
      void this.compare();
    } else {
      void this._keep({ step });
    }
  }

  /** Launch the plan. A request without an answer is sent again with the same key: it launches once. */
  async launchPlan(): Promise<void> {
    const { order, project } = this;
    if (!order || !project || !this._accepted || this.missing.length > 0 || this._busy) {
      return;
    }
    const known = this._kept.pending;
    const same = known !== null && JSON.stringify(known.order) === JSON.stringify(order);
    const pending = same ? known : { key: UUID.uuid4(), order, asked: new Date().toISOString() };
    await this._attempt('launch', async () => {
      // Written down first: a reload while the request is under way finds what it led to.
      await this._keep({ pending });
      const launch = await this._api.api<ILaunch>(launchesPath(project), {
        method: 'POST',
        body: order,
        idempotencyKey: pending.key
      });
      this._follow(launch.id, launch);
    });
    const status = this._problem?.status ?? 0;
    if (this._problem && status >= 400 && status < 500) {
      await this._keep({ pending: null }); // refused: nothing was launched
    }
  }

  /** Follow another launch of the project. */
  followLaunch(launch: ILaunch): void {
    void this._keep({ project: launch.project });
    this._follow(launch.id, launch);
  }

  /** Start over; a launch that goes on is left alone. */
  restart(): void {
    this._launch?.dispose();
    this._launch = null;
    this._recommendation = null;
    this._accepted = false;
    this._problem = null;
    const { identity, project, data } = this._kept;
    void this._keep({ ...NOTHING, identity, project, data });
  }

  dispose(): void {
    this._disposed = true;
    this._launch?.dispose();
    Signal.clearData(this);
  }

  private get _entry(): IProviderOffer | null {
    return this._recommendation?.providers.find(({ provider }) => provider === this.choice) ?? null;
  }

  /** Find the launch that was followed, or asked for, before the page was loaded. */
  private async _find(): Promise<void> {
    const { launch, pending, project } = this._kept;
    if (this._launch) {
      return;
    }
    if (launch) {
      this._follow(launch, null);
    } else if (pending && project) {
      const since = Date.parse(pending.asked) - CLOCKS;
      const found = (await launchesOf(this._api, project)).find(
        each =>
          isLive(each) &&
          Date.parse(each.created) >= since &&
          each.template === pending.order.template &&
          each.accepted_usd === pending.order.accepted_usd
      );
      if (found) {
        this._follow(found.id, found);
      }
    }
  }

  private _follow(id: string, known: ILaunch | null): void {
    this._launch?.dispose();
    this._launch = new LaunchModel(this._api, this._streams, id, known);
    this._launch.changed.connect(this._emit, this);
    void this._launch.start();
    void this._keep({ launch: id, pending: null, step: 'follow' });
  }

  private async _attempt(busy: NonNullable<WizardModel['busy']>, act: () => Promise<void>): Promise<void> {
    this._busy = busy;
    this._problem = null;
    this._emit();
    try {
      await act();
      this._again = null;
    } catch (error) {
      this._problem = problemOf(error);
      this._again =
        busy === 'templates'
          ? () => this.start(this._kept.project, this._kept.identity)
          : busy === 'prices'
            ? () => this.compare(this.step)
            : () => this.launchPlan();
    }
    this._busy = null;
    this._emit();
  }

  private async _keep(changes: Partial<IKept>): Promise<void> {
    this._kept = { ...this._kept, ...changes };
    this._emit();
    try {
      await this._memory?.remember(this._kept);
    } catch {
      // What cannot be kept is lost with the page, and only then.
    }
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _changed = new Signal<this, void>(this);
  private _kept: IKept = NOTHING;
  private _recalled = false;
  private _loaded = false;
  private _templates: readonly ITemplate[] = [];
  private _recommendation: IRecommendation | null = null;
  private _stale = false;
  private _accepted = false;
  private _launch: LaunchModel | null = null;
  private _busy: 'templates' | 'prices' | 'launch' | null = null;
  private _problem: IProblem | null = null;
  private _again: (() => Promise<void>) | null = null;
  private _turn = 0;
  private _disposed = false;
}
