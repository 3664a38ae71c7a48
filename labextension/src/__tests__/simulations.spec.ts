import { FederationModel, notebookFor, ordered, PARTITIONS, Quantities, SimulationsModel } from '../model';
import { codeCells, type IExperiment, missingOptions, typedLiteral } from '../model/experiment';
import { SimulationModel } from '../model/simulation';
import { createNotebook } from '../notebook';
import { colourOf, mixed, palette } from '../view/colours';
import { labelStep, means, summarised, together } from '../view/grid';
import { failure, MockApi, table, VERSION } from './mock';
import { CATALOGUE, header, page, simulation } from './simulated';

const ROUNDS = 'GET simulations/s1/rounds?after=';

describe('SimulationModel', () => {
  let api: MockApi;
  let model: SimulationModel;

  beforeEach(() => {
    api = new MockApi({ 'GET simulations/s1': header('s1'), [`${ROUNDS}0`]: page([1, 2]) });
    model = new SimulationModel(api, 's1');
  });

  afterEach(() => model.dispose());

  it('reads the clients once, and on in the journal from where it is', async () => {
    await model.refresh();
    expect(model.rounds.map(({ number }) => number)).toEqual([1, 2]);
    api.table[`${ROUNDS}2`] = page([3], { simulation: simulation('s1', { state: 'completed', round: 3 }) });
    await model.refresh();
    expect(model.rounds.map(({ number }) => number)).toEqual([1, 2, 3]);
    expect(model.simulation?.state).toBe('completed');
    expect(api.requests).toEqual(['GET simulations/s1', `${ROUNDS}0`, `${ROUNDS}2`]);
  });

  it('reads page after page until it has all', async () => {
    api.table[`${ROUNDS}0`] = page([1, 2], { total: 4 });
    api.table[`${ROUNDS}2`] = page([3, 4]);
    await model.refresh();
    expect(model.quantities.rounds.map(({ number }) => number)).toEqual([1, 2, 3, 4]);
  });

  it('starts over when rounds were made again', async () => {
    await model.refresh();
    api.table[`${ROUNDS}2`] = page([3], { journal: 'j2', total: 3 });
    api.table[`${ROUNDS}0`] = page([1], { journal: 'j2' });
    await model.refresh();
    expect(model.rounds.map(({ number }) => number)).toEqual([1]);
    expect(model.quantities.rounds).toHaveLength(1);
  });

  it('leaves out metrics that are no number', async () => {
    await model.refresh();
    expect(model.rounds[1].metrics).toEqual({ loss: 0.5, val_attack_success_rate: 0.5 });
  });

  it('keeps what it has when it cannot be read, and says so', async () => {
    await model.refresh();
    api.table[`${ROUNDS}2`] = failure(404, 'unknown-simulation');
    await model.refresh();
    expect(model.problem?.code).toBe('unknown-simulation');
    expect(model.rounds).toHaveLength(2);
    api.table[`${ROUNDS}2`] = page([], { after: 2, total: 2 });
    await model.refresh();
    expect(model.problem).toBeNull();
  });

  it('can be asked to stop', async () => {
    await model.refresh();
    api.table['POST simulations/s1/stop'] = simulation('s1', { stopping: true });
    await model.stop();
    expect(model.simulation?.stopping).toBe(true);
  });
});

describe('SimulationsModel', () => {
  it('lists, stops and deletes', async () => {
    const api = new MockApi({
      'GET simulations': { simulations: [simulation('s1'), simulation('s2', { state: 'failed' })], total: 9 },
      'POST simulations/s1/stop': simulation('s1', { stopping: true }),
      'DELETE simulations/s2': null
    });
    const model = new SimulationsModel(api);
    await model.refresh();
    expect([model.simulations.length, model.total, model.running]).toEqual([2, 9, 1]);
    await model.stop('s1');
    await model.remove('s2');
    expect(api.requests.filter(request => request === 'GET simulations')).toHaveLength(3);
    model.dispose();
  });

  it('asks for the catalogue once, and again only after a failure', async () => {
    const api = new MockApi({ 'GET protocols': failure(500, 'no-catalogue') });
    const model = new SimulationsModel(api);
    await expect(model.catalogue()).rejects.toThrow();
    api.table['GET protocols'] = CATALOGUE;
    expect(await model.catalogue()).toBe(CATALOGUE);
    expect(await model.catalogue()).toBe(CATALOGUE);
    expect(api.requests).toHaveLength(2);
    model.dispose();
  });

  it('is there without a federation', async () => {
    const api = new MockApi({ ...table(), 'GET simulations': { simulations: [simulation('s1')], total: 1 } });
    delete api.table['GET status'];
    const federation = new FederationModel({ api, version: VERSION });
    await federation.simulations.refresh();
    expect(federation.simulations.running).toBe(1);
    federation.dispose();
  });
});

describe('Quantities', () => {
  const quantities = new Quantities(header('s1').clients);
  quantities.add(page([1, 2]));

  it('are kept by client', () => {
    expect(quantities.names).toEqual(['votes', 'weight']);
    const at = (name: string): (number | null)[] =>
      [0, 1, 2, 3].map(client => quantities.value(name, 1, client));
    expect(at('weight')).toEqual([0.3, 0.5, 0.2, null]); // the page's nodes are b, a, c
    expect(at('votes')).toEqual([-2, 2, NaN, null]);
    expect(quantities.extent('votes')).toEqual({ least: -2, greatest: 2 });
    expect([...quantities.means('votes')]).toEqual([-2, 1.5, NaN, NaN]);
  });

  it('order clients', () => {
    expect([...ordered(quantities, 'attackers', 'votes')]).toEqual([2, 0, 1, 3]);
    expect([...ordered(quantities, 'name', 'votes')]).toEqual([0, 1, 2, 3]);
    expect([...ordered(quantities, 'mean', 'votes')]).toEqual([1, 0, 2, 3]);
  });

  it('order names as people count', () => {
    const clients = ['client-10', 'client-9'].map(name => ({ id: name, name, rows: 1, attacker: false }));
    expect([...ordered(new Quantities(clients), 'name', '')]).toEqual([1, 0]);
  });

  it('take a round that is made again in place of the one before', () => {
    const again = new Quantities(header('s1').clients);
    again.add(page([1, 2, 3]));
    again.add(page([2]));
    expect(again.rounds.map(({ number }) => number)).toEqual([1, 2]);
  });

  it('are binned where there are more than pixels', () => {
    const order = Int32Array.from([0, 1, 2, 3]);
    const all = { rounds: 2, clients: 4, across: 2, down: 4 };
    expect([...means(quantities, 'votes', order, all)]).toEqual([-2, -2, 1, 2, NaN, NaN, NaN, NaN]);
    const few = { ...all, across: 1, down: 2 };
    expect([...means(quantities, 'votes', order, few)]).toEqual([-0.25, NaN]);
    expect(summarised(quantities, 'votes', order, few, 0, 3)).toMatchObject({
      clients: { from: 2, to: 4 },
      rounds: { from: 0, to: 2 },
      attackers: 1,
      values: 0,
      present: 2
    });
  });
});

describe('grid', () => {
  it.each([
    [10, 10],
    [10, 3],
    [3000, 880],
    [7, 5]
  ])('paints each of %i in exactly one of %i', (count, painted) => {
    const cells = new Set<string>();
    for (let index = 0; index < count; index++) {
      const { from, to } = together(index, count, painted);
      expect(from <= index && index < to).toBe(true);
      cells.add(`${from}-${to}`);
    }
    expect(cells.size).toBe(painted);
  });

  it.each([
    [100, 40, 1],
    [15, 40, 5],
    [0.3, 40, 200]
  ])('labels cells of %d with %d between labels every %d', (size, room, step) => {
    expect(labelStep(size, room)).toBe(step);
  });
});

describe('palette', () => {
  const light = {
    background: [255, 255, 255],
    ink: [0, 0, 0],
    above: [25, 118, 210],
    below: [245, 124, 0]
  } as const;
  const brightness = (colour: readonly number[]): number => colour.reduce((sum, part) => sum + part, 0);

  it('has more ink for greater values, and for none as little as the background', () => {
    const { colours } = palette(light, 0, 10);
    const levels = colours.map(brightness);
    expect([...levels].sort((a, b) => b - a)).toEqual(levels);
    expect(levels[0]).toBeLessThan(brightness(light.background) - 60);
  });

  it('starts at 0, and gives values below 0 a colour of their own', () => {
    expect(palette(light, 0.3, 0.8)).toMatchObject({ least: 0, greatest: 0.8 });
    expect(palette(light, 0.8, 0.8)).toMatchObject({ least: 0, greatest: 0.8 });
    const signed = palette(light, -0.2, 0.8);
    expect(signed).toMatchObject({ least: -0.8, greatest: 0.8 });
    const [red, , blue] = colourOf(signed, -0.5);
    expect(red).toBeGreaterThan(blue);
  });

  it('tells values apart that are all far from 0', () => {
    const near = palette(light, 0.99, 1);
    expect(near).toMatchObject({ least: 0.99, greatest: 1 });
    expect(brightness(colourOf(near, 0.991)) - brightness(colourOf(near, 0.999))).toBeGreaterThan(200);
  });

  it('mixes what it is given', () => {
    expect(mixed([255, 0, 0], [0, 0, 255], 0)).toEqual([255, 0, 0]);
    expect(mixed([255, 0, 0], [0, 0, 255], 1)).toEqual([0, 0, 255]);
  });
});

describe('experiment', () => {
  const [, krum] = CATALOGUE.aggregation;
  const [flip] = CATALOGUE.attacks;
  const experiment: IExperiment = {
    rule: { protocol: krum, typed: { byzantine: '2', variant: 'paper' } },
    attack: { protocol: flip, typed: { fraction: '0.4', target: '[1, 2]' } },
    partition: PARTITIONS[1],
    parameter: 0.5,
    clients: 20,
    clientsPerRound: 50,
    rounds: 7,
    seed: 3
  };

  it.each([
    ['2', '2'],
    [' none ', 'None'],
    ['True', 'True'],
    ['[1, null]', '[1, None]'],
    ['patch', '"patch"'],
    ["'patch'", '"patch"'],
    ['a"b\\', '"a\\"b\\\\"'],
    ['__import__("os")', '"__import__(\\"os\\")"']
  ])('takes %s as %s', (text, python) => {
    expect(typedLiteral(text)).toBe(python);
  });

  it('is code with the options that differ from their defaults', () => {
    const code = codeCells(experiment)
      .map(cell => cell.code)
      .join('\n');
    expect(code).toContain('flaas.aggregation("krum", byzantine=2)');
    expect(code).toContain('attack=flaas.attacks.LabelFlip(fraction=0.4, target=[1, 2])');
    expect(code).toContain('partition=flaas.Dirichlet(0.5)');
    expect(code).toContain('clients_per_round=20'); // not more than there are
    expect(code).not.toContain('variant');
  });

  it('knows what is missing', () => {
    expect(missingOptions({ protocol: flip, typed: {} }).map(({ name }) => name)).toEqual(['target']);
    expect(missingOptions({ protocol: flip, typed: { target: '1' } })).toEqual([]);
  });

  it('is a notebook whose cells have distinct ids', () => {
    const { cells, nbformat, nbformat_minor } = notebookFor({ ...experiment, attack: null }, 'python3');
    expect([nbformat, nbformat_minor]).toEqual([4, 5]);
    expect(new Set(cells.map(({ id }) => id)).size).toBe(cells.length);
    expect(cells[0].source).toBe('# Simulation: krum');
    expect(JSON.stringify(cells)).not.toContain('attack=');
  });

  it('gets a name that no file has, and the default kernel if that is Python', async () => {
    const taken = new Set(['work/simulation-krum.ipynb']);
    const saved: string[] = [];
    const contents = {
      newUntitled: () => Promise.resolve({ path: 'work/Untitled.ipynb' }),
      save: (_: string, { content }: { content: { metadata: { kernelspec: { name: string } } } }) => {
        saved.push(content.metadata.kernelspec.name);
        return Promise.resolve();
      },
      rename: (_: string, path: string) =>
        taken.has(path) ? Promise.reject(new Error('409')) : Promise.resolve({ path })
    };
    const specs = { default: 'ir', kernelspecs: { ir: { language: 'R' } } };
    const services = { contents, kernelspecs: { ready: Promise.resolve(), specs } };
    const made = await createNotebook(services as never, 'work', 'simulation-krum', kernel =>
      notebookFor(experiment, kernel)
    );
    expect(made).toBe('work/simulation-krum-2.ipynb');
    expect(saved).toEqual(['python3']);
  });
});
