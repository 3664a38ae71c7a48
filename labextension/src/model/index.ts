export {
  billedTotals,
  CostsModel,
  dayBars,
  daysOf,
  estimatedTotal,
  type IDayBars,
  type NamedRange,
  words
} from './costs';
export {
  asNotebook,
  codeCells,
  type IExperiment,
  type INotebook,
  missingOptions,
  notebookFor,
  PARTITIONS
} from './experiment';
export { FederationModel, type IMemory } from './federation';
export { isLive, isReady, LaunchModel } from './launches';
export { ProjectModel } from './project';
export { ordered, type Order, Quantities } from './quantities';
export { isActive, RunModel, stopRun } from './run';
export { SessionModel } from './session';
export { type RoundFigures, SimulationModel } from './simulation';
export { SimulationsModel } from './simulations';
export { type ITraining, trainingNotebook } from './training';
export {
  areaOf,
  areaText,
  badNames,
  type IMissing,
  type INodeWish,
  type IWishes,
  type IWizardMemory,
  MIXED,
  resized,
  type Step,
  STEPS,
  WizardModel
} from './wizard';
