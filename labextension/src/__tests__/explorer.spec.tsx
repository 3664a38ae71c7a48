import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';

import {
  EMPTY_CHOICE,
  explorationCode,
  type ExplorerModel,
  ExplorerModels,
  type IExplorerChoice,
  restoredChoice
} from '../model';
import type { IDataset, IExplorationRequest } from '../tokens';
import { svgOf } from '../view/chartexport';
import { Explorer } from '../view/explorer';
import { FakeKernels } from './asked';
import { column, distribution, exploration, refused, shown } from './explored';
import { DATASET, settle } from './mock';

let kernels: FakeKernels;
let models: ExplorerModels;
let model: ExplorerModel;
let kept: unknown;
const insert = jest.fn<Promise<void>, [string, string]>();

/** What kernels were asked, in order. */
function asked(): IExplorationRequest[] {
  return kernels.executed.map(({ code }) => {
    const text = /\.show\((".*")\)$/s.exec(code);
    return JSON.parse(JSON.parse(text![1]) as string) as IExplorationRequest;
  });
}

function parts(): string[] {
  return asked().map(({ part }) => part);
}

/** Begin with a data set whose nodes show this. */
async function begin(changes: Parameters<typeof shown>[1] = {}): Promise<void> {
  kernels.outputs.push(shown('overview', changes), shown('nodes', changes));
  model.change({ dataset: 'biopsies' });
  model.start();
  await settle();
}

async function show(datasets: IDataset[] = [DATASET]): Promise<void> {
  render(<Explorer model={model} datasets={datasets} insert={insert} />);
  await act(settle);
}

async function press(name: string | RegExp): Promise<void> {
  await act(async () => {
    fireEvent.click(screen.getByRole('button', { name }));
    await settle();
  });
}

async function tab(name: string): Promise<void> {
  await act(async () => {
    fireEvent.click(screen.getByRole('tab', { name }));
    await settle();
  });
}

beforeEach(() => {
  kernels = new FakeKernels();
  kept = null;
  models = new ExplorerModels(kernels, {
    recall: () => Promise.resolve(null),
    remember: each => Promise.resolve(void (kept = each))
  });
  model = models.of('demo');
  insert.mockReset().mockResolvedValue();
});

afterEach(cleanup);

describe('ExplorerModel', () => {
  it('asks for nothing before it is begun with, then for what is chosen', async () => {
    model.change({ dataset: 'biopsies', tab: 'missing' });
    model.change({ tab: 'column', column: 'radius' });
    await settle();
    expect(parts()).toEqual([]);

    kernels.outputs.push(shown('overview'), shown('nodes'), shown('column', { column: distribution() }));
    model.start();
    await settle();
    expect(parts()).toEqual(['overview', 'nodes', 'column']);
    expect(asked()[2]).toEqual({
      project: 'demo',
      dataset: 'biopsies',
      part: 'column',
      column: 'radius',
      columns: null,
      bounds: null,
      epsilon: null,
      own: false
    });
    const { request } = model.wanted();
    expect(model.lookOf(request!)?.answer?.column?.name).toBe('radius');

    model.change({ tab: 'overview' });
    model.change({ tab: 'column' });
    await settle();
    expect(kernels.executed).toHaveLength(3); // what was seen is not asked for again
  });

  it('sends names as values, never as code', async () => {
    const evil = '"); import os #\'\\';
    await begin();
    kernels.outputs.push(shown('column', { column: distribution({ name: evil }) }));
    model.change({ tab: 'column', column: evil });
    await settle();
    expect(kernels.executed[2].code.split('\n')).toHaveLength(1);
    expect(asked()[2].column).toBe(evil);
  });

  it('asks for the last of what was chosen while it waited', async () => {
    await begin();
    kernels.held = true;
    model.change({ tab: 'column', column: 'radius' });
    for (const name of ['texture', 'malignant', 'texture']) {
      model.change({ column: name });
    }
    await settle();
    kernels.held = false;
    kernels.release();
    await settle();
    expect(
      asked()
        .slice(2)
        .map(request => request.column)
    ).toEqual(['radius', 'texture']);
  });

  it('spends nothing of a privacy budget by itself, and asks the nodes how much is left', async () => {
    await begin({ level: 'private' });
    model.change({ tab: 'labels' });
    await settle();
    expect(model.wanted()).toEqual({ request: null, fault: 'epsilon-needed' });
    for (const [epsilon, fault] of [
      ['much', 'bad-epsilon'],
      ['-1', 'bad-epsilon'],
      ['0', 'bad-epsilon']
    ]) {
      model.change({ epsilon });
      expect(model.wanted().fault).toBe(fault);
    }
    model.change({ epsilon: '0.5' });
    await settle();
    expect(parts()).toEqual(['overview', 'nodes']);

    const budget = [{ node: 'id-hospital-a', spent: 1, budget: 5, remaining: 4 }];
    kernels.outputs.push(shown('labels', { level: 'private' }), shown('nodes', { level: 'private', budget }));
    model.look(model.wanted().request!);
    await settle();
    expect(parts().slice(2)).toEqual(['labels', 'nodes']);
    expect(asked()[2].epsilon).toBe(0.5);
    expect(model.budget).toEqual(budget);
  });

  it.each([
    ['5', '', 'bad-bounds', undefined],
    ['9', '5', 'bad-bounds', undefined],
    ['', '', null, null],
    ['0', '90', null, [0, 90]]
  ])('takes limits %p to %p of a column with noise', async (low, high, fault, bounds) => {
    await begin({ level: 'private' });
    model.change({ tab: 'column', column: 'radius', epsilon: '1', low, high });
    const wanted = model.wanted();
    expect(wanted.fault).toBe(fault);
    expect(wanted.request?.bounds).toEqual(bounds);
    model.change({ column: 'texture' });
    expect([model.form.low, model.form.high]).toEqual(['', '']); // another column has other limits
  });

  it('asks for no figures where only names are shown', async () => {
    await begin({ level: 'schema' });
    model.change({ tab: 'labels' });
    await settle();
    expect(model.wanted().fault).toBe('not-shown');
    expect(parts()).toEqual(['overview', 'nodes']);
  });

  it('lets an owner look at the own rows alone, without noise', async () => {
    const nodes = exploration('overview').nodes.map((node, place) =>
      place === 0 ? { ...node, level: 'owner' as const } : { ...node, level: 'private' as const }
    );
    await begin({ level: 'private', nodes });
    expect(model.ownNode).toBe('hospital-a');
    kernels.outputs.push(shown('overview', { level: 'owner' }), shown('labels', { level: 'owner' }));
    model.change({ tab: 'labels', own: 'yes', epsilon: '2' });
    await settle();
    expect(asked().slice(2)).toMatchObject([
      { part: 'overview', own: true, epsilon: null },
      { part: 'labels', own: true, epsilon: null }
    ]);
    expect(model.level).toBe('owner');
    model.change({ own: '' });
    expect(model.level).toBe('private');
  });

  it('stops, and asks for nothing of what waited', async () => {
    kernels.held = true;
    kernels.outputs.push([{ kind: 'error', name: 'KeyboardInterrupt', value: '' }]);
    model.change({ dataset: 'biopsies' });
    model.start();
    await settle();
    expect(model.progress).toBe('step 2');
    await model.stop();
    kernels.release();
    await settle();
    expect(kernels.interrupted).toEqual(['']);
    expect(parts()).toEqual(['overview']);
    expect(model.busy).toBe(false);
    expect(model.lookOf(asked()[0])?.problem?.code).toBe('stopped');
  });

  it('forgets figures, and asks for nothing more, when somebody else signs in', async () => {
    kernels.held = true;
    kernels.outputs.push(shown('overview'));
    model.change({ dataset: 'biopsies' });
    model.start();
    await settle();
    models.forget();
    kernels.held = false;
    kernels.release();
    await settle();
    expect(parts()).toEqual(['overview']);
    expect(models.of('demo')).not.toBe(model);
    expect(models.of('demo').overview).toBeNull();
    expect(models.of('demo').form.dataset).toBe('biopsies');
  });

  it('takes no late answer for one of now', async () => {
    kernels.held = true;
    kernels.outputs.push(shown('overview', { rows: 1 }), shown('overview', { rows: 2 }), shown('nodes'));
    model.change({ dataset: 'biopsies' });
    model.start();
    await settle();
    model.start();
    kernels.held = false;
    kernels.release();
    await settle();
    expect(model.overview?.rows).toBe(2);
  });

  it('begins with another data set by saying so, not by choosing it', async () => {
    await begin();
    model.change({ tab: 'column', column: 'radius' });
    await settle();
    const before = kernels.executed.length;
    model.change({ dataset: 'other' });
    await settle();
    expect(model.form).toMatchObject({ dataset: 'other', column: '', own: '' });
    expect(kernels.executed).toHaveLength(before);
  });

  it('tells a kernel of another version', async () => {
    const odd = { ...exploration('overview'), version: 7 };
    kernels.outputs.push([
      { kind: 'data', data: { 'application/vnd.flaas.exploration+json': { exploration: odd } } }
    ]);
    model.change({ dataset: 'biopsies' });
    model.start();
    await settle();
    expect(model.lookOf(asked()[0])?.problem?.code).toBe('other-version');
    expect(model.overview).toBeNull();
  });

  it('keeps the choice, never what was shown', async () => {
    await begin();
    model.change({ tab: 'column', column: 'radius' });
    expect(kept).toEqual({ demo: { ...EMPTY_CHOICE, dataset: 'biopsies', tab: 'column', column: 'radius' } });
  });
});

describe('restoredChoice', () => {
  it.each([null, 'text', 3, { tab: 'odd', columns: 'all', dataset: 7 }])(
    'of %p is one that can be used',
    given => {
      expect(restoredChoice(given)).toEqual(EMPTY_CHOICE);
    }
  );

  it('is as it was left, but for the own rows', () => {
    const choice: IExplorerChoice = {
      ...EMPTY_CHOICE,
      dataset: 'd',
      tab: 'drift',
      columns: ['a'],
      own: 'yes'
    };
    expect(restoredChoice(choice)).toEqual({ ...choice, own: '' });
  });
});

describe('explorationCode', () => {
  const code = (changes: Partial<IExplorerChoice>): string | undefined =>
    explorationCode({ ...EMPTY_CHOICE, dataset: 'd', ...changes }, 'p')
      .split('\n')
      .pop();

  it('is what a notebook has', () => {
    expect(
      explorationCode({ ...EMPTY_CHOICE, dataset: 'a "d"' }, 'p')
        .split('\n')
        .slice(2)
    ).toEqual([
      'federation = flaas.connect().project("p").federation(dataset="a \\"d\\"")',
      'exploration = federation.explore()',
      'exploration.overview()'
    ]);
    expect(code({ tab: 'column', column: 'x', epsilon: '1', low: '0', high: '2' })).toBe(
      'exploration.column("x", bounds=(0, 2), epsilon=1)'
    );
    expect(code({ tab: 'column' })).toBe('exploration.overview()');
    expect(code({ tab: 'correlations', columns: ['a', 'b'] })).toBe('exploration.correlations(["a", "b"])');
    expect(code({ tab: 'drift', epsilon: '1' })).toBe('exploration.drift()');
    expect(explorationCode({ ...EMPTY_CHOICE, dataset: 'd', own: 'yes' }, 'p')).toContain(
      'flaas.explore("d")'
    );
  });
});

describe('Explorer', () => {
  it('shows at once what the API knows, then what nodes have described, with differences', async () => {
    await show();
    const rows = (): string[] =>
      within(screen.getByRole('table', { name: 'Columns' }))
        .getAllByRole('row')
        .slice(1)
        .map(row => row.textContent ?? '');
    expect(rows()).toEqual(['radiusfloat64feature', 'malignantint64label']);
    expect(screen.getByText(/what nodes have described to the API/)).toBeTruthy();

    kernels.outputs.push(shown('overview'), shown('nodes'));
    await press('Explore');
    expect(rows()).toEqual([
      'radiusMean radiusfloat64featuremm0 to 50',
      'texturefloat64featurehospital-b has unit: cm',
      'malignantfloat64labelno, yes'
    ]);
    expect(screen.getByText(/Nodes differ in 1 column/)).toBeTruthy();
    const shows = screen.getByRole('table', { name: 'What nodes show' });
    expect(within(shows).getByRole('row', { name: /hospital-b/ }).textContent).toBe(
      'hospital-beastnothingofflineIts owner shows nothing. Ask its owner.'
    );
    expect(screen.getByText(/what is about too few is withheld/)).toBeTruthy();
  });

  it('shows a distribution as a chart that can be walked, and as a table', async () => {
    await begin();
    await show();
    kernels.outputs.push(shown('column', { column: distribution() }));
    await press('radius');
    const part = screen.getByRole('region', { name: 'Distribution of radius' });
    const chart = within(part).getByRole('application', { name: 'Chart of Distribution of radius' });
    const told = (): string | null => within(part).getByRole('status').textContent;
    fireEvent.keyDown(chart, { key: 'Home' });
    expect(told()).toBe('0 to 10: 100 rows');
    fireEvent.keyDown(chart, { key: 'End' });
    expect(told()).toBe('20 to 30: withheld (fewer than 10 rows)');
    fireEvent.keyDown(chart, { key: 'x' });
    expect(told()).toContain('withheld');
    expect(part.textContent).toContain('Median13.4 mm');
    expect(part.textContent).toContain('Least valuenot told');
    expect(part.textContent).toContain('1 figure is withheldfewer than 10 rows');

    await press('Show as table');
    expect(within(part).queryByRole('application')).toBeNull();
    const rows = within(within(part).getByRole('table')).getAllByRole('row');
    expect(rows.map(row => [...row.children].map(cell => cell.textContent))).toEqual([
      ['from', 'to', 'rows'],
      ['0', '10', '100'],
      ['10', '20', '1340'],
      ['20', '30', 'withheld']
    ]);
    kernels.outputs.push(shown('missing', { missing: [] }));
    await tab('Missing values');
    expect(model.form.tables).toBe('yes'); // who prefers tables has them everywhere
  });

  it('draws bins of different width by rows per unit', async () => {
    await begin();
    kernels.outputs.push(
      shown('column', {
        column: distribution({
          edges: [0, 10, 40],
          counts: [100, 150],
          suppressed: [false, false],
          reasons: {}
        })
      })
    );
    model.change({ tab: 'column', column: 'radius' });
    await settle();
    await show();
    const chart = screen.getByRole('application');
    const [narrow, wide] = [...chart.querySelectorAll('rect.flaas-Histogram-bin')].map(bin =>
      ['width', 'height'].map(side => Number(bin.getAttribute(side)))
    );
    expect(wide[0] / narrow[0]).toBeGreaterThan(2.5);
    expect(narrow[1] / wide[1]).toBeCloseTo(2, 1);
    expect(chart.textContent).toContain('rows per unit');
    fireEvent.keyDown(chart, { key: 'End' });
    expect(chart.parentElement?.querySelector('[role=status]')?.textContent).toBe('10 to 40: 150 rows');
  });

  it('shows what is missing, correlations, labels and drift, and what is withheld of them', async () => {
    await begin();
    await show();
    const walk = (...keys: string[]): string | null | undefined => {
      const chart = screen.getByRole('application');
      keys.forEach(key => fireEvent.keyDown(chart, { key }));
      return chart.parentElement?.querySelector('[role=status]')?.textContent;
    };
    const fine = { suppressed: false, reason: null };
    kernels.outputs.push(
      shown('missing', {
        missing: [
          { column: 'radius', count: 0, share: 0, ...fine },
          { column: 'texture', count: 29, share: 0.02, ...fine },
          { column: 'malignant', count: null, share: null, suppressed: true, reason: 'too few' }
        ]
      })
    );
    await tab('Missing values');
    expect(walk('Home')).toBe('texture: 2 % (29)');
    expect(walk('ArrowDown')).toBe('malignant: withheld (too few)');

    kernels.outputs.push(
      shown('correlations', {
        correlations: {
          columns: ['radius', 'texture'],
          values: [
            [1, null],
            [-0.5, 1]
          ],
          suppressed: [
            [false, true],
            [false, false]
          ],
          reason: 'too few pairs'
        }
      })
    );
    await tab('Correlations');
    expect(walk('Home', 'ArrowRight')).toBe('radius and texture: withheld (too few pairs)');
    expect(walk('ArrowDown', 'ArrowLeft')).toBe('texture and radius: -0.5');

    kernels.outputs.push(
      shown('labels', {
        labels: {
          column: 'malignant',
          classes: [0, 1],
          counts: [30, 10],
          suppressed: [false, false],
          reasons: {}
        }
      })
    );
    await tab('Labels');
    expect(walk('End')).toBe('1: 10 (25 %)');

    kernels.outputs.push(
      shown('drift', {
        drift: [
          { column: 'radius', node: 'id-hospital-a', distance: 0.12, ...fine },
          { column: 'radius', node: 'id-hospital-b', distance: null, suppressed: true, reason: 'its owner' }
        ]
      })
    );
    await tab('Drift');
    expect(walk('Home')).toBe('radius at hospital-a: 0.12');
    expect(walk('ArrowRight')).toBe('radius at hospital-b: withheld (hospital-b: its owner)');
    expect(parts()).toEqual(['overview', 'nodes', 'missing', 'correlations', 'labels', 'drift']);
  });

  it('says what a look costs before it is asked for', async () => {
    await begin({ level: 'private' });
    await show();
    await tab('Labels');
    expect(screen.getByRole('alert').textContent).toContain('say with ε how much');
    fireEvent.change(screen.getByLabelText('Privacy ε'), { target: { value: '0.25' } });
    await act(settle);
    expect(kernels.executed).toHaveLength(2);
    const budget = [{ node: 'id-hospital-a', spent: 4.5, budget: 5, remaining: 0.5 }];
    kernels.outputs.push(shown('labels', { level: 'private' }), shown('nodes', { level: 'private', budget }));
    await press('Look, and spend ε 0.25 at each node');
    expect(
      screen.getByRole('button', { name: 'Look again, and spend ε 0.25 more at each node' })
    ).toBeTruthy();
    expect(
      screen.getByRole('meter', { name: 'Privacy budget at hospital-a' }).getAttribute('aria-valuetext')
    ).toContain('ε 4.5 of 5 spent');
  });

  it.each([
    [refused('not-allowed', 'Your role may not.', 'Ask.'), /Your role may not\.Ask\./],
    [[], /displayed nothing/],
    [new Error('gone'), /did not answer.*gone/]
  ])('says why there is no overview', async (outputs, words) => {
    await show();
    kernels.outputs.push(outputs, shown('nodes'));
    await press('Explore');
    expect(screen.getByRole('alert').textContent).toMatch(words);
    kernels.outputs.push(shown('overview'), shown('nodes'));
    await press('Run again');
    expect(screen.queryByRole('alert')).toBeNull();
  });

  it('says why nodes could not be asked what they show', async () => {
    await show();
    kernels.outputs.push(shown('overview'), refused('mesh-closed', 'The mesh cannot be joined.', 'Wait.'));
    await press('Explore');
    expect(screen.getByRole('alert').textContent).toBe('The mesh cannot be joined.Wait.');
    expect(screen.getByRole('table', { name: 'What nodes show' })).toBeTruthy();
  });

  it('keeps what was shown when asking again is refused, and says so', async () => {
    await begin();
    kernels.outputs.push(shown('column', { column: distribution() }));
    model.change({ tab: 'column', column: 'radius' });
    await settle();
    await show();
    kernels.outputs.push(refused('query-differs-by-few', 'It differs by too few rows.'));
    await press('Look again');
    expect(screen.getByRole('alert').textContent).toContain('It differs by too few rows.');
    expect(screen.getByRole('application')).toBeTruthy();
  });

  it('lists many columns only in part, and finds them by name', async () => {
    const columns = Array.from({ length: 1000 }, (_, place) => column(`gene ${place}`));
    await begin({ columns });
    await show();
    const table = screen.getByRole('table', { name: 'Columns' });
    expect(table.querySelectorAll('tr')).toHaveLength(201);
    expect(screen.getByText('and 800 more')).toBeTruthy();
    fireEvent.change(screen.getByLabelText('Find a column'), { target: { value: 'gene 999' } });
    expect(table.querySelectorAll('tr')).toHaveLength(2);
    kernels.outputs.push(shown('column', { column: distribution({ name: 'gene 999' }) }));
    await press('gene 999');
    expect(screen.getByLabelText<HTMLInputElement>('gene 999').checked).toBe(true); // and in sight
  });

  it('goes into a notebook as code', async () => {
    await begin();
    await show();
    await press('Insert as cell');
    expect(insert.mock.calls[0][0]).toContain('exploration.overview()');
    insert.mockRejectedValue(new Error('no notebook'));
    await press('Insert as cell');
    expect(screen.getByRole('alert').textContent).toContain('no notebook');
  });

  it('says when there is nothing to look at', async () => {
    await show([]);
    expect(screen.getByText(/Without a data set/)).toBeTruthy();
  });
});

describe('files', () => {
  let files: { name: string; content: Blob }[];

  beforeEach(() => {
    files = [];
    let content: Blob;
    URL.createObjectURL = (blob: Blob) => {
      content = blob;
      return 'blob:x';
    };
    URL.revokeObjectURL = () => undefined;
    jest.spyOn(HTMLAnchorElement.prototype, 'click').mockImplementation(function (this: HTMLAnchorElement) {
      files.push({ name: this.download, content });
    });
    jest.useFakeTimers({ doNotFake: ['queueMicrotask', 'nextTick'] });
  });

  afterEach(() => {
    jest.useRealTimers();
    jest.restoreAllMocks();
  });

  it('are made of what was released, in the page', async () => {
    await begin();
    kernels.outputs.push(shown('column', { column: distribution() }));
    model.change({ tab: 'column', column: 'radius' });
    await settle();
    await show();
    await press('Save as CSV');
    await press('Save as SVG');
    expect(files.map(({ name, content }) => [name, content.type])).toEqual([
      ['biopsies-radius.csv', 'text/csv'],
      ['biopsies-radius.svg', 'image/svg+xml']
    ]);
    expect(kernels.executed).toHaveLength(3); // nobody is asked for a file
  });

  it('of a chart stand alone: no style sheet, no page, no mark of the keyboard', async () => {
    await begin();
    kernels.outputs.push(shown('column', { column: distribution() }));
    model.change({ tab: 'column', column: 'radius' });
    await settle();
    await show();
    const chart = screen.getByRole('application');
    fireEvent.keyDown(chart, { key: 'Home' });
    const svg = svgOf(chart.parentElement!.parentElement!, {
      title: 'A <title> & a control \u0001 character',
      notes: ['a note '.repeat(40), 'x'.repeat(300)]
    });
    const parsed = new DOMParser().parseFromString(svg, 'image/svg+xml');
    expect(parsed.querySelector('parsererror')).toBeNull();
    expect(parsed.documentElement.getAttribute('viewBox')).toMatch(/^0 0 \d+ \d+$/);
    expect(parsed.querySelector('title')?.textContent).toBe('A <title> & a control  character');
    expect(svg).not.toMatch(/class=|style=|flaas-|blob:|http:\/\/localhost/);
    expect(parsed.documentElement.textContent).toContain('withheld');
    expect(chart.querySelector('.flaas-mod-marked')).not.toBeNull(); // still there on the page
  });

  it('cannot be made of nothing, which is said', () => {
    expect(() => svgOf(document.createElement('div'), { title: '', notes: [] })).toThrow('no chart');
  });
});
