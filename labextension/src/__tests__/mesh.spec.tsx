import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';

import { EventStreams } from '../events';
import {
  connectedPairs,
  membersOf,
  MeshModel,
  ProjectModel,
  relaysOf,
  silent,
  unconnectedPairs
} from '../model';
import type { IMesh, IMeshLink, IMeshNode, IProject } from '../tokens';
import { Mesh } from '../view/mesh';
import { event, failure, list, MockApi, node, settle } from './mock';

const PATH = 'GET /v1/projects/demo/mesh';
const PROJECT: IProject = { id: 'demo', name: 'Demo', description: '', organisations: ['north'] };

function member(id: string, changes: Partial<IMeshNode> = {}): IMeshNode {
  const reported = '2026-01-01T00:00:00Z';
  return {
    id,
    name: `node-${id}`,
    organisation: `org-${id}`,
    roles: ['node'],
    online: true,
    reported,
    ...changes
  };
}

function link(from: string, to: string, changes: Partial<IMeshLink> = {}): IMeshLink {
  return { from, to, kind: 'direct', rtt: 0.0125, throughput: 2.5e7, bytes: 4096, ...changes };
}

function mesh(changes: Partial<IMesh> = {}): IMesh {
  return {
    project: 'demo',
    nodes: [member('b'), member('a'), member('c')],
    links: [
      link('a', 'b'),
      link('b', 'a', { rtt: 0.01, throughput: null }),
      link('a', 'c', { kind: 'relay' })
    ],
    ...changes
  };
}

let api: MockApi;
let project: ProjectModel;

async function show(answer: unknown = mesh()): Promise<void> {
  api = new MockApi({
    [PATH]: answer,
    'GET /v1/nodes?project=demo': list('nodes', [node('a'), node('b')]),
    'GET /v1/projects/demo/datasets': list('datasets', []),
    'GET /v1/projects/demo/runs': list('runs', [])
  });
  project = new ProjectModel(api, new EventStreams(api), PROJECT);
  await project.start();
  render(<Mesh project={project} api={api} />);
  await act(settle);
}

function looks(): number {
  return api.requests.filter(request => request === PATH).length;
}

beforeEach(() => {
  jest.useFakeTimers();
});

afterEach(() => {
  cleanup();
  project?.dispose();
  jest.useRealTimers();
});

describe('what the model makes of an answer', () => {
  it('takes what two nodes say of one connection together', () => {
    const [first, second] = connectedPairs(mesh());
    expect(first.ends.map(end => end.name)).toEqual(['node-a', 'node-b']);
    expect([first.kinds, first.rtt, first.throughput]).toEqual([['direct'], 0.01, 2.5e7]);
    expect(second.kinds).toEqual(['relay']);
  });

  it('names both kinds where two nodes differ, the longer way first', () => {
    const links = [link('a', 'b'), link('b', 'a', { kind: 'relay', rtt: null, throughput: null })];
    expect(connectedPairs(mesh({ links }))[0].kinds).toEqual(['relay', 'direct']);
  });

  it('keeps a kind that it does not know', () => {
    const links = [link('a', 'b', { kind: 'pigeon' }), link('b', 'a')];
    expect(connectedPairs(mesh({ links }))[0].kinds).toEqual(['direct', 'pigeon']);
  });

  it('takes TLS for further round than the direct way, and for nearer than a relay', () => {
    const links = [link('a', 'b'), link('b', 'a', { kind: 'tls' })];
    expect(connectedPairs(mesh({ links }))[0].kinds).toEqual(['tls', 'direct']);
    links[0].kind = 'relay';
    expect(connectedPairs(mesh({ links }))[0].kinds).toEqual(['relay', 'tls']);
  });

  it('counts what is a relay alone as a relay, and a node that is one besides as a member', () => {
    const nodes = [member('a'), member('b', { roles: ['node', 'relay'] }), member('r', { roles: ['relay'] })];
    const told = mesh({ nodes, links: [link('a', 'b')] });
    expect(membersOf(told).map(({ id }) => id)).toEqual(['a', 'b']);
    expect(relaysOf(told).map(({ id }) => id)).toEqual(['r']);
    expect(connectedPairs(told)).toHaveLength(1);
  });

  it('knows nothing of figures that nobody has measured', () => {
    const links = [link('a', 'b', { rtt: null, throughput: null })];
    expect(connectedPairs(mesh({ links }))[0]).toMatchObject({ rtt: null, throughput: null });
  });

  it('leaves relays, absent and silent nodes out of pairs that could be connected', () => {
    const nodes = [
      member('a'),
      member('b'),
      member('c', { online: false }),
      member('d', { reported: null }),
      member('r', { roles: ['relay'] })
    ];
    const apart = unconnectedPairs(mesh({ nodes, links: [] }));
    expect(apart.map(ends => ends.map(end => end.id))).toEqual([['a', 'b']]);
    expect(silent(mesh({ nodes })).map(({ id }) => id)).toEqual(['d']);
  });

  it('keeps what it knew when a look fails', async () => {
    const answers: { [request: string]: unknown } = { '/v1': null };
    const model = new MeshModel(new MockApi(answers), 'demo');
    answers[PATH] = mesh();
    await model.refresh();
    answers[PATH] = failure(503, 'database-unavailable');
    await model.refresh();
    expect(model.mesh).toEqual(mesh());
    expect(model.problem?.code).toBe('database-unavailable');
    answers[PATH] = mesh({ links: [] });
    await model.refresh();
    expect([model.problem, model.mesh?.links]).toEqual([null, []]);
  });
});

describe('the graph', () => {
  it('draws nodes with their organisations and lines by kind', async () => {
    await show();
    const graph = screen.getByRole('application');
    expect(graph.getAttribute('aria-label')).toBe('Connections between nodes: 3 nodes, 2 connections');
    expect([...graph.querySelectorAll('.flaas-Mesh-node title')].map(title => title.textContent)).toEqual([
      'node-a, org-a',
      'node-b, org-b',
      'node-c, org-c'
    ]);
    expect([...graph.querySelectorAll('[data-kind]')].map(line => line.textContent)).toEqual([
      'direct',
      'relay'
    ]);
    const legend = within(screen.getByRole('list', { name: 'Kinds of paths' }));
    expect(legend.getAllByRole('listitem').map(item => item.textContent)).toEqual(['direct', 'relay']);
    expect(screen.getByText('2 of 3 pairs are connected')).toBeTruthy();
  });

  it('tells figures where the keyboard walks, and where one points', async () => {
    await show();
    const graph = screen.getByRole('application');
    expect(graph.tabIndex).toBe(0);
    fireEvent.keyDown(graph, { key: 'ArrowRight' });
    expect(screen.getByRole('status').textContent).toBe(
      'node-a and node-b: direct, round trip 10 ms, throughput 25.0 MB/s'
    );
    expect(graph.querySelectorAll('.flaas-mod-marked')).toHaveLength(1);
    expect([...graph.querySelectorAll('.flaas-mod-end title')].map(title => title.textContent)).toEqual([
      'node-a, org-a',
      'node-b, org-b'
    ]);
    fireEvent.keyDown(graph, { key: 'ArrowRight' });
    expect(screen.getByRole('status').textContent).toContain('node-a and node-c: relay');
    fireEvent.mouseEnter(graph.querySelector('[data-kind=direct]')!);
    expect(screen.getByRole('status').textContent).toContain('node-a and node-b');
  });

  it('is a table, too', async () => {
    await show();
    const toggle = screen.getByRole('button', { name: 'Show as table' });
    expect(toggle.getAttribute('aria-pressed')).toBe('false');
    fireEvent.click(toggle);
    const rows = within(screen.getByRole('table', { name: 'Connections between nodes' })).getAllByRole('row');
    expect(rows.map(row => [...row.children].map(cell => cell.textContent))).toEqual([
      ['Nodes', 'Path', 'Round trip', 'Throughput'],
      ['node-a and node-b', 'direct', '10 ms', '25.0 MB/s'],
      ['node-a and node-c', 'relay', '12.5 ms', '25.0 MB/s']
    ]);
    expect(screen.queryByRole('application')).toBeNull();
  });

  it.each([
    ['tls', 'TLS'],
    ['pigeon', 'pigeon'] // one that it does not know
  ])('shows a path of the kind %s', async (kind, name) => {
    await show(mesh({ links: [link('a', 'b', { kind })] }));
    const legend = within(screen.getByRole('list', { name: 'Kinds of paths' }));
    expect(legend.getAllByRole('listitem').map(item => item.textContent)).toEqual(['direct', 'relay', name]);
    expect(document.querySelectorAll(`.flaas-Legend .flaas-mod-${kind}`)).toHaveLength(1);
    expect(document.querySelector(`[data-kind=${kind}]`)!.textContent).toBe(name);
    fireEvent.click(screen.getByRole('button', { name: 'Show as table' }));
    expect(screen.getByRole('cell', { name })).toBeTruthy();
  });

  it('keeps the mark on the pair that one has walked to, and announces nothing by itself', async () => {
    await show();
    const graph = screen.getByRole('application');
    fireEvent.keyDown(graph, { key: 'ArrowRight' });
    fireEvent.keyDown(graph, { key: 'ArrowRight' });
    const said = screen.getByRole('status').textContent;
    expect(said).toBe('node-a and node-c: relay, round trip 12.5 ms, throughput 25.0 MB/s');
    const line = (): string | null => document.querySelector('.flaas-Heat-told')!.textContent;
    const answered = async (links: IMeshLink[]): Promise<void> => {
      api.table[PATH] = mesh({ links });
      await act(async () => {
        jest.advanceTimersByTime(10_000);
        await settle();
      });
    };
    await answered([link('a', 'c', { kind: 'relay', rtt: 0.02 }), link('b', 'c')]); // a and b have parted
    expect(line()).toBe('node-a and node-c: relay, round trip 20 ms, throughput 25.0 MB/s');
    expect(screen.getByRole('status').textContent).toBe(said);
    expect(graph.querySelector('.flaas-mod-marked')!.getAttribute('data-kind')).toBe('relay');
    await answered([link('a', 'b'), link('b', 'c')]);
    expect(graph.querySelector('.flaas-mod-marked')).toBeNull();
    expect(line()).toBe('Walk over the figures with the arrow keys.');
    expect(screen.getByRole('status').textContent).toBe('');
    await answered(mesh().links);
    expect(graph.querySelector('.flaas-mod-marked')).toBeNull();
  });

  it('is described by how one walks, also while something is marked', async () => {
    await show();
    const graph = screen.getByRole('application', { description: /^Walk over the figures/ });
    fireEvent.keyDown(graph, { key: 'Home' });
    expect(screen.getByRole('application', { description: /^Walk over the figures/ })).toBe(graph);
  });

  it('names some of many pairs that are not connected, and counts the others', async () => {
    const nodes = ['a', 'b', 'c', 'd', 'e'].map(id => member(id));
    await show(mesh({ nodes, links: [] }));
    expect(document.body.textContent).toContain('node-b and node-d and 4 pairs more. Nodes connect when');
  });

  it('says what to do about what is missing', async () => {
    const nodes = [
      member('a'),
      member('b'),
      member('c', { online: false, reported: null }),
      member('d', { reported: null }),
      member('r', { roles: ['relay'], online: false })
    ];
    await show(mesh({ nodes, links: [] }));
    const text = document.body.textContent;
    expect(text).toContain('Offline: node-c. Each is started with flaas node run.');
    expect(text).toContain('Nothing is told of its connections by node-d');
    expect(text).toContain('Not connected: node-a and node-b. Nodes connect when');
    expect(text).toContain('Relays: node-r (offline)');
    expect(screen.getByText('0 of 6 pairs are connected')).toBeTruthy();
    fireEvent.click(screen.getByRole('button', { name: 'Show as table' }));
    expect(screen.getByText('No connections.')).toBeTruthy();
  });

  it('says so where there is no mesh', async () => {
    await show(mesh({ nodes: [member('a')], links: [] }));
    expect(screen.getByText('There is nobody to be connected to: a mesh has two nodes.')).toBeTruthy();
  });

  it('looks again every ten seconds, and at once when a node comes or goes', async () => {
    await show();
    const before = looks();
    await act(async () => {
      jest.advanceTimersByTime(10_000);
      await settle();
    });
    expect(looks()).toBe(before + 1);
    await act(async () => {
      api.stream.send(event(5, 'node.offline'));
      await settle();
    });
    expect(looks()).toBe(before + 2);
    cleanup();
    jest.advanceTimersByTime(60_000);
    await settle();
    expect(looks()).toBe(before + 2);
  });

  it('does not look while the page is hidden', async () => {
    await show();
    const before = looks();
    const hidden = jest.spyOn(document, 'hidden', 'get').mockReturnValue(true);
    jest.advanceTimersByTime(30_000);
    await settle();
    expect(looks()).toBe(before);
    hidden.mockRestore();
  });

  it('says what went wrong, and is there again after another look', async () => {
    await show(failure(403, 'not-allowed', 'You may not see it.'));
    expect(screen.getByRole('alert').textContent).toContain('You may not see it.');
    api.table[PATH] = mesh();
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
      await settle();
    });
    expect(screen.getByRole('application')).toBeTruthy();
    expect(screen.queryByRole('alert')).toBeNull();
    api.table[PATH] = failure(0, 'server-unreachable');
    await act(async () => {
      jest.advanceTimersByTime(10_000);
      await settle();
    });
    expect(screen.getByRole('alert').textContent).toContain('Not up to date');
    expect(screen.getByRole('application')).toBeTruthy();
  });

  it('leaves words out where there are many lines', async () => {
    const ids = ['a', 'b', 'c', 'd', 'e', 'f'];
    const links = ids.flatMap((from, place) => ids.slice(place + 1).map(to => link(from, to)));
    await show(mesh({ nodes: ids.map(id => member(id)), links }));
    const lines = document.querySelectorAll('[data-kind]');
    expect(lines).toHaveLength(15);
    expect(lines[0].textContent).toBe('');
  });
});
