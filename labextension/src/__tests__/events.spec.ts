import { EventStream, EventStreams, messages, TIMINGS } from '../events';
import type { IEvent } from '../tokens';
import { event, failure, list, MockApi, settle } from './mock';

const PATH = '/v1/projects/demo/events';

async function* cut(...chunks: string[]): AsyncIterable<string> {
  yield* chunks;
  await Promise.resolve();
}

describe('messages', () => {
  const parse = async (...chunks: string[]): Promise<unknown[]> => {
    const found = [];
    for await (const message of messages(cut(...chunks))) {
      found.push(message);
    }
    return found;
  };

  it.each([
    ['line by line', ['id: 1\n', 'data: a\n', '\n']],
    ['letter by letter', [...'id: 1\ndata: a\n\n']],
    ['with carriage returns, cut between the two', ['id: 1\r', '\ndata: a\r\n\r', '\n']],
    ['with carriage returns alone', ['id: 1\rdata: a\r\r', '\n']]
  ])('reads a message %s', async (_, chunks) => {
    expect(await parse(...chunks)).toEqual([{ id: '1', data: 'a' }]);
  });

  it('joins lines of data, takes comments as signs of life, and drops what is unfinished', async () => {
    const found = await parse(': ping\n\ndata: a\ndata:b\nretry: 5\n\nevent: x\n\ndata: never ended');
    expect(found).toEqual([null, { id: '', data: 'a\nb' }]);
  });
});

describe('EventStream', () => {
  let api: MockApi;
  let stream: EventStream;
  let events: IEvent[];
  let resyncs: number;

  beforeEach(() => {
    jest.useFakeTimers();
    api = new MockApi();
    stream = new EventStream(api, PATH);
    events = [];
    resyncs = 0;
    stream.event.connect((_, item) => events.push(item));
    stream.resync.connect(() => (resyncs += 1));
    stream.start();
  });

  afterEach(() => {
    stream.dispose();
    jest.useRealTimers();
  });

  it('delivers events in order, once', async () => {
    await settle();
    expect(stream.liveness).toBe('live');
    expect(resyncs).toBe(1);
    [1, 2, 2, 1, 3].forEach(id => api.stream.send(event(id, 'run.state')));
    await settle();
    expect(events.map(({ id }) => id)).toEqual([1, 2, 3]);
  });

  it('resumes after the last event when the stream ends', async () => {
    await settle();
    api.stream.send(event(7, 'run.state'));
    await settle();
    api.stream.end();
    await settle();
    expect(stream.liveness).toBe('connecting');
    await jest.advanceTimersByTimeAsync(TIMINGS.first);
    expect(api.streams).toHaveLength(2);
    expect(api.stream.lastEventId).toBe(7);
    expect(stream.liveness).toBe('live');
  });

  it('backs off while nothing answers, and forgets that on success', async () => {
    await settle();
    api.stream.send(event(7, 'run.state'));
    await settle();
    api.streamFailure = failure(502, 'api-unreachable');
    api.stream.end();
    await jest.advanceTimersByTimeAsync(TIMINGS.first);
    const tries = (): number => api.requests.filter(request => request.startsWith('STREAM')).length;
    expect(stream.liveness).toBe('lost');
    expect(stream.problem?.code).toBe('unknown');
    const after = [tries()];
    for (const wait of [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]) {
      await jest.advanceTimersByTimeAsync(wait - 1);
      expect(tries()).toBe(after[after.length - 1]); // not before its time
      await jest.advanceTimersByTimeAsync(1);
      after.push(tries());
    }
    expect(after).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
    api.streamFailure = null;
    stream.retry();
    await settle();
    expect(stream.liveness).toBe('live');
    expect(api.stream.lastEventId).toBe(7);
  });

  it('polls where streams do not come through', async () => {
    await settle();
    api.stream.send(event(7, 'run.state'));
    await settle();
    api.streamFailure = failure(200, 'no-event-stream');
    api.table[`GET ${PATH}?after=7`] = list('events', [event(8, 'run.state'), event(9, 'run.state')]);
    api.stream.end();
    await jest.advanceTimersByTimeAsync(TIMINGS.first);
    expect(stream.liveness).toBe('polling');
    expect(events.map(({ id }) => id)).toEqual([7, 8, 9]);
    api.table[`GET ${PATH}?after=9`] = list('events', [event(10, 'run.state')]);
    await jest.advanceTimersByTimeAsync(TIMINGS.poll);
    expect(events.map(({ id }) => id)).toEqual([7, 8, 9, 10]);
    api.streamFailure = null;
    await jest.advanceTimersByTimeAsync(TIMINGS.poll);
    expect(stream.liveness).toBe('live');
    expect(api.stream.lastEventId).toBe(10);
  });

  it('gives up a stream that shows no sign of life, and keeps one that does', async () => {
    await settle();
    for (let beat = 0; beat < 5; beat++) {
      await jest.advanceTimersByTimeAsync(TIMINGS.silence - 1);
      api.stream.push(': ping\n\n');
      await settle();
    }
    expect(api.streams).toHaveLength(1);
    await jest.advanceTimersByTimeAsync(TIMINGS.silence);
    expect(api.stream.signal.aborted).toBe(true);
    await jest.advanceTimersByTimeAsync(TIMINGS.first);
    expect(api.streams).toHaveLength(2);
  });

  it('looks at everything anew when an event cannot be read', async () => {
    await settle();
    api.stream.push('data: {\n\n');
    await settle();
    expect(resyncs).toBe(2);
    expect(stream.liveness).toBe('live');
  });

  it('lets go of the connection in standby, and resumes', async () => {
    await settle();
    api.stream.send(event(3, 'run.state'));
    await settle();
    stream.setStandby(true);
    await settle();
    expect(api.stream.signal.aborted).toBe(true);
    expect(stream.liveness).toBe('standby');
    await jest.advanceTimersByTimeAsync(600_000);
    expect(api.streams).toHaveLength(1);
    stream.setStandby(false);
    await settle();
    expect(api.streams).toHaveLength(2);
    expect(api.stream.lastEventId).toBe(3);
  });

  it('asks nothing any more once disposed', async () => {
    await settle();
    stream.dispose();
    await jest.advanceTimersByTimeAsync(600_000);
    expect(api.stream.signal.aborted).toBe(true);
    expect(api.streams).toHaveLength(1);
  });
});

describe('EventStreams', () => {
  it('opens one stream a project and closes it after its last user', () => {
    const streams = new EventStreams(new MockApi());
    const first = streams.acquire('demo');
    expect(streams.acquire('demo')).toBe(first);
    expect(streams.acquire('other')).not.toBe(first);
    streams.release('demo');
    expect(first.isDisposed).toBe(false);
    streams.release('demo');
    expect(first.isDisposed).toBe(true);
    expect(streams.acquire('demo')).not.toBe(first);
  });
});
