/** Answers of the cost layer. */

import type {
  ICostSummary,
  ILaunch,
  ILaunchedNode,
  IPlan,
  IProviderOffer,
  IRecommendation,
  ITemplate
} from '../tokens';

export function template(name: string, changes: Partial<ITemplate> = {}): ITemplate {
  return {
    name,
    title: `Title of ${name}`,
    description: 'What it is for.',
    need: {
      vcpus: 4,
      memory_gib: 16,
      gpu_count: 0,
      gpu_memory_gib: 0,
      gpu_names: [],
      burstable: false,
      arch: 'x86_64'
    },
    nodes: 2,
    disk_gib: 30,
    area: 'EU',
    market: 'on_demand',
    rounds: 60,
    hours: null,
    parameters: 1000,
    rows_per_node: 500,
    local_epochs: 2,
    batch_size: 16,
    aggregation: 'fedavg',
    secure_aggregation: false,
    tags: [],
    builtin: true,
    ...changes
  };
}

export const REPUTATION = template('defence-reputation', { tags: ['defence'], aggregation: 'reputation' });
export const IMAGES = template('images', {
  need: { ...REPUTATION.need, gpu_count: 1, gpu_names: ['T4'], gpu_memory_gib: 16 }
});

export function plan(providers: string[], usdHour = 0.2, changes: Partial<IPlan> = {}): IPlan {
  const nodes = providers.map((provider, place) => ({
    name: `node-${place + 1}`,
    provider,
    region: 'eu-1',
    country: 'SE',
    instance_type: 'm7i.xlarge',
    market: 'on_demand' as const,
    usd_hour: usdHour,
    compute_usd: usdHour,
    egress_usd: 0.01,
    storage_usd: 0.001
  }));
  const count = providers.length;
  return {
    total_usd: count * (usdHour + 0.011),
    compute_usd: count * usdHour,
    egress_usd: count * 0.01,
    storage_usd: count * 0.001,
    hours: 1,
    nodes,
    constraints: [{ constraint: 'pinning node-1 to aws', usd: 0.05 }],
    runner_up: [],
    explanation: ['Proven to be the cheapest.'],
    ...changes
  };
}

export function provider(name: string, changes: Partial<IProviderOffer> = {}): IProviderOffer {
  const offer = {
    provider: name,
    region: 'eu-1',
    country: 'SE',
    instance_type: 'm7i.xlarge',
    vcpus: 4,
    memory_gib: 16,
    gpu_name: '',
    gpu_count: 0,
    price_usd_hour: 0.2,
    kind: 'list',
    as_of: '2020-01-01',
    source: 'a list',
    warning: ''
  };
  return {
    provider: name,
    title: name.toUpperCase(),
    account: `acc-${name}`,
    launchable: true,
    why_not: '',
    recommended: false,
    reason: 'Dearer.',
    offer,
    plan: plan([name, name]),
    candidates: [
      { ...offer, reason: '' },
      { ...offer, region: 'uk-1', country: 'GB', price_usd_hour: 0.1, reason: 'outside the EU (GB)' },
      { ...offer, region: 'eu-9', price_usd_hour: null, reason: 'no price is published', warning: 'Odd.' }
    ],
    ...changes
  };
}

export function recommendation(changes: Partial<IRecommendation> = {}): IRecommendation {
  return {
    template: REPUTATION,
    rounds: 60,
    hours: 1,
    seconds_per_round: 1.53,
    providers: [
      provider('aws', { recommended: true }),
      provider('azure', {
        account: null,
        launchable: false,
        why_not: 'No account: flaas costs account add azure'
      }),
      provider('gcp', { plan: null, offer: null, launchable: false, why_not: 'Nobody sells it there.' })
    ],
    plan: plan(['aws', 'aws'], 0.15),
    assumptions: ['30 % of 8 TFLOP/s.'],
    warnings: ['Spot machines may be taken away.'],
    as_of: { aws: '2026-11-01' },
    ...changes
  };
}

export function launchedNode(name: string, changes: Partial<ILaunchedNode> = {}): ILaunchedNode {
  return {
    name,
    provider: 'aws',
    account: 'acc-aws',
    region: 'eu-1',
    instance_type: 'm7i.xlarge',
    market: 'on_demand',
    usd_hour: 0.2,
    state: 'planned',
    machine: null,
    node_id: null,
    started: null,
    ended: null,
    spent_usd: 0,
    attempts: 1,
    problem: null,
    ...changes
  };
}

export function launch(id: string, changes: Partial<ILaunch> = {}): ILaunch {
  const state = changes.state ?? 'launching';
  const live = !['ended', 'failed'].includes(state);
  return {
    id,
    project: 'demo',
    title: 'Defence',
    template: 'defence-reputation',
    state,
    created: '2026-01-01T00:00:00Z',
    created_by: 'ana',
    hours: 1,
    ends_at: '2026-01-01T01:00:00Z',
    accepted_usd: 0.33,
    spent_usd: 0.1,
    rounds: 60,
    run: null,
    round: null,
    problem: null,
    nodes: [launchedNode('node-1'), launchedNode('node-2')],
    _links: live ? { terminate: { href: `/v1/launches/${id}/terminate`, method: 'POST' } } : {},
    ...changes
  };
}

export function summary(changes: Partial<ICostSummary> = {}): ICostSummary {
  return {
    from: '2026-11-01',
    to: '2026-11-04',
    group: 'project',
    billed: [
      { key: 'demo', currency: 'USD', billed: 30, effective: 30, list: 33 },
      { key: '', currency: 'USD', billed: 2.5, effective: 2.5, list: 2.5 },
      { key: 'demo', currency: 'EUR', billed: 7, effective: 7, list: 7 }
    ],
    estimated: [{ key: 'demo', usd: 28 }],
    days: [
      { day: '2026-11-01', key: 'demo', currency: 'USD', billed: 10 },
      { day: '2026-11-03', key: 'demo', currency: 'USD', billed: 20 },
      { day: '2026-11-03', key: '', currency: 'USD', billed: 2.5 },
      { day: '2026-11-02', key: 'demo', currency: 'EUR', billed: 7 }
    ],
    estimated_days: [{ day: '2026-11-03', key: 'demo', usd: 28 }],
    comparison: [
      {
        key: 'demo',
        currency: 'USD',
        billed: 30,
        estimated: 28,
        difference: 2,
        explanation: 'Storage is not estimated.'
      },
      {
        key: 'demo',
        currency: 'EUR',
        billed: 7,
        estimated: null,
        difference: null,
        explanation: 'Billed in EUR, estimated in USD.'
      }
    ],
    without_project: [{ currency: 'USD', billed: 2.5 }],
    currencies: ['EUR', 'USD'],
    sources: [
      {
        source: 'acc-aws',
        title: 'AWS, our account',
        provider: 'aws',
        fetched: '2026-01-01T00:00:00Z',
        complete_until: '2026-11-02',
        problem: null
      }
    ],
    budgets: [{ project: 'demo', budget_usd: 40, spent_usd: 34, share: 0.85, state: 'warning' }],
    ...changes
  };
}
