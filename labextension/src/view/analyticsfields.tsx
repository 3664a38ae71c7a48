/** The fields of a question over rows. */

import { Button, HTMLSelect } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import {
  type AnalyticsModel,
  columnsOf,
  COMPARISONS,
  FUNCTIONS,
  type IAnalyticsForm,
  type IColumn,
  needsBounds,
  OPERATIONS,
  operationOf
} from '../model';
import type { AnalyticsOperation, Comparison, IDataset, Via } from '../tokens';
import { ColumnPicker } from './columnpicker';
import { EpsilonField, KernelField, SelectField, TextField } from './fields';
import { useTrans } from './hooks';

interface IFieldsProps {
  model: AnalyticsModel;
  datasets: readonly IDataset[];
  /** The one that is asked about. */
  dataset: IDataset;
}

export function AnalyticsFields({ model, datasets, dataset }: IFieldsProps): JSX.Element {
  const trans = useTrans();
  const { form } = model;
  const columns = React.useMemo(() => columnsOf(dataset), [dataset]);
  const operation = operationOf(form.operation);
  const known = columns.find(({ name }) => name === form.by)?.known ?? false;
  const change = (changes: Partial<IAnalyticsForm>): void =>
    model.change({ dataset: dataset.name, ...changes });
  return (
    <div className="flaas-Analytics-fields">
      <SelectField
        label={trans.__('Data set')}
        value={dataset.name}
        options={datasets.map(({ name }) => [name, name])}
        choose={name => change({ dataset: name })}
      />
      <SelectField
        label={trans.__('Operation')}
        value={form.operation}
        options={OPERATIONS.map(({ name }) => [name, operationName(trans, name)])}
        choose={name => change({ operation: name as AnalyticsOperation })}
      />
      {operation.columns[1] > 0 && (
        <ColumnPicker
          columns={columns.filter(({ numeric }) => numeric).map(({ name }) => name)}
          chosen={form.columns}
          single={operation.columns[1] === 1}
          choose={chosen => change({ columns: chosen })}
        />
      )}
      {operation.name === 'group_by' && (
        <fieldset className="flaas-Columns">
          <legend>{trans.__('Figures')}</legend>
          <div className="flaas-Columns-list">
            {FUNCTIONS.map(name => (
              <label key={name}>
                <input
                  type="checkbox"
                  checked={form.functions.includes(name)}
                  onChange={event =>
                    change({
                      functions: event.target.checked
                        ? [...form.functions, name]
                        : form.functions.filter(each => each !== name)
                    })
                  }
                />
                <span>{functionName(trans, name)}</span>
              </label>
            ))}
          </div>
        </fieldset>
      )}
      {operation.name === 'histogram' && (
        <div className="flaas-Form-row">
          <TextField
            label={trans.__('From')}
            value={form.low}
            placeholder={trans.__('least value')}
            change={low => change({ low })}
          />
          <TextField
            label={trans.__('To')}
            value={form.high}
            placeholder={trans.__('greatest value')}
            change={high => change({ high })}
          />
          <TextField label={trans.__('Bins')} value={form.bins} change={bins => change({ bins })} />
        </div>
      )}
      {operation.name === 'quantile' && (
        <TextField
          label={trans.__('Quantiles')}
          value={form.quantiles}
          placeholder="0.25, 0.5, 0.75"
          change={quantiles => change({ quantiles })}
        />
      )}
      {operation.grouped !== 'no' && (
        <>
          <SelectField
            label={trans.__('Groups by')}
            value={columns.some(({ name }) => name === form.by) ? form.by : ''}
            options={[
              ['', operation.grouped === 'must' ? trans.__('choose a column') : trans.__('no groups')],
              ...columns.map(({ name }): [string, string] => [name, name])
            ]}
            choose={by => change({ by })}
          />
          {form.by !== '' && (
            <div className="flaas-Form-row">
              <SelectField
                label={trans.__('Groups are')}
                value={form.ranges}
                options={[
                  ['', trans.__('values')],
                  ['yes', trans.__('ranges')]
                ]}
                choose={ranges => change({ ranges })}
              />
              <TextField
                label={form.ranges ? trans.__('Edges of the ranges') : trans.__('Values of the groups')}
                value={form.groups}
                placeholder={form.ranges ? '0, 30, 60' : known ? trans.__('all of them') : '0, 1'}
                title={trans.__('With commas between them. They are given, not looked up in the data.')}
                change={groups => change({ groups })}
              />
            </div>
          )}
        </>
      )}
      <Filters columns={columns} filters={form.filters} change={filters => change({ filters })} />
      <div className="flaas-Form-row">
        <SelectField
          label={trans.__('Computed by')}
          value={form.via}
          options={[
            ['mpc', trans.__('secure sums (MPC)')],
            ['he', trans.__('homomorphic encryption (HE)')]
          ]}
          choose={via => change({ via: via as Via })}
        />
        <EpsilonField value={form.epsilon} change={epsilon => change({ epsilon })} />
      </div>
      {needsBounds(form) && <Bounds form={form} columns={columns} change={bounds => change({ bounds })} />}
      <KernelField model={model} choose={kernel => change({ kernel })} />
    </div>
  );
}

/** What an operation is called. */
export function operationName(trans: TranslationBundle, name: AnalyticsOperation): string {
  const names: { [name in AnalyticsOperation]: string } = {
    count: trans.__('count of rows'),
    sum: trans.__('sum'),
    mean: trans.__('mean'),
    var: trans.__('variance'),
    std: trans.__('standard deviation'),
    min: trans.__('least value'),
    max: trans.__('greatest value'),
    describe: trans.__('describe'),
    histogram: trans.__('histogram'),
    quantile: trans.__('quantiles'),
    group_by: trans.__('several figures by group'),
    correlation: trans.__('correlation')
  };
  return names[name];
}

function functionName(trans: TranslationBundle, name: string): string {
  const names: { [name: string]: string } = {
    count: trans.__('count of values'),
    sum: trans.__('sum'),
    mean: trans.__('mean'),
    var: trans.__('variance'),
    std: trans.__('standard deviation'),
    min: trans.__('least value'),
    median: trans.__('median'),
    max: trans.__('greatest value')
  };
  return names[name] ?? name;
}

interface IFiltersProps {
  columns: readonly IColumn[];
  filters: IAnalyticsForm['filters'];
  change: (filters: IAnalyticsForm['filters']) => void;
}

/** Conditions that rows have to meet, all of them. */
function Filters({ columns, filters, change }: IFiltersProps): JSX.Element {
  const trans = useTrans();
  const list = React.useRef<HTMLFieldSetElement>(null);
  const set = (place: number, changes: Partial<IAnalyticsForm['filters'][number]>): void =>
    change(filters.map((filter, at) => (at === place ? { ...filter, ...changes } : filter)));
  const add = (): void =>
    change([...filters, { column: columns[0]?.name ?? '', comparison: '>', value: '' }]);
  const remove = (place: number): void => {
    change(filters.filter((_, at) => at !== place));
    list.current?.querySelector<HTMLElement>('.flaas-Filter-add')?.focus();
  };
  return (
    <fieldset className="flaas-Filters" ref={list}>
      <legend>{trans.__('Rows')}</legend>
      {filters.length === 0 && <p className="flaas-Hint">{trans.__('all of them')}</p>}
      {filters.map((filter, place) => (
        <div key={place} className="flaas-Filter">
          <HTMLSelect
            aria-label={trans.__('Column of condition %1', place + 1)}
            value={filter.column}
            onChange={event => set(place, { column: event.target.value })}
            options={columns.map(({ name }) => ({ label: name, value: name }))}
          />
          <HTMLSelect
            aria-label={trans.__('Comparison of condition %1', place + 1)}
            value={filter.comparison}
            onChange={event => set(place, { comparison: event.target.value as Comparison })}
            options={COMPARISONS.map(comparison => ({ label: SIGNS[comparison], value: comparison }))}
          />
          <input
            type="text"
            className="flaas-Input"
            aria-label={trans.__('Value of condition %1', place + 1)}
            value={filter.value}
            spellCheck={false}
            onChange={event => set(place, { value: event.target.value })}
          />
          <Button
            type="button"
            small
            className="flaas-Button"
            aria-label={trans.__('Remove condition %1', place + 1)}
            onClick={() => remove(place)}
          >
            ×
          </Button>
        </div>
      ))}
      <Button type="button" small className="flaas-Button flaas-Filter-add" onClick={add}>
        {trans.__('Add a condition')}
      </Button>
    </fieldset>
  );
}

const SIGNS: { [comparison in Comparison]: string } = {
  '>': '>',
  '>=': '≥',
  '<': '<',
  '<=': '≤',
  '==': '=',
  '!=': '≠'
};

interface IBoundsProps {
  form: IAnalyticsForm;
  columns: readonly IColumn[];
  change: (bounds: IAnalyticsForm['bounds']) => void;
}

/** Limits of each chosen column: what lies beyond is clipped. */
function Bounds({ form, columns, change }: IBoundsProps): JSX.Element {
  const trans = useTrans();
  const chosen = columns.filter(({ name }) => form.columns.includes(name));
  return (
    <fieldset className="flaas-Bounds">
      <legend>{trans.__('Limits of the values')}</legend>
      <p className="flaas-Hint">
        {trans.__('Values beyond are clipped to them. Take them from what is known, not from the data.')}
      </p>
      {chosen.map(({ name }) => {
        const { low, high } = form.bounds[name] ?? { low: '', high: '' };
        const set = (changes: Partial<{ low: string; high: string }>): void =>
          change({ ...form.bounds, [name]: { low, high, ...changes } });
        return (
          <div key={name} className="flaas-Bound">
            <span>{name}</span>
            <input
              type="text"
              className="flaas-Input"
              aria-label={trans.__('Least value of %1', name)}
              value={low}
              onChange={event => set({ low: event.target.value })}
            />
            <input
              type="text"
              className="flaas-Input"
              aria-label={trans.__('Greatest value of %1', name)}
              value={high}
              onChange={event => set({ high: event.target.value })}
            />
          </div>
        );
      })}
    </fieldset>
  );
}
