/** Fields of forms, each with its label. */

import { HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IKernels } from '../tokens';
import { useTrans } from './hooks';

export interface IFieldProps {
  label: string;
  title?: string;
  /** Makes the control, which has this id. */
  children: (id: string) => JSX.Element;
}

export function Field({ label, title, children }: IFieldProps): JSX.Element {
  const id = React.useId();
  return (
    <div className="flaas-Field" title={title}>
      <label htmlFor={id}>{label}</label>
      {children(id)}
    </div>
  );
}

export interface INumberFieldProps {
  label: string;
  value: number;
  least: number;
  whole: boolean;
  change: (value: number) => void;
}

export function NumberField({ label, value, least, whole, change }: INumberFieldProps): JSX.Element {
  return (
    <Field label={label}>
      {id => (
        <input
          id={id}
          type="number"
          className="flaas-Input"
          defaultValue={value}
          min={least}
          step={whole ? 1 : 'any'}
          required
          onChange={event => {
            if (event.target.validity.valid) {
              change(event.target.valueAsNumber);
            }
          }}
        />
      )}
    </Field>
  );
}

export interface IOptionalNumberProps extends Omit<INumberFieldProps, 'value' | 'change'> {
  value: number | null;
  placeholder?: string;
  change: (value: number | null) => void;
}

/** A number that may be left out. */
export function OptionalNumber(props: IOptionalNumberProps): JSX.Element {
  const { label, value, least, whole, placeholder, change } = props;
  return (
    <Field label={label}>
      {id => (
        <input
          id={id}
          type="number"
          className="flaas-Input"
          defaultValue={value ?? ''}
          placeholder={placeholder}
          min={least}
          step={whole ? 1 : 'any'}
          onChange={event => {
            if (event.target.validity.valid) {
              change(event.target.value === '' ? null : event.target.valueAsNumber);
            }
          }}
        />
      )}
    </Field>
  );
}

export interface ITextFieldProps {
  label: string;
  value: string;
  placeholder?: string;
  title?: string;
  change: (value: string) => void;
}

export function TextField({ label, value, placeholder, title, change }: ITextFieldProps): JSX.Element {
  return (
    <Field label={label} title={title}>
      {id => (
        <input
          id={id}
          type="text"
          className="flaas-Input"
          value={value}
          placeholder={placeholder}
          spellCheck={false}
          onChange={event => change(event.target.value)}
        />
      )}
    </Field>
  );
}

export interface ISelectFieldProps {
  label: string;
  value: string;
  options: readonly (readonly [value: string, label: string])[];
  choose: (value: string) => void;
}

/** One of several. */
export function SelectField({ label, value, options, choose }: ISelectFieldProps): JSX.Element {
  return (
    <Field label={label}>
      {id => (
        <HTMLSelect
          id={id}
          value={value}
          onChange={event => choose(event.target.value)}
          options={options.map(([key, name]) => ({ value: key, label: name }))}
        />
      )}
    </Field>
  );
}

export interface IEpsilonFieldProps {
  value: string;
  change: (epsilon: string) => void;
}

/** How much privacy a question may cost. */
export function EpsilonField(props: IEpsilonFieldProps): JSX.Element {
  const trans = useTrans();
  return (
    <TextField
      {...props}
      label={trans.__('Privacy ε')}
      placeholder={trans.__('none')}
      title={trans.__('Differential privacy: noise by this ε. What is spent counts against the budget.')}
    />
  );
}

export interface IKernelFieldProps {
  /** What is asked there. */
  model: { readonly kernel: string; readonly kernels: IKernels };
  choose: (kernel: string) => void;
}

/** In which kernel a question is asked. */
export function KernelField({ model, choose }: IKernelFieldProps): JSX.Element {
  const trans = useTrans();
  return (
    <SelectField
      label={trans.__('Kernel')}
      value={model.kernel}
      options={[
        ['', trans.__('one of its own')],
        ...model.kernels.choices.map(({ id, current }): [string, string] => [
          id,
          current ? trans.__('%1 (used last)', id) : id
        ])
      ]}
      choose={choose}
    />
  );
}
