import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import { nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';

import { AnalyticsModels, ExplorerModels, FederationModel, UploadsModel } from '../model';
import type { IRun, ISimulation } from '../tokens';
import { Panel } from '../view/panel';
import { summary } from '../view/statusbar';
import { FakeKernels, query } from './asked';
import { ANA, event, failure, list, MockApi, round, run, settle, status, table, VERSION } from './mock';
import { MemoryKeep } from './sealed';

const trans = nullTranslator.load('');

let api: MockApi;
let federation: FederationModel;
const openRun = jest.fn<void, [IRun]>();
const openSimulation = jest.fn<void, [ISimulation]>();
const newSimulation = jest.fn<void, []>();
const openCosts = jest.fn<void, []>();
const openWizard = jest.fn<void, []>();
const openAccess = jest.fn<void, []>();
const openAnalytics = jest.fn<void, []>();
const openExplorer = jest.fn<void, []>();
const openMesh = jest.fn<void, []>();
const insert = jest.fn<Promise<void>, [string, string]>();

async function show(): Promise<void> {
  federation = new FederationModel({ api, version: VERSION });
  const analytics = new AnalyticsModels(new FakeKernels(), null);
  const uploads = new UploadsModel(api, new MemoryKeep());
  const explorers = new ExplorerModels(new FakeKernels(), null);
  const open = {
    openRun,
    openSimulation,
    newSimulation,
    openCosts,
    openWizard,
    openAccess,
    openAnalytics,
    uploads,
    analytics,
    openExplorer,
    openMesh,
    explorers,
    insert
  };
  render(<Panel federation={federation} {...open} />);
  await act(async () => {
    await federation.session.refresh();
    await settle();
  });
}

beforeEach(() => {
  api = new MockApi(table());
  openRun.mockReset();
});

afterEach(() => {
  cleanup();
  federation.dispose();
  document.body.innerHTML = '';
});

describe('Panel', () => {
  it('shows nodes, data sets and runs', async () => {
    await show();
    const rows = within(screen.getByRole('table', { name: 'Nodes' })).getAllByRole('row');
    expect(rows.map(row => row.textContent)).toEqual([
      'NameState',
      'hospital-a (this machine)northonline',
      expect.stringMatching(/^hospital-bnorthofflineseen \d+ d ago$/)
    ]);
    const header = within(rows[1]).getByRole('rowheader');
    expect(header.getAttribute('scope')).toBe('row');
    expect(screen.getByRole('row', { name: /biopsies 1,450 1 1 of 2/ })).toBeTruthy();
    const bar = screen.getByRole('progressbar', { name: 'Progress of run r1' });
    expect(bar.getAttribute('aria-valuetext')).toBe('round 2 of 10');
    expect(summary(trans, federation)).toBe('Federation: 1 active run');
  });

  it('follows a run by its events', async () => {
    await show();
    await act(async () => {
      api.stream.send(event(5, 'run.round', { run: 'r1', data: { ...round(7) } }));
      await settle();
    });
    expect(screen.getByText('round 7 of 10')).toBeTruthy();
  });

  it('tells a screen reader when a run ends, not at each round', async () => {
    await show();
    const live = (): string =>
      [...document.querySelectorAll('.flaas-Hidden[aria-live]')].map(e => e.textContent).join();
    await act(async () => {
      api.stream.send(event(5, 'run.round', { run: 'r1', data: { ...round(3) } }));
      await settle();
    });
    expect(live()).toBe('');
    api.table['GET /v1/runs/r1'] = run('r1', { state: 'completed' });
    await act(async () => {
      api.stream.send(event(6, 'run.state', { run: 'r1' }));
      await settle();
    });
    expect(live()).toBe('Run run r1: completed');
  });

  it('opens the data explorer, which asks for nothing by that', async () => {
    await show();
    const before = api.requests.length;
    const heading = screen.getByRole('heading', { name: 'Data explorer' });
    const part = heading.closest('details')!;
    expect(within(part).queryByRole('form')).toBeNull();
    await act(async () => {
      part.open = true;
      fireEvent(part, new Event('toggle'));
      await settle();
    });
    expect(within(part).getByRole('form', { name: 'Data explorer' })).toBeTruthy();
    fireEvent.click(within(part).getByRole('button', { name: 'Open with more room' }));
    expect(openExplorer).toHaveBeenCalled();
    expect(api.requests).toHaveLength(before);
  });

  it('opens a run', async () => {
    await show();
    fireEvent.click(screen.getByRole('button', { name: 'run r1' }));
    expect(openRun.mock.calls[0][0].id).toBe('r1');
  });

  it('offers to stop only what the API lets be stopped, and asks first', async () => {
    await show();
    const buttons = screen.getAllByRole('button', { name: /^Stop the run/ });
    expect(buttons.map(button => button.getAttribute('aria-label'))).toEqual(['Stop the run run r1']);
    api.table['POST /v1/runs/r1/cancel'] = {};
    fireEvent.click(buttons[0]);
    await act(settle);
    expect(api.requests).not.toContain('POST /v1/runs/r1/cancel');
    await act(async () => {
      fireEvent.click(document.querySelector('.jp-Dialog .jp-mod-warn')!);
      await new Promise(resolve => setTimeout(resolve));
    });
    expect(api.requests).toContain('POST /v1/runs/r1/cancel');
  });

  it('shows why a run failed', async () => {
    const reason = { kind: 'Aborted', code: 'lost', message: 'The aggregator is lost.', hint: '' };
    api.table['GET /v1/projects/demo/runs'] = {
      _embedded: { runs: [run('r1', { state: 'failed', reason })] }
    };
    await show();
    expect(screen.getByText('The aggregator is lost.')).toBeTruthy();
    expect(screen.queryByRole('button', { name: /^Stop the run/ })).toBeNull();
  });

  it('shows what a run waits for', async () => {
    const waiting_for = 'its aggregator b.';
    api.table['GET /v1/projects/demo/runs'] = {
      _embedded: { runs: [run('r1', { state: 'queued', waiting_for })] }
    };
    await show();
    expect(screen.getByText(`Waits for ${waiting_for}`)).toBeTruthy();
  });

  it('has the analytics form among the data sets, closed until somebody opens it', async () => {
    await show();
    expect(screen.queryByRole('form', { name: 'Analytics' })).toBeNull();
    const part = screen.getByRole('heading', { name: 'Analytics' }).closest('details')!;
    await act(async () => {
      part.open = true;
      fireEvent(part, new Event('toggle'));
      await settle();
    });
    expect(within(part).getByRole('form', { name: 'Analytics' })).toBeTruthy();
    fireEvent.click(within(part).getByRole('button', { name: 'Open with more room' }));
    expect(openAnalytics).toHaveBeenCalledTimes(1);
  });

  it('lists queries as they are asked, to who may see them', async () => {
    await show();
    expect(screen.queryByRole('heading', { name: 'Queries' })).toBeNull();
    api.table['GET /v1/projects/demo/queries'] = list('queries', [query('q1')]);
    await act(async () => {
      api.stream.send(event(5, 'query.created', { data: { query: 'q1' } }));
      await settle();
    });
    expect(screen.getByRole('heading', { name: 'Queries' })).toBeTruthy();
  });

  it('shows another project', async () => {
    await show();
    await act(async () => {
      fireEvent.change(screen.getByLabelText('Project'), { target: { value: 'other' } });
      await settle();
    });
    expect(screen.getByText(/No node has joined yet/)).toBeTruthy();
  });

  it('marks what is old', async () => {
    await show();
    const problem = failure(502, 'api-unreachable');
    api.streamFailure = problem;
    api.table['GET status'] = status({ has_token: true }, problem.problem);
    jest.useFakeTimers();
    await act(async () => {
      api.stream.end();
      await jest.advanceTimersByTimeAsync(2_000);
    });
    jest.useRealTimers();
    expect(screen.getByText(/^Connection lost; last updated /)).toBeTruthy();
    expect(screen.getByRole('alert').textContent).toContain('Something was wrong.');
    expect(screen.getByRole('table', { name: 'Nodes' }).textContent).toContain('hospital-a');
    expect(summary(trans, federation)).toBe('Federation: unreachable');
  });

  it.each<[string, unknown, RegExp, string]>([
    ['the server half is missing', failure(404, 'http-404'), /pip install flaas_jupyter/, 'Retry'],
    ['versions differ', { ...status(ANA), version: '0.9' }, /1\.2\.3.*has 0\.9/, 'Reload the page'],
    ['Jupyter Server is silent', failure(0, 'server-unreachable'), /Check that it still runs/, 'Retry'],
    ['the API is down', status({ has_token: true }, failure(502, 'x').problem), /Do something\./, 'Retry']
  ])('says plainly that %s, with a way out', async (_, answer, message, way) => {
    api.table['GET status'] = answer;
    await show();
    expect(screen.getByRole('alert').textContent).toMatch(message);
    expect(screen.getByRole('button', { name: way })).toBeTruthy();
  });

  it('recovers by Retry', async () => {
    api.table['GET status'] = failure(404, 'http-404');
    await show();
    api.table['GET status'] = status(ANA);
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
      await settle();
    });
    expect(screen.getByRole('table', { name: 'Nodes' })).toBeTruthy();
    expect(screen.queryByRole('alert')).toBeNull();
  });
});

describe('SignIn', () => {
  beforeEach(async () => {
    api.table['GET status'] = status();
    await show();
  });

  const submit = async (): Promise<void> => {
    fireEvent.change(screen.getByLabelText('Token'), { target: { value: 'secret' } });
    await act(async () => {
      fireEvent.submit(screen.getByRole('form', { name: 'Sign in' }));
      await settle();
    });
  };

  it('has a password field and the address to start from', () => {
    const token = screen.getByLabelText<HTMLInputElement>('Token');
    expect([token.type, token.autocomplete]).toEqual(['password', 'off']);
    expect(screen.getByLabelText<HTMLInputElement>(/^Address/).value).toBe('https://api.example');
  });

  it('sends the token and shows the federation', async () => {
    api.table['POST session'] = () => {
      api.table['GET status'] = status(ANA);
      return {};
    };
    await submit();
    expect(api.bodies).toContainEqual({ url: 'https://api.example', token: 'secret' });
    expect(screen.getByRole('table', { name: 'Nodes' })).toBeTruthy();
    expect(document.documentElement.outerHTML).not.toContain('secret');
  });

  it('shows the refusal and keeps nothing of the token', async () => {
    api.table['POST session'] = failure(401, 'not-authenticated', 'Nobody is known by it.');
    await submit();
    expect(screen.getByRole('alert').textContent).toContain('Nobody is known by it.');
    expect(screen.getByLabelText<HTMLInputElement>('Token').value).toBe('');
    expect(document.activeElement).toBe(screen.getByLabelText('Token'));
  });
});
