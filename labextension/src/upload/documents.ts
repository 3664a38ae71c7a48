/**
 * Signed documents: `{"body": {...}, "signature": hex}`, an Ed25519 signature over context, a zero byte and the body's
 * canonical JSON. What the Python half signs, this reads; it signs nothing.
 */

import { concatenated, fromHex, hex, utf8 } from './bytes';
import { sha256 } from './seal';

/** A body whose signature was good. */
export interface IBody {
  [field: string]: unknown;
}

/** The one text that is signed for a value: keys sorted, no spaces. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) {
    return `[${value.map(canonical).join(',')}]`;
  }
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
    return `{${fields.map(([name, each]) => `${JSON.stringify(name)}:${canonical(each)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

/**
 * The body of a signed document; null unless `signer` has signed it for `context`.
 *
 * @param document As it came over the network.
 * @param context What it is signed for.
 * @param signer Public key, 64 hex digits.
 */
export async function opened(document: unknown, context: string, signer: string): Promise<IBody | null> {
  if (!isObject(document) || Object.keys(document).sort().join() !== 'body,signature') {
    return null;
  }
  const { body } = document;
  const [key, signature] = [fromHex(signer), fromHex(document.signature)];
  if (!isObject(body) || key?.length !== 32 || signature?.length !== 64) {
    return null;
  }
  const signed = concatenated(utf8(context), new Uint8Array([0]), utf8(canonical(body)));
  try {
    const verifier = await crypto.subtle.importKey('raw', key, { name: 'Ed25519' }, false, ['verify']);
    return (await crypto.subtle.verify({ name: 'Ed25519' }, verifier, signature, signed)) ? body : null;
  } catch {
    return null; // 32 bytes that are no key
  }
}

const HOLDERS = 'flaas/holders/1';

/** The body of a document that a domain key has signed: its one holder, or so many of several (docs/domain.md). */
export async function openedByDomain(
  document: unknown,
  context: string,
  domainKey: string
): Promise<IBody | null> {
  if (!isObject(document) || Object.keys(document).sort().join() !== 'body,holders,signatures') {
    return opened(document, context, domainKey);
  }
  const { body, holders, signatures } = document;
  if (!isObject(body) || !isObject(holders) || !isObject(signatures)) {
    return null;
  }
  const { keys, threshold } = holders;
  if (!Array.isArray(keys) || typeof threshold !== 'number' || !(threshold >= 1)) {
    return null;
  }
  const digest = await sha256(concatenated(utf8(HOLDERS), new Uint8Array([0]), utf8(canonical(holders))));
  const signers = Object.keys(signatures);
  if (
    hex(digest) !== domainKey ||
    signers.length < threshold ||
    !signers.every(each => keys.includes(each))
  ) {
    return null;
  }
  for (const signer of signers) {
    if ((await opened({ body, signature: signatures[signer] }, context, signer)) === null) {
      return null;
    }
  }
  return body;
}

function isObject(value: unknown): value is IBody {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
