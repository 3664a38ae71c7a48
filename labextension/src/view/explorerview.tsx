/** The data explorer in the main area; the panel has the same, and both show the same answers. */

import type { ITranslator } from '@jupyterlab/translation';
import * as React from 'react';

import type { ExplorerModels, FederationModel, ProjectModel } from '../model';
import { Explorer } from './explorer';
import { ProjectView } from './projectview';

export interface IExplorerViewProps {
  federation: FederationModel;
  explorers: ExplorerModels;
  insert: (code: string, notebook: string) => Promise<void>;
}

export class ExplorerView extends ProjectView {
  constructor(
    private readonly _props: IExplorerViewProps,
    translator: ITranslator
  ) {
    super(_props.federation, translator);
  }

  protected label(): string {
    return this.trans.__('Data explorer');
  }

  protected content({ project, datasets }: ProjectModel): JSX.Element {
    const { explorers, insert } = this._props;
    return <Explorer model={explorers.of(project.id)} datasets={datasets} insert={insert} />;
  }
}
