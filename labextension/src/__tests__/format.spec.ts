import { nullTranslator } from '@jupyterlab/translation';

import { ago, bytes, metric, runName, seconds } from '../format';
import { run } from './mock';

const trans = nullTranslator.load('');
const NOW = new Date('2026-01-02T00:00:00Z');

describe('format', () => {
  it.each([
    [null, 'never'],
    ['2026-01-02T00:00:09Z', 'just now'],
    ['2026-01-01T23:59:01Z', 'just now'],
    ['2026-01-01T23:58:59Z', '1 min ago'],
    ['2026-01-01T22:30:00Z', '1 h ago'],
    ['2025-12-25T00:00:00Z', '8 d ago']
  ])('%s is %s', (time, words) => expect(ago(trans, time, NOW)).toBe(words));

  it('gives sizes, durations and metrics their units and digits', () => {
    expect([0, 999, 1000, 2_500_000].map(bytes)).toEqual(['0 B', '999 B', '1.0 kB', '2.5 MB']);
    expect([0.0123, 12.34].map(seconds)).toEqual(['0.01 s', '12.3 s']);
    expect([0.123456, undefined, NaN, 1].map(metric)).toEqual(['0.1235', '–', '–', '1']);
  });

  it('names a run without a name by its data set', () => {
    expect(runName(run('0123456789', { name: null }))).toBe('biopsies 01234567');
  });
});
