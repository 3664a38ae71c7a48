export { codeCells, type IExperiment, missingOptions, notebookFor, PARTITIONS } from './experiment';
export { FederationModel, type IMemory } from './federation';
export { ProjectModel } from './project';
export { ordered, type Order, Quantities } from './quantities';
export { isActive, RunModel, stopRun } from './run';
export { SessionModel } from './session';
export { type RoundFigures, SimulationModel } from './simulation';
export { SimulationsModel } from './simulations';
