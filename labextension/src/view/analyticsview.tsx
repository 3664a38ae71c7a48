/** The form for questions over rows in the main area; the panel has the same, and both show the same answers. */

import { ReactWidget } from '@jupyterlab/ui-components';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { federationIcon } from '../icons';
import type { AnalyticsModels, FederationModel, ProjectModel } from '../model';
import { Analytics } from './analytics';
import { DOMAIN, TranslationContext, useModel, useTrans } from './hooks';

export interface IAnalyticsViewProps {
  federation: FederationModel;
  analytics: AnalyticsModels;
  insert: (code: string, notebook: string) => Promise<void>;
}

export class AnalyticsView extends ReactWidget {
  constructor(props: IAnalyticsViewProps, translator: ITranslator) {
    super();
    this._props = props;
    this._trans = translator.load(DOMAIN);
    this.addClass('flaas-RunView');
    this.title.icon = federationIcon;
    this.title.label = this._trans.__('Analytics');
    this.title.closable = true;
  }

  protected override render(): JSX.Element {
    return (
      <TranslationContext.Provider value={this._trans}>
        <AnalyticsOf {...this._props} />
      </TranslationContext.Provider>
    );
  }

  private _props: IAnalyticsViewProps;
  private _trans: TranslationBundle;
}

function AnalyticsOf(props: IAnalyticsViewProps): JSX.Element {
  const trans = useTrans();
  const { federation } = props;
  useModel(federation);
  return (
    <>
      <h2>{trans.__('Analytics')}</h2>
      {federation.project ? (
        <OfProject {...props} key={federation.project.project.id} project={federation.project} />
      ) : (
        <p className="flaas-Empty">
          {trans.__('Sign in in the panel Federated learning, and choose a project there.')}
        </p>
      )}
    </>
  );
}

function OfProject({
  analytics,
  insert,
  project
}: IAnalyticsViewProps & { project: ProjectModel }): JSX.Element {
  const trans = useTrans();
  useModel(project);
  return (
    <>
      <p className="flaas-Hint">{trans.__('Project %1', project.project.name)}</p>
      <Analytics model={analytics.of(project.project.id)} datasets={project.datasets} insert={insert} />
    </>
  );
}
