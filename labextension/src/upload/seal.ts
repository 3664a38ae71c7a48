/**
 * A file sealed for one node, version 1, as the Python half reads it.
 *
 * A fresh file key goes to the node in the *envelope* (HPKE, bound to the header). Chunks are sealed as in the STREAM
 * construction (Hoang, Reyhanitabar, Rogaway, Vizár 2015): place and whether it is the last stand in the nonce, header
 * and envelope are associated data. Every sealing draws a salt, and has a key of its own by it: a chunk that is sealed
 * again after a reload, perhaps of a file that was changed, repeats no nonce.
 */

import { base64, bigEndian, type Bytes, concatenated, fromHex, hex, utf8 } from './bytes';
import { ephemeralKeys, sealed } from './hpke';

/** Bytes of a key, of a digest. */
const KEY_BYTES = 32;
const SALT_BYTES = 16;
/** How much longer a sealed chunk is than the piece of the file. */
export const CHUNK_OVERHEAD = SALT_BYTES + 16;
const MAGIC = concatenated(utf8('FLAU'), new Uint8Array([1]));
const INFO = concatenated(utf8('flaas/upload/1'), new Uint8Array([0]));
/** Details are padded to multiples of it, together with the key. */
const PAD = 256;
/** Most bytes of an envelope. */
const LARGEST = 1 << 20;

type Purpose = 'chunk' | 'finish' | 'receipt';

/** What everybody on the way may read. */
export interface IHeader {
  /** 32 hex digits. */
  upload: string;
  /** The node's id, 64 hex digits. */
  node: string;
  /** Of the file, in bytes. */
  size: number;
  chunkSize: number;
}

/** How the node is to register the file; for its eyes only. */
export interface IDetails {
  /** The file's own name; its suffix tells the format. */
  name: string;
  target: string | null;
  id_column: string | null;
  classes: number | null;
  raw: boolean;
}

/** What the node says in the end. */
export interface IReceipt {
  state: 'registered' | 'rejected';
  /** Of the whole file, in hex: what `sha256sum` prints. */
  sha256: string;
  size: number;
  dataset: string;
  rows: number | null;
  problem: { code: string; message: string; hint: string } | null;
}

/** The header of a new upload. */
export function headerOf(node: string, size: number): IHeader {
  const upload = hex(crypto.getRandomValues(new Uint8Array(16)));
  return { upload, node, size, chunkSize: chunkSizeFor(size) };
}

/** Small files have small chunks too, or progress would be of no use. */
export function chunkSizeFor(size: number): number {
  return size < 16 * 2 ** 20 ? 2 ** 20 : 4 * 2 ** 20;
}

export function chunksOf({ size, chunkSize }: Pick<IHeader, 'size' | 'chunkSize'>): number {
  return Math.ceil(size / chunkSize);
}

/** Where the piece of a chunk begins and ends in the file. */
export function placeOf(header: Pick<IHeader, 'size' | 'chunkSize'>, chunk: number): [number, number] {
  const start = chunk * header.chunkSize;
  return [start, Math.min(start + header.chunkSize, header.size)];
}

/** The header as 65 bytes. */
export function packed({ upload, node, size, chunkSize }: IHeader): Bytes {
  const [id, receiver] = [fromHex(upload), fromHex(node)];
  if (id?.length !== 16 || receiver?.length !== 32) {
    throw new RangeError('The ids of upload and node are 32 and 64 hex digits.');
  }
  return concatenated(MAGIC, id, receiver, bigEndian(size, 8), bigEndian(chunkSize, 4));
}

/** Details as JSON, padded: their length tells nothing of the names in them. */
export function detailsJson(details: IDetails): Bytes {
  const text = utf8(JSON.stringify({ v: 1, ...details }));
  const padding = (PAD - ((text.length + KEY_BYTES) % PAD)) % PAD;
  return concatenated(text, new Uint8Array(padding).fill(0x20));
}

/** SHA-256 over the SHA-256 of every chunk: what the file is, known chunk by chunk. */
export async function rootOf(digests: readonly Uint8Array[]): Promise<Bytes> {
  return sha256(concatenated(...digests));
}

export async function sha256(bytes: Bytes): Promise<Bytes> {
  return new Uint8Array(await crypto.subtle.digest('SHA-256', bytes));
}

/** What has to be kept to go on: nothing secret can be read from it but by the browser's cryptography. */
export interface ISealing {
  header: IHeader;
  envelope: Bytes;
  /** The file key; it cannot be taken out. */
  key: CryptoKey;
}

/**
 * Begin: draw a file key and seal it for the node.
 *
 * @param receiver The node's upload key, 32 bytes, which was checked.
 */
export async function beginSealing(receiver: Bytes, header: IHeader, details: IDetails): Promise<ISealing> {
  const raw = crypto.getRandomValues(new Uint8Array(KEY_BYTES));
  const envelope = await envelopeOf(receiver, header, raw, details, await ephemeralKeys());
  const key = await fileKeyOf(raw);
  raw.fill(0);
  return { header, envelope, key };
}

export async function fileKeyOf(raw: Bytes): Promise<CryptoKey> {
  return crypto.subtle.importKey('raw', raw, 'HKDF', false, ['deriveKey']);
}

export async function envelopeOf(
  receiver: Bytes,
  header: IHeader,
  fileKey: Bytes,
  details: IDetails,
  ephemeral: CryptoKeyPair
): Promise<Bytes> {
  const plaintext = concatenated(fileKey, detailsJson(details));
  const envelope = await sealed(receiver, concatenated(INFO, packed(header)), plaintext, ephemeral);
  plaintext.fill(0);
  if (envelope.length > LARGEST) {
    throw new RangeError(`An envelope has at most ${LARGEST} bytes, not ${envelope.length}.`);
  }
  return envelope;
}

/** Seals the parts of one upload. */
export class Sealer {
  private constructor(
    private readonly _sealing: ISealing,
    private readonly _seal: Bytes
  ) {}

  static async of(sealing: ISealing): Promise<Sealer> {
    const seal = await sha256(concatenated(packed(sealing.header), sealing.envelope));
    return new Sealer(sealing, seal);
  }

  /**
   * Seal the piece of the file that chunk number `chunk` is.
   *
   * @param salt For test vectors; with one salt for two pieces, both could be read.
   */
  async chunk(chunk: number, piece: Bytes, salt?: Bytes): Promise<Bytes> {
    const { header } = this._sealing;
    const [start, end] = placeOf(header, chunk);
    if (!(chunk >= 0 && chunk < chunksOf(header)) || piece.length !== end - start) {
      throw new RangeError(`Chunk ${chunk} has not ${piece.length} bytes.`);
    }
    const last = chunk === chunksOf(header) - 1;
    const nonce = concatenated(new Uint8Array(7), bigEndian(chunk, 4), new Uint8Array([last ? 1 : 0]));
    return this._sealed('chunk', nonce, piece, salt);
  }

  /** Say what all chunks together are, and perhaps other details than before. */
  async finish(root: Bytes, details: IDetails | null, salt?: Bytes): Promise<Bytes> {
    const text = details ? concatenated(root, detailsJson(details)) : root;
    return this._sealed('finish', new Uint8Array(12), text, salt);
  }

  /** What the node has said; null if it was not the node, or is no receipt. */
  async receipt(sealed: Bytes): Promise<IReceipt | null> {
    try {
      const key = await this._key(sealed.slice(0, SALT_BYTES), 'receipt');
      const text = await crypto.subtle.decrypt(
        { name: 'AES-GCM', iv: new Uint8Array(12), additionalData: this._seal },
        key,
        sealed.slice(SALT_BYTES)
      );
      const { v, ...receipt } = JSON.parse(new TextDecoder().decode(text)) as IReceipt & { v: number };
      return v === 1 ? receipt : null;
    } catch {
      return null;
    }
  }

  private async _sealed(purpose: Purpose, iv: Bytes, text: Bytes, salt?: Bytes): Promise<Bytes> {
    const drawn = salt ?? crypto.getRandomValues(new Uint8Array(SALT_BYTES));
    const algorithm = { name: 'AES-GCM', iv, additionalData: this._seal };
    const sealed = await crypto.subtle.encrypt(algorithm, await this._key(drawn, purpose), text);
    return concatenated(drawn, new Uint8Array(sealed));
  }

  private _key(salt: Bytes, purpose: Purpose): Promise<CryptoKey> {
    return crypto.subtle.deriveKey(
      { name: 'HKDF', hash: 'SHA-256', salt, info: utf8(`flaas/upload/1 ${purpose}`) },
      this._sealing.key,
      { name: 'AES-GCM', length: 8 * KEY_BYTES },
      false,
      ['encrypt', 'decrypt']
    );
  }
}

/** Header and envelope as they are sent. */
export function opening({ header, envelope }: ISealing): { header: string; envelope: string } {
  return { header: base64(packed(header)), envelope: base64(envelope) };
}

/** Whether this page can seal at all, and if not, why. */
export async function obstacle(): Promise<'insecure-page' | 'old-browser' | null> {
  if (!globalThis.isSecureContext || !globalThis.crypto?.subtle) {
    return 'insecure-page';
  }
  try {
    await ephemeralKeys();
    await crypto.subtle.importKey('raw', new Uint8Array(32), { name: 'Ed25519' }, false, ['verify']);
    return null;
  } catch {
    return 'old-browser';
  }
}
