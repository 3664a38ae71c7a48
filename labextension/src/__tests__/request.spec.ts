import { ServerConnection } from '@jupyterlab/services';

import { problemOf, RequestError, ServerApi } from '../request';

/** Just as much of a response as is read; jsdom has none. */
function response(
  status: number,
  body: string,
  type = 'application/json',
  chunks: Uint8Array[] = []
): Response {
  const reader = {
    read: () => Promise.resolve({ done: chunks.length === 0, value: chunks.shift() }),
    cancel: () => Promise.resolve()
  };
  return {
    ok: status < 400,
    status,
    statusText: `Status ${status}`,
    url: 'http://lab/',
    headers: new Headers({ 'Content-Type': type }),
    text: () => Promise.resolve(body),
    body: { getReader: () => reader }
  } as unknown as Response;
}

describe('ServerApi', () => {
  const fetched = jest.fn<Promise<Response>, [Request]>();
  const api = new ServerApi(
    ServerConnection.makeSettings({ baseUrl: 'http://lab/user/ana/', fetch: fetched as typeof fetch })
  );
  const path = (): string => fetched.mock.calls[0][0].url.replace(/[?&]\d+$/, '');

  beforeEach(() => fetched.mockReset());

  it('asks the server half under the base URL', async () => {
    fetched.mockResolvedValue(response(200, '{"version": "1"}'));
    expect(await api.server('status')).toEqual({ version: '1' });
    expect(path()).toBe('http://lab/user/ana/flaas/status');
  });

  it('asks the coordination API through the server half, whatever host a link names', async () => {
    fetched.mockResolvedValue(response(200, '{}'));
    await api.api('https://api.example:8470/v1/runs?cursor=a%26b');
    expect(path()).toBe('http://lab/user/ana/flaas/api/v1/runs?cursor=a%26b');
  });

  it('sends the idempotency key', async () => {
    fetched.mockResolvedValue(response(200, '{}'));
    await api.api('/v1/runs/r1/cancel', { method: 'POST', idempotencyKey: 'k' });
    expect(fetched.mock.calls[0][0].method).toBe('POST');
    expect(fetched.mock.calls[0][0].headers.get('Idempotency-Key')).toBe('k');
  });

  it('sends bytes as bytes', async () => {
    fetched.mockResolvedValue(response(200, '{"received": 1}'));
    const bytes = new Uint8Array([1, 2, 3]);
    const answer = await api.put('uploads/u/chunks/0', bytes, new AbortController().signal);
    expect(answer).toEqual({ received: 1 });
    expect(path()).toBe('http://lab/user/ana/flaas/uploads/u/chunks/0');
    expect(fetched.mock.calls[0][0].method).toBe('PUT');
    expect(fetched.mock.calls[0][0].headers.get('Content-Type')).toBe('application/octet-stream');
  });

  it('turns problem details into an error that carries them', async () => {
    const problem = {
      status: 409,
      code: 'run-ended',
      title: 'Ended',
      detail: 'It has ended.',
      hint: 'Start anew.'
    };
    fetched.mockResolvedValue(response(409, JSON.stringify(problem)));
    const error: unknown = await api.api('/v1/runs/r1').catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(RequestError);
    expect(problemOf(error)).toEqual(problem);
  });

  it.each([
    ['a page', '<html>', 'Status 502'],
    ['Jupyter’s own form', '{"message": "Forbidden"}', 'Forbidden'],
    ['null', 'null', 'Status 502']
  ])('makes the best of %s', async (_, body, detail) => {
    fetched.mockResolvedValue(response(502, body));
    const error: unknown = await api.server('status').catch((reason: unknown) => reason);
    expect(problemOf(error)).toMatchObject({ status: 502, code: 'http-502', detail });
  });

  it('says when Jupyter Server does not answer', async () => {
    fetched.mockRejectedValue(new TypeError('Failed to fetch'));
    const error: unknown = await api.server('status').catch((reason: unknown) => reason);
    expect(problemOf(error)).toMatchObject({
      status: 0,
      code: 'server-unreachable',
      detail: 'Failed to fetch'
    });
  });

  it('refuses an answer that is not JSON', async () => {
    fetched.mockResolvedValue(response(200, '<html>'));
    await expect(api.server('status')).rejects.toMatchObject({ problem: { code: 'not-json' } });
  });

  it('follows events, resumes by id, and joins characters that were cut', async () => {
    const euro = new TextEncoder().encode('€');
    fetched.mockResolvedValue(response(200, '', 'text/event-stream', [euro.slice(0, 2), euro.slice(2)]));
    let text = '';
    const chunks = await api.events('/v1/projects/demo/events', 41, new AbortController().signal);
    for await (const chunk of chunks) {
      text += chunk;
    }
    expect(text).toBe('€');
    const { headers } = fetched.mock.calls[0][0];
    expect(headers.get('Last-Event-ID')).toBe('41');
    expect(headers.get('Accept')).toBe('text/event-stream');
  });

  it('refuses a stream that is none', async () => {
    fetched.mockResolvedValue(response(200, '{}'));
    const opening = api.events('/v1/projects/demo/events', null, new AbortController().signal);
    await expect(opening).rejects.toMatchObject({ problem: { code: 'no-event-stream' } });
  });
});
