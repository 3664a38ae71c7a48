import { checked, columnsOf, EMPTY_FORM, type IAnalyticsForm, questionCode } from '../model';
import { callOf, restored } from '../model/question';
import type { IDataset } from '../tokens';
import { DATASET } from './mock';

const PEOPLE: IDataset = {
  ...DATASET,
  features: [
    { name: 'age', dtype: 'float32', shape: [] },
    { name: 'weight', dtype: 'float64', shape: [] },
    { name: 'town', dtype: 'str', shape: [] },
    { name: 'pixels', dtype: 'uint8', shape: [64, 64] },
    { name: 'x', dtype: 'float32', shape: [2] }
  ],
  target: { name: 'ill', dtype: 'int64', kind: 'binary', classes: 2 }
};

const form = (changes: Partial<IAnalyticsForm>): IAnalyticsForm => ({ ...EMPTY_FORM, ...changes });
const faults = (changes: Partial<IAnalyticsForm>): string[] =>
  checked(form(changes), 'demo', PEOPLE).faults.map(({ code }) => code);

describe('columnsOf', () => {
  it('offers numbers, text and elements of small arrays; a target where there is one', () => {
    expect(columnsOf(PEOPLE).map(({ name }) => name)).toEqual([
      'age',
      'weight',
      'town',
      'x[0]',
      'x[1]',
      'ill'
    ]);
    expect(columnsOf(PEOPLE).find(({ name }) => name === 'town')?.numeric).toBe(false);
    expect(columnsOf({ ...PEOPLE, target: null }).map(({ name }) => name)).not.toContain('ill');
  });
});

describe('checked', () => {
  it('makes a request of what was typed', () => {
    const { request } = checked(
      form({
        operation: 'mean',
        columns: ['age'],
        filters: [
          { column: 'weight', comparison: '>=', value: ' 50 ' },
          { column: 'town', comparison: '==', value: '50' }
        ],
        by: 'ill',
        groups: '0, 1',
        epsilon: '0.5',
        bounds: { age: { low: '0', high: '120' } }
      }),
      'demo',
      PEOPLE
    );
    expect(request).toEqual({
      project: 'demo',
      dataset: 'biopsies',
      operation: 'mean',
      columns: ['age'],
      where: [
        { column: 'weight', comparison: '>=', value: 50 },
        { column: 'town', comparison: '==', value: '50' }
      ],
      by: { column: 'ill', values: [0, 1] },
      functions: null,
      bounds: { age: [0, 120] },
      bins: null,
      quantiles: null,
      via: 'mpc',
      epsilon: 0.5
    });
  });

  it('takes groups as ranges, quantiles and bins', () => {
    const ranged = checked(
      form({ operation: 'count', by: 'age', ranges: 'yes', groups: '0, 30, 60' }),
      'demo',
      PEOPLE
    );
    expect(ranged.request?.by).toEqual({ column: 'age', edges: [0, 30, 60] });
    const quantile = checked(
      form({ operation: 'quantile', columns: ['age'], quantiles: '.5' }),
      'demo',
      PEOPLE
    );
    expect(quantile.request?.quantiles).toEqual([0.5]);
    const bins = form({ operation: 'histogram', columns: ['age', 'weight'], low: '0', high: '9', bins: '3' });
    const { request } = checked(bins, 'demo', PEOPLE);
    expect([request?.columns, request?.bins]).toEqual([['age'], { low: 0, high: 9, count: 3 }]);
  });

  it('leaves to the nodes what they know: a label’s groups, the limits of a histogram', () => {
    const { request } = checked(form({ operation: 'count', by: 'ill' }), 'demo', PEOPLE);
    expect(request?.by).toEqual({ column: 'ill' });
    const free = checked(form({ operation: 'histogram', columns: ['age'] }), 'demo', PEOPLE);
    expect(free.request?.bins).toEqual({ low: null, high: null, count: 10 });
  });

  it.each<[string, Partial<IAnalyticsForm>]>([
    ['too-few-columns', { operation: 'mean' }],
    ['too-few-columns', { operation: 'correlation', columns: ['age'] }],
    ['too-few-columns', { operation: 'mean', columns: ['gone'] }],
    ['no-group-column', { operation: 'group_by', columns: ['age'] }],
    ['no-groups', { operation: 'count', by: 'town', groups: ' , ' }],
    ['no-functions', { operation: 'group_by', columns: ['age'], by: 'ill', functions: ['eval'] }],
    ['bad-range', { operation: 'histogram', columns: ['age'], epsilon: '1' }],
    ['bad-edges', { operation: 'count', by: 'age', ranges: 'yes', groups: '3, 1' }],
    ['bad-edges', { operation: 'count', by: 'age', ranges: 'yes', groups: '3' }],
    ['bad-range', { operation: 'histogram', columns: ['age'], low: '3', high: '3' }],
    ['bad-bins', { operation: 'histogram', columns: ['age'], low: '1', high: '3', bins: '0' }],
    ['bad-bins', { operation: 'histogram', columns: ['age'], low: '1', high: '3', bins: '2.5' }],
    ['bad-quantile', { operation: 'quantile', columns: ['age'], quantiles: '0.5, 2' }],
    ['bad-quantile', { operation: 'quantile', columns: ['age'], quantiles: '' }],
    ['bad-number', { operation: 'count', filters: [{ column: 'age', comparison: '>', value: 'old' }] }],
    ['bad-number', { operation: 'count', filters: [{ column: 'age', comparison: '>', value: '1e999' }] }],
    ['bad-epsilon', { operation: 'count', epsilon: '-1' }],
    ['no-bounds', { operation: 'sum', columns: ['age'], epsilon: '1' }]
  ])('finds %s', (code, changes) => {
    expect(faults(changes)).toEqual([code]);
  });

  it('asks for a data set first', () => {
    expect(checked(EMPTY_FORM, 'demo', undefined).faults).toEqual([{ code: 'no-dataset' }]);
  });
});

describe('restored', () => {
  it('takes what it can use of what was kept, and never fails', () => {
    expect(restored(null)).toEqual(EMPTY_FORM);
    expect(restored('rubbish')).toEqual(EMPTY_FORM);
    const kept = form({ operation: 'sum', columns: ['age'], bounds: { age: { low: '0', high: '1' } } });
    expect(restored(JSON.parse(JSON.stringify(kept)))).toEqual(kept);
    const broken = {
      operation: 'drop',
      columns: ['a', 3, null],
      filters: [null, { column: 1 }],
      via: 5,
      bounds: [1]
    };
    expect(restored(broken)).toEqual(form({ columns: ['a'] }));
  });
});

describe('callOf', () => {
  it('has nothing of the request as code, on one line', () => {
    const evil = `"); import os\n__import__('os').system("x") # \u2028 \\ ''' %%bash`;
    const code = callOf('show', { dataset: evil });
    expect(code.split('\n')).toHaveLength(1);
    const [, literal] = /\.show\(("[^\u2028]*")\)$/.exec(code) ?? [];
    expect(JSON.parse(JSON.parse(literal) as string)).toEqual({ dataset: evil });
    expect(code.replace(literal, '')).toBe(
      '__import__("flaas_jupyter.notebook.analytics_request", fromlist=["show"]).show()'
    );
  });
});

describe('questionCode', () => {
  const code = (changes: Partial<IAnalyticsForm>, dataset = PEOPLE): string =>
    questionCode(checked(form(changes), 'demo', dataset).request!);

  it('is what one would write', () => {
    expect(
      code({
        operation: 'mean',
        columns: ['age', 'weight'],
        filters: [
          { column: 'age', comparison: '>', value: '30' },
          { column: 'town', comparison: '!=', value: 'Jena' }
        ],
        by: 'ill',
        epsilon: '0.5',
        bounds: { age: { low: '0', high: '120' }, weight: { low: '2', high: '300' } }
      })
    ).toBe(
      [
        'import flaas_jupyter as flaas',
        '',
        'federation = flaas.connect().project("demo").federation(dataset="biopsies")',
        'frame = federation.frame()',
        'result = federation.analytics.mean(',
        '    ["age", "weight"],',
        '    where=(frame["age"] > 30) & (frame["town"] != "Jena"),',
        '    by="ill",',
        '    via="mpc",',
        '    epsilon=0.5,',
        '    bounds={"age": [0, 120], "weight": [2, 300]},',
        ')',
        'result'
      ].join('\n')
    );
  });

  it.each<[Partial<IAnalyticsForm>, string[]]>([
    [{ operation: 'count' }, []],
    [{ operation: 'histogram', columns: ['age'], low: '0', high: '9' }, ['"age"', 'bins=10', 'range=(0, 9)']],
    [{ operation: 'quantile', columns: ['age'], quantiles: '0.9' }, ['["age"]', 'q=[0.9]']],
    [
      { operation: 'group_by', columns: ['age'], by: 'weight', ranges: 'yes', groups: '0, 50, 99' },
      ['"weight"', '["count", "mean"]', '["age"]', 'edges=[0, 50, 99]']
    ]
  ])('of %j', (changes, listed) => {
    const inside = code(changes).split('(\n')[1].split('\n)')[0];
    expect(inside.split('\n').map(line => line.trim().replace(/,$/, ''))).toEqual([...listed, 'via="mpc"']);
  });

  it('has no name or value as code', () => {
    const evil = `x"], via=__import__('os').system("rm")) #\n%%bash\n!rm \\`;
    const dataset = { ...PEOPLE, name: evil, features: [{ name: evil, dtype: 'str', shape: [] }] };
    const made = code(
      {
        operation: 'count',
        by: evil,
        groups: evil,
        filters: [{ column: evil, comparison: '==', value: evil }]
      },
      dataset
    );
    const strings = /"(?:[^"\\\n]|\\.)*"/g;
    expect(made.replace(strings, '""')).not.toMatch(/import__|bash|rm/);
    expect(made.split('\n').filter(line => /^\s*[%!]/.test(line))).toEqual([]);
  });
});
