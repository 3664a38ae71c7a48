/**
 * The only place that fetches: everything goes to the server half, which has the token.
 */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import type { IApi, IApiInit, IProblem } from './tokens';

/** Where the server half serves, under Jupyter's base URL. */
const NAMESPACE = 'flaas';

/** A request that was answered with problem details, or not answered at all (status 0). */
export class RequestError extends Error {
  constructor(readonly problem: IProblem) {
    super(problem.detail || problem.title);
    this.name = 'RequestError';
  }
}

/** The problem behind any error that a request can end with. */
export function problemOf(error: unknown): IProblem {
  if (error instanceof RequestError) {
    return error.problem;
  }
  const detail = error instanceof Error ? error.message : String(error);
  return { status: 0, code: 'unexpected', title: 'Unexpected error', detail, hint: '' };
}

/**
 * Requests through the server half.
 *
 * @param settings Where Jupyter Server is, and how to authenticate with it.
 */
export class ServerApi implements IApi {
  constructor(settings?: ServerConnection.ISettings) {
    this._settings = settings ?? ServerConnection.makeSettings();
  }

  async server<T>(endpoint: string, method = 'GET', body?: unknown): Promise<T> {
    const init: RequestInit = { method };
    if (body !== undefined) {
      init.body = JSON.stringify(body);
    }
    return (await this._json(await this._fetch(URLExt.join(NAMESPACE, endpoint), init))) as T;
  }

  async put<T>(endpoint: string, bytes: Uint8Array<ArrayBuffer>, signal: AbortSignal): Promise<T> {
    const headers = { 'Content-Type': 'application/octet-stream' };
    // As a Blob: Chromium takes ten times as long over the same bytes in an array, and keeps copies of them.
    const init: RequestInit = { method: 'PUT', headers, body: new Blob([bytes]), signal };
    return (await this._json(await this._fetch(URLExt.join(NAMESPACE, endpoint), init))) as T;
  }

  async api<T>(path: string, { method = 'GET', idempotencyKey, ifMatch, body }: IApiInit = {}): Promise<T> {
    const headers: Record<string, string> = {};
    if (ifMatch) {
      headers['If-Match'] = ifMatch;
    }
    if (idempotencyKey) {
      headers['Idempotency-Key'] = idempotencyKey;
    }
    const init: RequestInit = { method, headers };
    if (body !== undefined) {
      headers['Content-Type'] = 'application/json';
      init.body = JSON.stringify(body);
    }
    return (await this._json(await this._fetch(proxied(path), init))) as T;
  }

  async tagged<T>(path: string): Promise<{ body: T; tag: string }> {
    const response = await this._fetch(proxied(path), {});
    const tag = response.headers.get('ETag') ?? '';
    return { body: (await this._json(response)) as T, tag };
  }

  async text(path: string): Promise<string> {
    return (await this._fetch(proxied(path), {})).text();
  }

  async events(
    path: string,
    lastEventId: number | null,
    signal: AbortSignal
  ): Promise<AsyncIterable<string>> {
    const headers: Record<string, string> = { Accept: 'text/event-stream' };
    if (lastEventId !== null) {
      headers['Last-Event-ID'] = String(lastEventId);
    }
    const response = await this._fetch(proxied(path), { headers, signal });
    const type = response.headers.get('Content-Type') ?? '';
    if (!response.body || !type.startsWith('text/event-stream')) {
      throw new RequestError({
        status: response.status,
        code: 'no-event-stream',
        title: 'No event stream',
        detail: `The answer is ${type || 'empty'}.`,
        hint: ''
      });
    }
    return decoded(response.body.getReader());
  }

  private async _fetch(path: string, init: RequestInit): Promise<Response> {
    let response: Response;
    try {
      const url = URLExt.join(this._settings.baseUrl, path);
      response = await ServerConnection.makeRequest(url, init, this._settings);
    } catch (error) {
      throw new RequestError({
        status: 0,
        code: 'server-unreachable',
        title: 'Jupyter Server does not answer',
        detail: error instanceof Error ? error.message : String(error),
        hint: ''
      });
    }
    if (!response.ok) {
      throw new RequestError(await problemIn(response));
    }
    return response;
  }

  private async _json(response: Response): Promise<unknown> {
    const text = await response.text();
    if (!text) {
      return null;
    }
    try {
      return JSON.parse(text);
    } catch {
      throw new RequestError({
        status: response.status,
        code: 'not-json',
        title: 'An answer that cannot be read',
        detail: `${response.url} did not answer with JSON.`,
        hint: ''
      });
    }
  }

  private _settings: ServerConnection.ISettings;
}

/** The server half's path for a path of the API; links may be absolute, but their host is the server's affair. */
function proxied(path: string): string {
  const url = new URL(path, 'http://api');
  return URLExt.join(NAMESPACE, 'api', url.pathname) + url.search;
}

/** Problem details in an answer, or as good as can be made from its status. */
async function problemIn(response: Response): Promise<IProblem> {
  let body: Partial<IProblem> & { message?: string } = {};
  try {
    body = (JSON.parse(await response.text()) as typeof body | null) ?? {};
  } catch {
    // Not ours: a proxy's page, say.
  }
  return {
    status: response.status,
    code: body.code ?? `http-${response.status}`,
    title: body.title ?? response.statusText,
    detail: body.detail ?? body.message ?? response.statusText,
    hint: body.hint ?? ''
  };
}

async function* decoded(reader: ReadableStreamDefaultReader<Uint8Array>): AsyncIterable<string> {
  const decoder = new TextDecoder();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) {
        return;
      }
      yield decoder.decode(value, { stream: true });
    }
  } finally {
    await reader.cancel().catch(() => undefined);
  }
}
