/** The form for questions over rows in the main area; the panel has the same, and both show the same answers. */

import type { ITranslator } from '@jupyterlab/translation';
import * as React from 'react';

import type { AnalyticsModels, FederationModel, ProjectModel } from '../model';
import { Analytics } from './analytics';
import { ProjectView } from './projectview';

export interface IAnalyticsViewProps {
  federation: FederationModel;
  analytics: AnalyticsModels;
  insert: (code: string, notebook: string) => Promise<void>;
}

export class AnalyticsView extends ProjectView {
  constructor(
    private readonly _props: IAnalyticsViewProps,
    translator: ITranslator
  ) {
    super(_props.federation, translator);
  }

  protected label(): string {
    return this.trans.__('Analytics');
  }

  protected content({ project, datasets }: ProjectModel): JSX.Element {
    const { analytics, insert } = this._props;
    return <Analytics model={analytics.of(project.id)} datasets={datasets} insert={insert} />;
  }
}
