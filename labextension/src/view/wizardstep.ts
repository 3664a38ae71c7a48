/**
 * What the wizard is given, and what it gives to each of its steps.
 */

import type { FederationModel, ITraining, Step, WizardModel } from '../model';
import type { ThemeSignal } from './runview';

/** What the wizard needs of the rest of JupyterLab. */
export interface IWizardProps {
  federation: FederationModel;
  model: WizardModel;
  showPanel: () => void;
  openCosts: () => void;
  openRun: (id: string) => void;
  /** Makes a notebook that trains, opens it and runs it. */
  train: (training: ITraining) => Promise<void>;
  themeChanged: ThemeSignal;
}

/** What each step gets. */
export interface IStepProps extends IWizardProps {
  /** Goes a step on. */
  next: (step: Step) => void;
}
