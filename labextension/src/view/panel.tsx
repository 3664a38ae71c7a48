/**
 * The left panel: who is signed in, the nodes, data sets and runs of one project, and the simulations on this machine.
 */

import { showErrorMessage } from '@jupyterlab/apputils';
import { ReactWidget, refreshIcon } from '@jupyterlab/ui-components';
import type { ITranslator } from '@jupyterlab/translation';
import { Button, HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import { clock } from '../format';
import { federationIcon } from '../icons';
import {
  type AnalyticsModel,
  type AnalyticsModels,
  CostsModel,
  type ExplorerModel,
  type ExplorerModels,
  type FederationModel,
  follow,
  linkOf,
  type ProjectModel,
  stopRun,
  type UploadsModel
} from '../model';
import type { IApi, ILink, IRun, ISimulation } from '../tokens';
import { Analytics } from './analytics';
import { CostSection, monthFigure } from './costsection';
import { Datasets } from './datasets';
import { Explorer } from './explorer';
import { heldText } from './accessparts';
import { DOMAIN, TranslationContext, useModel, useTrans } from './hooks';
import { Mesh } from './mesh';
import { Models } from './models';
import { Nodes } from './nodes';
import { Notice } from './notice';
import { Queries } from './queries';
import { Runs } from './runs';
import { SignIn } from './signin';
import { Simulations } from './simulations';
import { UploadPart } from './upload';

export interface IPanelProps {
  federation: FederationModel;
  /** Opens the view of a run. */
  openRun: (run: IRun) => void;
  /** Opens the view of a simulation. */
  openSimulation: (simulation: ISimulation) => void;
  /** Opens the form for a new simulation. */
  newSimulation: () => void;
  /** Opens the dashboard. */
  openCosts: () => void;
  /** Opens the wizard that launches machines. */
  openWizard: () => void;
  /** Opens members, roles, approvals and audit log. */
  openAccess: (tab?: 'approvals') => void;
  /** Files that are sealed here for a node. */
  uploads: UploadsModel;
  /** Questions over rows, by project. */
  analytics: AnalyticsModels;
  /** Opens the same form in the main area, where there is more room. */
  openAnalytics: () => void;
  /** Looks at data sets, by project. */
  explorers: ExplorerModels;
  /** Opens the data explorer in the main area. */
  openExplorer: () => void;
  /** Opens the graph of connections in the main area. */
  openMesh: () => void;
  /** Puts code into a notebook: the one with a path, or '' for the one that was used last, or a new one. */
  insert: (code: string, notebook: string) => Promise<void>;
}

/**
 * The panel as a widget.
 */
export class FederationPanel extends ReactWidget {
  constructor(props: IPanelProps, translator: ITranslator) {
    super();
    this._props = props;
    this._trans = translator.load(DOMAIN);
    this.id = 'flaas-panel';
    this.title.icon = federationIcon;
    this.title.caption = this._trans.__('Federated learning');
    this.addClass('flaas-Panel');
    this.node.tabIndex = -1;
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', this._trans.__('Federated learning'));
  }

  /** Put the keyboard where there is something to do. */
  protected override onActivateRequest(): void {
    void (this.renderPromise ?? Promise.resolve()).then(() => {
      const first = this.node.querySelector<HTMLElement>(
        '.flaas-Panel-body :is(input, select, summary, button)'
      );
      (first ?? this.node).focus();
    });
  }

  protected override render(): JSX.Element {
    return (
      <TranslationContext.Provider value={this._trans}>
        <Panel {...this._props} />
      </TranslationContext.Provider>
    );
  }

  private _props: IPanelProps;
  private _trans: ReturnType<ITranslator['load']>;
}

/** The panel's content. */
export function Panel(props: IPanelProps): JSX.Element {
  const { federation, openSimulation, newSimulation } = props;
  const trans = useTrans();
  useModel(federation);
  const retry = { label: trans.__('Retry'), run: () => void federation.refresh() };
  return (
    <>
      <header className="flaas-Panel-header">
        <h2>{trans.__('Federated learning')}</h2>
        <Button
          minimal
          small
          className="flaas-Button"
          aria-label={trans.__('Refresh')}
          title={trans.__('Refresh')}
          onClick={retry.run}
        >
          <refreshIcon.react tag="span" aria-hidden="true" elementSize="small" />
        </Button>
      </header>
      <div className="flaas-Panel-body">
        <Obstacle federation={federation} retry={retry} />
        <Content {...props} />
        {federation.identity && federation.project && <Spent key={federation.identity} {...props} />}
        <Simulated federation={federation} open={openSimulation} create={newSimulation} />
      </div>
    </>
  );
}

/** What stands between the user and the federation, in plain words, with a way out. */
function Obstacle({
  federation,
  retry
}: {
  federation: FederationModel;
  retry: { label: string; run: () => void };
}): JSX.Element | null {
  const trans = useTrans();
  const { connection, problem, status } = federation;
  switch (connection) {
    case 'starting':
      return <Notice title={trans.__('Looking for the federation …')} />;
    case 'server-missing':
      return (
        <Notice
          problem
          title={trans.__('The server half of the extension is missing')}
          detail={trans.__(
            'Jupyter Server does not know the extension flaas_server. Install it where Jupyter Server runs, and restart Jupyter Server.'
          )}
          command="pip install flaas_jupyter"
          action={retry}
        />
      );
    case 'version-mismatch':
      return (
        <Notice
          problem
          title={trans.__('The two halves of the extension differ')}
          detail={trans.__(
            'This page has version %1, Jupyter Server has %2. Restart Jupyter Server and reload the page; if that does not help, install one version for both.',
            federation.session.version,
            status?.version ?? '?'
          )}
          command="pip install -U flaas_jupyter"
          action={{ label: trans.__('Reload the page'), run: () => window.location.reload() }}
        />
      );
    case 'server-failing':
      return (
        <Notice
          problem
          title={trans.__('Jupyter Server cannot be asked')}
          detail={problem?.detail}
          hint={trans.__('Check that it still runs, then try again.')}
          action={retry}
        />
      );
    case 'api-unreachable':
      return (
        <>
          <Notice
            problem
            title={problem?.title ?? trans.__('The coordination API cannot be reached')}
            detail={problem?.detail}
            hint={problem?.hint}
            action={retry}
          />
          {federation.project === null && (
            <details className="flaas-Section">
              <summary>
                <h3>{trans.__('Sign in elsewhere')}</h3>
              </summary>
              <SignIn federation={federation} />
            </details>
          )}
        </>
      );
    case 'signed-out':
      return <SignIn key={status?.api.url} federation={federation} />;
    case 'signed-in':
      return problem ? (
        <Notice problem title={problem.title} detail={problem.detail} hint={problem.hint} action={retry} />
      ) : null;
  }
}

function Content(props: IPanelProps): JSX.Element | null {
  const { federation, openRun, openAccess } = props;
  const trans = useTrans();
  const { connection, project, projects, status } = federation;
  if (connection === 'signed-out' || connection === 'server-missing' || connection === 'version-mismatch') {
    return null;
  }
  const { subject, organisation, roles } = status?.session ?? {};
  const waiting = federation.waitingApprovals;
  const signOut = async (): Promise<void> => {
    const problem = await federation.signOut();
    if (problem) {
      await showErrorMessage(
        trans.__('Signed out here only'),
        trans.__('The API could not be told that the session has ended: %1', problem.detail)
      );
    }
  };
  return (
    <>
      {connection === 'signed-in' && (
        <div className="flaas-Identity">
          <span title={status?.api.url}>
            {trans.__('%1, %2', subject ?? '', organisation ?? '')}
            {(roles ?? []).map(({ role, scope }) => (
              <span key={`${role} ${scope}`} className="flaas-Secondary">
                {heldText(trans, role, scope)}
              </span>
            ))}
          </span>
          <Button minimal small className="flaas-Button" onClick={() => void signOut()}>
            {trans.__('Sign out')}
          </Button>
        </div>
      )}
      {connection === 'signed-in' && (
        <div className="flaas-Buttons">
          <Button small className="flaas-Button" onClick={() => openAccess()}>
            {trans.__('Access')}
          </Button>
          {waiting > 0 && (
            <Button small className="flaas-Button flaas-mod-primary" onClick={() => openAccess('approvals')}>
              {trans._n('%1 approval waits for you', '%1 approvals wait for you', waiting)}
            </Button>
          )}
        </div>
      )}
      {projects.length > 0 && (
        <label className="flaas-Picker">
          <span>{trans.__('Project')}</span>
          <HTMLSelect
            value={project?.project.id ?? ''}
            onChange={event => federation.select(event.target.value)}
            options={projects.map(({ id, name }) => ({ label: name, value: id }))}
          />
        </label>
      )}
      {connection === 'signed-in' && project === null && federation.problem === null && (
        <p className="flaas-Empty">{trans.__('Your organisation takes part in no project yet.')}</p>
      )}
      {project && (
        <Project
          key={project.project.id}
          project={project}
          own={status?.session.node ?? null}
          openRun={openRun}
          stop={run => stopRun(federation.api, run)}
          api={federation.api}
          openApprovals={() => openAccess('approvals')}
          uploads={props.uploads}
          analytics={props.analytics}
          openAnalytics={props.openAnalytics}
          explorers={props.explorers}
          openExplorer={props.openExplorer}
          openMesh={props.openMesh}
          insert={props.insert}
        />
      )}
    </>
  );
}

interface ISimulatedProps {
  federation: FederationModel;
  open: (simulation: ISimulation) => void;
  create: () => void;
}

/** Simulations need the server half only, not a federation. */
function Simulated({ federation, open, create }: ISimulatedProps): JSX.Element | null {
  const trans = useTrans();
  const { connection, simulations } = federation;
  useModel(simulations);
  if (connection === 'starting' || connection === 'server-missing' || connection === 'version-mismatch') {
    return null;
  }
  return (
    <Section title={trans.__('Simulations')} figure={trans.__('%1 running', simulations.running)}>
      <Simulations model={simulations} open={open} create={create} />
    </Section>
  );
}

/** What was spent this month; a model of its own for whoever is signed in. */
function Spent({ federation, openCosts, openWizard }: IPanelProps): JSX.Element {
  const trans = useTrans();
  const [model, setModel] = React.useState<CostsModel | null>(null);
  React.useEffect(() => {
    const made = new CostsModel(federation.api);
    setModel(made);
    return () => made.dispose();
  }, [federation]);
  useModel(model);
  return (
    <Section title={trans.__('Costs this month')} figure={model ? monthFigure(model) : ''}>
      {model && (
        <CostSection
          model={model}
          project={federation.project?.project ?? null}
          openCosts={openCosts}
          openWizard={openWizard}
        />
      )}
    </Section>
  );
}

interface IProjectProps extends Pick<
  IPanelProps,
  'uploads' | 'analytics' | 'openAnalytics' | 'explorers' | 'openExplorer' | 'openMesh' | 'insert'
> {
  project: ProjectModel;
  own: string | null;
  openRun: (run: IRun) => void;
  stop: (run: IRun) => Promise<void>;
  api: IApi;
  openApprovals: () => void;
}

function Project(props: IProjectProps): JSX.Element {
  const { project, own, openRun, stop, api, openApprovals } = props;
  const trans = useTrans();
  useModel(project);
  if (!project.loaded) {
    return project.problem ? (
      <Notice
        problem
        title={project.problem.title}
        detail={project.problem.detail}
        hint={project.problem.hint}
        action={{ label: trans.__('Retry'), run: () => void project.refresh() }}
      />
    ) : (
      <p className="flaas-Empty">{trans.__('Loading …')}</p>
    );
  }
  const act = async (link: ILink | null, body?: unknown): Promise<void> => {
    if (link) {
      await follow(api, link, body);
      await project.refresh();
    }
  };
  const explorer = props.explorers.of(project.project.id);
  const questions = props.analytics.of(project.project.id);
  const online = project.nodes.filter(node => node.state === 'online').length;
  return (
    <>
      <Freshness project={project} />
      <Section title={trans.__('Nodes')} figure={trans.__('%1 of %2 online', online, project.nodes.length)}>
        <Nodes nodes={project.nodes} own={own} follow={act} />
        {project.nodes.length > 1 && (
          <Part title={trans.__('Connections')} figure="">
            <Button small minimal className="flaas-Button" onClick={props.openMesh}>
              {trans.__('Open with more room')}
            </Button>
            <Mesh project={project} api={api} />
          </Part>
        )}
      </Section>
      <Section title={trans.__('Data sets')} figure={String(project.datasets.length)}>
        <Datasets datasets={project.datasets} />
        <UploadPart uploads={props.uploads} project={project} />
        <FormPart title={trans.__('Data explorer')} model={explorer} openView={props.openExplorer}>
          <Explorer model={explorer} datasets={project.datasets} insert={props.insert} />
        </FormPart>
        <FormPart title={trans.__('Analytics')} model={questions} openView={props.openAnalytics}>
          <Analytics model={questions} datasets={project.datasets} insert={props.insert} />
        </FormPart>
        {project.queries.length > 0 && (
          <Part title={trans.__('Queries')} figure={String(project.queries.length)}>
            <Queries queries={project.queries} />
          </Part>
        )}
      </Section>
      <Section title={trans.__('Runs')} figure={trans.__('%1 active', project.activeRuns)}>
        <Runs
          runs={project.runs}
          open={openRun}
          stop={stop}
          follow={(run, relation) => act(linkOf(run, relation))}
        />
      </Section>
      {project.models.length > 0 && (
        <Section title={trans.__('Models')} figure={String(project.models.length)}>
          <Models
            models={project.models}
            api={api}
            refresh={() => project.refresh()}
            openApprovals={openApprovals}
          />
        </Section>
      )}
    </>
  );
}

/**
 * A form that can be had in the main area too; closed until somebody wants it, and as it was left after a reload. Nothing
 * is asked then before somebody says so.
 */
function FormPart({
  title,
  model,
  openView,
  children
}: {
  title: string;
  model: AnalyticsModel | ExplorerModel;
  /** Opens the same form in the main area. */
  openView: () => void;
  children: React.ReactNode;
}): JSX.Element {
  const trans = useTrans();
  useModel(model);
  return (
    <Part
      title={title}
      figure=""
      open={model.form.open === 'yes'}
      toggle={open => model.change({ open: open ? 'yes' : '' })}
    >
      <Button small minimal className="flaas-Button" onClick={openView}>
        {trans.__('Open with more room')}
      </Button>
      {children}
    </Part>
  );
}

/** A part of a section that is closed at first; what is in it is only made once it is open. */
function Part({
  title,
  figure,
  open,
  toggle,
  children
}: {
  title: string;
  figure: string;
  /** Whether it is open, for who keeps that. */
  open?: boolean;
  toggle?: (open: boolean) => void;
  children: React.ReactNode;
}): JSX.Element {
  const [own, setOwn] = React.useState(false);
  const shown = open ?? own;
  return (
    <details
      className="flaas-Section flaas-Part"
      open={shown}
      onToggle={event => {
        const now = event.currentTarget.open;
        if (now !== shown) {
          (toggle ?? setOwn)(now);
        }
      }}
    >
      <summary>
        <h4>{title}</h4>
        <span className="flaas-Section-figure">{figure}</span>
      </summary>
      {shown && children}
    </details>
  );
}

/** Says when what is shown may be old. */
function Freshness({ project }: { project: ProjectModel }): JSX.Element {
  const trans = useTrans();
  const updated = project.updated ? clock(project.updated) : '?';
  let words = '';
  if (project.liveness === 'lost') {
    words = trans.__('Connection lost; last updated %1', updated);
  } else if (project.problem) {
    words = trans.__('Not up to date; last updated %1', updated);
  } else if (project.liveness === 'polling') {
    words = trans.__('Live updates do not come through; last looked at %1', updated);
  }
  return (
    <p className="flaas-Freshness" role="status">
      {words}
    </p>
  );
}

function Section({
  title,
  figure,
  children
}: {
  title: string;
  figure: string;
  children: React.ReactNode;
}): JSX.Element {
  return (
    <details className="flaas-Section" open>
      <summary>
        <h3>{title}</h3>
        <span className="flaas-Section-figure">{figure}</span>
      </summary>
      {children}
    </details>
  );
}
