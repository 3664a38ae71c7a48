import type { IPin } from '../upload/trust';
import { DistrustError, fingerprintOf, pinned, trusted } from '../upload/trust';
import { bytesOf, installCrypto, keyAnswer, vectors } from './sealed';

installCrypto();

const wanted = { node: vectors.node.id, project: vectors.domain.id };
const OTHER = 'ab'.repeat(32);

function pin(changes: Partial<IPin> = {}): IPin {
  return { domainKey: vectors.domain.key, since: 0, serials: {}, compared: [], ...changes };
}

function statement(changes: object): unknown {
  return { ...vectors.statement, body: { ...vectors.statement.body, ...changes } };
}

function membership(changes: object): unknown {
  return { ...vectors.membership, body: { ...vectors.membership.body, ...changes } };
}

describe('the key of a node', () => {
  it('is believed where node and domain key have signed', async () => {
    const key = await trusted(keyAnswer(), wanted, null, vectors.now);
    expect(key.fingerprint).toBe(vectors.fingerprint);
    expect(key.serial).toBe(7);
    expect(key.domainFingerprint).toMatch(/^([0-9a-f]{4} ){7}[0-9a-f]{4}$/);
    expect(await fingerprintOf(vectors.node.id, bytesOf(vectors.node.upload_key))).toBe(vectors.fingerprint);
  });

  it('is believed a second time by what was pinned the first', async () => {
    const key = await trusted(keyAnswer(), wanted, null, vectors.now);
    const kept = pinned(null, wanted.node, key, 5);
    expect(kept).toEqual(pin({ since: 5, serials: { [wanted.node]: 7 }, compared: [vectors.fingerprint] }));
    expect((await trusted(keyAnswer(), wanted, kept, vectors.now)).serial).toBe(7);
    expect(pinned(kept, wanted.node, { ...key, serial: 5 }, 9)).toEqual(kept);
  });

  const WEEK = 7 * 86_400;
  it.each<[string, string, object, IPin | null, number]>([
    ['another node has signed', 'bad-statement', { statement: statement({ node: OTHER }) }, null, 0],
    ['the key was changed', 'bad-statement', { statement: statement({ key: OTHER }) }, null, 0],
    ['it is in force for longer', 'bad-statement', { statement: statement({ expires: 2e9 }) }, null, 0],
    ['there is no statement', 'bad-statement', { statement: null }, null, 0],
    ['it has expired', 'key-expired', {}, null, WEEK + 61],
    ['it is not yet in force', 'key-expired', {}, null, -61],
    ['the domain key is another', 'domain-key-changed', { domain_key: OTHER }, pin(), 0],
    ['another domain key has signed', 'bad-membership', { domain_key: OTHER }, null, 0],
    ['nobody has made it a member', 'no-membership', { membership: null }, null, 0],
    ['it gave itself a role', 'bad-membership', { membership: membership({ roles: [] }) }, null, 0],
    ['an older membership came back', 'membership-older', {}, pin({ serials: { [wanted.node]: 8 } }), 0],
    ['it is in quarantine', 'node-quarantined', { quarantined: '2026-11-26T00:00:00Z' }, null, 0]
  ])('is refused where %s', async (_, code, changes, before, seconds) => {
    const answer = keyAnswer(changes);
    await expect(trusted(answer, wanted, before, vectors.now + seconds)).rejects.toMatchObject({ code });
  });

  it('is good a minute longer, for clocks that differ', async () => {
    await expect(trusted(keyAnswer(), wanted, null, vectors.now + WEEK + 59)).resolves.toBeTruthy();
    await expect(trusted(keyAnswer(), wanted, null, vectors.now - 60)).resolves.toBeTruthy();
  });

  it('is that of the node and the project that were asked for', async () => {
    const node = { ...wanted, node: OTHER };
    await expect(trusted(keyAnswer(), node, null, vectors.now)).rejects.toThrow(DistrustError);
    const project = { ...wanted, project: 'debit' };
    await expect(trusted(keyAnswer(), project, null, vectors.now)).rejects.toMatchObject({
      code: 'bad-membership'
    });
  });
});
