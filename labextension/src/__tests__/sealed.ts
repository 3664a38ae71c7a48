/**
 * The vectors that both halves share, and cryptography for a page that has none of its own.
 */

import type { IUploadAnswer } from '../model';
import { base64, bigEndian, type Bytes, concatenated, fromBase64, fromHex, hex, utf8 } from '../upload/bytes';
import type { IKeptUpload, IUploadKeep } from '../upload/keep';
import { chunksOf, type IDetails, type IHeader, type IReceipt, rootOf, sha256 } from '../upload/seal';
import type { IKeyAnswer, IPin } from '../upload/trust';
import { failure, MockApi } from './mock';

export const { webcrypto } = jest.requireActual<{ webcrypto: Crypto }>('crypto');

interface ISigned {
  body: { [field: string]: unknown };
  signature: string;
}

interface IVectors {
  now: number;
  domain: { id: string; key: string };
  node: { id: string; upload_key: string };
  fingerprint: string;
  statement: ISigned;
  statement_signed_text: string;
  membership: ISigned;
  header: { upload: string; size: number; chunk_size: number; chunks: number; packed: string };
  file: string;
  file_key: string;
  details: IDetails;
  details_padded: string;
  hpke: { ephemeral_private: string; enc: string };
  envelope: string;
  seal: string;
  chunks: { index: number; salt: string; sha256: string; sealed: string }[];
  root: string;
  finish: { salt: string; details: IDetails | null; sealed: string }[];
  receipts: { body: IReceipt; sealed: string }[];
}

export const vectors = jest.requireActual<IVectors>('../../../tests/vectors/upload.json');

export function bytesOf(digits: string): Bytes {
  return fromHex(digits)!;
}

/** What a private key of X25519 is wrapped in as PKCS #8 (RFC 8410). */
const PKCS8 = new Uint8Array([0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x6e, 4, 0x22, 4, 0x20]);

/** The key pair of a private key, as vectors give it. */
export async function keysOf(secret: Bytes, publicKey: Bytes): Promise<CryptoKeyPair> {
  const [algorithm, { subtle }] = [{ name: 'X25519' }, webcrypto];
  return {
    privateKey: await subtle.importKey('pkcs8', concatenated(PKCS8, secret), algorithm, false, [
      'deriveBits'
    ]),
    publicKey: await subtle.importKey('raw', publicKey, algorithm, true, [])
  };
}

/** What the page keeps, without a browser. */
export class MemoryKeep implements IUploadKeep {
  readonly kept = new Map<string, IKeptUpload>();
  readonly sent = new Map<string, Map<number, Bytes>>();
  readonly pins = new Map<string, IPin>();
  readonly held = new Set<string>();

  uploads(): Promise<IKeptUpload[]> {
    return Promise.resolve([...this.kept.values()]);
  }

  keep(upload: IKeptUpload): Promise<void> {
    this.kept.set(upload.id, upload);
    return Promise.resolve();
  }

  remove(id: string): Promise<void> {
    this.kept.delete(id);
    this.sent.delete(id);
    return Promise.resolve();
  }

  digests(id: string): Promise<Map<number, Bytes>> {
    return Promise.resolve(new Map(this.sent.get(id)));
  }

  keepDigest(id: string, chunk: number, digest: Bytes): Promise<void> {
    this.sent.set(id, (this.sent.get(id) ?? new Map<number, Bytes>()).set(chunk, digest));
    return Promise.resolve();
  }

  pin(project: string): Promise<IPin | null> {
    return Promise.resolve(this.pins.get(project) ?? null);
  }

  setPin(project: string, pin: IPin | null): Promise<void> {
    if (pin) {
      this.pins.set(project, pin);
    } else {
      this.pins.delete(project);
    }
    return Promise.resolve();
  }

  hold(id: string): Promise<(() => void) | null> {
    if (this.held.has(id)) {
      return Promise.resolve(null);
    }
    this.held.add(id);
    return Promise.resolve(() => this.held.delete(id));
  }
}

/** A server half and a node behind it: it opens what it gets, with the file key that the page has drawn. */
export class FakeNode extends MockApi {
  readonly chunks = new Map<number, Bytes>();
  readonly puts: number[] = [];
  readonly opened: unknown[] = [];
  state: IUploadAnswer['state'] = 'receiving';
  /** What the node answers when it looks at the file. */
  problem: IReceipt['problem'] = null;
  /** What the next requests fail with, by their beginning, as often as they are in it. */
  readonly failures: [string, Error][] = [];
  /** Sends that wait until they are released; null: none. */
  waiting: (() => void)[] | null = null;
  inFlight = 0;
  most = 0;
  forged: string | null = null;

  private _header: IHeader = { upload: '', node: '', size: 0, chunkSize: 1 };
  private _seal: Bytes = new Uint8Array(0);
  private _receipt: string | null = null;

  override async server<T>(endpoint: string, method = 'GET', body?: unknown): Promise<T> {
    this.requests.push(`${method} ${endpoint}`);
    await this._fail(`${method} ${endpoint}`);
    if (endpoint === 'uploads') {
      const { header, envelope } = body as { header: string; envelope: string };
      this.opened.push(body);
      const [head, sealed] = [fromBase64(header)!, fromBase64(envelope)!];
      const view = new DataView(head.buffer);
      this._header = {
        upload: hex(head.slice(5, 21)),
        node: hex(head.slice(21, 53)),
        size: Number(view.getBigUint64(53)),
        chunkSize: view.getUint32(61)
      };
      this._seal = await sha256(concatenated(head, sealed));
    } else if (endpoint.endsWith('/finish')) {
      const text = await this._open(
        'finish',
        new Uint8Array(12),
        fromBase64((body as { finish: string }).finish)!
      );
      this.finished.push(new TextDecoder().decode(text.slice(32)).trim());
      const digests = await Promise.all(this._pieces().map(sha256));
      this.rootIsRight = hex(text.slice(0, 32)) === hex(await rootOf(digests));
      this.state = 'checking';
    } else if (method === 'DELETE') {
      this.chunks.clear();
      return null as T;
    } else if (this.state === 'checking') {
      await this._end();
    }
    return this._answered() as T;
  }

  override async put<T>(endpoint: string, bytes: Uint8Array<ArrayBuffer>, signal: AbortSignal): Promise<T> {
    this.most = Math.max(this.most, ++this.inFlight);
    try {
      const chunk = Number(endpoint.split('/').pop());
      this.puts.push(chunk);
      await this._fail(`PUT ${endpoint}`);
      if (this.waiting) {
        await new Promise<void>((resolve, reject) => {
          this.waiting?.push(resolve);
          signal.addEventListener('abort', () => reject(failure(0, 'server-unreachable')));
        });
      }
      const last = chunk === chunksOf(this._header) - 1;
      const nonce = concatenated(new Uint8Array(7), bigEndian(chunk, 4), new Uint8Array([last ? 1 : 0]));
      this.chunks.set(chunk, await this._open('chunk', nonce, bytes));
      return { received: this.chunks.size, chunks: chunksOf(this._header) } as T;
    } finally {
      this.inFlight -= 1;
    }
  }

  readonly finished: string[] = [];
  rootIsRight = false;

  /** Of the file that has arrived, in hex. */
  async sha256(): Promise<string> {
    return hex(await sha256(concatenated(...this._pieces())));
  }

  /** Let all that wait go on, and what comes after them. */
  release(): void {
    const waiting = this.waiting ?? [];
    this.waiting = null;
    waiting.forEach(go => go());
  }

  private _pieces(): Bytes[] {
    return [...this.chunks.entries()].sort(([one], [other]) => one - other).map(([, piece]) => piece);
  }

  private _fail(request: string): Promise<void> {
    const place = this.failures.findIndex(([beginning]) => request.startsWith(beginning));
    return place < 0 ? Promise.resolve() : Promise.reject(this.failures.splice(place, 1)[0][1]);
  }

  private async _end(): Promise<void> {
    this.state = this.problem ? 'rejected' : 'registered';
    const receipt: IReceipt = {
      state: this.state,
      sha256: await this.sha256(),
      size: this._header.size,
      dataset: 'loans',
      rows: this.problem ? null : 12,
      problem: this.problem
    };
    const salt = new Uint8Array(16);
    const sealed = await webcrypto.subtle.encrypt(
      { name: 'AES-GCM', iv: new Uint8Array(12), additionalData: this._seal },
      await this._key(salt, 'receipt'),
      utf8(JSON.stringify({ v: 1, ...receipt }))
    );
    this._receipt = base64(concatenated(salt, new Uint8Array(sealed)));
  }

  private _answered(): IUploadAnswer {
    const have = [...this.chunks.keys()].map(chunk => [chunk, chunk] as [number, number]);
    const ended = this.state === 'registered' || this.state === 'rejected';
    return {
      chunks: chunksOf(this._header),
      received: have.length,
      have,
      state: this.forged ? 'registered' : this.state,
      receipt: this.forged ?? (ended ? this._receipt : null)
    };
  }

  private async _open(purpose: string, iv: Bytes, sealed: Bytes): Promise<Bytes> {
    const key = await this._key(sealed.slice(0, 16), purpose);
    const algorithm = { name: 'AES-GCM', iv, additionalData: this._seal };
    return new Uint8Array(await webcrypto.subtle.decrypt(algorithm, key, sealed.slice(16)));
  }

  private async _key(salt: Bytes, purpose: string): Promise<CryptoKey> {
    return webcrypto.subtle.deriveKey(
      { name: 'HKDF', hash: 'SHA-256', salt, info: utf8(`flaas/upload/1 ${purpose}`) },
      await webcrypto.subtle.importKey('raw', drawnKeys[drawnKeys.length - 1], 'HKDF', false, ['deriveKey']),
      { name: 'AES-GCM', length: 256 },
      false,
      ['encrypt', 'decrypt']
    );
  }
}

/** The file keys that the page has drawn. */
export const drawnKeys: Bytes[] = [];

/** Give the page cryptography, and look over its shoulder. */
export function installCrypto(): void {
  const getRandomValues = (bytes: Bytes): Bytes => {
    webcrypto.getRandomValues(bytes);
    if (bytes.length === 32) {
      drawnKeys.push(Uint8Array.from(bytes));
    }
    return bytes;
  };
  const value = { subtle: webcrypto.subtle, getRandomValues };
  Object.defineProperty(globalThis, 'crypto', { value, configurable: true });
  Object.defineProperty(globalThis, 'isSecureContext', { value: true, configurable: true });
}

/** What the API answers about the node's key, at the time of the vectors. */
export function keyAnswer(changes: Partial<IKeyAnswer> = {}): IKeyAnswer {
  return {
    node: vectors.node.id,
    name: 'clinic-a-1',
    organisation: 'clinic-a',
    project: vectors.domain.id,
    domain_key: vectors.domain.key,
    statement: vectors.statement,
    membership: vectors.membership,
    online: true,
    quarantined: null,
    ...changes
  };
}

/** A file no two pieces of which are alike. */
export function fileOf(size: number, name = 'loans.csv', seed = 1): File {
  const block = Uint8Array.from({ length: 4096 }, (_, place) => Math.imul(place + seed, 2654435761) >>> 24);
  const bytes = new Uint8Array(size);
  for (let start = 0; start < size; start += block.length) {
    block.set(bigEndian(start, 4));
    bytes.set(block.subarray(0, size - start), start);
  }
  return new File([bytes], name);
}
