/**
 * Bytes: put together, cut, written as text.
 */

/** Bytes that the browser's cryptography takes. */
export type Bytes = Uint8Array<ArrayBuffer>;

export function utf8(text: string): Bytes {
  return Uint8Array.from(new TextEncoder().encode(text));
}

export function concatenated(...parts: Uint8Array[]): Bytes {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

/** A whole number from 0 as bytes, the most significant first (I2OSP of RFC 8017). */
export function bigEndian(value: number, length: number): Bytes {
  const bytes = new Uint8Array(length);
  let rest = value;
  for (let place = length - 1; place >= 0; place--) {
    bytes[place] = rest % 256;
    rest = Math.floor(rest / 256);
  }
  if (rest !== 0 || !Number.isSafeInteger(value) || value < 0) {
    throw new RangeError(`${value} is no whole number of ${length} bytes.`);
  }
  return bytes;
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, byte => byte.toString(16).padStart(2, '0')).join('');
}

/** The bytes that hex digits stand for; null if it is something else. */
export function fromHex(text: unknown): Bytes | null {
  if (typeof text !== 'string' || text.length % 2 !== 0 || !/^[0-9a-f]*$/.test(text)) {
    return null;
  }
  return Uint8Array.from({ length: text.length / 2 }, (_, place) =>
    parseInt(text.slice(2 * place, 2 * place + 2), 16)
  );
}

export function base64(bytes: Uint8Array): string {
  let text = '';
  for (let start = 0; start < bytes.length; start += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(start, start + 0x8000));
  }
  return btoa(text);
}

/** The bytes that base64 stands for; null if it is something else. */
export function fromBase64(text: string): Bytes | null {
  try {
    return Uint8Array.from(atob(text), character => character.charCodeAt(0));
  } catch {
    return null;
  }
}
