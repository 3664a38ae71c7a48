/**
 * The vectors that the Python half makes and reads, too: every byte is the same on both sides.
 */

import { base64, bigEndian, type Bytes, fromBase64, fromHex, hex } from '../upload/bytes';
import { canonical, opened, openedByDomain } from '../upload/documents';
import {
  beginSealing,
  CHUNK_OVERHEAD,
  chunkSizeFor,
  chunksOf,
  detailsJson,
  envelopeOf,
  fileKeyOf,
  headerOf,
  type IHeader,
  obstacle,
  packed,
  placeOf,
  rootOf,
  Sealer,
  sha256
} from '../upload/seal';
import { bytesOf, keysOf, vectors, webcrypto } from './sealed';

Object.defineProperty(globalThis, 'crypto', { value: webcrypto, configurable: true });

const header: IHeader = {
  upload: vectors.header.upload,
  node: vectors.node.id,
  size: vectors.header.size,
  chunkSize: vectors.header.chunk_size
};
const file = bytesOf(vectors.file);
const { details } = vectors;

function piece(chunk: number): Bytes {
  return file.slice(...placeOf(header, chunk));
}

async function sealer(): Promise<Sealer> {
  const key = await fileKeyOf(bytesOf(vectors.file_key));
  return Sealer.of({ header, envelope: bytesOf(vectors.envelope), key });
}

describe('bytes', () => {
  it('refuses numbers that do not fit', () => {
    expect(hex(bigEndian(2 ** 40 + 1, 8))).toBe('0000010000000001');
    expect(() => bigEndian(2 ** 32, 4)).toThrow(RangeError);
    expect(() => bigEndian(-1, 4)).toThrow(RangeError);
    expect(() => bigEndian(1.5, 4)).toThrow(RangeError);
  });

  it('reads hex and base64, and nothing else', () => {
    expect(fromHex('0aF0')).toBeNull();
    expect(fromHex('0a0')).toBeNull();
    expect(fromHex(10)).toBeNull();
    expect(fromBase64('*')).toBeNull();
    const long = Uint8Array.from({ length: 40_000 }, (_, place) => place % 251);
    expect(fromBase64(base64(long))).toEqual(long);
  });
});

describe('sealing', () => {
  it('packs the header', () => {
    expect(hex(packed(header))).toBe(vectors.header.packed);
    expect(chunksOf(header)).toBe(vectors.header.chunks);
  });

  it('pads the details', () => {
    expect(hex(detailsJson(details))).toBe(vectors.details_padded);
    expect((detailsJson({ ...details, name: 'a'.repeat(255) }).length + 32) % 256).toBe(0);
  });

  it('seals the envelope with HPKE', async () => {
    const { ephemeral_private, enc } = vectors.hpke;
    const envelope = await envelopeOf(
      bytesOf(vectors.node.upload_key),
      header,
      bytesOf(vectors.file_key),
      details,
      await keysOf(bytesOf(ephemeral_private), bytesOf(enc))
    );
    expect(hex(envelope)).toBe(vectors.envelope);
    expect(hex(await sha256(Uint8Array.from([...packed(header), ...envelope])))).toBe(vectors.seal);
  });

  it('refuses a receiver of small order', async () => {
    await expect(beginSealing(new Uint8Array(32), header, details)).rejects.toThrow();
  });

  it('seals every chunk', async () => {
    const seal = await sealer();
    for (const { index, salt, sealed, sha256: digest } of vectors.chunks) {
      expect(hex(await sha256(piece(index)))).toBe(digest);
      const made = await seal.chunk(index, piece(index), bytesOf(salt));
      expect(hex(made)).toBe(sealed);
      expect(made.length).toBe(piece(index).length + CHUNK_OVERHEAD);
    }
  });

  it('seals nothing in a place where it does not belong', async () => {
    const seal = await sealer();
    await expect(seal.chunk(2, piece(0))).rejects.toThrow(RangeError);
    await expect(seal.chunk(3, piece(0))).rejects.toThrow(RangeError);
    await expect(seal.chunk(0, piece(2))).rejects.toThrow(RangeError);
  });

  it('never seals one chunk twice to the same bytes', async () => {
    const seal = await sealer();
    const twice = [await seal.chunk(0, piece(0)), await seal.chunk(0, piece(0))];
    expect(hex(twice[0].slice(0, 16))).not.toBe(hex(twice[1].slice(0, 16)));
    expect(hex(twice[0].slice(16, 48))).not.toBe(hex(twice[1].slice(16, 48)));
  });

  it('says what all chunks are', async () => {
    const root = await rootOf(vectors.chunks.map(({ sha256: digest }) => bytesOf(digest)));
    expect(hex(root)).toBe(vectors.root);
    const seal = await sealer();
    for (const { salt, details: other, sealed } of vectors.finish) {
      expect(hex(await seal.finish(root, other, bytesOf(salt)))).toBe(sealed);
    }
  });

  it('reads receipts, and nothing that the node has not sealed', async () => {
    const seal = await sealer();
    for (const { body, sealed } of vectors.receipts) {
      expect(await seal.receipt(bytesOf(sealed))).toEqual(body);
    }
    const forged = bytesOf(vectors.receipts[0].sealed);
    forged[40] ^= 1;
    expect(await seal.receipt(forged)).toBeNull();
    expect(await seal.receipt(bytesOf(vectors.finish[0].sealed))).toBeNull();
    expect(await seal.receipt(new Uint8Array(0))).toBeNull();
  });

  it('draws another upload each time, with a key that cannot be taken out', async () => {
    const node = vectors.node.id;
    expect(headerOf(node, 10).upload).not.toBe(headerOf(node, 10).upload);
    expect(headerOf(node, 10).upload).toMatch(/^[0-9a-f]{32}$/);
    const sealing = await beginSealing(bytesOf(vectors.node.upload_key), header, details);
    expect(sealing.key.extractable).toBe(false);
    await expect(webcrypto.subtle.exportKey('raw', sealing.key)).rejects.toThrow();
  });

  it('cuts files of any size', () => {
    expect(chunkSizeFor(1)).toBe(2 ** 20);
    const size = 2 ** 31 + 1;
    const large = { size, chunkSize: chunkSizeFor(size) };
    expect(chunksOf(large)).toBe(513);
    expect(placeOf(large, 512)).toEqual([2 ** 31, size]);
  });
});

describe('signed documents', () => {
  it('are read as they were signed', async () => {
    expect(canonical(vectors.statement.body)).toBe(vectors.statement_signed_text);
    expect(canonical({ b: 'ü"\n', a: [1, 'x'] })).toBe('{"a":[1,"x"],"b":"ü\\"\\n"}');
    const key = 'flaas/upload-key/1';
    expect(await opened(vectors.statement, key, vectors.node.id)).toEqual(vectors.statement.body);
    expect(await opened(vectors.membership, 'flaas/member/1', vectors.domain.key)).toEqual(
      vectors.membership.body
    );
  });

  it.each([
    ['another purpose', { ...vectors.statement }, 'flaas/member/1', vectors.node.id],
    ['another signer', { ...vectors.statement }, 'flaas/upload-key/1', vectors.domain.key],
    ['no key', { ...vectors.statement }, 'flaas/upload-key/1', 'ff'],
    ['a key that is no point', { ...vectors.statement }, 'flaas/upload-key/1', 'ff'.repeat(32)],
    ['one field more', { ...vectors.statement, more: 1 }, 'flaas/upload-key/1', vectors.node.id],
    ['a changed body', changed(), 'flaas/upload-key/1', vectors.node.id],
    ['nothing', null, 'flaas/upload-key/1', vectors.node.id],
    ['a list', [], 'flaas/upload-key/1', vectors.node.id],
    ['no signature', { body: {}, signature: '' }, 'flaas/upload-key/1', vectors.node.id]
  ])('are not believed: %s', async (_, document, context, signer) => {
    expect(await opened(document, context, signer)).toBeNull();
  });
});

describe('documents that several holders of a domain key sign', () => {
  interface ICosigned {
    body: { [field: string]: unknown };
    holders: { v: number; keys: string[]; threshold: number };
    signatures: { [key: string]: unknown };
  }
  const { context, domain_key, document } = jest.requireActual<{
    context: string;
    domain_key: string;
    document: ICosigned;
  }>('../../../tests/vectors/holders.json');
  const [one, two] = Object.entries(document.signatures);
  const third = document.holders.keys.find(key => !(key in document.signatures)) ?? '';

  it('are read where so many have signed', async () => {
    expect(await openedByDomain(document, context, domain_key)).toEqual(document.body);
    expect(await openedByDomain(vectors.membership, 'flaas/member/1', vectors.domain.key)).toEqual(
      vectors.membership.body
    );
  });

  it.each<[string, string, unknown]>([
    ['one has signed', context, { ...document, signatures: Object.fromEntries([one]) }],
    [
      'the second is no holder',
      context,
      { ...document, signatures: { [one[0]]: one[1], ['ab'.repeat(32)]: two[1] } }
    ],
    [
      'a signature is another holder’s',
      context,
      { ...document, signatures: { [one[0]]: one[1], [third]: two[1] } }
    ],
    ['a signature is no text', context, { ...document, signatures: { [one[0]]: one[1], [two[0]]: null } }],
    ['the threshold was lowered', context, { ...document, holders: { ...document.holders, threshold: 1 } }],
    [
      'a holder was added',
      context,
      { ...document, holders: { ...document.holders, keys: [...document.holders.keys, third] } }
    ],
    ['the body was changed', context, { ...document, body: { ...document.body, serial: 8 } }],
    ['it is for another purpose', 'flaas/revoke/1', document],
    ['the holders are none', context, { ...document, holders: {} }]
  ])('are not believed where %s', async (_, purpose, altered) => {
    expect(await openedByDomain(altered, purpose, domain_key)).toBeNull();
  });

  it('are those of the domain key that was pinned', async () => {
    expect(await openedByDomain(document, context, vectors.domain.key)).toBeNull();
    expect(await openedByDomain(vectors.membership, 'flaas/member/1', domain_key)).toBeNull();
  });
});

describe('this page', () => {
  const secure = (value: boolean): void => {
    Object.defineProperty(globalThis, 'isSecureContext', { value, configurable: true });
  };

  it('can seal, or says why not', async () => {
    secure(true);
    expect(await obstacle()).toBeNull();
    secure(false);
    expect(await obstacle()).toBe('insecure-page');
    secure(true);
    const { subtle } = webcrypto;
    const old = { ...webcrypto, subtle: { generateKey: () => Promise.reject(new Error('NotSupported')) } };
    Object.defineProperty(globalThis, 'crypto', { value: old, configurable: true });
    expect(await obstacle()).toBe('old-browser');
    Object.defineProperty(globalThis, 'crypto', { value: webcrypto, configurable: true });
    expect(crypto.subtle).toBe(subtle);
  });
});

function changed(): unknown {
  return { ...vectors.statement, body: { ...vectors.statement.body, created: 1 } };
}
