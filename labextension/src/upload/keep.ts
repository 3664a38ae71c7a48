/**
 * What uploads leave in the browser, so that they go on after a reload: the sealed envelope, the file key as a handle
 * that cannot be read, and the SHA-256 of every chunk that was sent. The file itself is never kept. Domain keys are
 * pinned here, too: Jupyter Server, which keeps the workspace, is one of those that they are to be safe from.
 */

import type { Bytes } from './bytes';
import type { IDetails, ISealing } from './seal';
import type { IPin } from './trust';

/** An upload that was begun. */
export interface IKeptUpload extends ISealing {
  id: string;
  /** Who has begun it, and at which API. */
  owner: string;
  project: string;
  node: string;
  nodeName: string;
  dataset: string;
  details: IDetails;
  /** Of the node's key that it is sealed for. */
  fingerprint: string;
  /** Milliseconds since 1970. */
  begun: number;
  /** Whether the node has all of it, and was told so. */
  finished: boolean;
}

export interface IUploadKeep {
  uploads(): Promise<IKeptUpload[]>;
  keep(upload: IKeptUpload): Promise<void>;
  /** Remove an upload with its digests. */
  remove(id: string): Promise<void>;
  /** The SHA-256 of chunks that were sent, or may have been. */
  digests(id: string): Promise<Map<number, Bytes>>;
  keepDigest(id: string, chunk: number, digest: Bytes): Promise<void>;
  pin(project: string): Promise<IPin | null>;
  /** Pin, or forget what was pinned. */
  setPin(project: string, pin: IPin | null): Promise<void>;
  /** Have an upload for this page alone; null if another page has it. What is returned lets it go. */
  hold(id: string): Promise<(() => void) | null>;
}

const NAME = 'flaas-uploads';
const UPLOADS = 'uploads';
const DIGESTS = 'digests';
const PINS = 'pins';

/** Kept in the browser's own data base. */
export class IndexedDbKeep implements IUploadKeep {
  async uploads(): Promise<IKeptUpload[]> {
    const found = await this._do<IKeptUpload[]>(UPLOADS, 'readonly', store => store.getAll());
    return found.sort((one, other) => other.begun - one.begun);
  }

  async keep(upload: IKeptUpload): Promise<void> {
    await this._do(UPLOADS, 'readwrite', store => store.put(upload));
  }

  async remove(id: string): Promise<void> {
    await this._do(DIGESTS, 'readwrite', store => store.delete(rangeOf(id)));
    await this._do(UPLOADS, 'readwrite', store => store.delete(id));
  }

  async digests(id: string): Promise<Map<number, Bytes>> {
    const rows = await this._do<{ chunk: number; digest: Bytes }[]>(DIGESTS, 'readonly', store =>
      store.getAll(rangeOf(id))
    );
    return new Map(rows.map(({ chunk, digest }) => [chunk, digest]));
  }

  async keepDigest(upload: string, chunk: number, digest: Bytes): Promise<void> {
    await this._do(DIGESTS, 'readwrite', store => store.put({ upload, chunk, digest }));
  }

  async pin(project: string): Promise<IPin | null> {
    return (await this._do<IPin | undefined>(PINS, 'readonly', store => store.get(project))) ?? null;
  }

  async setPin(project: string, pin: IPin | null): Promise<void> {
    await this._do(PINS, 'readwrite', store => (pin ? store.put(pin, project) : store.delete(project)));
  }

  async hold(id: string): Promise<(() => void) | null> {
    return new Promise((resolve, reject) => {
      navigator.locks
        .request(`${NAME}/${id}`, { ifAvailable: true }, lock => {
          if (!lock) {
            resolve(null);
            return undefined;
          }
          return new Promise<void>(release => resolve(release));
        })
        .catch(reject);
    });
  }

  /** One request in a transaction of its own; done when it is on disk. */
  private async _do<T = void>(
    name: string,
    mode: IDBTransactionMode,
    work: (store: IDBObjectStore) => IDBRequest
  ): Promise<T> {
    const database = await (this._database ??= this._open());
    return new Promise((resolve, reject) => {
      const transaction = database.transaction(name, mode);
      const request = work(transaction.objectStore(name));
      const fail = (): void => reject(transaction.error ?? request.error ?? new Error('not kept'));
      transaction.oncomplete = () => resolve(request.result as T);
      transaction.onabort = fail;
      transaction.onerror = fail;
    });
  }

  private _open(): Promise<IDBDatabase> {
    const opening = new Promise<IDBDatabase>((resolve, reject) => {
      const request = indexedDB.open(NAME, 1);
      request.onupgradeneeded = () => {
        request.result.createObjectStore(UPLOADS, { keyPath: 'id' });
        request.result.createObjectStore(DIGESTS, { keyPath: ['upload', 'chunk'] });
        request.result.createObjectStore(PINS);
      };
      request.onerror = () => reject(request.error ?? new Error('not opened'));
      request.onsuccess = () => {
        const database = request.result;
        // A page with a newer version of the extension changes the data base.
        database.onversionchange = () => database.close();
        database.onclose = () => (this._database = null);
        resolve(database);
      };
    });
    opening.catch(() => (this._database = null)); // another attempt may do
    return opening;
  }

  private _database: Promise<IDBDatabase> | null = null;
}

function rangeOf(id: string): IDBKeyRange {
  return IDBKeyRange.bound([id, 0], [id, Number.MAX_SAFE_INTEGER]);
}
