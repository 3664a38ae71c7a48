/**
 * A form for a new simulation: what rules and attacks there are, what they are good for, and the code that makes the
 * simulation, which becomes a notebook.
 */

import { Button, HTMLSelect, ReactWidget } from '@jupyterlab/ui-components';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { federationIcon } from '../icons';
import { codeCells, type IExperiment, missingOptions, PARTITIONS, type SimulationsModel } from '../model';
import { problemOf } from '../request';
import type { IAttack, ICatalogue, IProblem, IProtocol, IRule } from '../tokens';
import { Field, NumberField } from './fields';
import { DOMAIN, TranslationContext, useTrans } from './hooks';
import { Notice } from './notice';
import { Protocols } from './protocols';

export interface INewSimulationProps {
  model: SimulationsModel;
  /** Makes the notebook and opens it. */
  create: (experiment: IExperiment) => Promise<void>;
}

export class NewSimulation extends ReactWidget {
  constructor(props: INewSimulationProps, translator: ITranslator) {
    super();
    this._props = props;
    this._trans = translator.load(DOMAIN);
    this.addClass('flaas-RunView');
    this.title.icon = federationIcon;
    this.title.label = this._trans.__('New simulation');
    this.title.closable = true;
  }

  protected override render(): JSX.Element {
    return (
      <TranslationContext.Provider value={this._trans}>
        <NewSimulationForm {...this._props} />
      </TranslationContext.Provider>
    );
  }

  private _props: INewSimulationProps;
  private _trans: TranslationBundle;
}

/** The form, once there is something to choose from. */
export function NewSimulationForm({ model, create }: INewSimulationProps): JSX.Element {
  const trans = useTrans();
  const [catalogue, setCatalogue] = React.useState<ICatalogue | null>(null);
  const [problem, setProblem] = React.useState<IProblem | null>(null);
  const load = React.useCallback(async () => {
    setProblem(null);
    try {
      setCatalogue(await model.catalogue());
    } catch (error) {
      setProblem(problemOf(error));
    }
  }, [model]);
  React.useEffect(() => void load(), [load]);
  return (
    <>
      <h2>{trans.__('New simulation')}</h2>
      {problem && (
        <Notice
          problem
          title={problem.title}
          detail={problem.detail}
          hint={problem.hint}
          action={{ label: trans.__('Retry'), run: () => void load() }}
        />
      )}
      {!catalogue && !problem && (
        <p className="flaas-Empty" role="status">
          {trans.__('Looking for rules and attacks …')}
        </p>
      )}
      {catalogue && <Form catalogue={catalogue} create={create} />}
    </>
  );
}

/** What was typed for the options of a rule or an attack, by its name and theirs. */
type Typed = { [protocol: string]: { [option: string]: string } };

/** Names of the fields that take a number, and what they start with. */
const NUMBERS = { clients: 100, clientsPerRound: 10, rounds: 20, seed: 0 };

interface IFormProps {
  catalogue: ICatalogue;
  create: (experiment: IExperiment) => Promise<void>;
}

function Form({ catalogue, create }: IFormProps): JSX.Element {
  const trans = useTrans();
  const [ruleName, setRule] = React.useState(catalogue.aggregation[0]?.name ?? '');
  const [attackName, setAttack] = React.useState('');
  const [typed, setTyped] = React.useState<Typed>({});
  const [partitionName, setPartition] = React.useState(PARTITIONS[0].class);
  const [parameters, setParameters] = React.useState<{ [partition: string]: number }>({});
  const [numbers, setNumbers] = React.useState(NUMBERS);
  const [busy, setBusy] = React.useState(false);
  const [problem, setProblem] = React.useState<IProblem | null>(null);

  const rule = catalogue.aggregation.find(({ name }) => name === ruleName)!;
  const attack = catalogue.attacks.find(({ name }) => name === attackName) ?? null;
  const partition = PARTITIONS.find(candidate => candidate.class === partitionName)!;
  const parameter = partition.parameter ? (parameters[partition.class] ?? partition.parameter.default) : null;
  const choice = <T extends IProtocol>(
    protocol: T
  ): { protocol: T; typed: { [option: string]: string } } => ({
    protocol,
    typed: typed[protocol.name] ?? {}
  });
  const experiment: IExperiment = {
    rule: choice(rule),
    attack: attack && choice(attack),
    partition,
    parameter,
    ...numbers
  };
  const missing = [experiment.rule, ...(experiment.attack ? [experiment.attack] : [])].flatMap(
    missingOptions
  );

  const type = (protocol: string, option: string, text: string): void =>
    setTyped({ ...typed, [protocol]: { ...typed[protocol], [option]: text } });
  const submit = async (event: React.FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    setProblem(null);
    try {
      await create(experiment);
    } catch (error) {
      setProblem(problemOf(error));
    }
    setBusy(false);
  };
  const number = (name: keyof typeof NUMBERS, label: string, least: number): JSX.Element => (
    <NumberField
      label={label}
      value={numbers[name]}
      least={least}
      whole
      change={value => setNumbers({ ...numbers, [name]: value })}
    />
  );
  return (
    <>
      <form className="flaas-Form" onSubmit={submit} aria-label={trans.__('New simulation')}>
        <div className="flaas-Form-fields">
          <fieldset>
            <legend>{trans.__('Aggregation rule')}</legend>
            <Choose label={trans.__('Rule')} value={ruleName} all={catalogue.aggregation} choose={setRule} />
            <AboutRule rule={rule} />
            <Options {...choice(rule)} type={(option, text) => type(rule.name, option, text)} />
          </fieldset>
          <fieldset>
            <legend>{trans.__('Attack')}</legend>
            <Choose
              label={trans.__('Attack')}
              value={attackName}
              all={catalogue.attacks}
              none={trans.__('no attack')}
              choose={setAttack}
            />
            {attack && <AboutAttack attack={attack} />}
            {attack && (
              <Options {...choice(attack)} type={(option, text) => type(attack.name, option, text)} />
            )}
          </fieldset>
          <fieldset>
            <legend>{trans.__('Clients')}</legend>
            <Field label={trans.__('Partition')}>
              {id => (
                <HTMLSelect
                  id={id}
                  value={partitionName}
                  onChange={event => setPartition(event.target.value)}
                  options={PARTITIONS.map(each => ({ label: each.label, value: each.class }))}
                />
              )}
            </Field>
            <p className="flaas-Hint">{partition.doc}</p>
            <div className="flaas-Form-row">
              {partition.parameter && parameter !== null && (
                <NumberField
                  label={partition.parameter.name}
                  value={parameter}
                  least={partition.parameter.whole ? 1 : 0.01}
                  whole={partition.parameter.whole}
                  change={value => setParameters({ ...parameters, [partition.class]: value })}
                />
              )}
              {number('clients', trans.__('Clients'), 1)}
              {number('clientsPerRound', trans.__('Clients per round'), 1)}
              {number('rounds', trans.__('Rounds'), 1)}
              {number('seed', trans.__('Seed'), 0)}
            </div>
          </fieldset>
        </div>
        <section className="flaas-Form-code" aria-label={trans.__('Code')}>
          <h3>{trans.__('Code')}</h3>
          <pre className="flaas-Snippet">
            {codeCells(experiment)
              .map(({ code }) => code)
              .join('\n\n')}
          </pre>
          {missing.length > 0 && (
            <p className="flaas-Reason">
              {trans.__('Needed: %1', missing.map(option => option.name).join(', '))}
            </p>
          )}
          <Button
            type="submit"
            className="flaas-Button flaas-mod-primary"
            disabled={busy || missing.length > 0}
          >
            {busy ? trans.__('Creating the notebook …') : trans.__('Create notebook')}
          </Button>
          {problem && <Notice problem title={problem.title} detail={problem.detail} hint={problem.hint} />}
        </section>
      </form>
      <Protocols catalogue={catalogue} />
    </>
  );
}

interface IChooseProps {
  label: string;
  value: string;
  all: readonly IProtocol[];
  /** What it says when nothing is chosen, if that may be. */
  none?: string;
  choose: (name: string) => void;
}

function Choose({ label, value, all, none, choose }: IChooseProps): JSX.Element {
  return (
    <Field label={label}>
      {id => (
        <HTMLSelect
          id={id}
          value={value}
          onChange={event => choose(event.target.value)}
          options={[
            ...(none === undefined ? [] : [{ label: none, value: '' }]),
            ...all.map(({ name }) => ({ label: name, value: name }))
          ]}
        />
      )}
    </Field>
  );
}

function AboutRule({ rule }: { rule: IRule }): JSX.Element {
  const trans = useTrans();
  return (
    <div className="flaas-About" role="status">
      <p>{rule.summary}</p>
      <p>
        <strong>{trans.__('Defends')}</strong> {rule.defends}
      </p>
      <p>
        <strong>{trans.__('Limits')}</strong> {rule.limits}
      </p>
    </div>
  );
}

function AboutAttack({ attack }: { attack: IAttack }): JSX.Element {
  const trans = useTrans();
  return (
    <div className="flaas-About" role="status">
      <p>{attack.summary}</p>
      <p>
        <strong>{trans.__('Knows')}</strong> {attack.knowledge}
      </p>
    </div>
  );
}

interface IOptionsProps {
  protocol: IProtocol;
  typed: { [option: string]: string };
  type: (option: string, text: string) => void;
}

/** A field for each option; what is left empty has its default. */
function Options({ protocol, typed, type }: IOptionsProps): JSX.Element | null {
  if (protocol.options.length === 0) {
    return null;
  }
  return (
    <div className="flaas-Form-row">
      {protocol.options.map(option => (
        <Field key={`${protocol.name} ${option.name}`} label={option.name} title={option.help}>
          {id => (
            <input
              id={id}
              type="text"
              className="flaas-Input"
              value={typed[option.name] ?? ''}
              placeholder={usual(option.default)}
              required={option.required}
              spellCheck={false}
              onChange={event => type(option.name, event.target.value)}
            />
          )}
        </Field>
      ))}
    </div>
  );
}

function usual(value: unknown): string {
  return typeof value === 'string'
    ? value
    : value === null || value === undefined
      ? 'None'
      : JSON.stringify(value);
}
