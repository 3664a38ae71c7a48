/**
 * The plugins and their commands.
 */

import {
  ILabShell,
  ILayoutRestorer,
  type JupyterFrontEnd,
  type JupyterFrontEndPlugin
} from '@jupyterlab/application';
import { ICommandPalette, IThemeManager, MainAreaWidget, WidgetTracker } from '@jupyterlab/apputils';
import { IDefaultFileBrowser } from '@jupyterlab/filebrowser';
import { ILauncher } from '@jupyterlab/launcher';
import { INotebookTracker } from '@jupyterlab/notebook';
import { ISettingRegistry } from '@jupyterlab/settingregistry';
import { IStateDB } from '@jupyterlab/statedb';
import { IStatusBar } from '@jupyterlab/statusbar';
import { ITranslator, nullTranslator } from '@jupyterlab/translation';
import type { ReadonlyPartialJSONValue } from '@lumino/coreutils';

import { saveTable } from './download';
import { federationIcon } from './icons';
import { Kernels } from './kernels';
import {
  ACCESS_TABS,
  AccessModel,
  type AccessTab,
  AnalyticsModels,
  asNotebook,
  CostsModel,
  ExplorerModels,
  FederationModel,
  type IExperiment,
  type IFormMemory,
  type IMemory,
  type ITraining,
  type IWizardMemory,
  notebookFor,
  trainingNotebook,
  UploadsModel,
  WizardModel
} from './model';
import { createNotebook, insertCell } from './notebook';
import { ServerApi } from './request';
import { IFederation } from './tokens';
import { IndexedDbKeep } from './upload/keep';
import { version } from './version';
import {
  AccessView,
  AnalyticsView,
  CostsView,
  ExplorerView,
  FederationPanel,
  MeshView,
  NewSimulation,
  RunView,
  SimulationView,
  StatusItem,
  Wizard
} from './view';
import { DOMAIN } from './view/hooks';

/** Identifiers of the commands. */
export const CommandIDs = {
  /** Show the panel. */
  showPanel: 'flaas:show-panel',
  /** Open the view of the run `id`; without one, of the newest run. */
  openRun: 'flaas:open-run',
  /** Open the view of the simulation `id`; without one, of the newest. */
  openSimulation: 'flaas:open-simulation',
  /** Open the form for a new simulation; its notebook goes into the folder that the file browser shows. */
  newSimulation: 'flaas:new-simulation',
  /** Open the form for questions over rows in the main area. */
  openAnalytics: 'flaas:open-analytics',
  /** Open the data explorer in the main area. */
  openExplorer: 'flaas:open-explorer',
  /** Open the graph of connections between nodes in the main area. */
  openMesh: 'flaas:open-mesh',
  /** Open the dashboard of costs. */
  openCosts: 'flaas:open-costs',
  /** Open the wizard that compares clouds and launches machines. */
  openWizard: 'flaas:open-wizard',
  /** Look at everything anew. */
  refresh: 'flaas:refresh',
  /** Open members, roles, approvals and audit log; `tab` is which of them. */
  openAccess: 'flaas:open-access',
  /** End the session. */
  signOut: 'flaas:sign-out'
} as const;

const federation: JupyterFrontEndPlugin<IFederation> = {
  id: '@flaas/labextension:plugin',
  description: 'Provides the federation that the user is signed in to.',
  autoStart: true,
  optional: [ISettingRegistry, IStateDB],
  provides: IFederation,
  activate: async (
    app: JupyterFrontEnd,
    settingRegistry: ISettingRegistry | null,
    state: IStateDB | null
  ): Promise<FederationModel> => {
    const api = new ServerApi(app.serviceManager.serverSettings);
    const model = new FederationModel({ api, version, memory: state ? memoryIn(state) : undefined });
    if (settingRegistry) {
      try {
        const settings = await settingRegistry.load(federation.id);
        const apply = (): void => {
          model.pollInterval = settings.composite.pollInterval as number;
          model.defaultProject = settings.composite.defaultProject as string;
        };
        settings.changed.connect(apply);
        apply();
      } catch {
        // Without its schema the extension works on the settings' defaults.
      }
    }
    // Browsers open few connections to one host: pages that nobody sees leave theirs to the others.
    document.addEventListener('visibilitychange', () => model.streams.setStandby(document.hidden));
    void app.restored.then(() => model.start());
    return model;
  }
};

const panel: JupyterFrontEndPlugin<void> = {
  id: '@flaas/labextension:panel',
  description: 'Adds the panel with nodes, data sets, runs and simulations.',
  autoStart: true,
  requires: [IFederation],
  optional: [
    ITranslator,
    ILayoutRestorer,
    ICommandPalette,
    ILauncher,
    INotebookTracker,
    IStateDB,
    IDefaultFileBrowser,
    ILabShell
  ],
  activate: (
    app: JupyterFrontEnd,
    model: FederationModel,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    palette: ICommandPalette | null,
    launcher: ILauncher | null,
    notebooks: INotebookTracker | null,
    state: IStateDB | null,
    files: IDefaultFileBrowser | null,
    labShell: ILabShell | null
  ): void => {
    const translation = translator ?? nullTranslator;
    const trans = translation.load(DOMAIN);
    const kernels = new Kernels(app.serviceManager, notebooks);
    const analytics = new AnalyticsModels(kernels, state ? formMemoryIn(state, 'analytics') : null);
    const explorers = new ExplorerModels(kernels, state ? formMemoryIn(state, 'explorer') : null);
    let identity = model.identity;
    model.changed.connect(() => {
      if (model.identity !== identity) {
        identity = model.identity;
        analytics.forget();
        explorers.forget();
      }
    });
    const uploads = new UploadsModel(model.api, new IndexedDbKeep());
    model.changed.connect(() => void uploads.attach(model.identity));
    const insert = async (code: string, path: string): Promise<void> => {
      const panel = insertCell(notebooks, path, code);
      if (panel) {
        app.shell.activateById(panel.id);
        return;
      }
      const made = await createNotebook(app.serviceManager, files?.model.path ?? '', 'analytics', kernel =>
        asNotebook([{ cell_type: 'code', source: code }], kernel)
      );
      await app.commands.execute('docmanager:open', { path: made, factory: 'Notebook' });
    };
    const openAnalytics = (): void => void app.commands.execute(CommandIDs.openAnalytics);
    const openExplorer = (): void => void app.commands.execute(CommandIDs.openExplorer);
    const openMesh = (): void => void app.commands.execute(CommandIDs.openMesh);
    const openRun = (run: { id: string }): void =>
      void app.commands.execute(CommandIDs.openRun, { id: run.id });
    const openSimulation = (simulation: { id: string }): void =>
      void app.commands.execute(CommandIDs.openSimulation, { id: simulation.id });
    const newSimulation = (): void => void app.commands.execute(CommandIDs.newSimulation);
    const openCosts = (): void => void app.commands.execute(CommandIDs.openCosts);
    const openWizard = (): void => void app.commands.execute(CommandIDs.openWizard);
    const openAccess = (tab?: AccessTab): void =>
      void app.commands.execute(CommandIDs.openAccess, tab ? { tab } : {});
    const widget = new FederationPanel(
      {
        federation: model,
        openRun,
        openSimulation,
        newSimulation,
        openCosts,
        openWizard,
        openAccess,
        uploads,
        analytics,
        openAnalytics,
        explorers,
        openExplorer,
        openMesh,
        insert
      },
      translation
    );
    app.shell.add(widget, 'left', { rank: 600 });
    restorer?.add(widget, widget.id);

    const describedBy = { args: { type: 'object', properties: {} } };
    app.commands.addCommand(CommandIDs.showPanel, {
      label: args => (args.launcher ? trans.__('Federated Learning') : trans.__('Show Federated Learning')),
      caption: trans.__('Show nodes, data sets and runs of the federation'),
      icon: federationIcon,
      describedBy,
      execute: () => app.shell.activateById(widget.id)
    });
    app.commands.addCommand(CommandIDs.refresh, {
      label: trans.__('Refresh the Federation'),
      describedBy,
      execute: () => model.refresh()
    });
    app.commands.addCommand(CommandIDs.signOut, {
      label: trans.__('Sign out of the Federation'),
      describedBy,
      isEnabled: () => model.connection === 'signed-in',
      execute: async () => {
        await model.signOut();
      }
    });
    model.changed.connect(() => app.commands.notifyCommandChanged(CommandIDs.signOut));

    const views = new WidgetTracker<MainAreaWidget<AnalyticsView>>({ namespace: 'flaas-analytics' });
    app.commands.addCommand(CommandIDs.openAnalytics, {
      label: args => (args.launcher ? trans.__('Federated Analytics') : trans.__('Ask about Data')),
      caption: trans.__('Compute statistics over the rows of several nodes together'),
      icon: federationIcon,
      describedBy,
      execute: () => {
        let view = views.find(() => true);
        if (!view) {
          const content = new AnalyticsView({ federation: model, analytics, insert }, translation);
          view = new MainAreaWidget({ content });
          view.id = 'flaas-analytics';
          void views.add(view);
          app.shell.add(view, labShell ? 'main' : 'right'); // as for runs
        }
        app.shell.activateById(view.id);
      }
    });
    void restorer?.restore(views, { command: CommandIDs.openAnalytics, name: () => 'analytics' });

    const explorations = new WidgetTracker<MainAreaWidget<ExplorerView>>({ namespace: 'flaas-explorer' });
    app.commands.addCommand(CommandIDs.openExplorer, {
      label: args => (args.launcher ? trans.__('Federated Data Explorer') : trans.__('Explore Data')),
      caption: trans.__('Look at data sets that are spread over nodes, as far as their owners show them'),
      icon: federationIcon,
      describedBy,
      execute: () => {
        let view = explorations.find(() => true);
        if (!view) {
          const content = new ExplorerView({ federation: model, explorers, insert }, translation);
          view = new MainAreaWidget({ content });
          view.id = 'flaas-explorer';
          void explorations.add(view);
          app.shell.add(view, labShell ? 'main' : 'right'); // as for runs
        }
        app.shell.activateById(view.id);
      }
    });
    void restorer?.restore(explorations, { command: CommandIDs.openExplorer, name: () => 'explorer' });

    const meshes = new WidgetTracker<MainAreaWidget<MeshView>>({ namespace: 'flaas-mesh' });
    app.commands.addCommand(CommandIDs.openMesh, {
      label: trans.__('Show Connections between Nodes'),
      caption: trans.__('See which nodes are connected, by which kind of path, and how fast'),
      icon: federationIcon,
      describedBy,
      execute: () => {
        let view = meshes.find(() => true);
        if (!view) {
          view = new MainAreaWidget({ content: new MeshView(model, translation) });
          view.id = 'flaas-mesh';
          void meshes.add(view);
          app.shell.add(view, labShell ? 'main' : 'right'); // as for runs
        }
        app.shell.activateById(view.id);
      }
    });
    void restorer?.restore(meshes, { command: CommandIDs.openMesh, name: () => 'mesh' });

    const category = trans.__('Federated Learning');
    for (const command of [
      CommandIDs.showPanel,
      CommandIDs.openRun,
      CommandIDs.openExplorer,
      CommandIDs.openAnalytics,
      CommandIDs.openMesh,
      CommandIDs.openSimulation,
      CommandIDs.newSimulation,
      CommandIDs.openCosts,
      CommandIDs.openWizard,
      CommandIDs.openAccess,
      CommandIDs.refresh,
      CommandIDs.signOut
    ]) {
      palette?.addItem({ command, category });
    }
    for (const command of [
      CommandIDs.showPanel,
      CommandIDs.newSimulation,
      CommandIDs.openCosts,
      CommandIDs.openWizard,
      CommandIDs.openAccess
    ]) {
      launcher?.add({ command, category: trans.__('Other'), args: { launcher: true } });
    }
  }
};

const runs: JupyterFrontEndPlugin<void> = {
  id: '@flaas/labextension:runs',
  description: 'Adds the view of a run, with its live chart.',
  autoStart: true,
  requires: [IFederation],
  optional: [ITranslator, ILayoutRestorer, ILabShell, IThemeManager],
  activate: (
    app: JupyterFrontEnd,
    model: FederationModel,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    labShell: ILabShell | null,
    themes: IThemeManager | null
  ): void => {
    const translation = translator ?? nullTranslator;
    const trans = translation.load(DOMAIN);
    const tracker = new WidgetTracker<MainAreaWidget<RunView>>({ namespace: 'flaas-runs' });

    app.commands.addCommand(CommandIDs.openRun, {
      label: trans.__('Open the Newest Run'),
      caption: trans.__('Show state, metrics and rounds of a run'),
      icon: federationIcon,
      describedBy: {
        args: {
          type: 'object',
          properties: { id: { type: 'string', description: trans.__('The run; default: the newest') } }
        }
      },
      isEnabled: args => Boolean(args.id) || (model.project?.runs.length ?? 0) > 0,
      execute: args => {
        const id = (args.id as string | undefined) ?? model.project?.runs[0]?.id;
        if (!id) {
          return;
        }
        let widget = tracker.find(candidate => candidate.content.model.id === id);
        if (!widget) {
          const content = new RunView(model.openRun(id), themes?.themeChanged ?? null, translation);
          widget = new MainAreaWidget({ content });
          widget.id = `flaas-run-${id}`;
          void tracker.add(widget);
          // The main area of Notebook 7 holds the notebook alone.
          app.shell.add(widget, labShell ? 'main' : 'right');
        }
        app.shell.activateById(widget.id);
      }
    });
    model.changed.connect(() => app.commands.notifyCommandChanged(CommandIDs.openRun));

    if (restorer) {
      void restorer.restore(tracker, {
        command: CommandIDs.openRun,
        args: widget => ({ id: widget.content.model.id }),
        name: widget => widget.content.model.id
      });
    }
  }
};

const simulations: JupyterFrontEndPlugin<void> = {
  id: '@flaas/labextension:simulations',
  description: 'Adds the view of a simulation, with its heat map, and the form for a new one.',
  autoStart: true,
  requires: [IFederation],
  optional: [ITranslator, ILayoutRestorer, ILabShell, IThemeManager, IDefaultFileBrowser],
  activate: (
    app: JupyterFrontEnd,
    { simulations: model }: FederationModel,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    labShell: ILabShell | null,
    themes: IThemeManager | null,
    files: IDefaultFileBrowser | null
  ): void => {
    const translation = translator ?? nullTranslator;
    const trans = translation.load(DOMAIN);
    const area = labShell ? 'main' : 'right'; // as for runs
    const views = new WidgetTracker<MainAreaWidget<SimulationView>>({ namespace: 'flaas-simulations' });
    const forms = new WidgetTracker<MainAreaWidget<NewSimulation>>({ namespace: 'flaas-new-simulation' });

    app.commands.addCommand(CommandIDs.openSimulation, {
      label: trans.__('Open the Newest Simulation'),
      caption: trans.__('Show metrics of a simulation, and what each client had in each round'),
      icon: federationIcon,
      describedBy: {
        args: {
          type: 'object',
          properties: {
            id: { type: 'string', description: trans.__('The simulation; default: the newest') }
          }
        }
      },
      isEnabled: args => Boolean(args.id) || model.simulations.length > 0,
      execute: args => {
        const id = (args.id as string | undefined) ?? model.simulations[0]?.id;
        if (!id) {
          return;
        }
        let widget = views.find(candidate => candidate.content.model.id === id);
        if (!widget) {
          const content = new SimulationView(id, model, themes?.themeChanged ?? null, translation);
          widget = new MainAreaWidget({ content });
          widget.id = `flaas-simulation-${id}`;
          void views.add(widget);
          app.shell.add(widget, area);
        }
        app.shell.activateById(widget.id);
      }
    });
    model.changed.connect(() => app.commands.notifyCommandChanged(CommandIDs.openSimulation));

    app.commands.addCommand(CommandIDs.newSimulation, {
      label: args => (args.launcher ? trans.__('Federated Simulation') : trans.__('New Simulation')),
      caption: trans.__('Choose a rule, an attack and clients, and get a notebook that simulates them'),
      icon: federationIcon,
      describedBy: { args: { type: 'object', properties: {} } },
      execute: () => {
        let widget = forms.find(() => true);
        if (!widget) {
          const create = async (experiment: IExperiment): Promise<void> => {
            const path = await createNotebook(
              app.serviceManager,
              files?.model.path ?? '',
              `simulation-${experiment.rule.protocol.name}`,
              kernel => notebookFor(experiment, kernel)
            );
            await app.commands.execute('docmanager:open', { path, factory: 'Notebook' });
          };
          widget = new MainAreaWidget({ content: new NewSimulation({ model, create }, translation) });
          widget.id = 'flaas-new-simulation';
          void forms.add(widget);
          app.shell.add(widget, area);
        }
        app.shell.activateById(widget.id);
      }
    });

    if (restorer) {
      void restorer.restore(views, {
        command: CommandIDs.openSimulation,
        args: widget => ({ id: widget.content.model.id }),
        name: widget => widget.content.model.id
      });
      void restorer.restore(forms, { command: CommandIDs.newSimulation, name: () => 'form' });
    }
  }
};

const costs: JupyterFrontEndPlugin<void> = {
  id: '@flaas/labextension:costs',
  description: 'Adds the dashboard of costs, and the wizard that compares clouds and launches machines.',
  autoStart: true,
  requires: [IFederation],
  optional: [ITranslator, ILayoutRestorer, ILabShell, IThemeManager, IDefaultFileBrowser, IStateDB],
  activate: (
    app: JupyterFrontEnd,
    model: FederationModel,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    labShell: ILabShell | null,
    themes: IThemeManager | null,
    files: IDefaultFileBrowser | null,
    state: IStateDB | null
  ): void => {
    const translation = translator ?? nullTranslator;
    const trans = translation.load(DOMAIN);
    const area = labShell ? 'main' : 'right'; // as for runs
    const dashboards = new WidgetTracker<MainAreaWidget<CostsView>>({ namespace: 'flaas-costs' });
    const wizards = new WidgetTracker<MainAreaWidget<Wizard>>({ namespace: 'flaas-wizard' });
    const showPanel = (): void => void app.commands.execute(CommandIDs.showPanel);
    const openCosts = (): void => void app.commands.execute(CommandIDs.openCosts);
    const openWizard = (): void => void app.commands.execute(CommandIDs.openWizard);
    const openRun = (id: string): void => void app.commands.execute(CommandIDs.openRun, { id });
    const describedBy = { args: { type: 'object', properties: {} } };

    app.commands.addCommand(CommandIDs.openCosts, {
      label: args => (args.launcher ? trans.__('Federated Costs') : trans.__('Show Costs')),
      caption: trans.__('Show what federated projects cost: bill, estimate and budgets'),
      icon: federationIcon,
      describedBy,
      execute: () => {
        let widget = dashboards.find(() => true);
        if (!widget) {
          const content = new CostsView(
            { federation: model, model: new CostsModel(model.api), openWizard, showPanel, save: saveTable },
            translation
          );
          widget = new MainAreaWidget({ content });
          widget.id = 'flaas-costs';
          void dashboards.add(widget);
          app.shell.add(widget, area);
        }
        app.shell.activateById(widget.id);
      }
    });

    const train = async (training: ITraining): Promise<void> => {
      const path = await createNotebook(
        app.serviceManager,
        files?.model.path ?? '',
        `training-${training.dataset.name}`,
        kernel => trainingNotebook(training, kernel)
      );
      const opened = (await app.commands.execute('docmanager:open', { path, factory: 'Notebook' })) as
        { context?: { ready: Promise<void>; sessionContext: { ready: Promise<void> } } } | undefined;
      await opened?.context?.ready;
      await opened?.context?.sessionContext.ready;
      // Its promise is kept when the last cell is done; the wizard shows the rounds meanwhile.
      void app.commands.execute('notebook:run-all-cells');
    };
    app.commands.addCommand(CommandIDs.openWizard, {
      label: args => (args.launcher ? trans.__('Federated Cloud Machines') : trans.__('Launch Machines')),
      caption: trans.__('Compare what a federated project costs in each cloud, and launch it where you like'),
      icon: federationIcon,
      describedBy,
      execute: () => {
        let widget = wizards.find(() => true);
        if (!widget) {
          const wizard = new WizardModel(model.api, model.streams, state ? wizardMemoryIn(state) : null);
          const themeChanged = themes?.themeChanged ?? null;
          const props = {
            federation: model,
            model: wizard,
            showPanel,
            openCosts,
            openRun,
            train,
            themeChanged
          };
          widget = new MainAreaWidget({ content: new Wizard(props, translation) });
          widget.id = 'flaas-wizard';
          void wizards.add(widget);
          app.shell.add(widget, area);
        }
        app.shell.activateById(widget.id);
      }
    });

    if (restorer) {
      void restorer.restore(dashboards, { command: CommandIDs.openCosts, name: () => 'costs' });
      void restorer.restore(wizards, { command: CommandIDs.openWizard, name: () => 'wizard' });
    }
  }
};

const access: JupyterFrontEndPlugin<void> = {
  id: '@flaas/labextension:access',
  description: 'Adds the view of members, roles, approvals and the audit log.',
  autoStart: true,
  requires: [IFederation],
  optional: [ITranslator, ILayoutRestorer, ILabShell],
  activate: (
    app: JupyterFrontEnd,
    model: FederationModel,
    translator: ITranslator | null,
    restorer: ILayoutRestorer | null,
    labShell: ILabShell | null
  ): void => {
    const translation = translator ?? nullTranslator;
    const trans = translation.load(DOMAIN);
    const views = new WidgetTracker<MainAreaWidget<AccessView>>({ namespace: 'flaas-access' });
    const showPanel = (): void => void app.commands.execute(CommandIDs.showPanel);

    app.commands.addCommand(CommandIDs.openAccess, {
      label: args => (args.launcher ? trans.__('Federated Access') : trans.__('Show Access and Approvals')),
      caption: trans.__('Show who may do what and why, what waits for approval, and what was done'),
      icon: federationIcon,
      describedBy: {
        args: {
          type: 'object',
          properties: {
            tab: { type: 'string', enum: [...ACCESS_TABS], description: trans.__('Which tab to show') }
          }
        }
      },
      execute: args => {
        const tab = ACCESS_TABS.find(each => each === args.tab);
        let widget = views.find(() => true);
        if (!widget) {
          const shown = new AccessModel(model.api);
          const content = new AccessView(
            { federation: model, model: shown, showPanel, save: saveTable },
            translation
          );
          const made = (widget = new MainAreaWidget({ content }));
          widget.id = 'flaas-access';
          let last = shown.tab;
          shown.changed.connect(() => {
            if (shown.tab !== last) {
              last = shown.tab;
              void views.save(made); // a reload shows the same tab
            }
          });
          if (tab) {
            shown.show(tab);
          }
          void views.add(widget);
          app.shell.add(widget, labShell ? 'main' : 'right'); // as for runs
        } else if (tab) {
          widget.content.model.show(tab);
        }
        app.shell.activateById(widget.id);
      }
    });

    if (restorer) {
      void restorer.restore(views, {
        command: CommandIDs.openAccess,
        args: widget => ({ tab: widget.content.model.tab }),
        name: () => 'access'
      });
    }
  }
};

const status: JupyterFrontEndPlugin<void> = {
  id: '@flaas/labextension:status',
  description: 'Shows in the status bar whether the federation is there, and how many runs are active.',
  autoStart: true,
  requires: [IFederation],
  optional: [IStatusBar, ITranslator],
  activate: (
    app: JupyterFrontEnd,
    model: IFederation,
    statusBar: IStatusBar | null,
    translator: ITranslator | null
  ): void => {
    const open = (): void => void app.commands.execute(CommandIDs.showPanel);
    const openApprovals = (): void => void app.commands.execute(CommandIDs.openAccess, { tab: 'approvals' });
    statusBar?.registerStatusItem('@flaas/labextension:status', {
      item: new StatusItem(model, open, openApprovals, translator ?? nullTranslator),
      align: 'left',
      rank: 30
    });
  }
};

/** The choice of a project, in the user's workspace state. */
function memoryIn(state: IStateDB): IMemory {
  const key = '@flaas/labextension:project';
  return {
    recall: async () => ((await state.fetch(key)) as string | undefined) ?? null,
    remember: project => void state.save(key, project)
  };
}

/** Forms by project, in the user's workspace state; what was answered is never among it. */
function formMemoryIn(state: IStateDB, name: 'analytics' | 'explorer'): IFormMemory {
  const key = `@flaas/labextension:${name}`;
  return {
    recall: () => state.fetch(key),
    remember: kept => state.save(key, kept as ReadonlyPartialJSONValue)
  };
}

/** What was entered in the wizard, in the user's workspace state; credentials are never among it. */
function wizardMemoryIn(state: IStateDB): IWizardMemory {
  const key = '@flaas/labextension:wizard';
  return {
    recall: () => state.fetch(key),
    remember: kept => state.save(key, kept as ReadonlyPartialJSONValue)
  };
}

export { IFederation } from './tokens';

const plugins: JupyterFrontEndPlugin<unknown>[] = [
  federation,
  panel,
  runs,
  simulations,
  costs,
  access,
  status
];

export default plugins;
