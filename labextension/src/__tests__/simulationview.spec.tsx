import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';

import { SimulationModel, SimulationsModel } from '../model';
import { NewSimulationForm } from '../view/newsimulation';
import { Simulations } from '../view/simulations';
import { Simulation } from '../view/simulationview';
import { failure, MockApi, settle } from './mock';
import { CATALOGUE, header, page, simulation } from './simulated';

// jsdom paints nothing; what is painted is looked at in a browser.
jest.mock('uplot', () => ({
  __esModule: true,
  default: class {
    setData(): void {
      // Nothing to paint on.
    }

    setSize(): void {
      // Nothing to paint on.
    }

    destroy(): void {
      // Nothing to paint on.
    }
  }
}));

const ROUNDS = 'GET simulations/s1/rounds?after=0';
let api: MockApi;

beforeEach(() => {
  api = new MockApi({ 'GET simulations/s1': header('s1'), [ROUNDS]: page([1, 2, 3]) });
  jest.spyOn(HTMLCanvasElement.prototype, 'getContext').mockReturnValue(null);
});

afterEach(() => {
  cleanup();
  jest.restoreAllMocks();
  document.body.innerHTML = '';
});

describe('Simulation', () => {
  let model: SimulationModel;
  const gone = jest.fn<void, []>();
  const remove = jest.fn<Promise<void>, []>();

  async function show(): Promise<void> {
    model = new SimulationModel(api, 's1');
    render(<Simulation model={model} remove={remove} gone={gone} themeChanged={null} />);
    await act(async () => {
      await model.refresh();
      await settle();
    });
  }

  afterEach(() => {
    model.dispose();
    gone.mockReset();
    remove.mockReset();
  });

  it('shows chart, heat map and settings', async () => {
    await show();
    expect(screen.getByRole('img', { name: /Line chart of loss, val_attack_success_rate/ })).toBeTruthy();
    expect(
      screen.getByRole('application', {
        name: 'Heat map of votes: 4 clients, of them 1 attackers, in 3 rounds; from -2 to 3.'
      })
    ).toBeTruthy();
    const setting = (name: string): string | null | undefined =>
      screen.getByText(name).nextElementSibling?.textContent;
    expect(setting('Aggregation')).toBe('krum (byzantine=1)');
    expect(setting('Attack')).toBe('label_flip (fraction=0.25)');
    expect(setting('Attackers')).toBe('1 (25 %)');
    expect(setting('Weight of attackers in the last round')).toBe('20 %');
    expect(setting('Privacy spent, ε')).toBe('0.3');
  });

  it('is walked with the keyboard, and stays inside', async () => {
    await show();
    const map = screen.getByRole('application');
    const told = (): string | null => document.querySelector('.flaas-Heat-told')!.textContent;
    const press = (key: string): void => void fireEvent.keyDown(map, { key });
    press('ArrowDown'); // where one is
    expect(told()).toBe('Round 3, client-c (attacker): votes –');
    press('ArrowDown');
    expect(told()).toBe('Round 3, client-a: votes -2');
    press('Home');
    press('ArrowLeft');
    press('PageDown');
    expect(told()).toBe('Round 1, client-d: not in this round');
    expect(fireEvent.keyDown(map, { key: 'Tab' })).toBe(true); // not taken
  });

  it('shows another quantity in another order', async () => {
    await show();
    fireEvent.change(screen.getByLabelText(/^Quantity/), { target: { value: 'weight' } });
    fireEvent.change(screen.getByLabelText(/^Clients/, { selector: 'select' }), {
      target: { value: 'mean' }
    });
    fireEvent.keyDown(screen.getByRole('application'), { key: 'Enter' });
    fireEvent.keyDown(screen.getByRole('application'), { key: 'ArrowUp' });
    expect(document.querySelector('.flaas-Heat-told')!.textContent).toBe('Round 3, client-b: weight 0.5');
  });

  it('has a round as a table', async () => {
    await show();
    const section = screen.getByRole('region', { name: 'Clients by round' });
    fireEvent.click(within(section).getByRole('button', { name: 'Show as table' }));
    const rows = (): (string | null)[][] =>
      within(screen.getByRole('table', { name: 'Clients of the round' }))
        .getAllByRole('row')
        .map(row => [...row.children].map(cell => cell.textContent));
    expect(rows()).toEqual([
      ['Client', 'Role', 'votes', 'weight'],
      ['client-c', '▲ attacker', '–', '0.2'],
      ['client-a', 'honest', '-2', '0.3'],
      ['client-b', 'honest', '3', '0.5']
    ]);
    fireEvent.click(within(section).getByRole('button', { name: 'Earlier' }));
    expect(rows()[3]).toEqual(['client-b', 'honest', '2', '0.5']);
  });

  it.each([
    ['interrupted', /goes on from its last checkpoint/],
    ['cancelled', /It was stopped/],
    ['failed', /Why it ended: too-few-clientsThree are needed/]
  ] as const)('says how to go on with one that is %s', async (state, words) => {
    const error = { code: 'too-few-clients', message: 'Three are needed.', hint: '' };
    api.table[ROUNDS] = page([1], { simulation: simulation('s1', { state, error }) });
    await show();
    expect(document.body.textContent).toMatch(words);
    expect(screen.getByText('model.fit(federation, resume="s1")')).toBeTruthy();
    expect(screen.queryByRole('button', { name: /^Stop/ })).toBeNull();
  });

  it('is deleted after a question, and then gone', async () => {
    api.table[ROUNDS] = page([1], { simulation: simulation('s1', { state: 'completed' }) });
    await show();
    fireEvent.click(screen.getByRole('button', { name: /^Delete/ }));
    await act(settle);
    expect(remove).not.toHaveBeenCalled();
    await act(async () => {
      fireEvent.click(document.querySelector('.jp-Dialog .jp-mod-warn')!);
      await new Promise(resolve => setTimeout(resolve));
    });
    expect(remove).toHaveBeenCalledTimes(1);
    expect(gone).toHaveBeenCalledTimes(1);
  });

  it('says when there is none, with a way out', async () => {
    api.table['GET simulations/s1'] = failure(404, 'unknown-simulation');
    await show();
    expect(screen.getByRole('alert')).toBeTruthy();
    api.table['GET simulations/s1'] = header('s1');
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
      await model.refresh();
    });
    expect(screen.getByRole('heading', { name: 'simulation s1' })).toBeTruthy();
  });
});

describe('Simulations', () => {
  let model: SimulationsModel;
  const open = jest.fn();
  const create = jest.fn();

  async function show(...simulations: unknown[]): Promise<void> {
    api.table['GET simulations'] = { simulations, total: simulations.length };
    model = new SimulationsModel(api);
    render(<Simulations model={model} open={open} create={create} />);
    await act(() => model.refresh());
  }

  afterEach(() => model.dispose());

  it('say what is tried out, and open', async () => {
    await show(simulation('s1'), simulation('s2', { attack: null, state: 'interrupted' }));
    const [first, second] = screen.getAllByRole('listitem');
    expect(first.textContent).toContain('krum under label_flip, 25 % attackers');
    expect(second.textContent).toContain('krum, no attackinterrupted');
    fireEvent.click(within(first).getByRole('button', { name: 'simulation s1' }));
    expect(open).toHaveBeenCalledWith(expect.objectContaining({ id: 's1' }));
  });

  it('say how to start one while there is none', async () => {
    await show();
    expect(screen.getByText(/flaas\.simulate\(x, y, clients=100\)/)).toBeTruthy();
    fireEvent.click(screen.getByRole('button', { name: 'New simulation' }));
    expect(create).toHaveBeenCalledTimes(1);
  });

  it('say when one is asked to stop already', async () => {
    await show(simulation('s1', { stopping: true }));
    expect(screen.getByText('stops after this round')).toBeTruthy();
    expect(screen.queryByRole('button', { name: /^Stop/ })).toBeNull();
  });
});

describe('NewSimulationForm', () => {
  const create = jest.fn<Promise<void>, [unknown]>();

  async function show(): Promise<void> {
    const model = new SimulationsModel(api);
    render(<NewSimulationForm model={model} create={create} />);
    await act(settle);
    model.dispose();
  }

  beforeEach(() => {
    api.table['GET protocols'] = CATALOGUE;
    create.mockReset();
  });

  it('offers what the catalogue has, and tells what it is good for', async () => {
    await show();
    const rule = screen.getByLabelText<HTMLSelectElement>('Rule');
    expect([...rule.options].map(({ value }) => value)).toEqual(['fedavg', 'krum']);
    fireEvent.change(rule, { target: { value: 'krum' } });
    expect(screen.getByText('The nearest one.', { selector: '.flaas-About p' })).toBeTruthy();
    fireEvent.change(screen.getByLabelText('byzantine'), { target: { value: '3' } });
    expect(document.querySelector('.flaas-Form-code pre')!.textContent).toContain(
      'flaas.aggregation("krum", byzantine=3)'
    );
    expect(within(screen.getByRole('table', { name: 'Aggregation rules' })).getAllByRole('row')).toHaveLength(
      3
    );
  });

  it('does not make a notebook without what is needed', async () => {
    await show();
    fireEvent.change(screen.getByLabelText('Attack'), { target: { value: 'label_flip' } });
    const button = screen.getByRole<HTMLButtonElement>('button', { name: 'Create notebook' });
    expect(button.disabled).toBe(true);
    expect(screen.getByText('Needed: target')).toBeTruthy();
    fireEvent.change(screen.getByLabelText('target'), { target: { value: '5' } });
    expect(button.disabled).toBe(false);
    await act(async () => {
      fireEvent.submit(screen.getByRole('form'));
      await settle();
    });
    expect(create).toHaveBeenCalledWith(expect.objectContaining({ clients: 100, rounds: 20 }));
  });

  it('says why the notebook could not be made', async () => {
    create.mockRejectedValue(new Error('Disk full.'));
    await show();
    await act(async () => {
      fireEvent.submit(screen.getByRole('form'));
      await settle();
    });
    expect(screen.getByRole('alert').textContent).toContain('Disk full.');
  });
});
