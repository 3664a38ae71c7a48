/**
 * An API from a table of answers, with event streams that the test feeds.
 */

import { RequestError } from '../request';
import type { IApi, IApiInit, IDataset, IEvent, INode, IProblem, IRound, IRun, IStatus } from '../tokens';

type Answer = unknown;

/** One open event stream. */
export class MockStream {
  constructor(
    readonly path: string,
    readonly lastEventId: number | null,
    readonly signal: AbortSignal
  ) {
    signal.addEventListener('abort', () => this.end());
  }

  /** Text, cut wherever the test likes. */
  push(text: string): void {
    this._chunks.push(text);
    this._wake?.();
  }

  send(event: IEvent): void {
    this.push(`id: ${event.id}\nevent: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`);
  }

  end(): void {
    this._ended = true;
    this._wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<string> {
    for (;;) {
      const chunk = this._chunks.shift();
      if (chunk !== undefined) {
        yield chunk;
      } else if (this._ended) {
        return;
      } else {
        await new Promise<void>(resolve => {
          this._wake = resolve;
        });
      }
    }
  }

  private _chunks: string[] = [];
  private _ended = false;
  private _wake: (() => void) | null = null;
}

/** Answers from a table; a function is called, an Error thrown, and what is not in the table is a 404. */
export class MockApi implements IApi {
  constructor(readonly table: { [request: string]: Answer } = {}) {}

  readonly requests: string[] = [];
  readonly bodies: unknown[] = [];
  readonly posts: { path: string; body: unknown; key: string | undefined }[] = [];
  readonly streams: MockStream[] = [];
  /** What opening a stream fails with, if it does. */
  streamFailure: Error | null = null;

  server<T>(endpoint: string, method = 'GET', body?: unknown): Promise<T> {
    this.bodies.push(body);
    return this._answer(`${method} ${endpoint}`) as Promise<T>;
  }

  put<T>(endpoint: string, bytes: Uint8Array<ArrayBuffer>, signal: AbortSignal): Promise<T> {
    this.bodies.push(bytes);
    return signal.aborted
      ? Promise.reject(failure(0, 'server-unreachable'))
      : (this._answer(`PUT ${endpoint}`) as Promise<T>);
  }

  api<T>(path: string, init: IApiInit = {}): Promise<T> {
    if (init.method === 'POST') {
      this.posts.push({ path, body: init.body, key: init.idempotencyKey });
    }
    return this._answer(`${init.method ?? 'GET'} ${path.replace(/[?&]limit=\d+/, '')}`) as Promise<T>;
  }

  async tagged<T>(path: string): Promise<{ body: T; tag: string }> {
    return { body: await this.api<T>(path), tag: '"tag"' };
  }

  text(path: string): Promise<string> {
    return this._answer(`TEXT ${path}`) as Promise<string>;
  }

  events(path: string, lastEventId: number | null, signal: AbortSignal): Promise<AsyncIterable<string>> {
    this.requests.push(`STREAM ${path}`);
    if (this.streamFailure) {
      return Promise.reject(this.streamFailure);
    }
    const stream = new MockStream(path, lastEventId, signal);
    this.streams.push(stream);
    return Promise.resolve(stream);
  }

  get stream(): MockStream {
    return this.streams[this.streams.length - 1];
  }

  private async _answer(request: string): Promise<unknown> {
    this.requests.push(request);
    await Promise.resolve();
    const answer = this.table[request];
    const value: unknown = typeof answer === 'function' ? (answer as () => unknown)() : answer;
    if (value === undefined) {
      throw failure(404, 'unknown', `Nothing at ${request}.`);
    }
    if (value instanceof Error) {
      throw value;
    }
    return value;
  }
}

export function failure(status: number, code: string, detail = 'Something was wrong.'): RequestError {
  return new RequestError({ status, code, title: `Title of ${code}`, detail, hint: 'Do something.' });
}

/** Let everything that waits for nothing but its turn have it. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) {
    await Promise.resolve();
  }
}

export function list(plural: string, items: unknown[], next?: string): unknown {
  return { _links: next ? { next: { href: next } } : {}, _embedded: { [plural]: items } };
}

export const VERSION = '1.2.3';

export function status(session: Partial<IStatus['session']> = {}, problem: IProblem | null = null): IStatus {
  const nobody = {
    signed_in: false,
    has_token: false,
    subject: null,
    organisation: null,
    roles: [],
    renewed: false,
    node: null
  };
  const url = 'https://api.example';
  return {
    version: VERSION,
    api: { url, reachable: problem === null, version: '1.2.3', problem },
    session: { ...nobody, ...session }
  };
}

export const ANA = {
  signed_in: true,
  has_token: true,
  subject: 'ana',
  organisation: 'north',
  roles: [{ role: 'developer', scope: 'organisation:north' }],
  renewed: false,
  node: 'hospital-a'
};

export function node(name: string, state: INode['state'] = 'online'): INode {
  const last_seen = '2026-01-01T00:00:00Z';
  return {
    id: `id-${name}`,
    name,
    organisation: 'north',
    state,
    last_seen,
    version: '1',
    datasets: ['biopsies']
  };
}

export const DATASET: IDataset = {
  name: 'biopsies',
  rows: 1450,
  nodes: [
    { node: 'id-hospital-a', node_name: 'hospital-a', organisation: 'north', rows: 1000, online: true },
    { node: 'id-hospital-b', node_name: 'hospital-b', organisation: 'north', rows: 450, online: false }
  ],
  features: [{ name: 'radius', dtype: 'float64', shape: [] }],
  target: { name: 'malignant', dtype: 'int64', kind: 'binary', classes: 2 }
};

export function run(id: string, changes: Partial<IRun> = {}): IRun {
  const state = changes.state ?? 'running';
  const ended = ['completed', 'failed', 'cancelled'].includes(state);
  return {
    id,
    name: `run ${id}`,
    project: 'demo',
    state,
    reason: null,
    dataset: 'biopsies',
    rounds: 10,
    round: 2,
    local_epochs: 1,
    batch_size: 32,
    secure_aggregation: true,
    aggregation: 'fedavg',
    aggregation_options: {},
    privacy: null,
    clients_per_round: null,
    minimum_nodes: 2,
    seed: null,
    parameters: 1234,
    aggregator: 'id-hospital-a',
    created_by: 'ana',
    organisation: 'north',
    created: '2026-01-01T00:00:00Z',
    started: '2026-01-01T00:00:01Z',
    ended: null,
    participants: [
      {
        node: 'id-hospital-a',
        name: 'hospital-a',
        organisation: 'north',
        state: 'accepted',
        reason: null,
        rows: 1000,
        online: true
      },
      {
        node: 'id-hospital-b',
        name: 'hospital-b',
        organisation: 'east',
        state: 'refused',
        reason: { kind: 'NotAllowed', code: 'policy', message: 'Not on a Sunday.', hint: '' },
        rows: null,
        online: false
      }
    ],
    _links: ended ? {} : { cancel: { href: `/v1/runs/${id}/cancel`, method: 'POST' } },
    ...changes
  };
}

export function round(number: number, changes: Partial<IRound> = {}): IRound {
  return {
    number,
    started: '2026-01-01T00:00:02Z',
    seconds: { training: 1, aggregation: 0.5 },
    bytes: { up: 2_500_000, down: 999 },
    metrics: { loss: 1 / number, accuracy: 1 - 1 / (number + 1) },
    clients: [{ node: 'id-hospital-a', examples: 1000, weight: 1 }],
    dropped: [],
    epsilon: null,
    ...changes
  };
}

export function event(id: number, type: string, changes: Partial<IEvent> = {}): IEvent {
  return {
    id,
    type,
    time: '2026-01-01T00:00:00Z',
    project: 'demo',
    run: null,
    node: null,
    data: {},
    ...changes
  };
}

/** A federation with one project, two nodes, a data set and a run. */
export function table(): { [request: string]: Answer } {
  return {
    'GET status': status(ANA),
    'GET simulations': { simulations: [], total: 0 },
    'GET /v1/projects': list('projects', [
      { id: 'demo', name: 'Demo', description: '', organisations: ['north'] },
      { id: 'other', name: 'Other', description: '', organisations: ['north'] }
    ]),
    'GET /v1/nodes?project=demo': list('nodes', [node('hospital-b', 'offline'), node('hospital-a')]),
    'GET /v1/projects/demo/datasets': list('datasets', [DATASET]),
    'GET /v1/projects/demo/runs': list('runs', [
      run('r1'),
      run('r0', { state: 'completed', created: '2025-01-01T00:00:00Z' })
    ]),
    'GET /v1/nodes?project=other': list('nodes', []),
    'GET /v1/projects/other/datasets': list('datasets', []),
    'GET /v1/projects/other/runs': list('runs', []),
    'GET /v1/runs/r1': run('r1'),
    'GET /v1/runs/r1/rounds': list('rounds', [round(1), round(2)]),
    'GET /v1/runs/r1/events': list('events', [event(1, 'run.created', { run: 'r1' })])
  };
}
