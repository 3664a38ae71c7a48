import { FederationModel, type IMemory, RunModel, SessionModel } from '../model';
import { coalesced, readAll } from '../model/lists';
import { EventStreams } from '../events';
import type { IStatus } from '../tokens';
import { ANA, event, failure, list, MockApi, node, round, run, settle, status, table, VERSION } from './mock';

describe('SessionModel', () => {
  const unreachable = failure(502, 'api-unreachable').problem;
  const refused = failure(401, 'not-authenticated').problem;

  it.each<[string, IStatus | Error, string]>([
    ['signed in', status(ANA), 'signed-in'],
    ['nobody signed in', status(), 'signed-out'],
    ['a token that is no longer good', status({ has_token: true }, refused), 'signed-out'],
    ['the API down', status({ has_token: true }, unreachable), 'api-unreachable'],
    ['the API down before anybody signed in', status({}, unreachable), 'signed-out'],
    ['another version of the API', status(ANA, unreachable), 'api-unreachable'],
    ['another version of the server half', { ...status(ANA), version: '0.9' }, 'version-mismatch'],
    ['no server half', failure(404, 'http-404'), 'server-missing'],
    ['a server that forbids', failure(403, 'http-403'), 'server-failing'],
    ['no server', failure(0, 'server-unreachable'), 'server-failing']
  ])('knows %s', async (_, answer, connection) => {
    const session = new SessionModel(new MockApi({ 'GET status': answer }), VERSION);
    await session.refresh();
    expect(session.connection).toBe(connection);
  });

  it('sends the token once and looks who that is', async () => {
    const api = new MockApi({ 'GET status': status(ANA), 'POST session': {} });
    const session = new SessionModel(api, VERSION);
    await session.signIn('https://api.example', 'secret');
    expect(api.requests).toEqual(['POST session', 'GET status']);
    expect(api.bodies[0]).toEqual({ url: 'https://api.example', token: 'secret' });
    expect(session.status).toEqual(status(ANA));
  });

  it('takes the answer to the last question', async () => {
    let answer: (value: IStatus) => void = () => undefined;
    const slow = new Promise<IStatus>(resolve => (answer = resolve));
    const api = new MockApi({ 'GET status': () => slow });
    const session = new SessionModel(api, VERSION);
    const first = session.refresh();
    await settle();
    api.table['GET status'] = status(ANA);
    await session.refresh();
    answer(status());
    await first;
    expect(session.connection).toBe('signed-in');
  });
});

describe('lists', () => {
  it('are read page after page, to a limit', async () => {
    const api = new MockApi({
      'GET /v1/runs': list('runs', [1, 2], '/v1/runs?cursor=b'),
      'GET /v1/runs?cursor=b': list('runs', [3], '/v1/runs?cursor=c'),
      'GET /v1/runs?cursor=c': list('runs', [4])
    });
    expect(await readAll(api, '/v1/runs', 'runs')).toEqual([1, 2, 3, 4]);
    expect(await readAll(api, '/v1/runs', 'runs', 2)).toEqual([1, 2, 3]);
  });

  it('are read once more, not often, when asked for while they are read', async () => {
    let reads = 0;
    const read = coalesced(async () => {
      reads += 1;
      await Promise.resolve();
    });
    await Promise.all([read(), read(), read(), read()]);
    expect(reads).toBe(2);
    await read();
    expect(reads).toBe(3);
  });
});

describe('FederationModel', () => {
  let api: MockApi;
  let federation: FederationModel;
  let remembered: string | null;
  const memory: IMemory = {
    recall: () => Promise.resolve(remembered),
    remember: project => {
      remembered = project;
    }
  };

  beforeEach(() => {
    jest.useFakeTimers();
    remembered = null;
    api = new MockApi(table());
    federation = new FederationModel({ api, version: VERSION, memory });
  });

  afterEach(() => {
    federation.dispose();
    jest.useRealTimers();
  });

  const start = async (): Promise<void> => {
    await federation.start();
    await jest.advanceTimersByTimeAsync(0);
    await settle();
  };

  it('shows the first project after signing in', async () => {
    await start();
    expect(federation.connection).toBe('signed-in');
    expect(federation.project?.project.id).toBe('demo');
    expect(federation.project?.nodes.map(({ name }) => name)).toEqual(['hospital-a', 'hospital-b']);
    expect(federation.project?.runs.map(({ id }) => id)).toEqual(['r1', 'r0']);
    expect(federation.activeRuns).toBe(1);
  });

  it.each([
    ['the project shown last', 'other', '', 'other'],
    ['the default project', null, 'other', 'other'],
    ['the first for one that is gone', 'gone', 'gone too', 'demo']
  ])('shows %s', async (_, last, byDefault, shown) => {
    remembered = last;
    federation.defaultProject = byDefault;
    await start();
    expect(federation.project?.project.id).toBe(shown);
  });

  it('remembers the choice of a project and lets go of the one before', async () => {
    await start();
    const before = federation.project;
    federation.select('other');
    expect(remembered).toBe('other');
    expect(before?.isDisposed).toBe(true);
    await settle();
    expect(api.streams.map(({ path, signal }) => [path, signal.aborted])).toEqual([
      ['/v1/projects/demo/events', true],
      ['/v1/projects/other/events', false]
    ]);
  });

  it('shows nothing any more after signing out', async () => {
    await start();
    api.table['DELETE session'] = null;
    api.table['GET status'] = status();
    await federation.signOut();
    expect(federation.project).toBeNull();
    expect(federation.projects).toEqual([]);
  });

  it('keeps what it knows while the API is down, and goes on when it is back', async () => {
    await start();
    const problem = failure(502, 'api-unreachable');
    const answers = { ...api.table };
    Object.keys(api.table).forEach(request => (api.table[request] = problem));
    api.table['GET status'] = status({ has_token: true }, problem.problem);
    api.streamFailure = problem;
    api.stream.end();
    await jest.advanceTimersByTimeAsync(1_000);
    expect(federation.connection).toBe('api-unreachable');
    expect(federation.project?.liveness).toBe('lost');
    expect(federation.project?.nodes).toHaveLength(2);

    Object.assign(api.table, answers, {
      'GET /v1/nodes?project=demo': list('nodes', [node('hospital-a'), node('hospital-c')])
    });
    api.streamFailure = null;
    await federation.refresh();
    await settle();
    expect(federation.connection).toBe('signed-in');
    expect(federation.project?.liveness).toBe('live');
    expect(federation.project?.nodes.map(({ name }) => name)).toEqual(['hospital-a', 'hospital-c']);
  });

  it('looks at the API again by itself', async () => {
    api.table['GET status'] = status({ has_token: true }, failure(502, 'api-unreachable').problem);
    federation.pollInterval = 5;
    await start();
    expect(federation.connection).toBe('api-unreachable');
    api.table['GET status'] = status(ANA);
    await jest.advanceTimersByTimeAsync(5_000);
    expect(federation.project?.project.id).toBe('demo');
  });

  describe('its project', () => {
    const asked = (): string[] => api.requests.splice(0);

    beforeEach(async () => {
      await start();
      asked();
    });

    it('counts rounds from events alone', async () => {
      api.stream.send(event(5, 'run.round', { run: 'r1', data: { ...round(3) } }));
      await settle();
      expect(federation.project?.runs[0].round).toBe(3);
      expect(asked()).toEqual([]);
    });

    it('reads a run anew when its state changes', async () => {
      api.table['GET /v1/runs/r1'] = run('r1', { state: 'failed' });
      api.stream.send(event(5, 'run.state', { run: 'r1' }));
      await settle();
      expect(federation.activeRuns).toBe(0);
      expect(asked()).toEqual(['GET /v1/runs/r1', 'GET /v1/projects/demo/models']);
    });

    it('puts a new run first', async () => {
      api.table['GET /v1/runs/r2'] = run('r2', { created: '2026-02-01T00:00:00Z' });
      api.stream.send(event(5, 'run.created', { run: 'r2' }));
      await settle();
      expect(federation.project?.runs.map(({ id }) => id)).toEqual(['r2', 'r1', 'r0']);
    });

    it('reads nodes and data sets anew when a node comes or goes', async () => {
      api.table['GET /v1/nodes?project=demo'] = list('nodes', [node('hospital-a', 'offline')]);
      api.stream.send(event(5, 'node.offline', { node: 'id-hospital-a' }));
      await settle();
      expect(federation.project?.nodes[0].state).toBe('offline');
      expect(asked()).toEqual(['GET /v1/nodes?project=demo', 'GET /v1/projects/demo/datasets']);
    });

    it('says why it could not look', async () => {
      delete api.table['GET /v1/nodes?project=demo'];
      await federation.project?.refresh();
      expect(federation.project?.problem?.status).toBe(404);
      expect(federation.project?.nodes).toHaveLength(2);
    });
  });
});

describe('RunModel', () => {
  let api: MockApi;
  let model: RunModel;

  beforeEach(async () => {
    api = new MockApi(table());
    model = new RunModel(api, new EventStreams(api), 'r1');
    await model.refresh();
    await settle();
  });

  afterEach(() => model.dispose());

  it('has run, rounds and log', () => {
    expect(model.run?.id).toBe('r1');
    expect(model.rounds.map(({ number }) => number)).toEqual([1, 2]);
    expect(model.log.map(({ type }) => type)).toEqual(['run.created']);
    expect(model.nameOf('id-hospital-b')).toBe('hospital-b');
    expect(model.nameOf('0123456789')).toBe('01234567');
  });

  it('takes a repeated round report once', async () => {
    api.stream.send(event(5, 'run.round', { run: 'r1', data: { ...round(3) } }));
    api.stream.send(event(6, 'run.round', { run: 'r1', data: { ...round(3, { metrics: { loss: 9 } }) } }));
    await settle();
    expect(model.rounds.map(({ number }) => number)).toEqual([1, 2, 3]);
    expect(model.rounds[2].metrics).toEqual({ loss: 9 });
    expect(model.run?.round).toBe(3);
    expect(model.log.map(({ id }) => id)).toEqual([1, 5, 6]);
  });

  it('leaves the events of other runs alone', async () => {
    api.stream.send(event(5, 'run.round', { run: 'r0', data: { ...round(9) } }));
    await settle();
    expect(model.rounds).toHaveLength(2);
    expect(model.log).toHaveLength(1);
  });

  it('stops the run by its link, and reads how it is then', async () => {
    api.table['POST /v1/runs/r1/cancel'] = {};
    api.table['GET /v1/runs/r1'] = run('r1', { state: 'cancelled' });
    await model.stop();
    expect(model.run?.state).toBe('cancelled');
    api.requests.length = 0;
    await model.stop();
    expect(api.requests).not.toContain('POST /v1/runs/r1/cancel');
  });

  it('passes the refusal to stop on', async () => {
    api.table['POST /v1/runs/r1/cancel'] = failure(409, 'run-ended');
    await expect(model.stop()).rejects.toMatchObject({ problem: { code: 'run-ended' } });
  });

  it('says when there is no such run', async () => {
    const missing = new RunModel(api, new EventStreams(api), 'gone');
    await missing.refresh();
    expect(missing.run).toBeNull();
    expect(missing.problem?.status).toBe(404);
  });
});
