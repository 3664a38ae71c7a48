import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';

import { CostsModel, FederationModel, type ITraining, trainingNotebook, WizardModel } from '../model';
import { createNotebook } from '../notebook';
import { trainingCells } from '../model/training';
import { Costs } from '../view/costs';
import { WizardSteps } from '../view/wizard';
import { trainingOf } from '../view/wizardfollow';
import { IMAGES, launch, launchedNode, recommendation, REPUTATION, summary } from './costed';
import { DATASET, failure, list, MockApi, settle, table, VERSION } from './mock';

const NOW = new Date('2026-11-03T12:00:00Z');
const MONTH = 'GET /v1/costs/summary?from=2026-11-01&to=2026-11-04&group=project';

let api: MockApi;
let federation: FederationModel;
const open = { openWizard: jest.fn(), showPanel: jest.fn(), openCosts: jest.fn(), openRun: jest.fn() };
const save = jest.fn<void, [string, string]>();
const train = jest.fn<Promise<void>, [ITraining]>(() => Promise.resolve());

async function settled(work: () => unknown): Promise<void> {
  await act(async () => {
    work();
    await settle();
  });
}

const press = (name: string | RegExp): Promise<void> =>
  settled(() => fireEvent.click(screen.getByRole('button', { name })));
const choose = (name: string): Promise<void> =>
  settled(() => fireEvent.click(screen.getByRole('radio', { name })));
const alerts = (): string[] => screen.queryAllByRole('alert').map(({ textContent }) => textContent);
const cells = (name: string): (string | null)[][] =>
  within(screen.getByRole('table', { name }))
    .getAllByRole('row')
    .slice(1)
    .map(row => [...row.children].map(cell => cell.textContent));

beforeEach(() => {
  api = new MockApi({
    ...table(),
    [MONTH]: summary(),
    'GET /v1/costs/accounts': list('accounts', []),
    'GET /v1/costs/templates': list('templates', [REPUTATION, IMAGES]),
    'POST /v1/costs/recommendations': recommendation(),
    'POST /v1/projects/demo/launches': launch('l1'),
    'GET /v1/launches/l1': launch('l1')
  });
  federation = new FederationModel({ api, version: VERSION });
  [...Object.values(open), save, train].forEach(mock => mock.mockClear());
});

afterEach(() => {
  cleanup();
  federation.dispose();
  document.body.innerHTML = '';
});

describe('Costs', () => {
  let model: CostsModel;

  beforeEach(() => {
    model = new CostsModel(api, () => NOW);
  });

  afterEach(() => model.dispose());

  async function show(): Promise<void> {
    render(<Costs federation={federation} model={model} {...open} save={save} />);
    await settled(() => federation.session.refresh());
  }

  it('lays bill and estimate side by side, one figure a currency', async () => {
    await show();
    expect(cells('Bill and estimate')).toEqual([
      ['Demo', '30.00 USD', '28.00 USD', '2.00 USD', 'Storage is not estimated.'],
      ['Demo', '7.00 EUR', '–', '–', 'Billed in EUR, estimated in USD.']
    ]);
    const figures = [...document.querySelectorAll('.flaas-Costs .flaas-Figures > div')].map(
      ({ textContent }) => textContent
    );
    expect(figures).toEqual([
      'Billed in EUR7.00 EUR',
      'Billed in USD32.50 USD',
      'Estimated28.00 USD',
      'Billed without project2.50 USD'
    ]);
    const chart = screen.getByRole('img', {
      name: /Demo 30\.00 USD, without project 2\.50 USD, estimated 28/
    });
    expect(chart.querySelectorAll('.flaas-CostBars-part')).toHaveLength(3);
    expect(chart.querySelectorAll('.flaas-CostBars-estimate')).toHaveLength(1);
  });

  it('has the same days as a table, and each currency apart', async () => {
    await show();
    await press('Show as table');
    expect(cells('Costs by day, USD')[2]).toEqual(['2026-11-03', '20.00 USD', '2.50 USD', '28.00 USD']);
    await press('EUR');
    expect(cells('Costs by day, EUR')[1]).toEqual(['2026-11-02', '7.00 EUR']);
  });

  it('warns of a budget that is nearly spent, and alarms when it is exceeded', async () => {
    await show();
    expect(screen.getByText('Near the budget: Demo (85 %)')).toBeTruthy();
    expect(alerts()).toEqual([]);
    const bar = screen.getByRole('progressbar', { name: 'Budget of Demo' });
    expect(bar.getAttribute('aria-valuetext')).toBe('34.00 USD of 40.00 USD (85 %)');
    api.table[MONTH] = summary({
      budgets: [{ project: 'demo', budget_usd: 40, spent_usd: 50, share: 1.25, state: 'exceeded' }]
    });
    await press('Refresh');
    expect(alerts()[0]).toContain('Over budget: Demo (125 %)');
  });

  it('exports a file, and says when it may not', async () => {
    await show();
    const path = 'TEXT /v1/costs/export?from=2026-11-01&to=2026-11-04';
    api.table[path] = 'a,b';
    await press('Export CSV');
    expect(save).toHaveBeenCalledWith('costs-2026-11-01-2026-11-04.csv', 'a,b');
    api.table[path] = failure(403, 'not-permitted', 'Not you.');
    await press('Export CSV');
    expect(alerts()[0]).toContain('Not you.');
    expect(save).toHaveBeenCalledTimes(1);
  });

  it('says what is wrong with a source, and how to enter an account', async () => {
    const [source] = summary().sources;
    const problem = { detail: 'bigquery.jobs.create is missing.', hint: 'Grant it.' };
    api.table[MONTH] = summary({ sources: [{ ...source, problem }] });
    await show();
    expect(screen.getByRole('list', { name: 'Sources' }).textContent).toContain(
      'bigquery.jobs.create is missing. Grant it.'
    );
    api.table[MONTH] = summary({ sources: [] });
    await press('Refresh');
    expect(screen.getByText('flaas costs account add aws')).toBeTruthy();
  });

  it('keeps old figures and says that they are old', async () => {
    await show();
    api.table[MONTH] = failure(503, 'unavailable', 'Not now.');
    await press('Refresh');
    expect(alerts()[0]).toMatch(/^Not up to date; last updated .*Not now\./);
    expect(cells('Bill and estimate')).toHaveLength(2);
  });

  it('asks to sign in first', async () => {
    api.table['GET status'] = failure(404, 'unknown');
    await show();
    expect(api.requests.some(request => request.includes('costs'))).toBe(false);
    expect(alerts()).toHaveLength(1);
  });
});

describe('Wizard', () => {
  let model: WizardModel;

  beforeEach(() => {
    model = new WizardModel(api, federation.streams);
  });

  afterEach(() => model.dispose());

  async function show(): Promise<void> {
    render(<WizardSteps federation={federation} model={model} {...open} train={train} themeChanged={null} />);
    await settled(() => federation.session.refresh());
    await settled(() => undefined);
  }

  async function toPlan(choice: string): Promise<void> {
    await show();
    await choose(REPUTATION.title);
    await press('Compare prices');
    await press('Choose');
    await choose(choice);
    await press('Show the plan');
  }

  async function toFollow(): Promise<void> {
    await toPlan('Everything at AWS');
    await settled(() => fireEvent.click(screen.getByRole('checkbox')));
    await press('Launch');
  }

  it('shows templates as a radio group, filtered by what they are for', async () => {
    await show();
    const names = (): (string | null)[] =>
      screen.getAllByRole('radio').map(radio => radio.closest('label')!.querySelector('strong')!.textContent);
    expect(names()).toEqual([REPUTATION.title, IMAGES.title]);
    expect(screen.getByRole<HTMLButtonElement>('button', { name: 'Compare prices' }).disabled).toBe(true);
    await press('GPU');
    expect(names()).toEqual([IMAGES.title]);
    expect(screen.getByText(/1 × T4 16 GiB/)).toBeTruthy();
    await press('Defence');
    expect(names()).toEqual([REPUTATION.title]);
  });

  it('says of each machine why it was chosen or set aside, and that a price is old', async () => {
    await show();
    await choose(REPUTATION.title);
    await press('Compare prices');
    const reasons = cells('Machines of AWS').map(row => row[row.length - 1]);
    expect(reasons).toEqual(['the cheapest that fits', 'outside the EU (GB)', 'no price is published▲ Odd.']);
    expect(screen.getAllByRole('img', { name: 'chosen' })).toHaveLength(2); // AWS and Azure
    expect(screen.getAllByText(/The price is \d{4} days old/).length).toBeGreaterThan(0);
    expect(screen.getByText('Spot machines may be taken away.')).toBeTruthy();
    expect(screen.getByRole('region', { name: 'GCP' }).textContent).toContain('Nobody sells it there.');
  });

  it('lets the recommendation or one provider be chosen, and not what nobody sells', async () => {
    await show();
    await choose(REPUTATION.title);
    await press('Compare prices');
    await press('Choose');
    const radio = (name: string): HTMLInputElement => screen.getByRole('radio', { name });
    expect(radio('The cheapest mixture').checked).toBe(true);
    expect(radio('Everything at GCP').disabled).toBe(true);
    expect(screen.getByText('2 at AWS', { exact: false })).toBeTruthy();
  });

  it('shows the plan node by node, and launches only what was accepted', async () => {
    await toPlan('Everything at AWS');
    expect(cells('Plan')[0]).toEqual([
      'node-1',
      'AWS, eu-1 (SE)',
      'm7i.xlarge',
      '0.200',
      '0.20 USD',
      '0.01 USD',
      '0.0010 USD',
      '0.21 USD'
    ]);
    expect(screen.getByText('pinning node-1 to aws', { exact: false }).textContent).toContain('0.05 USD');
    const button = screen.getByRole<HTMLButtonElement>('button', { name: 'Launch' });
    expect(button.disabled).toBe(true);
    await settled(() =>
      fireEvent.click(screen.getByRole('checkbox', { name: /^I accept up to 0\.43 USD for 2 machines/ }))
    );
    expect(button.disabled).toBe(false);
    await press('Launch');
    expect(cells('Machines').map(([name]) => name)).toEqual(['node-1', 'node-2']);
  });

  it('names the command that enters a missing account', async () => {
    await toPlan('Everything at AZURE');
    expect(alerts()[0]).toContain('flaas costs account add azure');
    expect(screen.getByRole<HTMLButtonElement>('button', { name: 'Launch' }).disabled).toBe(true);
  });

  it('says who has to sign, and what failed, with a way on', async () => {
    await toFollow();
    api.table['GET /v1/launches/l1'] = launch('l1', {
      state: 'stuck',
      nodes: [
        launchedNode('node-1', { state: 'registered' }),
        launchedNode('node-2', { state: 'failed', problem: { detail: 'Quota.', hint: 'Ask for more.' } })
      ],
      _links: { resume: { href: '/v1/launches/l1/resume', method: 'POST' } }
    });
    await settled(() => model.launch!.refresh());
    expect(screen.getByText('flaas domain approve demo --launch l1')).toBeTruthy();
    expect(alerts()[0]).toContain('Not launched: node-2Quota.Ask for more.');
    api.table['POST /v1/launches/l1/resume'] = failure(503, 'unavailable', 'Not now.');
    await press('Resume');
    expect(alerts()[1]).toContain('Not now.');
    api.table['POST /v1/launches/l1/resume'] = launch('l1');
    api.table['GET /v1/launches/l1'] = launch('l1');
    await press('Retry');
    expect(alerts()).toEqual([]);
  });

  it('opens a notebook that trains once the nodes have joined', async () => {
    await toFollow();
    expect(screen.queryByRole('button', { name: 'Open training notebook' })).toBeNull();
    const nodes = [launchedNode('node-1', { state: 'joined', node_id: 'id-hospital-a' })];
    api.table['GET /v1/launches/l1'] = launch('l1', { state: 'ready', nodes });
    api.table['GET /v1/projects/demo/runs'] = list('runs', []);
    await settled(() => model.launch!.refresh());
    await press('Open training notebook');
    expect(train).toHaveBeenCalledWith({
      project: 'demo',
      dataset: DATASET,
      launch: 'l1',
      rounds: 60,
      localEpochs: 2,
      batchSize: 16,
      aggregation: 'reputation',
      secureAggregation: false
    });
  });

  it('says at the end what it cost', async () => {
    await toFollow();
    api.table['GET /v1/launches/l1'] = launch('l1', { state: 'ended', spent_usd: 0.31, round: 60 });
    await settled(() => model.launch!.refresh());
    expect(
      screen.getByText(/It cost about 0\.31 USD of the 0\.33 USD that were accepted, for 60 rounds\./)
    ).toBeTruthy();
    await press('Start over');
    expect(screen.getByRole('radiogroup', { name: 'Template' })).toBeTruthy();
  });
});

describe('training notebook', () => {
  const training = trainingOf(launch('l1'), DATASET, [REPUTATION]);
  const code = (changes: Partial<ITraining> = {}): string =>
    trainingCells({ ...training, ...changes })
      .map(cell => cell.code)
      .join('\n');

  it('trains on the data of the project with the template’s rule and rounds', () => {
    expect(code()).toContain('session.project("demo").federation(dataset="biopsies")');
    expect(code()).toContain('inputs = keras.Input((1,))');
    expect(code()).toContain('aggregation=flaas.aggregation("reputation"),');
    expect(code()).toContain('layers.Dense(1, activation="sigmoid")');
    expect(code()).toContain('rounds=60,');
    expect(code()).toContain('find_launch("l1")');
    expect(code()).not.toContain('secure_aggregation');
    expect(code({ aggregation: 'fedavg', secureAggregation: true })).toContain('secure_aggregation=True,');
    expect(code({ aggregation: 'fedavg' })).not.toContain('aggregation=');
  });

  it('has the last layer that the target asks for, and takes images as they are', () => {
    const features = [{ name: 'image', dtype: 'float32', shape: [28, 28, 1] }];
    const many = { name: 'y', dtype: 'int64', kind: 'multiclass' as const, classes: 10 };
    const images = code({ dataset: { name: 'a"b', features, target: many } });
    expect(images).toContain('keras.Input((28, 28, 1))');
    expect(images).toContain('layers.Flatten()(inputs)');
    expect(images).toContain('layers.Dense(10, activation="softmax")');
    expect(images).toContain('dataset="a\\"b"');
    const price = { name: 'y', dtype: 'float64', kind: 'regression' as const, classes: null };
    expect(code({ dataset: { ...DATASET, target: price } })).toContain('loss="mean_squared_error"');
  });

  it('is a notebook of format 4.5 under a name that is free', async () => {
    const notebook = trainingNotebook(training, 'python3');
    expect([notebook.nbformat, notebook.nbformat_minor]).toEqual([4, 5]);
    expect(new Set(notebook.cells.map(({ id }) => id)).size).toBe(notebook.cells.length);
    expect(notebook.cells[0].source).toBe('# Training on biopsies, project demo');
    const contents = {
      newUntitled: () => Promise.resolve({ path: 'Untitled.ipynb' }),
      save: () => Promise.resolve(),
      rename: (_: string, path: string) => Promise.resolve({ path })
    };
    const services = { contents, kernelspecs: { ready: Promise.resolve(), specs: null } };
    const write = (kernel: string): typeof notebook => trainingNotebook(training, kernel);
    expect(await createNotebook(services as never, '', 'training-biopsies', write)).toBe(
      'training-biopsies.ipynb'
    );
  });
});
