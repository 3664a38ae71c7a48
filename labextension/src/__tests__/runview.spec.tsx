import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import { Signal } from '@lumino/signaling';
import * as React from 'react';
import type uPlot from 'uplot';

import { EventStreams } from '../events';
import { RunModel } from '../model';
import type { IRun, IVerticalReport } from '../tokens';
import { isScore, metricNames } from '../view/chart';
import { Run } from '../view/runview';
import { event, failure, list, MockApi, round, run, settle, table } from './mock';

const plots: { options: uPlot.Options; data: uPlot.AlignedData; destroyed: boolean }[] = [];

// jsdom paints nothing: what would be painted is kept.
jest.mock('uplot', () => ({
  __esModule: true,
  default: class {
    constructor(options: uPlot.Options, data: uPlot.AlignedData) {
      plots.push({ options, data, destroyed: false });
      this._index = plots.length - 1;
    }

    setData(data: uPlot.AlignedData): void {
      plots[this._index].data = data;
    }

    setSize(): void {
      // The size is the browser's affair.
    }

    destroy(): void {
      plots[this._index].destroyed = true;
    }

    private _index: number;
  }
}));

let api: MockApi;
let model: RunModel;
const themes = {};
const themeChanged = new Signal<object, void>(themes);

async function show(): Promise<void> {
  model = new RunModel(api, new EventStreams(api), 'r1');
  render(<Run model={model} themeChanged={themeChanged} />);
  await act(async () => {
    await model.refresh();
    await settle();
  });
}

const cells = (name: string): (string | null)[][] =>
  within(screen.getByRole('table', { name }))
    .getAllByRole('row')
    .slice(1)
    .map(row => [...row.children].map(cell => cell.textContent));

beforeEach(() => {
  plots.length = 0;
  api = new MockApi(table());
});

afterEach(() => {
  cleanup();
  model.dispose();
});

describe('Run', () => {
  it('shows state, rounds, participants, settings and log', async () => {
    await show();
    expect(screen.getByRole('heading', { name: 'run r1' })).toBeTruthy();
    expect(screen.getByRole('progressbar').getAttribute('aria-valuetext')).toBe('round 2 of 10');
    expect(cells('Rounds')).toEqual([
      ['2', '1.50 s', '1', '0', '2.5 MB', '999 B'],
      ['1', '1.50 s', '1', '0', '2.5 MB', '999 B']
    ]);
    expect(cells('Participants')).toEqual([
      ['hospital-anorth, aggregates', 'acceptedonline', '1,000'],
      ['hospital-beast', 'refusedNot on a Sunday.', '–']
    ]);
    expect(screen.getByText('Secure aggregation').nextElementSibling?.textContent).toBe('yes');
    expect(screen.getByRole('list', { name: 'Events' }).textContent).toContain('The run was created.');
  });

  it('shows what the updates were compressed to, and what that has cost', async () => {
    const compression = { name: 'int8', bytes: 212_000, plain: 848_000, error: 0.004 };
    api.table['GET /v1/runs/r1/rounds'] = list('rounds', [
      round(1, { compression }),
      round(2, { compression: { ...compression, error: null } })
    ]);
    await show();
    expect(cells('Rounds').map(cell => cell[6])).toEqual([
      'int8: 212.0 kB of 848.0 kBlost: not known',
      'int8: 212.0 kB of 848.0 kBlost: 0.4 %'
    ]);
    expect(screen.getByRole('columnheader', { name: 'Compression' })).toBeTruthy();
    const [second, first] = screen.getAllByText(/^int8/).map(cell => cell.getAttribute('title'));
    expect(first).toContain('0.4 %');
    expect(second).toContain('nobody may know');
  });

  it('shows the options of the rule, and what privacy was asked for and is spent', async () => {
    const privacy = { mode: 'central', epsilon: 8, delta: 1e-5, noise: null };
    api.table['GET /v1/runs/r1'] = run('r1', {
      aggregation: 'krum',
      aggregation_options: { byzantine: 2 },
      privacy
    });
    api.table['GET /v1/runs/r1/rounds'] = list('rounds', [round(1), round(2, { epsilon: 1.25 })]);
    await show();
    const value = (name: string) => screen.getByText(name).nextElementSibling?.textContent;
    expect(value('Aggregation')).toBe('krum (byzantine=2)');
    expect(value('Privacy')).toBe('mode=central, epsilon=8, delta=0.00001');
    expect(value('Privacy spent, ε')).toBe('1.25');
  });

  it('says in one line how much secure aggregation shows', async () => {
    const secrecy = (): string | null | undefined =>
      screen.getByText('Secure aggregation').nextElementSibling?.textContent;
    api.table['GET /v1/runs/r1'] = run('r1', { group_size: 3 });
    await show();
    const words = 'yes, group mode: the aggregator sees means of groups of 3, privacy is one of 3';
    expect(secrecy()).toBe(words);
    cleanup();
    model.dispose();
    const groups = { size: 3, formed: 5, opened: 4 };
    api.table['GET /v1/runs/r1/rounds'] = list('rounds', [round(1, { groups })]);
    await show();
    expect(secrecy()).toBe(`${words}; 4 of 5 groups opened`);
    cleanup();
    model.dispose();
    api.table['GET /v1/runs/r1'] = run('r1', { sharded: true });
    const shards = { count: 5, up: 2_000_000, down: 1_000_000 };
    api.table['GET /v1/runs/r1/rounds'] = list('rounds', [round(1, { shards })]);
    await show();
    expect(secrecy()).toBe(
      'yes, sharded: every node adds up a part of the model; 5 parts, a node sent at most 2.0 MB and received 1.0 MB'
    );
  });

  describe('that is vertical', () => {
    const VERTICAL: Partial<IRun> = {
      kind: 'vertical',
      parties: [
        { node: 'id-hospital-a', name: 'hospital-a', dataset: 'loans' },
        { node: 'id-hospital-b', name: 'hospital-b', dataset: 'usage' }
      ],
      id_column: 'customer',
      label: { node: 'id-hospital-a', column: 'default' },
      mode: 'split',
      report: null
    };
    const phases = (): (string | null)[] =>
      within(screen.getByRole('list', { name: 'Phases' }))
        .getAllByRole('listitem')
        .map(item => item.getAttribute('aria-current'));

    it('shows parties and roles, and that split gives something away, before it has a report', async () => {
      api.table['GET /v1/runs/r1'] = run('r1', VERTICAL);
      await show();
      expect(cells('Parties')).toEqual([
        ['hospital-a', 'label holder (default), leads', 'loans', '–', 'accepted'],
        ['hospital-b', 'features', 'usage', '–', 'refusedNot on a Sunday.']
      ]);
      expect(screen.getByRole('note').textContent).toContain('gives something of the label away');
      expect(phases()).toEqual([null, null, null]);
      expect(screen.queryByText('Aggregation')).toBeNull();
      expect(screen.queryByRole('table', { name: 'Participants' })).toBeNull();
    });

    it('shows phase, intersection, bytes and the leakage statement as they come', async () => {
      api.table['GET /v1/runs/r1'] = run('r1', VERTICAL);
      await show();
      const report = {
        phase: 'training',
        intersection: 8123,
        sizes: { 'hospital-a': 10_000, 'hospital-b': 9_000 },
        bytes: 2_500_000,
        statement: ['Gradients tell parties the labels with AUC 0.9.'],
        figures: { leakage_auc: 0.91 }
      };
      api.table['GET /v1/runs/r1'] = run('r1', { ...VERTICAL, report: report as IVerticalReport });
      await act(async () => {
        api.stream.send(event(5, 'run.report', { run: 'r1', data: report }));
        await settle();
      });
      expect(phases()).toEqual([null, 'step', null]);
      const value = (name: string): string | null | undefined =>
        screen.getByText(name).nextElementSibling?.textContent;
      expect(value('In the intersection')).toBe('8,123');
      expect(value('Sent between parties')).toBe('2.5 MB');
      expect(value('leakage_auc')).toBe('0.91');
      expect(cells('Parties').map(row => row[3])).toEqual(['10,000', '9,000']);
      expect(screen.getByRole('note').textContent).toMatch(/consent.*labels with AUC 0\.9/);
      expect(screen.getByRole('list', { name: 'Events' }).textContent).toContain('training begins');
    });

    it('shows the statement of the other modes without alarm', async () => {
      const report = {
        phase: 'done',
        intersection: 1,
        sizes: {},
        bytes: 1,
        statement: ['Nothing.'],
        figures: {}
      };
      api.table['GET /v1/runs/r1'] = run('r1', {
        ...VERTICAL,
        mode: 'oneway',
        state: 'completed',
        report: report as IVerticalReport
      });
      await show();
      expect(screen.getByRole('note').className).not.toContain('flaas-mod-split');
      expect(phases()).toEqual([null, null, 'step']);
    });
  });

  it('draws losses on the left, scores on the right, and says so in words', async () => {
    await show();
    const [plot] = plots;
    expect(plot.options.series.slice(1).map(({ label, scale }) => [label, scale])).toEqual([
      ['loss', 'loss'],
      ['accuracy', 'score']
    ]);
    expect(plot.data).toEqual([
      [1, 2],
      [1, 0.5],
      [0.5, 1 - 1 / 3]
    ]);
    const chart = screen.getByRole('img', {
      name: /Line chart of loss, accuracy by round\. Round 2: loss 0\.5, /
    });
    expect(chart).toBeTruthy();
    const dashes = plot.options.series.slice(1).map(({ dash }) => String(dash));
    expect(new Set(dashes).size).toBe(dashes.length);
  });

  it('adds a round to the same chart as it comes', async () => {
    await show();
    await act(async () => {
      api.stream.send(
        event(5, 'run.round', { run: 'r1', data: { ...round(3, { metrics: { loss: 0.3 } }) } })
      );
      await settle();
    });
    expect(plots).toHaveLength(1);
    expect(plots[0].data[0]).toEqual([1, 2, 3]);
    expect(plots[0].data[2]).toEqual([0.5, 1 - 1 / 3, null]);
    expect(cells('Rounds')).toHaveLength(3);
    expect(screen.getByRole('list', { name: 'Events' }).textContent).toContain('Round 3 done: loss 0.3');
  });

  it('draws anew when the theme changes', async () => {
    await show();
    act(() => themeChanged.emit());
    expect(plots.map(({ destroyed }) => destroyed)).toEqual([true, false]);
  });

  it('has the same figures as a table', async () => {
    await show();
    const toggle = screen.getByRole('button', { name: 'Show as table' });
    expect(toggle.getAttribute('aria-pressed')).toBe('false');
    fireEvent.click(toggle);
    expect(toggle.getAttribute('aria-pressed')).toBe('true');
    expect(cells('Metrics by round')).toEqual([
      ['1', '1', '0.5'],
      ['2', '0.5', '0.6667']
    ]);
    expect(plots[0].destroyed).toBe(true);
  });

  it('says before the first round that there is none', async () => {
    api.table['GET /v1/runs/r1/rounds'] = list('rounds', []);
    await show();
    expect(screen.getByText('The first round is not done yet.')).toBeTruthy();
    expect(plots).toHaveLength(0);
  });

  it('names who dropped out, and where', async () => {
    const dropped = [{ node: 'id-hospital-b', phase: 'masking', reason: 'silent' }];
    api.table['GET /v1/runs/r1/rounds'] = list('rounds', [round(1, { dropped })]);
    await show();
    expect(cells('Rounds')[0][3]).toBe('hospital-b (masking)');
  });

  it('says why the run failed, and no longer offers to stop it', async () => {
    await show();
    expect(screen.getByRole('button', { name: 'Stop the run run r1' })).toBeTruthy();
    const reason = { kind: 'Aborted', code: 'too-few-nodes', message: 'Two are gone.', hint: 'Start them.' };
    api.table['GET /v1/runs/r1'] = run('r1', { state: 'failed', reason });
    await act(async () => {
      api.stream.send(event(5, 'run.state', { run: 'r1', data: { from: 'running', to: 'failed', reason } }));
      await settle();
    });
    expect(screen.getByRole('alert').textContent).toBe('Why it ended: too-few-nodesTwo are gone.Start them.');
    expect(screen.queryByRole('button', { name: /Stop/ })).toBeNull();
    expect(screen.getByRole('list', { name: 'Events' }).textContent).toContain(
      'State: failed: Two are gone.'
    );
  });

  it('says when there is no such run, and finds it by Retry', async () => {
    const found = api.table['GET /v1/runs/r1'];
    api.table['GET /v1/runs/r1'] = failure(404, 'unknown-run', 'There is no run r1.');
    await show();
    expect(screen.getByRole('alert').textContent).toContain('There is no run r1.');
    api.table['GET /v1/runs/r1'] = found;
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
      await settle();
    });
    expect(screen.getByRole('heading', { name: 'run r1' })).toBeTruthy();
  });
});

describe('metrics', () => {
  it.each(['accuracy', 'val_accuracy', 'auc', 'binary_accuracy', 'f1_score', 'val_precision'])(
    '%s is a score',
    name => {
      expect(isScore(name)).toBe(true);
    }
  );

  it.each(['loss', 'val_loss', 'mean_squared_error', 'mae', 'placement'])('%s is none', name => {
    expect(isScore(name)).toBe(false);
  });

  it('are all found, losses first', () => {
    const rounds = [round(1), round(2, { metrics: { accuracy: 1, val_loss: 2 } })];
    expect(metricNames(rounds)).toEqual(['loss', 'val_loss', 'accuracy']);
  });
});
