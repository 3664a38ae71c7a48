export { FederationModel, type IMemory } from './federation';
export { ProjectModel } from './project';
export { isActive, RunModel, stopRun } from './run';
export { SessionModel } from './session';
