import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import * as React from 'react';

import { EventStreams, TIMINGS } from '../events';
import {
  columnsIn,
  datasetName,
  EMPTY_UPLOAD,
  faultsOf,
  ProjectModel,
  UPLOAD_WAITS,
  UploadsModel
} from '../model';
import { UploadPart } from '../view/upload';
import { failure, list, node as nodeOf } from './mock';
import { FakeNode, fileOf, installCrypto, keyAnswer, MemoryKeep, vectors } from './sealed';

const PROJECT = vectors.domain.id;
const KEY = `GET /v1/nodes/${vectors.node.id}/upload-key?project=${PROJECT}`;
const MAY = `GET /v1/projects/${PROJECT}`;
const ANA = 'https://api.example ana north';

let node: FakeNode;
let keep: MemoryKeep;
let models: UploadsModel;
let project: ProjectModel;

function table(): { [request: string]: unknown } {
  const clinic = { ...nodeOf('clinic-a-1'), id: vectors.node.id, uploads: true };
  return {
    [KEY]: keyAnswer(),
    [MAY]: { id: PROJECT, _links: { create_upload: { href: `${MAY}/uploads`, method: 'POST' } } },
    [`GET /v1/nodes?project=${PROJECT}`]: list('nodes', [clinic, nodeOf('clinic-b-1')]),
    [`GET /v1/projects/${PROJECT}/datasets`]: list('datasets', []),
    [`GET /v1/projects/${PROJECT}/runs`]: list('runs', [])
  };
}

/** Let what the browser's cryptography does come to its end. */
async function pass(holds: () => boolean): Promise<void> {
  for (let turn = 0; !holds() && turn < 500; turn++) {
    await act(async () => {
      await new Promise(resolve => setTimeout(resolve, 2));
    });
  }
  expect(holds()).toBe(true);
}

async function show(changes: { [request: string]: unknown } = {}): Promise<void> {
  Object.assign(node.table, changes);
  const streams = new EventStreams(node, () => TIMINGS);
  const about = { id: PROJECT, name: 'Credit', description: '', organisations: ['north'] };
  project = new ProjectModel(node, streams, about);
  await project.refresh();
  await models.attach(ANA);
  render(<UploadPart uploads={models} project={project} />);
  const part = screen.getByRole('heading', { name: 'Upload' }).closest('details')!;
  if (!part.open) {
    await act(async () => {
      part.open = true;
      fireEvent(part, new Event('toggle'));
      await Promise.resolve();
    });
  }
  await pass(() => screen.queryByText('Loading …') === null);
}

async function choose(file: File, button = 'Choose a file …'): Promise<void> {
  const input = screen.getByRole('button', { name: button }).parentElement!.querySelector('input')!;
  await act(async () => {
    fireEvent.change(input, { target: { files: [file] } });
    await Promise.resolve();
  });
}

function drop(files: File[], folder = false): void {
  const items = files.map(() => ({ webkitGetAsEntry: () => ({ isDirectory: folder }) }));
  const event = new Event('drop', { bubbles: true, cancelable: true });
  Object.assign(event, { dataTransfer: { files, items, types: ['Files'] } });
  fireEvent(screen.getByRole('group', { name: 'Upload a file' }), event);
}

async function send(file: File): Promise<void> {
  await choose(file);
  await pass(() => screen.queryByRole('checkbox', { name: /I have compared/ }) !== null);
  fireEvent.click(screen.getByRole('checkbox', { name: /I have compared/ }));
  await act(async () => {
    fireEvent.click(screen.getByRole('button', { name: 'Encrypt and upload' }));
    await Promise.resolve();
  });
}

beforeEach(() => {
  installCrypto();
  Object.assign(UPLOAD_WAITS, { look: 1, first: 1, most: 4 });
  jest.spyOn(Date, 'now').mockReturnValue(vectors.now * 1000);
  node = new FakeNode(table());
  keep = new MemoryKeep();
  models = new UploadsModel(node, keep);
});

afterEach(() => {
  cleanup();
  models.dispose();
  project?.dispose();
  jest.restoreAllMocks();
  document.body.innerHTML = '';
});

describe('Uploads', () => {
  it('uploads a file to the node that takes it, and shows what has become of it', async () => {
    await show();
    await choose(new File(['age,"annual, income",paid\n1,2,3\n'], 'Pacientes año.csv'));
    expect(screen.getByLabelText<HTMLInputElement>('Name of the data set').value).toBe('Pacientes-ano');
    expect(screen.getByLabelText<HTMLSelectElement>('Node').value).toBe(vectors.node.id);
    await pass(() => document.querySelectorAll('datalist option').length === 3);
    expect([...document.querySelectorAll('option')].map(({ value }) => value)).toContain('annual, income');
    fireEvent.change(screen.getByLabelText('Column to predict'), { target: { value: 'paid' } });
    await pass(() => screen.queryByRole('region', { name: 'Key of the node' }) !== null);
    expect(screen.getByRole('region', { name: 'Key of the node' }).textContent).toContain(
      vectors.fingerprint
    );
    fireEvent.click(screen.getByRole('button', { name: 'Encrypt and upload' }));
    expect(screen.getByRole('alert').textContent).toContain('Compare the key of the node');
    expect(node.opened).toEqual([]);
    fireEvent.click(screen.getByRole('checkbox', { name: /I have compared/ }));
    fireEvent.click(screen.getByRole('button', { name: 'Encrypt and upload' }));
    await pass(() => screen.queryByText('registered') !== null);
    const item = within(screen.getByRole('list', { name: 'Uploads' })).getByRole('listitem');
    expect(item.textContent).toContain(await node.sha256());
    expect(item.textContent).toContain('Rows12');
    expect(screen.getByRole('group', { name: 'Upload a file' })).toBeTruthy();
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Put Pacientes-ano away' }));
      await Promise.resolve();
    });
    await pass(() => screen.queryByRole('list', { name: 'Uploads' }) === null);
  });

  it('does not ask again to compare a key that was compared', async () => {
    await show();
    await send(fileOf(10));
    await pass(() => screen.queryByText('registered') !== null);
    await choose(fileOf(11));
    await pass(() => screen.queryByText('You have compared it before.') !== null);
    expect(screen.queryByRole('checkbox', { name: /I have compared/ })).toBeNull();
  });

  it('takes what is dropped on it, one file at a time', async () => {
    await show();
    const said = (): string | null => screen.getByRole('alert').textContent;
    drop([fileOf(1), fileOf(2)]);
    expect(said()).toContain('One file at a time');
    drop([fileOf(1)], true);
    expect(said()).toContain('flaas dataset add');
    drop([fileOf(0)]);
    expect(said()).toContain('The file is empty.');
    drop([fileOf(9, 'report.docx')]);
    expect(said()).toContain('.csv, .csv.gz, .tsv');
    expect(screen.queryByRole('form', { name: 'Upload a file' })).toBeNull();
    drop([fileOf(9)]);
    expect(screen.getByRole('form', { name: 'Upload a file' })).toBeTruthy();
    expect(screen.queryByRole('alert')).toBeNull();
    await pass(() => screen.queryByRole('region', { name: 'Key of the node' }) !== null);
  });

  it.each<[string, { [request: string]: unknown }, RegExp]>([
    ['who may not', { [MAY]: { id: PROJECT, _links: {} } }, /permission dataset:upload/],
    [
      'projects without a node that takes any',
      { [`GET /v1/nodes?project=${PROJECT}`]: list('nodes', []) },
      /node\.toml/
    ],
    ['an API that is away', { [MAY]: failure(502, 'api-unreachable') }, /Title of api-unreachable/]
  ])('says what to do to %s', async (_, changes, message) => {
    await show(changes);
    expect(document.body.textContent).toMatch(message);
    expect(screen.queryByRole('group', { name: 'Upload a file' })).toBeNull();
  });

  it('says why a page cannot encrypt', async () => {
    Object.defineProperty(globalThis, 'isSecureContext', { value: false, configurable: true });
    await show();
    expect(screen.getByRole('alert').textContent).toMatch(/https:\/\/.*flaas dataset add/);
  });

  it('seals nothing for a key that is not believed, and lets a changed domain key be learnt', async () => {
    await keep.setPin(`https://api.example ${PROJECT}`, {
      domainKey: 'ab'.repeat(32),
      since: 0,
      serials: {},
      compared: []
    });
    await show();
    await choose(fileOf(10));
    await pass(() => screen.queryByRole('alert') !== null);
    expect(screen.getByRole('alert').textContent).toContain('The key of the project is another one');
    const submit = screen.getByRole('button', { name: 'Encrypt and upload' });
    expect(submit.hasAttribute('disabled') || submit.getAttribute('aria-disabled') === 'true').toBe(true);
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Forget the known key …' }));
      await new Promise(resolve => setTimeout(resolve, 20));
    });
    await act(async () => {
      fireEvent.click(document.querySelector('.jp-Dialog .jp-mod-warn')!);
      await new Promise(resolve => setTimeout(resolve, 20));
    });
    await pass(() => screen.queryByText(/for the first time/) !== null);
  });

  it('shows why it was refused, and goes on when asked to', async () => {
    node.failures.push(['POST uploads', failure(403, 'policy-uploads', 'Tell the owner your id 1234.')]);
    await show();
    await send(fileOf(10));
    await pass(() => screen.queryByText('stopped') !== null);
    expect(screen.getByRole('alert').textContent).toContain('Tell the owner your id 1234.');
    fireEvent.click(screen.getByRole('button', { name: 'Try loans again' }));
    await pass(() => screen.queryByText('registered') !== null);
  });

  it('goes on after a reload with the file that is chosen again', async () => {
    node.waiting = [];
    await show();
    await send(fileOf(10));
    await pass(() => node.waiting?.length === 1);
    expect(screen.getByRole('progressbar', { name: 'Progress of loans' })).toBeTruthy();
    cleanup();
    models.dispose();
    keep.held.clear();
    node.waiting = null;
    models = new UploadsModel(node, keep);
    await show();
    expect(screen.getByText('waits for its file')).toBeTruthy();
    await choose(fileOf(10, 'loans.csv', 3), 'Choose the file of loans again');
    await pass(() => screen.queryByText('That is another file') !== null);
    await choose(fileOf(10), 'Choose the file of loans again');
    await pass(() => screen.queryByText('registered') !== null);
  });

  it('registers otherwise what the node could not register', async () => {
    node.problem = { code: 'no-target', message: 'There is no column x.', hint: '`flaas dataset add` …' };
    await show();
    await send(fileOf(10));
    await pass(() => screen.queryByText('not registered') !== null);
    expect(screen.getByRole('alert').textContent).toContain('There is no column x.Correct it below');
    node.problem = null;
    fireEvent.change(screen.getByLabelText('Column to predict'), { target: { value: 'paid' } });
    await act(async () => {
      fireEvent.submit(screen.getByRole('form', { name: 'Register loans again' }));
      await Promise.resolve();
    });
    await pass(() => screen.queryByText('registered') !== null);
    expect(node.finished[1]).toContain('"target":"paid"');
  });

  it('asks before it discards', async () => {
    node.waiting = [];
    await show();
    await send(fileOf(10));
    await pass(() => node.waiting?.length === 1);
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Pause loans' }));
      await Promise.resolve();
    });
    expect(screen.getByText('paused')).toBeTruthy();
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Discard loans' }));
      await new Promise(resolve => setTimeout(resolve, 20));
    });
    expect(node.requests.join()).not.toContain('DELETE');
    await act(async () => {
      fireEvent.click(document.querySelector('.jp-Dialog .jp-mod-warn')!);
      await new Promise(resolve => setTimeout(resolve, 20));
    });
    await pass(() => screen.queryByRole('list', { name: 'Uploads' }) === null);
    expect(node.requests.join()).toContain('DELETE');
  });
});

describe('what is said about a file', () => {
  it.each([
    ['loans.csv', 'loans'],
    ['Kredite 2026 (neu).csv.gz', 'Kredite-2026-neu'],
    ['..hidden.parquet', 'hidden'],
    ['日本.csv', ''],
    ['a'.repeat(90) + '.npz', 'a'.repeat(64)]
  ])('%s is named %s', (file, name) => {
    expect(datasetName(file)).toBe(name);
  });

  it('is checked before anything is sealed', () => {
    const form = { ...EMPTY_UPLOAD, dataset: 'loans', node: 'n' };
    expect(faultsOf(form)).toEqual([]);
    expect(faultsOf({ ...form, dataset: '../x', node: '' })).toEqual(['bad-name', 'no-node']);
    expect(faultsOf({ ...form, classes: '1' })).toEqual(['bad-classes']);
    expect(faultsOf({ ...form, classes: '2.5' })).toEqual(['bad-classes']);
    expect(faultsOf({ ...form, target: 'a', idColumn: 'a' })).toEqual(['same-column']);
  });

  it.each<[string, string, string[]]>([
    ['t.csv', '\ufeffa,b\r\n1,2', ['a', 'b']],
    ['t.csv', '"a ""b""","c\nd"', ['a "b"', 'c\nd']],
    ['t.csv', '"a"b,c', []],
    ['t.jsonl', '{"x":1,"y":2}\n{"x":3}', ['x', 'y']],
    ['t.jsonl', 'no json', []],
    ['t.csv.gz', 'a,b', []]
  ])('%s has columns', async (name, text, columns) => {
    expect(await columnsIn(new File([text], name))).toEqual(columns);
  });
});
