import { billedTotals, CostsModel, dayBars, daysOf, estimatedTotal, words } from '../model';
import { money, usd } from '../format';
import { costsPath } from '../model/costs';
import { summary } from './costed';
import { failure, list, MockApi, settle } from './mock';

const NOW = new Date('2026-11-15T23:30:00Z');
const MONTH = 'GET /v1/costs/summary?from=2026-11-01&to=2026-11-16&group=project';

let api: MockApi;
let model: CostsModel;

const account = (state: string): unknown => ({ id: 'acc-aws', title: 'AWS', fetch: { state } });

beforeEach(() => {
  api = new MockApi({ [MONTH]: summary(), 'GET /v1/costs/accounts': list('accounts', [account('done')]) });
  model = new CostsModel(api, () => NOW);
});

afterEach(() => model.dispose());

async function start(): Promise<void> {
  void model.start();
  await settle();
}

describe('days', () => {
  it.each([
    ['week', '2026-11-09', '2026-11-16'],
    ['month', '2026-11-01', '2026-11-16'],
    ['last-month', '2026-10-01', '2026-11-01'],
    ['quarter', '2026-08-18', '2026-11-16']
  ] as const)('of %s', (range, from, to) => {
    expect(daysOf(range, NOW)).toEqual({ from, to });
  });

  it('of last month in January are those of December', () => {
    expect(daysOf('last-month', new Date('2026-01-02T00:00:00Z'))).toEqual({
      from: '2025-12-01',
      to: '2026-01-01'
    });
  });
});

describe('figures', () => {
  it('are one a currency, never added up', () => {
    expect(billedTotals(summary())).toEqual([
      { currency: 'EUR', billed: 7 },
      { currency: 'USD', billed: 32.5 }
    ]);
    expect(estimatedTotal(summary())).toBe(28);
  });

  it('have the digits that money has, and more where those would say nothing', () => {
    expect([money(1234.5, 'EUR'), usd(0), usd(0.0038), usd(-0.5)]).toEqual([
      '1,234.50 EUR',
      '0.00 USD',
      '0.0038 USD',
      '-0.50 USD'
    ]);
  });
});

describe('bars', () => {
  it('are a stack for each day, greatest below, the estimate beside it in its own currency alone', () => {
    expect(dayBars(summary(), 'USD')).toEqual({
      days: ['2026-11-01', '2026-11-02', '2026-11-03'],
      keys: ['demo', ''],
      billed: [
        [10, 0, 20],
        [0, 0, 2.5]
      ],
      estimated: [0, 0, 28]
    });
    expect(dayBars(summary(), 'EUR')).toMatchObject({ keys: ['demo'], billed: [[0, 7, 0]], estimated: null });
  });

  it('have many keys together, and lose none of their money', () => {
    const days = [...'abcdefgh'].map((key, place) => ({
      day: '2026-11-01',
      key,
      currency: 'USD',
      billed: place + 1
    }));
    const { keys, billed } = dayBars(summary({ days }), 'USD');
    expect(keys).toEqual(['h', 'g', 'f', 'e', 'd', null]);
    expect(billed[5][0]).toBe(1 + 2 + 3);
    expect(dayBars(summary({ days, group: 'day' }), 'USD').keys).toEqual([null]);
  });
});

describe('CostsModel', () => {
  it('reads this month by project, and the accounts', async () => {
    await start();
    expect(model.summary?.billed).toHaveLength(3);
    expect(model.accounts).toHaveLength(1);
    expect([model.range, model.problem, model.loading, model.updated]).toEqual(['month', null, false, NOW]);
  });

  it('shows costs to who may not see the accounts', async () => {
    api.table['GET /v1/costs/accounts'] = failure(403, 'not-permitted');
    await start();
    expect([model.problem, model.summary !== null, model.accounts]).toEqual([null, true, []]);
  });

  it('asks anew for another range, group or filter; an empty project is none', async () => {
    await start();
    const path = '/v1/costs/summary?from=2026-10-01&to=2026-11-01&group=node&project=&provider=aws';
    expect(
      costsPath('summary', {
        from: '2026-10-01',
        to: '2026-11-01',
        group: 'node',
        project: '',
        provider: 'aws'
      })
    ).toBe(path);
    api.table['GET /v1/costs/summary?from=2026-10-01&to=2026-11-01&group=project'] = summary({ billed: [] });
    model.showRange('last-month');
    await settle();
    expect(model.summary?.billed).toEqual([]);
  });

  it('asks nothing for days that are no range', async () => {
    await start();
    const before = api.requests.length;
    model.showDays({ from: '2026-11-10', to: '2026-11-10' });
    model.showDays({ from: '', to: '2026-11-10' });
    await settle();
    expect(api.requests).toHaveLength(before);
  });

  it('keeps what it has when a look fails, and says why', async () => {
    await start();
    api.table[MONTH] = failure(503, 'unavailable');
    await model.refresh();
    expect([model.summary !== null, model.problem?.code]).toEqual([true, 'unavailable']);
    api.table[MONTH] = summary();
    await model.refresh();
    expect(model.problem).toBeNull();
  });

  it('has a bill fetched for the days shown, and says what that fails with', async () => {
    await start();
    const path = '/v1/costs/accounts/acc-aws/fetch';
    api.table[`POST ${path}`] = account('running');
    await model.fetch(model.accounts[0]);
    expect(api.posts[0]).toMatchObject({ path, body: { from: '2026-11-01', to: '2026-11-16' } });
    expect(model.refusal).toBeNull();
    api.table[`POST ${path}`] = failure(429, 'too-often');
    await model.fetch(model.accounts[0]);
    expect(model.refusal?.code).toBe('too-often');
  });

  it('exports the days that are shown', async () => {
    await start();
    api.table['TEXT /v1/costs/export?from=2026-11-01&to=2026-11-16'] = 'a,b';
    expect(await model.export()).toBe('a,b');
    api.table['TEXT /v1/costs/export?from=2026-11-01&to=2026-11-16'] = failure(403, 'not-permitted');
    expect(await model.export()).toBeNull();
    expect(model.refusal?.code).toBe('not-permitted');
  });

  it('forgets what somebody else saw', async () => {
    await start();
    model.forget();
    expect([model.summary, model.accounts, model.updated]).toEqual([null, [], null]);
  });
});

describe('trouble', () => {
  it('is put into words, whatever shape it has', () => {
    expect(words('Gone.')).toEqual({ title: 'Gone.', hint: '' });
    expect(words({ title: 'Quota', detail: 'No more.', hint: 'Ask.' })).toEqual({
      title: 'No more.',
      hint: 'Ask.'
    });
    expect(words({ code: 'quota' }).title).toBe('quota');
  });
});
