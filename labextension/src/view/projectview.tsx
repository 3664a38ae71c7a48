/** What the panel has of a project, in the main area with more room; both show the same model. */

import { ReactWidget } from '@jupyterlab/ui-components';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { federationIcon } from '../icons';
import type { FederationModel, ProjectModel } from '../model';
import { DOMAIN, TranslationContext, useModel, useTrans } from './hooks';

export abstract class ProjectView extends ReactWidget {
  constructor(
    private readonly _federation: FederationModel,
    translator: ITranslator
  ) {
    super();
    this.trans = translator.load(DOMAIN);
    this.addClass('flaas-RunView');
    this.title.icon = federationIcon;
    this.title.label = this.label();
    this.title.closable = true;
  }

  /** What it is called. */
  protected abstract label(): string;

  /** What it shows of a project. */
  protected abstract content(project: ProjectModel): JSX.Element;

  protected override render(): JSX.Element {
    return (
      <TranslationContext.Provider value={this.trans}>
        <h2>{this.label()}</h2>
        <Chosen federation={this._federation} content={project => this.content(project)} />
      </TranslationContext.Provider>
    );
  }

  protected readonly trans: TranslationBundle;
}

interface IChosenProps {
  federation: FederationModel;
  content: (project: ProjectModel) => JSX.Element;
}

/** The project that is chosen in the panel. */
function Chosen({ federation, content }: IChosenProps): JSX.Element {
  const trans = useTrans();
  useModel(federation);
  const { project } = federation;
  return project ? (
    <OfProject key={project.project.id} project={project} content={content} />
  ) : (
    <p className="flaas-Empty">
      {trans.__('Sign in in the panel Federated learning, and choose a project there.')}
    </p>
  );
}

function OfProject({
  project,
  content
}: Pick<IChosenProps, 'content'> & { project: ProjectModel }): JSX.Element {
  const trans = useTrans();
  useModel(project);
  return (
    <>
      <p className="flaas-Hint">{trans.__('Project %1', project.project.name)}</p>
      {content(project)}
    </>
  );
}
