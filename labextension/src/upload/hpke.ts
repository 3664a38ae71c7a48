/**
 * Hybrid public key encryption (RFC 9180), as far as a sender needs it: the single shot of base mode (section 6.1) with
 * the suite DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM. All of it by the browser's own cryptography.
 */

import { bigEndian, type Bytes, concatenated, utf8 } from './bytes';

const KEM = concatenated(utf8('KEM'), bigEndian(0x0020, 2));
const SUITE = concatenated(utf8('HPKE'), bigEndian(0x0020, 2), bigEndian(0x0001, 2), bigEndian(0x0002, 2));
const VERSION = utf8('HPKE-v1');
const NOTHING = new Uint8Array(0);
const HASH_BYTES = 32;
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const X25519 = { name: 'X25519' };

/** Make a key pair for one use; the private half does not come out of the browser's cryptography. */
export async function ephemeralKeys(): Promise<CryptoKeyPair> {
  return (await crypto.subtle.generateKey(X25519, false, ['deriveBits'])) as CryptoKeyPair;
}

/**
 * Seal `plaintext` for the holder of `receiver`, with empty associated data.
 *
 * @param receiver Public key, 32 bytes.
 * @param info What it is sealed for; the receiver has to say the same.
 * @param ephemeral Keys for this one use.
 * @returns The encapsulated key (32 bytes), and behind it what is sealed.
 * @throws DOMException The receiver's key is none, or one that no honest receiver has (section 7.1.4).
 */
export async function sealed(
  receiver: Bytes,
  info: Uint8Array,
  plaintext: Bytes,
  ephemeral: CryptoKeyPair
): Promise<Bytes> {
  const theirs = await crypto.subtle.importKey('raw', receiver, X25519, true, []);
  const agreed = await crypto.subtle.deriveBits(
    { ...X25519, public: theirs },
    ephemeral.privateKey,
    8 * HASH_BYTES
  );
  const enc = new Uint8Array(await crypto.subtle.exportKey('raw', ephemeral.publicKey));
  const extracted = await labeledExtract(KEM, NOTHING, 'eae_prk', new Uint8Array(agreed));
  const both = concatenated(enc, receiver);
  const shared = await labeledExpand(KEM, extracted, 'shared_secret', both, HASH_BYTES);

  const context = concatenated(
    new Uint8Array([0]), // base mode
    await labeledExtract(SUITE, NOTHING, 'psk_id_hash', NOTHING),
    await labeledExtract(SUITE, NOTHING, 'info_hash', info)
  );
  const secret = await labeledExtract(SUITE, shared, 'secret', NOTHING);
  const raw = await labeledExpand(SUITE, secret, 'key', context, KEY_BYTES);
  const iv = await labeledExpand(SUITE, secret, 'base_nonce', context, NONCE_BYTES);
  const key = await crypto.subtle.importKey('raw', raw, 'AES-GCM', false, ['encrypt']);
  raw.fill(0);
  const text = await crypto.subtle.encrypt({ name: 'AES-GCM', iv }, key, plaintext);
  return concatenated(enc, new Uint8Array(text));
}

async function labeledExtract(suite: Bytes, salt: Bytes, label: string, ikm: Uint8Array): Promise<Bytes> {
  // No salt is a salt of zeros (RFC 5869); an empty key cannot be imported.
  const key = salt.length > 0 ? salt : new Uint8Array(HASH_BYTES);
  return hmac(key, concatenated(VERSION, suite, utf8(label), ikm));
}

/** At most one block of the hash: nothing here is longer. */
async function labeledExpand(
  suite: Bytes,
  secret: Bytes,
  label: string,
  info: Uint8Array,
  length: number
): Promise<Bytes> {
  const labeled = concatenated(bigEndian(length, 2), VERSION, suite, utf8(label), info);
  return (await hmac(secret, concatenated(labeled, new Uint8Array([1])))).slice(0, length);
}

async function hmac(secret: Bytes, message: Bytes): Promise<Bytes> {
  const algorithm = { name: 'HMAC', hash: 'SHA-256' };
  const key = await crypto.subtle.importKey('raw', secret, algorithm, false, ['sign']);
  return new Uint8Array(await crypto.subtle.sign('HMAC', key, message));
}
