/**
 * The audit log: filtered, page by page, exported.
 */

import { type ISignal, Signal } from '@lumino/signaling';

import type { IAuditEntry, ICheckpoint } from '../governance';
import { problemOf } from '../request';
import type { IApi, IModel, IPage, IProblem } from '../tokens';

/** Entries a page. */
const PAGE = 50;

/** What to show; an empty text shows all. */
export interface IAuditQuery {
  actor: string;
  operation: string;
  object: string;
  outcome: string;
  from: string;
  to: string;
}

export const EVERYTHING: IAuditQuery = {
  actor: '',
  operation: '',
  object: '',
  outcome: '',
  from: '',
  to: ''
};

/** The path of a page, or of an export. */
export function auditPath(query: IAuditQuery, format?: 'csv' | 'jsonl'): string {
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    const text = String(value).trim();
    if (text) {
      // Fields give local time without a zone.
      asked.set(name, name === 'from' || name === 'to' ? new Date(text).toISOString() : text);
    }
  }
  if (format) {
    asked.set('format', format);
    return `/v1/audit/export?${asked}`;
  }
  asked.set('limit', String(PAGE));
  return `/v1/audit?${asked}`;
}

/** Checkpoints, as signed documents. */
interface ICheckpoints extends IPage<ICheckpoint | { body: ICheckpoint }> {
  newest?: ICheckpoint | { body: ICheckpoint } | null;
}

function newestOf(page: ICheckpoints): ICheckpoint | null {
  const all = page.newest ? [page.newest] : (page._embedded.checkpoints ?? []);
  const bodies = all.map(each => ('body' in each ? (each.body as ICheckpoint) : each));
  return bodies.reduce<ICheckpoint | null>(
    (newest, each) => ((each.sequence ?? 0) >= (newest?.sequence ?? 0) ? each : newest),
    null
  );
}

/**
 * The audit log as the caller may see it.
 */
export class AuditModel implements IModel {
  constructor(private _api: IApi) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get query(): IAuditQuery {
    return this._query;
  }

  /** In the order that the API gives; null until they were read. */
  get entries(): readonly IAuditEntry[] | null {
    return this._entries;
  }

  get hasMore(): boolean {
    return this._next !== null;
  }

  get loading(): boolean {
    return this._loading;
  }

  get problem(): IProblem | null {
    return this._problem;
  }

  /** The newest head of the chain that was signed; null if there is none, or it may not be seen. */
  get checkpoint(): ICheckpoint | null {
    return this._checkpoint;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Show what fits `changes`; never fails, the outcome is `problem`. */
  async show(changes: Partial<IAuditQuery> = {}): Promise<void> {
    this._query = { ...this._query, ...changes };
    this._entries = null;
    this._next = null;
    await Promise.all([this._read(auditPath(this._query)), this._readCheckpoint()]);
  }

  /** The next page, below. */
  async more(): Promise<void> {
    if (this._next !== null && !this._loading) {
      await this._read(this._next);
    }
  }

  /** Everything that fits the query, as a file's text; null if it cannot be had, and then there is a `problem`. */
  async export(format: 'csv' | 'jsonl'): Promise<string | null> {
    try {
      return await this._api.text(auditPath(this._query, format));
    } catch (error) {
      this._problem = problemOf(error);
      this._emit();
      return null;
    }
  }

  forget(): void {
    this._turn++;
    this._entries = null;
    this._next = null;
    this._checkpoint = null;
    this._problem = null;
    this._query = EVERYTHING;
    this._emit();
  }

  dispose(): void {
    this._disposed = true;
    Signal.clearData(this);
  }

  private async _read(path: string): Promise<void> {
    const turn = ++this._turn;
    this._loading = true;
    this._emit();
    try {
      const page = await this._api.api<IPage<IAuditEntry>>(path);
      if (turn !== this._turn) {
        return;
      }
      this._entries = [...(this._entries ?? []), ...(page._embedded.entries ?? [])];
      this._next = page._links?.next?.href ?? null;
      this._problem = null;
    } catch (error) {
      if (turn === this._turn) {
        this._problem = problemOf(error);
      }
    }
    if (turn === this._turn) {
      this._loading = false;
      this._emit();
    }
  }

  private async _readCheckpoint(): Promise<void> {
    try {
      const page = await this._api.api<ICheckpoints>('/v1/audit/checkpoints');
      this._checkpoint = newestOf(page);
    } catch {
      this._checkpoint = null;
    }
    this._emit();
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _changed = new Signal<this, void>(this);
  private _query = EVERYTHING;
  private _entries: readonly IAuditEntry[] | null = null;
  private _next: string | null = null;
  private _loading = false;
  private _problem: IProblem | null = null;
  private _checkpoint: ICheckpoint | null = null;
  private _turn = 0;
  private _disposed = false;
}
