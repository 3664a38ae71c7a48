import { UPLOAD_WAITS, type UploadModel, type UploadPhase, UploadsModel } from '../model';
import { hex } from '../upload/bytes';
import { sha256 } from '../upload/seal';
import { failure, settle } from './mock';
import { FakeNode, fileOf, installCrypto, keyAnswer, MemoryKeep, vectors } from './sealed';

const MIB = 2 ** 20;
const ANA = 'https://api.example ana north';
const PROJECT = vectors.domain.id;
const DETAILS = { name: 'loans.csv', target: 'default', id_column: null, classes: null, raw: false };
const KEY = `GET /v1/nodes/${vectors.node.id}/upload-key?project=${PROJECT}`;

let node: FakeNode;
let keep: MemoryKeep;
let models: UploadsModel;

beforeEach(async () => {
  installCrypto();
  Object.assign(UPLOAD_WAITS, { look: 1, first: 1, most: 4 });
  jest.spyOn(Date, 'now').mockReturnValue(vectors.now * 1000);
  node = new FakeNode({ [KEY]: keyAnswer() });
  keep = new MemoryKeep();
  models = new UploadsModel(node, keep);
  await models.attach(ANA);
});

afterEach(() => {
  models.dispose();
  jest.restoreAllMocks();
});

async function start(file: File): Promise<UploadModel> {
  const check = await models.check(PROJECT, vectors.node.id);
  expect(check.problem).toBeNull();
  return models.start({
    project: PROJECT,
    node: { id: vectors.node.id, name: 'clinic-a-1' },
    dataset: 'loans',
    details: DETAILS,
    file,
    fingerprint: check.trusted!.fingerprint
  });
}

/** Wait until something holds of an upload. */
async function until(upload: UploadModel, holds: () => boolean): Promise<void> {
  for (let turn = 0; !holds(); turn++) {
    if (turn > 2_000) {
      throw new Error(`It is ${upload.phase}: ${upload.problem?.code}`);
    }
    await new Promise(resolve => setTimeout(resolve, 1));
  }
}

function reaches(upload: UploadModel, phase: UploadPhase): Promise<void> {
  return until(upload, () => upload.phase === phase);
}

/** The page is loaded anew: nothing but what is kept is there. */
async function reload(): Promise<UploadModel> {
  models.dispose();
  keep.held.clear();
  models = new UploadsModel(node, keep);
  await models.attach(ANA);
  await settle();
  return models.of(PROJECT)[0];
}

async function digestOf(file: File): Promise<string> {
  return hex(await sha256(new Uint8Array(await file.arrayBuffer())));
}

describe('an upload', () => {
  it('arrives whole, with few pieces under way, and leaves nothing behind', async () => {
    const file = fileOf(5 * MIB + 17);
    const upload = await start(file);
    await reaches(upload, 'registered');
    expect(await node.sha256()).toBe(await digestOf(file));
    expect(node.rootIsRight).toBe(true);
    expect(node.most).toBeLessThanOrEqual(3);
    expect(node.puts.length).toBe(6);
    expect(upload.receipt).toMatchObject({ state: 'registered', rows: 12, sha256: await digestOf(file) });
    expect(upload.sent).toBe(file.size);
    expect([keep.kept.size, keep.sent.size, keep.held.size]).toEqual([0, 0, 0]);
  });

  it('tells nobody on the way what the file is called, or what its columns are', async () => {
    await reaches(await start(fileOf(100, 'very-secret.csv')), 'registered');
    expect(Object.keys(node.opened[0] as object).sort()).toEqual([
      'dataset',
      'envelope',
      'header',
      'project'
    ]);
  });

  it('has nothing in the browser that its key could be read from', async () => {
    node.waiting = [];
    const upload = await start(fileOf(100));
    await until(upload, () => node.waiting?.length === 1);
    const [kept] = [...keep.kept.values()];
    expect(kept.key.extractable).toBe(false);
    expect(kept).not.toHaveProperty('file');
    node.release();
    await reaches(upload, 'registered');
  });

  it('waits where the connection is lost, and goes on by itself with what is missing', async () => {
    node.failures.push(
      ['PUT', failure(0, 'server-unreachable')],
      ['POST uploads', failure(502, 'peer-lost')]
    );
    const file = fileOf(4 * MIB);
    node.failures.shift();
    const upload = await start(file);
    const seen: string[] = [];
    upload.changed.connect(() => seen.push(upload.phase));
    node.failures.push(['PUT', failure(0, 'server-unreachable')]);
    await reaches(upload, 'registered');
    expect(seen).toContain('waiting');
    expect(await node.sha256()).toBe(await digestOf(file));
    expect(node.requests.filter(request => request === 'POST uploads').length).toBeGreaterThanOrEqual(3);
  });

  it('is opened again where the server was restarted', async () => {
    node.failures.push(['PUT', failure(404, 'upload-not-open')]);
    const upload = await start(fileOf(MIB));
    await reaches(upload, 'registered');
    expect(node.opened.length).toBe(2);
  });

  it('can be paused, and goes on', async () => {
    node.waiting = [];
    const upload = await start(fileOf(6 * MIB));
    await until(upload, () => node.waiting?.length === 3);
    upload.pause();
    expect(upload.phase).toBe('paused');
    expect(upload.active).toBe(false);
    node.waiting = null;
    const before = node.puts.length;
    await settle();
    expect(node.puts.length).toBe(before);
    await upload.resume();
    expect(upload.phase).toBe('registered');
    expect(node.rootIsRight).toBe(true);
  });

  it('can be paused and resumed at once', async () => {
    node.waiting = [];
    const upload = await start(fileOf(6 * MIB));
    await until(upload, () => node.waiting?.length === 3);
    upload.pause();
    node.waiting = null;
    await upload.resume();
    expect([upload.phase, upload.problem]).toEqual(['registered', null]);
  });

  it('stops where it is refused, and can be tried again', async () => {
    node.failures.push(['POST uploads', failure(403, 'policy-uploads')]);
    const upload = await start(fileOf(10));
    await reaches(upload, 'stopped');
    expect(upload.problem?.code).toBe('policy-uploads');
    await upload.resume();
    expect(upload.phase).toBe('registered');
  });

  it('sends a chunk that was changed on its way again, but not for ever', async () => {
    const refused = failure(422, 'chunk-refused');
    node.failures.push(['PUT', refused], ['PUT', refused]);
    const upload = await start(fileOf(10));
    await reaches(upload, 'registered');
    expect(node.puts).toEqual([0, 0, 0]);
    node.failures.push(['PUT', refused], ['PUT', refused], ['PUT', refused]);
    node.chunks.clear();
    node.state = 'receiving';
    const again = await start(fileOf(10));
    await reaches(again, 'stopped');
    expect(again.problem?.code).toBe('chunk-refused');
  });

  it('is not believed to be there because somebody on the way says so', async () => {
    node.forged = 'AAAA';
    const upload = await start(fileOf(10));
    await reaches(upload, 'stopped');
    expect(upload.problem?.code).toBe('receipt-forged');
    expect(upload.receipt).toBeNull();
    expect(keep.kept.size).toBe(1);
  });

  it('is registered otherwise where the node could not, and nothing is sent again', async () => {
    node.problem = { code: 'no-target', message: 'There is no column x.', hint: 'Choose one that is there.' };
    const upload = await start(fileOf(3 * MIB));
    await reaches(upload, 'rejected');
    expect(upload.problem).toMatchObject({ code: 'no-target', detail: 'There is no column x.' });
    node.problem = null;
    const sent = node.puts.length;
    await upload.finishWith({ ...DETAILS, target: 'paid' });
    expect(upload.phase).toBe('registered');
    expect(node.puts.length).toBe(sent);
    expect(JSON.parse(node.finished[1])).toMatchObject({ v: 1, target: 'paid' });
  });

  it('is removed at the node when it is discarded', async () => {
    node.waiting = [];
    const upload = await start(fileOf(10));
    await until(upload, () => node.waiting?.length === 1);
    node.failures.push(['DELETE', failure(404, 'upload-not-open')]);
    expect(await models.discard(upload)).toBeNull();
    expect(node.requests.slice(-3)).toEqual([
      `DELETE uploads/${upload.id}`,
      'POST uploads',
      `DELETE uploads/${upload.id}`
    ]);
    expect(models.of(PROJECT)).toEqual([]);
    expect(keep.kept.size).toBe(0);
  });

  it('is nothing to be told of where it was refused at once', async () => {
    node.failures.push(['POST uploads', failure(403, 'policy-uploads')]);
    const upload = await start(fileOf(10));
    await reaches(upload, 'stopped');
    node.failures.push(
      ['DELETE', failure(404, 'upload-not-open')],
      ['POST uploads', failure(409, 'upload-closed')]
    );
    expect(await models.discard(upload)).toBeNull();
    const again = await start(fileOf(10));
    node.failures.push(
      ['POST uploads', failure(403, 'policy-uploads')],
      ['DELETE', failure(403, 'policy-uploads')]
    );
    expect(await models.discard(again)).toBeNull();
  });

  it('is gone here even where the node cannot be told', async () => {
    node.waiting = [];
    const upload = await start(fileOf(10));
    await until(upload, () => node.waiting?.length === 1);
    node.failures.push(['DELETE', failure(502, 'peer-unreachable')]);
    expect((await models.discard(upload))?.code).toBe('peer-unreachable');
    expect(keep.kept.size).toBe(0);
  });
});

describe('after a reload', () => {
  const file = fileOf(5 * MIB + 1);

  async function interrupted(): Promise<UploadModel> {
    node.waiting = [];
    const upload = await start(file);
    await until(upload, () => node.waiting?.length === 3);
    node.waiting.splice(0, 2).forEach(go => go());
    await until(upload, () => node.chunks.size === 2);
    const again = await reload();
    node.waiting = null;
    return again;
  }

  it('waits for its file', async () => {
    const upload = await interrupted();
    expect(upload.phase).toBe('lost');
    expect(upload.sent).toBeGreaterThanOrEqual(2 * MIB);
    expect(upload.active).toBe(false);
  });

  it('goes on with the same file, and sends what is missing only', async () => {
    const upload = await interrupted();
    const there = [...node.chunks.keys()];
    node.puts.length = 0;
    await upload.take(file);
    expect(upload.phase).toBe('registered');
    expect(node.puts.filter(chunk => there.includes(chunk))).toEqual([]);
    expect(await node.sha256()).toBe(await digestOf(file));
    expect(node.rootIsRight).toBe(true);
  });

  it('refuses another file', async () => {
    const upload = await interrupted();
    await upload.take(fileOf(5 * MIB));
    expect([upload.phase, upload.problem?.code]).toEqual(['lost', 'another-size']);
    await upload.take(fileOf(5 * MIB + 1, 'loans.csv', 2));
    expect([upload.phase, upload.problem?.code]).toEqual(['lost', 'another-file']);
    await upload.take(file);
    expect(upload.phase).toBe('registered');
  });

  it('needs no file where the node has all of it', async () => {
    node.failures.push(['GET uploads', failure(500, 'broken')]);
    const upload = await start(fileOf(10));
    await reaches(upload, 'stopped');
    const again = await reload();
    await reaches(again, 'registered');
    expect(node.puts).toEqual([0]);
  });

  it('leaves what another page works on to that page', async () => {
    node.waiting = [];
    const upload = await start(fileOf(10));
    await until(upload, () => node.waiting?.length === 1);
    const other = new UploadsModel(node, keep);
    await other.attach(ANA);
    const [same] = other.of(PROJECT);
    await same.take(fileOf(10));
    expect([same.phase, same.problem?.code]).toEqual(['stopped', 'held-elsewhere']);
    other.dispose();
    node.release();
    await reaches(upload, 'registered');
  });

  it('knows the file still where somebody has only signed in again', async () => {
    node.waiting = [];
    await until(await start(file), () => node.waiting?.length === 3);
    await models.attach(null);
    node.waiting = null;
    await models.attach(ANA);
    const [upload] = models.of(PROJECT);
    expect(upload.phase).toBe('paused');
    await upload.resume();
    expect(upload.phase).toBe('registered');
  });

  it('shows nothing to somebody else', async () => {
    await interrupted();
    await models.attach('https://api.example ben north');
    expect(models.of(PROJECT)).toEqual([]);
    await models.attach(null);
    await models.attach(ANA);
    expect(models.of(PROJECT).length).toBe(1);
  });
});

describe('keys', () => {
  it('are pinned with the first upload, and compared once', async () => {
    expect((await models.check(PROJECT, vectors.node.id)).compared).toBe(false);
    expect(keep.pins.size).toBe(0);
    await reaches(await start(fileOf(10)), 'registered');
    expect((await models.check(PROJECT, vectors.node.id)).compared).toBe(true);
    node.table[KEY] = keyAnswer({ domain_key: 'cd'.repeat(32) });
    const changed = await models.check(PROJECT, vectors.node.id);
    expect([changed.trusted, changed.problem?.code]).toEqual([null, 'domain-key-changed']);
    await expect(
      models.start({
        project: PROJECT,
        node: { id: vectors.node.id, name: 'x' },
        dataset: 'loans',
        details: DETAILS,
        file: fileOf(1),
        fingerprint: vectors.fingerprint
      })
    ).rejects.toMatchObject({ problem: { code: 'domain-key-changed' } });
    await models.forgetPin(PROJECT);
    expect(keep.pins.size).toBe(0);
  });

  it('are checked once more when an upload begins', async () => {
    const order = {
      project: PROJECT,
      node: { id: vectors.node.id, name: 'x' },
      dataset: 'loans',
      details: DETAILS,
      file: fileOf(1)
    };
    const other = models.start({ ...order, fingerprint: 'another' });
    await expect(other).rejects.toMatchObject({ problem: { code: 'key-changed' } });
    node.table[KEY] = keyAnswer({ quarantined: '2026-11-26T00:00:00Z' });
    const barred = models.start({ ...order, fingerprint: vectors.fingerprint });
    await expect(barred).rejects.toMatchObject({ problem: { code: 'node-quarantined' } });
    expect([keep.kept.size, keep.pins.size, node.opened.length]).toEqual([0, 0, 0]);
  });

  it('that are not there are a problem of the API', async () => {
    node.table[KEY] = failure(404, 'no-upload-key');
    expect((await models.check(PROJECT, vectors.node.id)).problem?.code).toBe('no-upload-key');
  });

  it('cannot be used on a page without cryptography', async () => {
    Object.defineProperty(globalThis, 'isSecureContext', { value: false, configurable: true });
    const other = new UploadsModel(node, keep);
    await other.attach(ANA);
    expect(other.obstacle).toBe('insecure-page');
  });
});
