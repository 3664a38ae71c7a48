import {
  AccessModel,
  ApprovalsModel,
  AuditModel,
  DeviceModel,
  DocumentsModel,
  FederationModel,
  holdersOf,
  included,
  isWhole,
  missingOf,
  pathOf,
  pretty,
  RoleDraft,
  sha256,
  visible
} from '../model';
import { auditPath, EVERYTHING } from '../model/audit';
import { changesOf, exclusionChange } from '../model/roles';
import { approval, governed, manageable, PERMISSIONS, role, ROLES, user, waits } from './governed';
import { ANA, event, failure, list, MockApi, settle, status, VERSION } from './mock';

let api: MockApi;

beforeEach(() => {
  jest.useFakeTimers({ doNotFake: ['queueMicrotask'] });
  api = new MockApi(governed());
});

afterEach(() => jest.useRealTimers());

describe('sha256', () => {
  it.each([
    ['', 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'],
    ['abc', 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
    [
      'abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq',
      '248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1'
    ],
    ['a'.repeat(1_000_000), 'cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0']
  ])('has the digests of FIPS 180-4 (%#)', (text, digest) => {
    expect(sha256(text)).toBe(digest);
  });
});

describe('the text of a request', () => {
  it('hides nothing', () => {
    expect(visible('a\u202eb\u200bc\u0007d')).toBe('a\\u202eb\\u200bc\\u0007d');
    expect(pretty('{"a":"\u202e"}')).toBe('{\n  "a": "\\u202e"\n}');
    expect(pretty('no json\u2066')).toBe('no json\\u2066');
  });

  it('has to be the one of its digest', () => {
    expect(isWhole(approval('a1'))).toBe(true);
    expect(isWhole(approval('a1', [], { body: '{"a":2}' }))).toBe(false);
    expect(missingOf({ role: 'x', scope: 'platform', needed: 2, given: 3 })).toBe(0);
  });
});

describe('roles', () => {
  it('are included through others, also in a circle', () => {
    expect([...included(ROLES, 'org-admin')].sort()).toEqual(['operator', 'org-admin', 'viewer']);
    const circle = [role('a', { juniors: ['b'] }), role('b', { juniors: ['a'] })];
    expect([...included(circle, 'a')].sort()).toEqual(['a', 'b']);
  });

  it('say why', () => {
    expect(pathOf(PERMISSIONS[1], 'org-admin')).toEqual(['org-admin', 'operator']);
    expect(pathOf(PERMISSIONS[1], 'viewer')).toBeNull();
  });

  it('have holders, but for those who are gone', () => {
    const users = [user('ben'), user('ana'), user('zoe', { state: 'removed' })];
    expect(holdersOf(users, ['viewer']).map(holder => holder.user)).toEqual(['ana', 'ben']);
  });
});

describe('RoleDraft', () => {
  it('takes away before it gives', () => {
    const wish = {
      name: 'operator',
      description: '',
      juniors: ['approver'],
      permissions: ['run:read']
    };
    expect(changesOf(ROLES[1], wish).map(change => change.function)).toEqual([
      'delete_inheritance',
      'revoke_permission',
      'add_inheritance',
      'grant_permission'
    ]);
    expect(exclusionChange('dynamic', 'old')).toEqual({
      function: 'delete_dsd_set',
      arguments: { name: 'old' }
    });
  });

  it('cannot be saved before it was tried, nor with a conflict', async () => {
    const draft = new RoleDraft(api);
    draft.edit(ROLES[1]);
    draft.set({ juniors: ['viewer', 'approver'] });
    expect(draft.isSound).toBe(false);
    expect(await draft.save()).toBe(false);
    await settle();
    expect(draft.isSound).toBe(true);
    api.table['POST /v1/roles/preview'] = {
      conflicts: [{ exclusion: 'x', user: 'ben', roles: ['a', 'b'] }],
      problem: null
    };
    draft.set({ juniors: ['approver'] });
    await settle();
    expect(draft.isSound).toBe(false);
    expect(await draft.save()).toBe(false);
    expect(api.posts.every(({ path }) => path === '/v1/roles/preview')).toBe(true);
  });

  it('shows the answer to the last question', async () => {
    const draft = new RoleDraft(api);
    draft.edit(ROLES[1]);
    const answers: ((value: unknown) => void)[] = [];
    api.table['POST /v1/roles/preview'] = () => new Promise(resolve => answers.push(resolve));
    draft.set({ juniors: [] });
    draft.set({ juniors: ['approver'] });
    await settle();
    answers[1]({ conflicts: [], problem: null });
    await settle();
    answers[0]({ conflicts: [{ exclusion: 'old', roles: [] }], problem: null });
    await settle();
    expect(draft.isSound).toBe(true);
  });

  it('leaves the rest undone while the role itself waits for approval', async () => {
    api.table['POST /v1/rbac/add_role'] = approval('a1');
    const draft = new RoleDraft(api);
    draft.set({ name: 'curator', juniors: ['viewer'] });
    await settle();
    expect(await draft.save()).toBe(false);
    expect(draft.outcomes.map(({ waits }) => waits?.id)).toEqual(['a1']);
    expect(api.requests).not.toContain('POST /v1/rbac/add_inheritance');
  });
});

describe('AccessModel', () => {
  it('reads each part by itself', async () => {
    api.table['GET /v1/users'] = failure(403, 'not-allowed');
    const model = new AccessModel(api);
    await model.refresh();
    expect(model.problem('users')?.status).toBe(403);
    expect(model.roles).toHaveLength(4);
    expect(model.loaded).toBe(true);
  });

  it('takes the entry point’s word, or the permissions’ where it says nothing', async () => {
    api = new MockApi(governed(['member:manage']));
    const model = new AccessModel(api);
    await model.refresh();
    expect(model.offers('create_user', 'member:manage')).toBe(true);
    api.table['GET /'] = { _links: { users: { href: '/v1/users' } } };
    await model.refresh();
    expect(model.offers('create_user', 'member:manage')).toBe(false);
  });

  it('gives and takes roles by the links', async () => {
    const model = new AccessModel(api);
    await model.refresh();
    const ben = manageable('ben');
    api.table['POST /v1/users/ben/roles'] = approval('a1');
    api.table['DELETE /v1/users/ben/roles/viewer/project%3Ademo'] = null;
    const held = { role: 'viewer', scope: 'project:demo' };
    expect((await model.give(ben, held)).waits?.id).toBe('a1');
    expect((await model.take(ben, held)).waits).toBeNull();
    const before = api.requests.length;
    await model.give(user('eve'), held);
    await model.take(user('eve'), held);
    await model.remove(user('eve'));
    expect(api.requests).toHaveLength(before);
  });

  it('keeps an invitation until it is put away', async () => {
    const model = new AccessModel(api);
    api.table['POST /v1/users'] = { ...user('fay'), invitation: 'secret' };
    const wish = { id: 'fay', kind: 'person' as const, organisation: 'north', name: '', email: '' };
    await model.invite({ ...wish, role: '', scope: '' });
    expect(model.once).toEqual({ user: 'fay', secret: 'secret', kind: 'invitation', approvals: [] });
    expect(api.posts[0].body).toMatchObject({ id: 'fay', name: null, roles: [] });
    model.putAway();
    expect(model.once).toBeNull();
  });

  it('forgets everything of whoever was signed in', async () => {
    const model = new AccessModel(api);
    await model.refresh();
    model.forget();
    expect([model.me, model.users, model.roles]).toEqual([null, [], []]);
  });
});

describe('ApprovalsModel', () => {
  it('has what ends first in front, and counts what waits for the caller', async () => {
    const soon = approval('soon', ['approve', 'deny'], { expires: '2030-01-01T00:00:00Z' });
    api.table['GET /v1/approvals?state=pending'] = list('approvals', [approval('own', ['withdraw']), soon]);
    const model = new ApprovalsModel(api);
    await model.start();
    expect(model.pending.map(({ id }) => id)).toEqual(['soon', 'own']);
    expect(model.waiting).toBe(1);
    model.forget();
    expect(model.waiting).toBe(0);
    model.dispose();
  });

  it('looks again when something was asked for, and forgets at sign-out', async () => {
    const federation = new FederationModel({ api, version: VERSION });
    await federation.session.refresh();
    await settle();
    expect(federation.waitingApprovals).toBe(0);
    api.table['GET /v1/approvals?state=pending'] = list('approvals', [approval('a1', ['approve'])]);
    api.stream.send(event(9, 'approval.changed'));
    await settle();
    expect(federation.waitingApprovals).toBe(1);
    api.table['GET status'] = status();
    await federation.session.refresh();
    expect(federation.waitingApprovals).toBe(0);
    federation.dispose();
  });

  it('does not show the past of one person to another', async () => {
    let answer: (value: unknown) => void = () => undefined;
    api.table['GET /v1/approvals'] = () => new Promise(resolve => (answer = resolve));
    const model = new ApprovalsModel(api);
    const reading = model.readPast();
    await settle();
    model.forget();
    answer(list('approvals', [approval('a1', [], { state: 'executed' })]));
    await reading;
    expect(model.past).toBeNull();
    // A look at what waits is no reason to leave the past out.
    const again = model.readPast();
    await settle();
    await model.refresh();
    answer(list('approvals', [approval('a1', [], { state: 'executed' })]));
    await again;
    expect(model.past).toHaveLength(1);
    model.forget();
    const failing = model.readPast();
    await settle();
    model.forget();
    answer(Promise.reject(failure(503, 'api-unreachable')));
    await failing;
    expect(model.problem).toBeNull();
    model.dispose();
  });

  it('sends the digest of the text that was shown, not the one that came with it', async () => {
    api.table['POST approvals/a1/decision'] = approval('a1', [], { state: 'executed' });
    const model = new ApprovalsModel(api);
    const shown = approval('a1', ['approve'], { body: '{"other":1}' });
    expect(await model.decide(shown, 'approve')).toBe('executed');
    expect(api.bodies).toContainEqual({ decision: 'approve', sha256: sha256('{"other":1}') });
    model.dispose();
  });
});

describe('DocumentsModel', () => {
  const PATH = 'GET /v1/projects/demo/pending';

  it('tells a refusal of the server half from one of the API', async () => {
    const model = new DocumentsModel(api, () => ['demo']);
    api.table[PATH] = failure(403, 'not-allowed');
    await model.refresh();
    expect(model.problem).toBeNull();
    api.table[PATH] = failure(403, 'not-proxied');
    await model.refresh();
    expect(model.problem?.code).toBe('not-proxied');
    model.dispose();
  });

  it('keeps what it knew while a look fails', async () => {
    const model = new DocumentsModel(api, () => ['demo']);
    api.table[PATH] = { _embedded: { pending: [waits()] } };
    await model.refresh();
    api.table[PATH] = failure(503, 'api-unreachable');
    await model.refresh();
    expect([model.documents.length, model.problem?.code]).toEqual([1, 'api-unreachable']);
    api.table[PATH] = { _embedded: { pending: [] } };
    await model.refresh();
    expect([model.documents, model.problem]).toEqual([[], null]);
    model.dispose();
  });

  it('leaves out an answer that comes when somebody has signed out', async () => {
    let answer: (value: unknown) => void = () => undefined;
    api.table[PATH] = () => new Promise(resolve => (answer = resolve));
    const model = new DocumentsModel(api, () => ['demo']);
    const answers = [() => ({ _embedded: { pending: [waits()] } }), () => Promise.reject(failure(503, 'x'))];
    for (const late of answers) {
      const look = model.refresh();
      await settle();
      model.forget();
      answer(late());
      await look;
      expect([model.documents, model.problem]).toEqual([[], null]);
    }
    model.dispose();
  });

  it.each([
    ['signed out', status()],
    ['signed in as somebody else', status({ ...ANA, subject: 'ben' })]
  ])('forgets when one has %s', async (_, next) => {
    api.table[PATH] = { _embedded: { pending: [waits()] } };
    const federation = new FederationModel({ api, version: VERSION });
    await federation.session.refresh();
    await settle();
    await federation.documents.refresh();
    expect(federation.documents.documents).toHaveLength(1);
    api.table['GET status'] = next;
    await federation.session.refresh();
    expect(federation.documents.documents).toHaveLength(0);
    federation.dispose();
  });
});

describe('AuditModel', () => {
  it('asks for what is wanted, page by page', async () => {
    expect(auditPath({ ...EVERYTHING, actor: ' ana ', outcome: 'done' })).toBe(
      '/v1/audit?actor=ana&outcome=done&limit=50'
    );
    expect(auditPath(EVERYTHING, 'csv')).toBe('/v1/audit/export?format=csv');
    api.table['GET /v1/audit'] = list('entries', [{ sequence: 2 }], '/v1/audit?cursor=x');
    api.table['GET /v1/audit?cursor=x'] = list('entries', [{ sequence: 1 }]);
    api.table['GET /v1/audit/checkpoints'] = {
      newest: { body: { sequence: 2, time: 1 }, signature: 'x' },
      _embedded: { checkpoints: [] }
    };
    const model = new AuditModel(api);
    await model.show();
    expect(model.hasMore).toBe(true);
    await model.more();
    expect(model.entries?.map(({ sequence }) => sequence)).toEqual([2, 1]);
    expect(model.hasMore).toBe(false);
    expect(model.checkpoint?.sequence).toBe(2);
  });
});

describe('DeviceModel', () => {
  const PENDING = { state: 'pending', user_code: 'ABCD', verification_uri: 'https://a', expires_in: 600 };

  it('goes on until somebody is signed in', async () => {
    const done = jest.fn(() => Promise.resolve());
    const model = new DeviceModel(api, done);
    api.table['POST session/device'] = PENDING;
    api.table['GET session/device'] = PENDING;
    await model.start('https://api.example');
    await jest.advanceTimersByTimeAsync(2_500);
    expect(model.signIn.state).toBe('pending');
    api.table['GET session/device'] = { ...PENDING, state: 'done', subject: 'ana' };
    await jest.advanceTimersByTimeAsync(2_500);
    expect(done).toHaveBeenCalledTimes(1);
    expect(model.signIn.state).toBe('none');
    model.dispose();
  });

  it('finds one that was begun before a reload, but not what is over', async () => {
    const model = new DeviceModel(api, () => Promise.resolve());
    api.table['GET session/device'] = { ...PENDING, state: 'done' };
    await model.look();
    expect(model.signIn.state).toBe('none');
    api.table['GET session/device'] = PENDING;
    await model.look();
    expect(model.signIn.user_code).toBe('ABCD');
    model.dispose();
  });
});
