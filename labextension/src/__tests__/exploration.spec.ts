import {
  csvOf,
  described,
  distributionTable,
  driftTable,
  explorationOf,
  fileName,
  labelsTable,
  missingTable,
  reasonsIn,
  scaleOf,
  withheldIn
} from '../model';
import type { ITable } from '../tokens';
import { distribution, exploration } from './explored';
import { DATASET } from './mock';

const WORDS = {
  from: 'from',
  to: 'to',
  rows: 'rows',
  share: 'share',
  column: 'column',
  count: 'missing'
};

describe('explorationOf', () => {
  it('reads what the kernel displays', () => {
    const given = exploration('column', { column: distribution() });
    expect(explorationOf(JSON.parse(JSON.stringify(given)))).toEqual(given);
  });

  it.each([null, 3, 'text', {}, { version: 2, part: 'overview' }, { version: 1, part: 'odd' }])(
    'reads nothing of another kind or version: %p',
    given => {
      expect(explorationOf(given)).toBeNull();
    }
  );

  it('shows less rather than something else where it is told odd things', () => {
    const read = explorationOf({
      version: 1,
      part: 'column',
      level: 'everything',
      rows: 'many',
      nodes: [{ node: 'n' }, 7],
      columns: 'none',
      column: { counts: [1, 'two', Number.NaN], reasons: 'too few', suppressed: 0 },
      notes: ['one', 2]
    });
    expect(read?.level).toBe('nothing');
    expect(read?.rows).toBeNull();
    expect(read?.nodes.map(({ name }) => name)).toEqual(['n', '']);
    expect(read?.columns).toEqual([]);
    expect(read?.column?.counts).toEqual([1, null, null]);
    expect(read?.column?.reasons).toEqual({ '': 'too few' });
    expect(read?.notes).toEqual(['one']);
  });
});

describe('described', () => {
  it('is what the API knows already', () => {
    const { rows, nodes, columns } = described({
      ...DATASET,
      schema: [{ name: 'radius', unit: 'mm', range: [0, 50] }],
      features: [
        { name: 'radius', dtype: 'float64', shape: [] },
        { name: 'x', dtype: 'float32', shape: [2] },
        { name: 'note', dtype: 'string', shape: [] }
      ]
    });
    expect(rows).toBe(1450);
    expect(columns[0]).toMatchObject({ unit: 'mm', range: [0, 50], differences: [] });
    expect(columns[1]).toMatchObject({ unit: null, range: null });
    expect(nodes.map(({ name, rows: some, online }) => [name, some, online])).toEqual([
      ['hospital-a', 1000, true],
      ['hospital-b', 450, false]
    ]);
    expect(columns.map(({ name, dtype, role, kind }) => [name, dtype, role, kind])).toEqual([
      ['radius', 'float64', 'feature', 'number'],
      ['x[0]', 'float32', 'feature', 'number'],
      ['x[1]', 'float32', 'feature', 'number'],
      ['note', 'string', 'feature', 'text'],
      ['malignant', 'int64', 'label', 'label']
    ]);
  });
});

describe('scaleOf', () => {
  it.each([
    [[0, 1, 3], [5, 6], { edges: [0, 1, 3], open: [false, false] }],
    [[null, 1, 3], [5, 6], { edges: [-1, 1, 3], open: [true, false] }],
    [[0, 1, 3, null], [1, 2, 3], { edges: [0, 1, 3, 5], open: [false, true] }],
    [[null, 4, null], [1, 2], { edges: [3, 4, 5], open: [true, true] }],
    [[null, null], [3], null],
    [[0, null, 3], [1, 2], null],
    [[0, 2, 1], [1, 2], null],
    [[0, 1], [1, 2], null],
    [[], [], null]
  ])('of edges %p', (edges, counts, scale) => {
    expect(scaleOf({ edges, counts })).toEqual(scale);
  });
});

describe('tables', () => {
  it('of a histogram have its bins, and why one is withheld', () => {
    const table = distributionTable(distribution({ edges: [null, 10, 20, null] }), WORDS);
    expect(table.index).toEqual(['from', 'to']);
    expect(table.rows.map(({ key, values }) => [...key, ...values])).toEqual([
      ['-∞', 10, 100],
      [10, 20, 1340],
      [20, '∞', null]
    ]);
    expect(withheldIn(table)).toBe(1);
    expect(reasonsIn(table)).toEqual(['fewer than 10 rows']);
  });

  it('of categories have their names', () => {
    const table = distributionTable(
      distribution({ kind: 'categories', name: 'sex', edges: [], labels: ['f', 'm'], counts: [3, 4] }),
      WORDS
    );
    expect(table).toMatchObject({ index: ['sex'], rows: [{ key: ['f'] }, { key: ['m'] }] });
  });

  it('of labels have shares only if everything is known', () => {
    const labels = { column: 'ill', classes: [0, 1], suppressed: [false, false], reasons: {} };
    expect(labelsTable({ ...labels, counts: [30, 10] }, WORDS)).toMatchObject({
      columns: ['rows', 'share'],
      rows: [{ values: [30, 0.75] }, { values: [10, 0.25] }]
    });
    expect(labelsTable({ ...labels, counts: [30, null], suppressed: [false, true] }, WORDS).columns).toEqual([
      'rows'
    ]);
  });

  it('of drift have a column for each node, empty where one says nothing', () => {
    const table = driftTable(
      [
        { column: 'a', node: 'one', distance: 0.1, suppressed: false, reason: null },
        { column: 'a', node: 'two', distance: null, suppressed: true, reason: 'its owner' },
        { column: 'b', node: 'two', distance: 0.3, suppressed: false, reason: null }
      ],
      WORDS
    );
    expect(table.columns).toEqual(['one', 'two']);
    expect(table.rows.map(({ values }) => values)).toEqual([
      [0.1, null],
      [null, 0.3]
    ]);
    expect(table.rows.map(({ hidden }) => hidden)).toEqual([
      [false, true],
      [false, false]
    ]);
    expect(reasonsIn(table)).toEqual(['two: its owner']);
  });

  it('of what is missing hide both figures at once', () => {
    const [row] = missingTable(
      [{ column: 'a', count: null, share: null, suppressed: true, reason: 'few' }],
      WORDS
    ).rows;
    expect(row).toEqual({ key: ['a'], values: [null, null], hidden: [true, true], reason: 'few' });
  });
});

describe('csvOf', () => {
  const table = (rows: ITable['rows'], columns = ['rows']): ITable => ({ index: ['key'], columns, rows });

  it('is what RFC 4180 has, marked as UTF-8', () => {
    const text = csvOf(
      table([
        { key: ['a, "b"'], values: [1.5], hidden: [false] },
        { key: ['c\nd'], values: [-2], hidden: [false] }
      ])
    );
    expect(text).toBe('\ufeffkey,rows\r\n"a, ""b""",1.5\r\n"c\nd",-2\r\n');
  });

  it('leaves a withheld figure empty, and says which and why', () => {
    const rows = [
      { key: ['a'], values: [1, 2], hidden: [false, false] },
      { key: ['b'], values: [null, 3], hidden: [true, false], reason: 'too few' },
      { key: ['c'], values: [null, 4], hidden: [false, false], reason: 'told together' }
    ];
    expect(
      csvOf(table(rows, ['x', 'y']))
        .slice(1)
        .split('\r\n')
    ).toEqual(['key,x,y,note', 'a,1,2,', 'b,,3,withheld: x; too few', 'c,,4,told together', '']);
  });

  it('has nothing that a spreadsheet would compute', () => {
    const keys = ['=1+1', '+1', '@SUM(A1)', '-cmd|x', '\tx', '-5', '-∞', 'a=b'];
    const text = csvOf(table(keys.map(key => ({ key: [key], values: [1], hidden: [false] }))));
    const first = text
      .slice(1)
      .split('\r\n')
      .slice(1, -1)
      .map(line => line.split(',')[0]);
    expect(first).toEqual(["'=1+1", "'+1", "'@SUM(A1)", "'-cmd|x", "'\tx", '-5', '-∞', 'a=b']);
  });
});

describe('fileName', () => {
  it('is a name everywhere', () => {
    expect(fileName(['biopsies', 'Größe: a/b\\..', ''], 'csv')).toBe('biopsies-Größe-a-b.csv');
    expect(fileName(['../../etc'], 'png')).toBe('etc.png');
    expect(fileName(['  '], 'svg')).toBe('chart.svg');
    expect(fileName(['x'.repeat(300)], 'svg')).toHaveLength(84);
  });
});
