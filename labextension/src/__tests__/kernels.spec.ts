import type { INotebookTracker } from '@jupyterlab/notebook';
import type { ServiceManager } from '@jupyterlab/services';
import { Signal } from '@lumino/signaling';

import { Kernels, OWN } from '../kernels';
import type { KernelOutput } from '../tokens';
import { settle } from './mock';

interface IMessage {
  header: { msg_type: string };
  content: object;
}

class Kernel {
  constructor(readonly name = 'python3') {}
  readonly codes: string[] = [];
  interrupts = 0;
  messages: IMessage[] = [];

  requestExecute({ code }: { code: string }): { onIOPub: (message: IMessage) => void; done: Promise<void> } {
    this.codes.push(code);
    const future = {
      onIOPub: (message: IMessage): void => void message,
      done: Promise.resolve().then(() => this.messages.forEach(message => future.onIOPub(message)))
    };
    return future;
  }

  async interrupt(): Promise<void> {
    this.interrupts += 1;
    await Promise.resolve();
  }
}

class Session {
  constructor(readonly kernel: Kernel) {}
  readonly statusChanged = new Signal<this, string>(this);
  readonly disposed = new Signal<this, void>(this);
  isDisposed = false;
  ended = false;

  async shutdown(): Promise<void> {
    this.ended = true;
    await Promise.resolve();
  }
}

let running: { path: string }[];
let started: { path: string; kernel: { name: string } }[];
let connected: unknown[];
let session: Session;

function services(): ServiceManager.IManager {
  const specs = {
    default: 'ir',
    kernelspecs: { ir: { language: 'R' }, python3: { language: 'python' } }
  };
  return {
    kernelspecs: { ready: Promise.resolve(), specs },
    sessions: {
      refreshRunning: () => Promise.resolve(),
      running: () => running,
      connectTo: ({ model }: { model: unknown }) => {
        connected.push(model);
        return session;
      },
      startNew: (options: (typeof started)[number]) => {
        started.push(options);
        return Promise.resolve(session);
      }
    }
  } as unknown as ServiceManager.IManager;
}

function panel(path: string, kernel: Kernel | null): object {
  const made = { context: { path }, sessionContext: { session: kernel ? { kernel } : null } };
  return made;
}

function tracker(panels: object[], current: object | null): INotebookTracker {
  const made = {
    currentWidget: current,
    forEach: (each: (panel: object) => void) => panels.forEach(each)
  };
  return Object.assign(made, {
    widgetAdded: new Signal<object, object>(made),
    currentChanged: new Signal<object, object>(made)
  }) as unknown as INotebookTracker;
}

beforeEach(() => {
  running = [];
  started = [];
  connected = [];
  session = new Session(new Kernel());
});

describe('Kernels', () => {
  it('offers open notebooks whose kernel is one of Python', () => {
    const one = panel('one.ipynb', new Kernel());
    const panels = [one, panel('r.ipynb', new Kernel('ir')), panel('none.ipynb', null)];
    expect(new Kernels(services(), tracker(panels, one)).choices).toEqual([
      { id: 'one.ipynb', current: true }
    ]);
    expect(new Kernels(services(), null).choices).toEqual([]);
  });

  it('starts a kernel of Python without a document, once', async () => {
    const kernels = new Kernels(services(), null);
    await Promise.all([kernels.execute(OWN, 'a', () => undefined)]);
    await kernels.execute(OWN, 'b', () => undefined);
    expect(started.map(({ path, kernel }) => [path, kernel.name])).toEqual([['flaas analytics', 'python3']]);
    expect(session.kernel.codes).toEqual(['a', 'b']);
    expect(kernels.owned).toBe(true);
  });

  it('finds it again after a reload', async () => {
    running = [{ path: 'flaas analytics' }];
    await new Kernels(services(), null).execute(OWN, 'a', () => undefined);
    expect([connected, started]).toEqual([running, []]);
  });

  it('tells what is displayed, printed and raised, and nothing else', async () => {
    session.kernel.messages = [
      { header: { msg_type: 'status' }, content: { execution_state: 'busy' } },
      { header: { msg_type: 'stream' }, content: { name: 'stdout', text: 'one' } },
      { header: { msg_type: 'stream' }, content: { name: 'stderr', text: 'a warning' } },
      { header: { msg_type: 'display_data' }, content: { data: { 'text/plain': 'two' } } },
      { header: { msg_type: 'error' }, content: { ename: 'E', evalue: 'three' } }
    ];
    const told: KernelOutput[] = [];
    await new Kernels(services(), null).execute(OWN, 'a', output => told.push(output));
    expect(told).toEqual([
      { kind: 'text', text: 'one' },
      { kind: 'data', data: { 'text/plain': 'two' } },
      { kind: 'error', name: 'E', value: 'three' }
    ]);
  });

  it('runs in a notebook’s kernel, interrupts it, and says when the notebook is closed', async () => {
    const kernel = new Kernel();
    const kernels = new Kernels(services(), tracker([panel('one.ipynb', kernel)], null));
    await kernels.execute('one.ipynb', 'a', () => undefined);
    await kernels.interrupt('one.ipynb');
    expect([kernel.codes, kernel.interrupts, started]).toEqual([['a'], 1, []]);
    await expect(kernels.execute('two.ipynb', 'a', () => undefined)).rejects.toThrow(
      /two\.ipynb has no kernel/
    );
  });

  it('notices that its own kernel has died, and ends it when asked', async () => {
    const kernels = new Kernels(services(), null);
    await kernels.execute(OWN, 'a', () => undefined);
    session.statusChanged.emit('dead');
    expect(kernels.owned).toBe(false);
    session = new Session(new Kernel());
    await kernels.execute(OWN, 'b', () => undefined);
    await kernels.end();
    await settle();
    expect([session.ended, kernels.owned]).toEqual([true, false]);
  });
});
