/**
 * A simulation that somebody describes in a form, as a notebook. Rules and attacks, and their options, are what the
 * catalogue says: nothing here knows any of them.
 */

import type { IAttack, IProtocol, IProtocolOption, IRule } from '../tokens';

/** A way to divide the data, and the one number that it takes. */
export interface IPartition {
  class: string;
  label: string;
  doc: string;
  parameter?: { name: string; default: number; whole: boolean };
}

export const PARTITIONS: readonly IPartition[] = [
  { class: 'IID', label: 'IID', doc: 'Every client draws from the same distribution.' },
  {
    class: 'Dirichlet',
    label: 'Dirichlet',
    doc: 'Clients differ in their classes: the smaller alpha, the more.',
    parameter: { name: 'alpha', default: 0.9, whole: false }
  },
  {
    class: 'Shards',
    label: 'Shards',
    doc: 'Every client holds k pieces of the data sorted by class, so that it knows few classes.',
    parameter: { name: 'k', default: 2, whole: true }
  },
  {
    class: 'QuantitySkew',
    label: 'Quantity skew',
    doc: 'Clients differ in how much data they hold: the smaller alpha, the more.',
    parameter: { name: 'alpha', default: 1, whole: false }
  }
];

/** A rule or an attack, and what was typed for its options; what was not typed is left to its default. */
export interface IChoice<T extends IProtocol> {
  protocol: T;
  typed: { [option: string]: string };
}

export interface IExperiment {
  rule: IChoice<IRule>;
  attack: IChoice<IAttack> | null;
  partition: IPartition;
  /** The number that the partition takes, if it takes one. */
  parameter: number | null;
  clients: number;
  clientsPerRound: number;
  rounds: number;
  seed: number;
}

/** A value as Python writes it. */
export function literal(value: unknown): string {
  if (value === null || value === undefined) {
    return 'None';
  }
  if (typeof value === 'boolean') {
    return value ? 'True' : 'False';
  }
  if (Array.isArray(value)) {
    return `[${value.map(literal).join(', ')}]`;
  }
  if (typeof value === 'object') {
    const items = Object.entries(value).map(([name, item]) => `${literal(name)}: ${literal(item)}`);
    return `{${items.join(', ')}}`;
  }
  // Numbers; strings, whose escapes Python has, too. IPython cuts code into lines at some characters that JSON leaves.
  return JSON.stringify(value).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    character => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  );
}

/** What was typed for an option, as Python: a number, a list, None, True or False as they are, else a string. */
export function typedLiteral(text: string): string {
  const trimmed = text.trim();
  const named: { [word: string]: string } = { none: 'None', null: 'None', true: 'True', false: 'False' };
  const word = named[trimmed.toLowerCase()];
  if (word) {
    return word;
  }
  try {
    return literal(JSON.parse(trimmed));
  } catch {
    return literal(trimmed.replace(/^(['"])(.*)\1$/, '$2'));
  }
}

/** Options that must be typed and were not. */
export function missingOptions({ protocol, typed }: IChoice<IProtocol>): IProtocolOption[] {
  return protocol.options.filter(option => option.required && !typed[option.name]?.trim());
}

function keywords({ protocol, typed }: IChoice<IProtocol>): string[] {
  return protocol.options
    .filter(option => typed[option.name]?.trim())
    .map(option => [option.name, typedLiteral(typed[option.name]), literal(option.default)])
    .filter(([, value, usual]) => value !== usual)
    .map(([name, value]) => `${name}=${value}`);
}

/** The call that makes the rule. */
export function ruleCall(rule: IChoice<IRule>): string {
  return `flaas.aggregation(${[literal(rule.protocol.name), ...keywords(rule)].join(', ')})`;
}

/** The call that makes the attack. */
export function attackCall(attack: IChoice<IAttack>): string {
  return `flaas.attacks.${attack.protocol.class}(${keywords(attack).join(', ')})`;
}

function partitionCall({ partition, parameter }: IExperiment): string {
  return `flaas.${partition.class}(${parameter === null ? '' : literal(parameter)})`;
}

/** The code of the experiment, cell by cell. */
export function codeCells(experiment: IExperiment): { heading: string; code: string }[] {
  const { rule, attack, clients, clientsPerRound, rounds, seed } = experiment;
  return [
    {
      heading:
        '## Data\n\nHandwritten digits of scikit-learn, as a placeholder: put your own arrays in `x` and `y`.',
      code: [
        'import flaas_jupyter as flaas',
        'import keras',
        'import numpy as np',
        'from sklearn.datasets import load_digits',
        '',
        'digits = load_digits()',
        `order = np.random.default_rng(${seed}).permutation(len(digits.target))`,
        'x, y = (digits.data[order] / 16).astype("float32"), digits.target[order]',
        'x_test, y_test = x[:300], y[:300]  # what the model is tested on',
        'x_root, y_root = x[300:400], y[300:400]  # clean data of the aggregator, for rules that compare with it',
        'x, y = x[400:], y[400:]  # divided among the clients'
      ].join('\n')
    },
    {
      heading: '## Clients' + (attack ? `\n\n${attack.protocol.summary}` : ''),
      code: [
        'federation = flaas.simulate(',
        '    x,',
        '    y,',
        `    clients=${clients},`,
        `    partition=${partitionCall(experiment)},`,
        ...(attack ? [`    attack=${attackCall(attack)},`] : []),
        '    root=(x_root, y_root),',
        `    seed=${seed},`,
        ')'
      ].join('\n')
    },
    {
      heading: ['## Model and rule', rule.protocol.summary].filter(Boolean).join('\n\n'),
      code: [
        `keras.utils.set_random_seed(${seed})`,
        'inputs = keras.Input((x.shape[1],))',
        'hidden = keras.layers.Dense(64, activation="relu")(inputs)',
        'outputs = keras.layers.Dense(10, activation="softmax")(hidden)',
        'model = flaas.FederatedModel(',
        '    inputs,',
        '    outputs,',
        `    aggregation=${ruleCall(rule)},`,
        ')',
        'model.compile(',
        '    optimizer=keras.optimizers.SGD(0.1), loss="sparse_categorical_crossentropy", metrics=["accuracy"]',
        ')'
      ].join('\n')
    },
    {
      heading:
        '## Rounds\n\nWhile they run, *Simulations* in the Federated Learning panel shows them: metrics, and what each client had.',
      code: [
        'history = model.fit(',
        '    federation,',
        `    rounds=${rounds},`,
        `    clients_per_round=${Math.min(clientsPerRound, clients)},`,
        '    local_epochs=1,',
        '    batch_size=10,',
        '    validation_data=(x_test, y_test),',
        `    seed=${seed},`,
        ')'
      ].join('\n')
    },
    { heading: '## Report', code: 'model.federated_report.plot();' }
  ];
}

/** A notebook, format 4.5. */
export interface INotebook {
  cells: { [field: string]: unknown }[];
  metadata: { [field: string]: unknown };
  nbformat: 4;
  nbformat_minor: 5;
}

/** A cell: text, or code. */
export interface ICell {
  cell_type: 'markdown' | 'code';
  source: string;
}

/**
 * Cells as a notebook.
 *
 * @param kernel Name of the kernel to run it with.
 */
export function asNotebook(cells: ICell[], kernel: string): INotebook {
  return {
    cells: cells.map((cell, index) => ({
      ...cell,
      id: `cell-${index}`,
      metadata: {},
      ...(cell.cell_type === 'code' ? { execution_count: null, outputs: [] } : {})
    })),
    metadata: {
      kernelspec: { name: kernel, display_name: kernel, language: 'python' },
      language_info: { name: 'python' }
    },
    nbformat: 4,
    nbformat_minor: 5
  };
}

/**
 * The experiment as a notebook.
 *
 * @param kernel Name of the kernel to run it with.
 */
export function notebookFor(experiment: IExperiment, kernel: string): INotebook {
  const { rule, attack } = experiment;
  const title = `# Simulation: ${rule.protocol.name}` + (attack ? ` under ${attack.protocol.name}` : '');
  const cells: ICell[] = codeCells(experiment).flatMap(({ heading, code }) => [
    { cell_type: 'markdown', source: heading },
    { cell_type: 'code', source: code }
  ]);
  return asNotebook([{ cell_type: 'markdown', source: title }, ...cells], kernel);
}
