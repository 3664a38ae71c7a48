/** The extension's own icon; the others are JupyterLab's. */
import { LabIcon } from '@jupyterlab/ui-components';

import federation from '../style/icons/federation.svg';

export const federationIcon = new LabIcon({ name: 'flaas:federation', svgstr: federation });
