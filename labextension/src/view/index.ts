export { AccessView } from './access';
export { CostsView } from './costs';
export { FederationPanel } from './panel';
export { NewSimulation } from './newsimulation';
export { RunView } from './runview';
export { SimulationView } from './simulationview';
export { StatusItem } from './statusbar';
export { Wizard } from './wizard';
