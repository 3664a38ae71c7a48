import { EventStreams } from '../events';
import { areaOf, areaText, badNames, MIXED, resized, type IWizardMemory, WizardModel } from '../model';
import { requestOf } from '../model/wizard';
import { IMAGES, launch, launchedNode, plan, provider, recommendation, REPUTATION } from './costed';
import { DATASET, event, failure, list, MockApi, run, settle } from './mock';

class Memory implements IWizardMemory {
  kept: unknown = null;
  recall(): Promise<unknown> {
    return Promise.resolve(this.kept);
  }
  remember(kept: unknown): Promise<void> {
    this.kept = JSON.parse(JSON.stringify(kept)) as unknown;
    return Promise.resolve();
  }
}

const RECOMMEND = 'POST /v1/costs/recommendations';
const LAUNCH = 'POST /v1/projects/demo/launches';

let api: MockApi;
let memory: Memory;
let wizard: WizardModel;

function fresh(): WizardModel {
  return new WizardModel(api, new EventStreams(api), memory);
}

beforeEach(() => {
  api = new MockApi({
    'GET /v1/costs/templates': list('templates', [REPUTATION, IMAGES]),
    [RECOMMEND]: recommendation(),
    [LAUNCH]: () => {
      api.table['GET /v1/launches/l1'] ??= launch('l1');
      return launch('l1');
    },
    'GET /v1/projects/demo/datasets': list('datasets', [DATASET]),
    'GET /v1/projects/demo/runs': list('runs', [])
  });
  memory = new Memory();
  wizard = fresh();
});

afterEach(() => wizard.dispose());

async function toPlan(choice = MIXED): Promise<void> {
  await wizard.start('demo', 'ana');
  wizard.chooseTemplate(REPUTATION.name);
  await wizard.compare();
  wizard.choose(choice);
  wizard.go('plan');
}

describe('wishes', () => {
  it('read areas as they are typed', () => {
    expect([areaOf('EU'), areaOf(' DE, FR ;eu-west-1 '), areaOf('  ')]).toEqual([
      'EU',
      ['DE', 'FR', 'eu-west-1'],
      null
    ]);
    expect(areaText(['DE', 'FR'])).toBe('DE, FR');
  });

  it('keep names when there are more or fewer nodes, and none twice', () => {
    const two = resized([], 2);
    expect(two.map(({ name }) => name)).toEqual(['node-1', 'node-2']);
    const own = [{ ...two[0], name: 'node-3' }, two[1]];
    expect(resized(own, 4).map(({ name }) => name)).toEqual(['node-3', 'node-2', 'node-1', 'node-4']);
    expect(resized(own, 1)).toEqual([own[0]]);
  });

  it('say which names will not do', () => {
    const named = (names: string[]): ReturnType<typeof resized> =>
      names.map(name => ({ name, provider: null, area: null }));
    expect(badNames(named(['a', 'b-1']))).toEqual([]);
    expect(badNames(named(['a', 'a', 'Ü', '']))).toEqual(['a', 'Ü', '']);
  });

  it('name nodes only where something else than the template is wished of them', async () => {
    await wizard.start('demo', 'ana');
    wizard.chooseTemplate(REPUTATION.name);
    expect(requestOf(REPUTATION, wizard.wishes!).nodes).toBeNull();
    wizard.wish({ nodes: resized(wizard.wishes!.nodes, 3) });
    expect(requestOf(REPUTATION, wizard.wishes!).nodes).toHaveLength(3);
  });
});

describe('WizardModel', () => {
  it('goes step by step, and no step before its time', async () => {
    await wizard.start('demo', 'ana');
    expect([wizard.step, wizard.templates.length, wizard.project]).toEqual(['template', 2, 'demo']);
    for (const step of ['prices', 'choice', 'plan', 'follow'] as const) {
      wizard.go(step);
      expect(wizard.step).toBe('template');
    }
    wizard.chooseTemplate(REPUTATION.name);
    wizard.go('prices');
    await settle();
    expect([wizard.step, wizard.recommendation !== null]).toEqual(['prices', true]);
    wizard.go('plan');
    expect([wizard.step, wizard.plan?.total_usd]).toEqual(['plan', recommendation().plan!.total_usd]);
    wizard.choose('azure');
    expect(wizard.plan?.nodes[0].provider).toBe('azure');
  });

  it('has prices compared anew after a wish, and nothing launched before', async () => {
    await toPlan();
    wizard.accept(true);
    wizard.wish({ area: ['DE'] });
    expect([wizard.stale, wizard.accepted, wizard.mayGo('plan')]).toEqual([true, false, false]);
    await wizard.compare('plan');
    expect(api.posts[1].body).toMatchObject({ template: REPUTATION.name, area: ['DE'], rounds: 60 });
    expect([wizard.stale, wizard.mayGo('plan')]).toEqual([false, true]);
  });

  it('takes the mixture where everything at one provider is no longer possible', async () => {
    await toPlan('azure');
    api.table[RECOMMEND] = recommendation({ providers: [provider('azure', { plan: null })] });
    await wizard.compare('plan');
    expect([wizard.choice, wizard.plan !== null]).toEqual([MIXED, true]);
  });

  it('keeps everything when prices cannot be had, and tries again', async () => {
    await wizard.start('demo', 'ana');
    wizard.chooseTemplate(REPUTATION.name);
    wizard.wish({ rounds: 5 });
    const answer = api.table[RECOMMEND];
    api.table[RECOMMEND] = failure(503, 'unavailable');
    await wizard.compare();
    expect([wizard.problem?.code, wizard.wishes?.rounds, wizard.step]).toEqual(['unavailable', 5, 'prices']);
    api.table[RECOMMEND] = answer;
    await wizard.retry();
    expect([wizard.problem, wizard.recommendation !== null]).toEqual([null, true]);
  });

  it('names the accounts that are missing, and launches nothing without them', async () => {
    await toPlan('azure');
    expect(wizard.missing).toEqual([
      {
        provider: 'azure',
        title: 'AZURE',
        why: 'No account: flaas costs account add azure',
        command: 'flaas costs account add azure'
      }
    ]);
    wizard.accept(true);
    await wizard.launchPlan();
    expect(api.requests).not.toContain(LAUNCH);
  });

  it('lets a provider with an account take a part of the nodes where it cannot take all', async () => {
    api.table[RECOMMEND] = recommendation({
      providers: [
        provider('aws', { plan: null, launchable: false, why_not: 'node-2 has to be at azure.' }),
        provider('azure')
      ],
      plan: plan(['aws', 'azure'])
    });
    await toPlan();
    expect(wizard.missing).toEqual([]);
  });

  it('orders what was shown, up to the total that was shown, with the data that was described', async () => {
    await toPlan('aws');
    wizard.describeData({ name: ' biopsies ', source: '/data/{node}.csv', target: '' });
    await wizard.launchPlan();
    expect(api.requests).not.toContain(LAUNCH); // not accepted
    wizard.accept(true);
    await wizard.launchPlan();
    const { body, key } = api.posts[api.posts.length - 1];
    expect(key).toBeTruthy();
    expect(body).toMatchObject({
      template: REPUTATION.name,
      hours: 1,
      rounds: 60,
      accepted_usd: 0.43, // 0.422 in whole cents
      nodes: [
        {
          name: 'node-1',
          account: 'acc-aws',
          disk_gib: 30,
          dataset: { name: 'biopsies', source: '/data/node-1.csv', target: null }
        },
        { name: 'node-2' }
      ]
    });
    expect([wizard.step, wizard.launch?.id]).toEqual(['follow', 'l1']);
  });

  it('sends an order without an answer again under the same key, another one under another', async () => {
    await toPlan('aws');
    wizard.accept(true);
    const answer = api.table[LAUNCH];
    api.table[LAUNCH] = failure(503, 'unavailable');
    await wizard.launchPlan();
    expect(wizard.problem?.code).toBe('unavailable');
    await wizard.retry();
    wizard.describeData({ name: 'other' });
    await wizard.launchPlan();
    const keys = api.posts.filter(({ path }) => path.endsWith('/launches')).map(({ key }) => key);
    expect(keys[1]).toBe(keys[0]);
    expect(keys[2]).not.toBe(keys[0]);
    api.table[LAUNCH] = answer;
    await wizard.retry();
    expect(wizard.launch?.id).toBe('l1');
  });

  it('forgets the key of an order that was refused', async () => {
    await toPlan('aws');
    wizard.accept(true);
    api.table[LAUNCH] = failure(409, 'price-risen');
    await wizard.launchPlan();
    expect(memory.kept).toMatchObject({ pending: null, step: 'plan' });
  });

  it('is where it was after a reload, with prices of now', async () => {
    await toPlan('aws');
    wizard.accept(true);
    wizard.dispose();
    wizard = fresh();
    await wizard.start('other', 'ana');
    expect([wizard.step, wizard.choice, wizard.project, wizard.accepted]).toEqual([
      'plan',
      'aws',
      'demo',
      false
    ]);
    expect(wizard.plan).not.toBeNull();
  });

  it('shows nobody what somebody else entered', async () => {
    await toPlan('aws');
    wizard.dispose();
    wizard = fresh();
    await wizard.start('other', 'bob');
    expect([wizard.step, wizard.template, wizard.project]).toEqual(['template', null, 'other']);
  });

  it('begins anew when what it kept cannot be read, or its template is gone', async () => {
    memory.kept = { version: 99, step: 'plan' };
    await wizard.start('demo', 'ana');
    expect(wizard.step).toBe('template');
    wizard.dispose();
    wizard = fresh();
    memory.kept = { version: 1, identity: 'ana', step: 'plan', template: 'gone', wishes: {} };
    await wizard.start('demo', 'ana');
    expect([wizard.step, wizard.template]).toEqual(['template', null]);
  });

  it('finds the launch again after a reload', async () => {
    await toPlan('aws');
    wizard.accept(true);
    await wizard.launchPlan();
    wizard.dispose();
    wizard = fresh();
    await wizard.start('demo', 'ana');
    await settle();
    expect([wizard.step, wizard.launch?.launch?.state]).toEqual(['follow', 'launching']);
  });

  it('finds the launch whose answer a reload has cut off, and no older one', async () => {
    await toPlan('aws');
    wizard.accept(true);
    api.table[LAUNCH] = failure(0, 'server-unreachable');
    await wizard.launchPlan();
    wizard.dispose();
    const now = new Date().toISOString();
    api.table['GET /v1/projects/demo/launches'] = list('launches', [
      launch('other', { created: now, accepted_usd: 9 }),
      launch('old', { accepted_usd: 0.43 }),
      launch('ours', { created: now, accepted_usd: 0.43 })
    ]);
    api.table['GET /v1/launches/ours'] = launch('ours', { created: now });
    wizard = fresh();
    await wizard.start('demo', 'ana');
    expect(wizard.launch?.id).toBe('ours');
  });

  it('starts over without touching what runs', async () => {
    await toPlan('aws');
    wizard.accept(true);
    await wizard.launchPlan();
    wizard.restart();
    expect([wizard.step, wizard.launch, wizard.template]).toEqual(['template', null, null]);
    expect(api.requests.filter(request => request.includes('terminate'))).toEqual([]);
  });
});

describe('LaunchModel', () => {
  async function follow(): Promise<NonNullable<WizardModel['launch']>> {
    await toPlan('aws');
    wizard.accept(true);
    await wizard.launchPlan();
    await settle();
    return wizard.launch!;
  }

  it('follows the launch by its events', async () => {
    const followed = await follow();
    api.table['GET /v1/launches/l1'] = launch('l1', {
      state: 'booting',
      nodes: [launchedNode('node-1', { state: 'booting' })]
    });
    api.stream.send(event(5, 'launch.changed', { data: { launch: 'another', state: 'ready' } }));
    await settle();
    expect(followed.launch?.state).toBe('launching');
    api.stream.send(event(6, 'launch.changed', { data: { launch: 'l1', state: 'booting' } }));
    await settle();
    expect(followed.launch?.state).toBe('booting');
  });

  it('knows the data and the run of its nodes once they have joined', async () => {
    const followed = await follow();
    const nodes = [launchedNode('node-1', { state: 'joined', node_id: 'id-hospital-a' })];
    api.table['GET /v1/launches/l1'] = launch('l1', { state: 'ready', nodes });
    api.table['GET /v1/projects/demo/datasets'] = list('datasets', [
      DATASET,
      { ...DATASET, name: 'elsewhere', nodes: [] }
    ]);
    api.table['GET /v1/projects/demo/runs'] = list('runs', [
      run('before', { created: '2025-12-31T00:00:00Z' }),
      run('since', { created: '2026-01-02T00:00:00Z' })
    ]);
    await followed.refresh();
    expect(followed.datasets.map(({ name }) => name)).toEqual(['biopsies']);
    expect(followed.run?.id).toBe('since');
  });

  it('ends and resumes by its links, and says when it may not', async () => {
    const followed = await follow();
    api.table['POST /v1/launches/l1/terminate'] = launch('l1', { state: 'ending' });
    api.table['GET /v1/launches/l1'] = launch('l1', { state: 'ending' });
    await followed.terminate();
    expect(followed.launch?.state).toBe('ending');
    api.table['POST /v1/launches/l1/resume'] = failure(409, 'launch-over');
    await expect(followed.resume()).rejects.toThrow();
  });

  it('keeps what is known when a look fails', async () => {
    const followed = await follow();
    api.table['GET /v1/launches/l1'] = failure(503, 'unavailable');
    await followed.refresh();
    expect([followed.launch?.id, followed.problem?.code]).toEqual(['l1', 'unavailable']);
  });
});
