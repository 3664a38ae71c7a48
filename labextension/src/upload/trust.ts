/**
 * Is it the node's key? Believed as far as it is signed: the key by the node, that it is a node of the project by the
 * project's domain key, and that key because it is the one that this browser saw the first time. Neither the
 * coordination API nor Jupyter Server can make any of it.
 */

import type { IProblem } from '../tokens';
import { type Bytes, concatenated, fromHex, hex, utf8 } from './bytes';
import { opened, openedByDomain } from './documents';
import { sha256 } from './seal';

const KEY = 'flaas/upload-key/1';
const MEMBER = 'flaas/member/1';
/** Seconds that clocks may be apart. */
const TOLERANCE = 60;

/** What the API answers about a node's upload key. */
export interface IKeyAnswer {
  node: string;
  name: string;
  organisation: string;
  project: string;
  domain_key: string;
  statement: unknown;
  membership: unknown;
  online: boolean;
  quarantined: string | null;
}

/** What this browser knows of a project since the first upload to it. */
export interface IPin {
  /** 64 hex digits. */
  domainKey: string;
  /** When it was pinned: milliseconds since 1970. */
  since: number;
  /** The highest serial that was seen of a node's membership. */
  serials: { [node: string]: number };
  /** Fingerprints that a person has compared. */
  compared: string[];
}

/** A key that may be sealed for. */
export interface ITrusted {
  key: Bytes;
  fingerprint: string;
  /** The project's own key, short enough to be read out. */
  domainFingerprint: string;
  domainKey: string;
  serial: number;
  /** Until when its statement is good: seconds since 1970. */
  expires: number;
  name: string;
  organisation: string;
  online: boolean;
}

/** Codes of what can be amiss with a key. */
export type Distrust =
  | 'not-the-node'
  | 'bad-statement'
  | 'key-expired'
  | 'no-membership'
  | 'bad-membership'
  | 'membership-expired'
  | 'membership-older'
  | 'domain-key-changed'
  | 'node-quarantined';

/** A key that may not be sealed for. */
export class DistrustError extends Error {
  constructor(
    readonly code: Distrust,
    /** What was found, where that helps. */
    readonly found = ''
  ) {
    super(code);
    this.name = 'DistrustError';
  }

  /** As a problem; the view has the words. */
  get problem(): IProblem {
    return { status: 0, code: this.code, title: '', detail: this.found, hint: '' };
  }
}

/**
 * Check what the API answers about a node's upload key.
 *
 * @param answer As it came.
 * @param wanted Node and project that were asked for.
 * @param pin What this browser knows of the project; null the first time.
 * @param now Seconds since 1970.
 * @throws DistrustError It must not be used.
 */
export async function trusted(
  answer: IKeyAnswer,
  wanted: { node: string; project: string },
  pin: IPin | null,
  now: number
): Promise<ITrusted> {
  const { node } = wanted;
  const statement = await opened(answer.statement, KEY, node);
  if (!statement) {
    throw new DistrustError('bad-statement');
  }
  const key = fromHex(statement.key);
  const { created, expires } = statement;
  if (statement.v !== 1 || statement.node !== node || key?.length !== 32) {
    throw new DistrustError('not-the-node');
  }
  if (!isMoment(created) || !isMoment(expires) || created - TOLERANCE > now || now >= expires + TOLERANCE) {
    throw new DistrustError('key-expired', isMoment(expires) ? new Date(expires * 1000).toISOString() : '');
  }
  const domainKey = answer.domain_key;
  if (pin && pin.domainKey !== domainKey) {
    throw new DistrustError('domain-key-changed', grouped(domainKey));
  }
  const serial = await memberSerial(answer.membership, wanted, domainKey, now);
  if (pin && serial < (pin.serials[node] ?? 0)) {
    throw new DistrustError('membership-older');
  }
  if (answer.quarantined) {
    throw new DistrustError('node-quarantined');
  }
  return {
    key,
    fingerprint: await fingerprintOf(node, key),
    domainFingerprint: grouped(domainKey),
    domainKey,
    serial,
    expires,
    name: answer.name,
    organisation: answer.organisation,
    online: answer.online
  };
}

/** Eight groups of four hex digits, as the node's owner sees them. */
export async function fingerprintOf(node: string, key: Bytes): Promise<string> {
  const bytes = concatenated(utf8(KEY), new Uint8Array([0]), fromHex(node) ?? new Uint8Array(0), key);
  return grouped(hex(await sha256(bytes)));
}

/** What is pinned after somebody has decided to use `key` for `node`. */
export function pinned(pin: IPin | null, node: string, key: ITrusted, now: number): IPin {
  const before = pin ?? { domainKey: key.domainKey, since: now, serials: {}, compared: [] };
  return {
    ...before,
    serials: { ...before.serials, [node]: Math.max(key.serial, before.serials[node] ?? 0) },
    compared: [...before.compared.filter(each => each !== key.fingerprint), key.fingerprint]
  };
}

async function memberSerial(
  document: unknown,
  { node, project }: { node: string; project: string },
  domainKey: string,
  now: number
): Promise<number> {
  if (document === null || document === undefined) {
    throw new DistrustError('no-membership');
  }
  const body = await openedByDomain(document, MEMBER, domainKey);
  if (body?.v !== 1 || body.domain !== project || body.node_id !== node) {
    throw new DistrustError('bad-membership');
  }
  const { roles, not_before, not_after, serial } = body;
  if (!Array.isArray(roles) || !roles.includes('node')) {
    throw new DistrustError('no-membership');
  }
  if (!isMoment(not_before) || !isMoment(not_after) || !isMoment(serial)) {
    throw new DistrustError('bad-membership');
  }
  if (not_before - TOLERANCE > now || now >= not_after + TOLERANCE) {
    throw new DistrustError('membership-expired', new Date(not_after * 1000).toISOString());
  }
  return serial;
}

/** The first 128 bits in groups: what people compare. */
function grouped(digits: string): string {
  return (digits.slice(0, 32).match(/.{4}/g) ?? []).join(' ');
}

function isMoment(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
