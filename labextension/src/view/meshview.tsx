/** Connections between nodes in the main area; the panel has the same with less room. */

import type { ITranslator } from '@jupyterlab/translation';
import * as React from 'react';

import type { FederationModel, ProjectModel } from '../model';
import { Mesh } from './mesh';
import { ProjectView } from './projectview';

export class MeshView extends ProjectView {
  constructor(
    private readonly _of: FederationModel,
    translator: ITranslator
  ) {
    super(_of, translator);
  }

  protected label(): string {
    return this.trans.__('Connections between nodes');
  }

  protected content(project: ProjectModel): JSX.Element {
    return <Mesh project={project} api={this._of.api} />;
  }
}
