import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';

import { AnalyticsModels, EMPTY_FORM, type IAnalyticsForm } from '../model';
import type { KernelOutput } from '../tokens';
import { Analytics } from '../view/analytics';
import { ticks } from '../view/axes';
import { Queries } from '../view/queries';
import { answer, budgetLine, displayed, FakeKernels, query } from './asked';
import { DATASET, settle } from './mock';

let kernels: FakeKernels;
let models: AnalyticsModels;
let kept: unknown[];
const insert = jest.fn<Promise<void>, [string, string]>();

function show(form: Partial<IAnalyticsForm> = {}): void {
  models.of('demo').change({ ...EMPTY_FORM, operation: 'mean', columns: ['radius'], ...form });
  render(<Analytics model={models.of('demo')} datasets={[DATASET]} insert={insert} />);
}

async function press(name: string | RegExp): Promise<void> {
  await act(async () => {
    fireEvent.click(screen.getByRole('button', { name }));
    await settle();
  });
}

beforeEach(() => {
  kernels = new FakeKernels();
  kept = [];
  models = new AnalyticsModels(kernels, {
    recall: () => Promise.resolve(null),
    remember: each => Promise.resolve(void kept.push(each))
  });
  insert.mockReset();
});

afterEach(cleanup);

describe('Analytics', () => {
  it('says where results go', () => {
    show();
    expect(screen.getByText(/never pass the coordination API or the server half/)).toBeTruthy();
  });

  it('asks in a kernel of its own, and shows chart, table, nodes and what is withheld', async () => {
    show();
    kernels.outputs.push(displayed({ answer: answer() }));
    await press('Run');
    expect(kernels.executed[0].choice).toBe('');
    const result = screen.getByRole('region', { name: 'Result' });
    expect(within(result).getByRole('application', { name: 'Chart of mean of radius' })).toBeTruthy();
    expect(result.textContent).toContain('hospital-a, hospital-b, hospital-c');
    expect(result.textContent).toContain('1 figure is withheldfewer than 10 rows');
    await press('Show as table');
    const rows = within(within(result).getByRole('table')).getAllByRole('row');
    expect(rows.map(row => [...row.children].map(cell => cell.textContent))).toEqual([
      ['malignant', 'mean of radius'],
      ['0', '12.15'],
      ['1', '17.46'],
      ['2', 'withheld']
    ]);
  });

  it('lets the arrow keys walk over the figures, and tells them', async () => {
    show();
    kernels.outputs.push(displayed({ answer: answer() }));
    await press('Run');
    const chart = screen.getByRole('application');
    expect(chart.getAttribute('tabindex')).toBe('0');
    const told = (): string | null | undefined =>
      chart.parentElement?.querySelector('[role=status]')?.textContent;
    expect(told()).toBe('Walk over the figures with the arrow keys.');
    fireEvent.keyDown(chart, { key: 'ArrowRight' });
    expect(told()).toBe('0, mean of radius: 12.15');
    fireEvent.keyDown(chart, { key: 'End' });
    expect(told()).toBe('2, mean of radius: withheld');
    fireEvent.keyDown(chart, { key: 'ArrowLeft' });
    expect(told()).toBe('1, mean of radius: 17.46');
  });

  it('shows a histogram to scale, and correlations as a matrix', async () => {
    show({ operation: 'histogram' });
    const row = (key: (number | string)[], ...values: (number | null)[]): object => ({
      key,
      values,
      hidden: values.map(value => value === null)
    });
    const bins = {
      index: ['from', 'to'],
      columns: ['count'],
      rows: [row(['-∞', 10], 12), row([10, 20], 40), row([20, 50], null)]
    };
    kernels.outputs.push(displayed({ answer: { ...answer(), ...bins } }));
    await press('Run');
    const walk = (...keys: string[]): string | null | undefined => {
      const chart = screen.getByRole('application');
      keys.forEach(key => fireEvent.keyDown(chart, { key }));
      return chart.parentElement?.querySelector('[role=status]')?.textContent;
    };
    expect(screen.getByRole('application').getAttribute('aria-roledescription')).toBe('histogram');
    expect(walk('Home')).toBe('below 10: 12 rows');
    expect(walk('End')).toBe('20 to 50: withheld');

    const table = {
      index: ['column'],
      columns: ['a', 'b'],
      rows: [row(['a'], 1, -0.5), row(['b'], -0.5, 1)]
    };
    await act(async () => {
      models.of('demo').change({ operation: 'correlation' });
      kernels.outputs.push(displayed({ answer: { ...answer({ chart: null, reasons: [] }), ...table } }));
      await models.of('demo').ask({ ...models.of('demo').asked!.request, operation: 'correlation' });
    });
    expect(walk('Home', 'ArrowRight')).toBe('a and b: -0.5');
  });

  it('says what is missing instead of asking', async () => {
    show({ columns: [], epsilon: 'much' });
    expect(screen.queryByRole('alert')).toBeNull();
    await press('Run');
    expect(kernels.executed).toEqual([]);
    expect(screen.getByRole('alert').textContent).toContain('Choose a column.');
    expect(screen.getByRole('alert').textContent).toContain('“much” is neither');
  });

  it('keeps the form, and gives it back after a reload', async () => {
    show();
    fireEvent.change(screen.getByLabelText('Operation'), { target: { value: 'quantile' } });
    fireEvent.change(screen.getByLabelText('Quantiles'), { target: { value: '0.9' } });
    const last = kept[kept.length - 1];
    expect(last).toMatchObject({ demo: { operation: 'quantile', quantiles: '0.9' } });
    cleanup();
    const again = new AnalyticsModels(kernels, {
      recall: () => Promise.resolve(last),
      remember: () => Promise.resolve()
    });
    render(<Analytics model={again.of('demo')} datasets={[DATASET]} insert={insert} />);
    await act(settle);
    expect(screen.getByLabelText<HTMLInputElement>('Quantiles').value).toBe('0.9');
  });

  it('adds and removes conditions', async () => {
    show();
    await press('Add a condition');
    fireEvent.change(screen.getByLabelText('Column of condition 1'), { target: { value: 'malignant' } });
    fireEvent.change(screen.getByLabelText('Comparison of condition 1'), { target: { value: '==' } });
    fireEvent.change(screen.getByLabelText('Value of condition 1'), { target: { value: '1' } });
    expect(models.of('demo').form.filters).toEqual([{ column: 'malignant', comparison: '==', value: '1' }]);
    await press('Remove condition 1');
    expect(models.of('demo').form.filters).toEqual([]);
    expect(document.activeElement?.textContent).toBe('Add a condition');
  });

  it('runs in the notebook that was chosen while it is open', async () => {
    kernels.choices = [{ id: 'work/one.ipynb', current: true }];
    show();
    fireEvent.change(screen.getByLabelText('Kernel'), { target: { value: 'work/one.ipynb' } });
    kernels.outputs.push(displayed({ answer: answer() }));
    await press('Run');
    expect(kernels.executed[0].choice).toBe('work/one.ipynb');
    await act(async () => {
      kernels.choices = [];
      kernels.changed.emit();
      await settle();
    });
    expect(screen.getByLabelText<HTMLSelectElement>('Kernel').value).toBe('');
  });

  it('puts the same question into a notebook', async () => {
    show();
    await press('Insert as cell');
    expect(insert.mock.calls[0][0]).toContain('federation.analytics.mean(\n    ["radius"],\n');
    expect(kernels.executed).toEqual([]);
  });

  it.each<[string, KernelOutput[] | Error, RegExp]>([
    [
      'a refusal',
      displayed({
        error: { code: 'query-audit', message: 'It differs by one row.', hint: 'Ask more widely.' }
      }),
      /It differs by one row\..*Ask more widely\./
    ],
    ['an error', [{ kind: 'error', name: 'ValueError', value: 'odd' }], /ValueError: odd.*whole error/],
    [
      'a kernel without the package',
      [{ kind: 'error', name: 'ModuleNotFoundError', value: "No module named 'flaas_jupyter'" }],
      /has no flaas_jupyter.*choose another kernel/
    ],
    ['a kernel that is gone', new Error('Canceled future'), /did not answer.*Canceled future.*restarted/],
    ['silence', [], /displayed nothing/]
  ])('tells %s with a way out', async (_, output, words) => {
    show();
    kernels.outputs.push(output);
    await press('Run');
    expect(screen.getByRole('alert').textContent).toMatch(words);
    kernels.outputs.push(displayed({ answer: answer() }));
    await press('Run again');
    expect(screen.queryByRole('alert')).toBeNull();
    expect(screen.getByRole('region', { name: 'Result' })).toBeTruthy();
  });

  it('shows what the kernel tells meanwhile, and can be stopped', async () => {
    show();
    kernels.held = true;
    kernels.outputs.push([{ kind: 'error', name: 'KeyboardInterrupt', value: '' }]);
    await press('Run');
    expect(screen.getByText('step 2')).toBeTruthy();
    await press('Stop');
    expect(kernels.interrupted).toEqual(['']);
    await act(async () => {
      kernels.release();
      await settle();
    });
    expect(screen.getByRole('alert').textContent).toContain('stays charged');
  });

  it('ends its own kernel', async () => {
    show();
    kernels.outputs.push(displayed({ answer: answer() }));
    await press('Run');
    await press('End the kernel');
    expect(screen.queryByRole('button', { name: 'End the kernel' })).toBeNull();
  });

  it('shows the privacy budget as each node accounts it, after a query with ε by itself', async () => {
    show({ epsilon: '1', bounds: { radius: { low: '0', high: '30' } } });
    const lines = [
      budgetLine('hospital-a', 4.5, 5),
      budgetLine('hospital-b', 1, null),
      budgetLine('c', 5, 5),
      { ...budgetLine('d', 0, null), problem: 'd does not answer.' }
    ];
    kernels.outputs.push(displayed({ answer: answer({ epsilon: 1 }) }), displayed({ budget: lines }));
    await press('Run');
    const meter = screen.getByRole('meter', { name: 'Privacy budget at hospital-a' });
    expect(meter.getAttribute('aria-valuetext')).toBe(
      'ε 4.5 of 5 spent (90 %); one more query may take up to 0.5'
    );
    expect(meter.closest('.flaas-Budget')?.textContent).toContain('little left');
    expect(screen.getByText('ε 1 spent; the node sets no limit')).toBeTruthy();
    expect(screen.getByText('d does not answer.')).toBeTruthy();
    expect(screen.queryByRole('meter', { name: 'Privacy budget at hospital-b' })).toBeNull();
    const exhausted = screen.getByRole('meter', { name: 'Privacy budget at c' }).closest('.flaas-Budget');
    expect(exhausted?.querySelector('.flaas-Budget-state')?.textContent).toContain('spent');
  });

  it('says why the budget cannot be told', async () => {
    show();
    kernels.outputs.push(displayed({ error: { code: 'x', message: 'No node answers.', hint: 'Wait.' } }));
    await press('Ask the nodes');
    expect(screen.getByRole('alert').textContent).toContain('No node answers.Wait.');
  });

  it('forgets answers, not forms, when somebody else signs in', async () => {
    show();
    kernels.outputs.push(displayed({ answer: answer() }));
    await press('Run');
    models.forget();
    expect(models.of('demo').asked).toBeNull();
    expect(models.of('demo').form.columns).toEqual(['radius']);
  });
});

describe('Queries', () => {
  it('shows who asked what of which data set, and how it ended', () => {
    const reason = { kind: 'NotAllowed', code: 'query-audit', message: 'Too much alike.', hint: '' };
    render(
      <Queries
        queries={[
          query('q3', { state: 'open', outcome: null }),
          query('q2', { outcome: 'refused', reason, operation: 'histogram' }),
          query('q1')
        ]}
      />
    );
    const rows = within(screen.getByRole('table', { name: 'Queries' }))
      .getAllByRole('row')
      .slice(1);
    expect(rows.map(row => row.textContent)).toEqual([
      expect.stringMatching(/^meanbiopsiesananorthrunning\d+ d ago$/),
      expect.stringMatching(/^histogrambiopsiesananorthrefused\d+ d agoToo much alike\.$/),
      expect.stringMatching(/^meanbiopsiesananorthreleased/)
    ]);
  });

  it('says when there is none, and shows many only when asked', () => {
    const { rerender } = render(<Queries queries={[]} />);
    expect(screen.getByText('Nobody has asked anything yet.')).toBeTruthy();
    rerender(<Queries queries={Array.from({ length: 12 }, (_, id) => query(`q${id}`))} />);
    expect(screen.getAllByRole('row')).toHaveLength(11);
    fireEvent.click(screen.getByRole('button', { name: 'Show all 12 queries' }));
    expect(screen.getAllByRole('row')).toHaveLength(13);
  });
});

describe('ticks', () => {
  it('are round and cover the figures', () => {
    expect(ticks(0, 17.46)).toEqual([0, 5, 10, 15, 20]);
    expect(ticks(-3, 9)).toEqual([-5, 0, 5, 10]);
    expect(ticks(0, 0)).toHaveLength(5);
  });
});
