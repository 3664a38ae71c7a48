/**
 * A notebook that trains on what was launched.
 */

import type { IDataset } from '../tokens';
import { asNotebook, type ICell, type INotebook, literal } from './experiment';

/** What is to be trained, and on what. */
export interface ITraining {
  project: string;
  dataset: Pick<IDataset, 'name' | 'features' | 'target'>;
  /** Id of the launch whose cost the notebook shows at its end. */
  launch: string;
  rounds: number;
  localEpochs: number;
  batchSize: number;
  aggregation: string;
  secureAggregation: boolean;
}

/** What a target asks of the model: its last layer, the loss, a metric. */
function head(target: IDataset['target']): { layer: string; loss: string; metric: string } {
  switch (target?.kind) {
    case 'binary':
      return {
        layer: 'layers.Dense(1, activation="sigmoid")',
        loss: 'binary_crossentropy',
        metric: 'accuracy'
      };
    case 'multiclass':
      return {
        layer: `layers.Dense(${target?.classes ?? 2}, activation="softmax")`,
        loss: 'sparse_categorical_crossentropy',
        metric: 'accuracy'
      };
    default:
      return { layer: 'layers.Dense(1)', loss: 'mean_squared_error', metric: 'mae' };
  }
}

/** The shape of an example: columns of numbers side by side, or the one array that there is. */
function shapeOf(features: IDataset['features']): number[] {
  return features.length === 1 && features[0].shape.length > 0 ? features[0].shape : [features.length];
}

function tuple(shape: number[]): string {
  return shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`;
}

/** The code, cell by cell. */
export function trainingCells(training: ITraining): { heading: string; code: string }[] {
  const { project, dataset, launch, rounds, localEpochs, batchSize } = training;
  const { layer, loss, metric } = head(dataset.target);
  const shape = shapeOf(dataset.features);
  const flat = shape.length > 1 ? 'layers.Flatten()(inputs)' : 'inputs';
  const rule = training.aggregation === 'fedavg' ? null : literal(training.aggregation);
  return [
    {
      heading:
        '## Nodes and data\n\nWhat the launched machines hold, as the others may see it: columns and how many rows, no values.',
      code: [
        '%load_ext flaas_jupyter',
        'import flaas_jupyter as flaas',
        'import keras',
        'from keras import layers',
        '',
        'session = flaas.connect()',
        `federation = session.project(${literal(project)}).federation(dataset=${literal(dataset.name)})`,
        'federation.clients'
      ].join('\n')
    },
    {
      heading: '## Model\n\nA small network to start with: any functional Keras model will do.',
      code: [
        'keras.utils.set_random_seed(7)',
        `inputs = keras.Input(${tuple(shape)})`,
        `hidden = layers.Dense(32, activation="relu")(${flat})`,
        `outputs = ${layer}(hidden)`,
        'model = flaas.FederatedModel(',
        '    inputs,',
        '    outputs,',
        ...(rule ? [`    aggregation=flaas.aggregation(${rule}),`] : []),
        ...(training.secureAggregation ? ['    secure_aggregation=True,'] : []),
        ')',
        `model.compile(optimizer=keras.optimizers.SGD(0.1), loss="${loss}", metrics=["${metric}"])`
      ].join('\n')
    },
    {
      heading: '## Training\n\nThe wizard and the panel *Federated learning* show the rounds as they come.',
      code: [
        'history = model.fit(',
        '    federation,',
        `    rounds=${rounds},`,
        `    local_epochs=${localEpochs},`,
        `    batch_size=${batchSize},`,
        '    seed=7,',
        ')'
      ].join('\n')
    },
    { heading: '## Result', code: 'model.federated_report.plot();' },
    {
      heading:
        '## Cost\n\nUntil the machines end they go on costing: end them in the wizard, or with `.end()` on the launch.',
      code: `launch = session.costs.find_launch(${literal(launch)})\nlaunch.nodes`
    }
  ];
}

/**
 * The training as a notebook.
 *
 * @param kernel Name of the kernel to run it with.
 */
export function trainingNotebook(training: ITraining, kernel: string): INotebook {
  const cells: ICell[] = trainingCells(training).flatMap(({ heading, code }) => [
    { cell_type: 'markdown', source: heading },
    { cell_type: 'code', source: code }
  ]);
  const title = `# Training on ${training.dataset.name}, project ${training.project}`;
  return asNotebook([{ cell_type: 'markdown', source: title }, ...cells], kernel);
}
