export { FederationPanel } from './panel';
export { RunView } from './runview';
export { StatusItem } from './statusbar';
