/**
 * SHA-256 (FIPS 180-4). The browser's own is not there on pages that come over plain HTTP, as from a lab in one's own
 * network, and what a person has read has to be told from what the API claims everywhere.
 */

function primes(count: number): number[] {
  const found: number[] = [];
  for (let candidate = 2; found.length < count; candidate++) {
    if (found.every(prime => candidate % prime !== 0)) {
      found.push(candidate);
    }
  }
  return found;
}

/** The first 32 bits of the fractional part. */
function fraction(value: number): number {
  return ((value - Math.floor(value)) * 2 ** 32) | 0;
}

const ROUND = primes(64).map(prime => fraction(Math.cbrt(prime)));
const START = primes(8).map(prime => fraction(Math.sqrt(prime)));

function rotated(word: number, by: number): number {
  return (word >>> by) | (word << (32 - by));
}

/** The SHA-256 of bytes, in hex. */
export function sha256Of(bytes: Uint8Array): string {
  const length = ((bytes.length + 8) >> 6) + 1;
  const padded = new DataView(new ArrayBuffer(length * 64));
  bytes.forEach((byte, place) => padded.setUint8(place, byte));
  padded.setUint8(bytes.length, 0x80);
  padded.setUint32(length * 64 - 8, Math.floor(bytes.length / 2 ** 29));
  padded.setUint32(length * 64 - 4, (bytes.length * 8) >>> 0);
  const hash = [...START];
  const words = new Int32Array(64);
  for (let block = 0; block < length; block++) {
    for (let t = 0; t < 64; t++) {
      if (t < 16) {
        words[t] = padded.getInt32(block * 64 + t * 4);
      } else {
        const [w15, w2] = [words[t - 15], words[t - 2]];
        const s0 = rotated(w15, 7) ^ rotated(w15, 18) ^ (w15 >>> 3);
        const s1 = rotated(w2, 17) ^ rotated(w2, 19) ^ (w2 >>> 10);
        words[t] = (words[t - 16] + s0 + words[t - 7] + s1) | 0;
      }
    }
    let [a, b, c, d, e, f, g, h] = hash;
    for (let t = 0; t < 64; t++) {
      const s1 = rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25);
      const one = (h + s1 + ((e & f) ^ (~e & g)) + ROUND[t] + words[t]) | 0;
      const s0 = rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22);
      const two = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
      [a, b, c, d, e, f, g, h] = [(one + two) | 0, a, b, c, (d + one) | 0, e, f, g];
    }
    [a, b, c, d, e, f, g, h].forEach((word, place) => {
      hash[place] = (hash[place] + word) | 0;
    });
  }
  return hash.map(word => (word >>> 0).toString(16).padStart(8, '0')).join('');
}

/** The SHA-256 of a text's UTF-8, in hex. */
export function sha256(text: string): string {
  return sha256Of(new TextEncoder().encode(text));
}
