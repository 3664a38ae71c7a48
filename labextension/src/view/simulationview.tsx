/**
 * A simulation in the main area: its state, its metrics, what it is made of, and what each client had in each round.
 */

import type { ITranslator } from '@jupyterlab/translation';
import * as React from 'react';

import { clock, count, dateTime, percent, simulationName } from '../format';
import type { SimulationModel, SimulationsModel } from '../model';
import type { ISimulation } from '../tokens';
import { MetricsChart } from './chart';
import { HeatMap } from './heatmap';
import { useModel, useTrans } from './hooks';
import { MainView } from './mainview';
import { Notice } from './notice';
import type { ThemeSignal } from './runview';
import { Settings, called, privacySettings, type Setting } from './settings';
import { RunProgress, StateLabel } from './state';
import { DeleteSimulation, StopSimulation } from './stopsimulation';

/**
 * The view as a widget; it owns its model.
 */
export class SimulationView extends MainView<SimulationModel> {
  constructor(id: string, simulations: SimulationsModel, themeChanged: ThemeSignal, translator: ITranslator) {
    super(simulations.open(id), translator);
    this._simulations = simulations;
    this._themeChanged = themeChanged;
    this.title.label = this.trans.__('Simulation');
    this.model.changed.connect(this._onChanged, this);
    void this.model.start();
  }

  protected override content(): JSX.Element {
    return (
      <Simulation
        model={this.model}
        remove={() => this._simulations.remove(this.model.id)}
        gone={() => (this.parent ?? this).dispose()}
        themeChanged={this._themeChanged}
      />
    );
  }

  private _onChanged(): void {
    if (this.model.simulation) {
      this.title.label = this.trans.__('Simulation: %1', simulationName(this.model.simulation));
    }
  }

  private _simulations: SimulationsModel;
  private _themeChanged: ThemeSignal;
}

export interface ISimulationProps {
  model: SimulationModel;
  remove: () => Promise<void>;
  gone: () => void;
  themeChanged: ThemeSignal;
}

/** The view's content. */
export function Simulation({ model, remove, gone, themeChanged }: ISimulationProps): JSX.Element {
  const trans = useTrans();
  useModel(model);
  const { simulation, problem, updated } = model;
  const retry = { label: trans.__('Retry'), run: () => void model.refresh() };
  if (!simulation) {
    return problem ? (
      <Notice problem title={problem.title} detail={problem.detail} hint={problem.hint} action={retry} />
    ) : (
      <p className="flaas-Empty">{trans.__('Loading …')}</p>
    );
  }
  return (
    <>
      <header className="flaas-RunView-header">
        <div>
          <h2>{simulationName(simulation)}</h2>
          <div className="flaas-RunView-state" role="status">
            <StateLabel state={simulation.state} />
            <span>{trans.__('started %1', dateTime(simulation.created))}</span>
          </div>
        </div>
        <StopSimulation simulation={simulation} stop={() => model.stop()} />
        <DeleteSimulation simulation={simulation} remove={remove} gone={gone} />
      </header>
      {problem && (
        <Notice
          problem
          title={trans.__('Not up to date; last updated %1', updated ? clock(updated) : '?')}
          detail={problem.detail}
          hint={problem.hint}
          action={retry}
        />
      )}
      <Outcome simulation={simulation} />
      <RunProgress run={simulation} label={trans.__('Progress')} />
      <MetricsChart rounds={model.rounds} total={simulation.rounds} themeChanged={themeChanged} />
      <HeatMap quantities={model.quantities} version={model.version} themeChanged={themeChanged} />
      <section aria-label={trans.__('Settings')}>
        <h3>{trans.__('Settings')}</h3>
        <Figures model={model} simulation={simulation} />
      </section>
    </>
  );
}

/** Why it ended, and how to go on with it. */
function Outcome({ simulation }: { simulation: ISimulation }): JSX.Element | null {
  const trans = useTrans();
  const { state, error, id } = simulation;
  const resume = `model.fit(federation, resume="${id}")`;
  if (state === 'failed') {
    return (
      <Notice
        problem
        title={error ? trans.__('Why it ended: %1', error.code) : trans.__('It failed')}
        detail={error?.message}
        hint={error?.hint}
        command={resume}
      />
    );
  }
  if (state === 'interrupted') {
    return (
      <Notice
        title={trans.__('The notebook that ran it is gone')}
        detail={trans.__(
          'Nothing is lost: it goes on from its last checkpoint, with the same model and data.'
        )}
        command={resume}
      />
    );
  }
  return state === 'cancelled' ? (
    <Notice title={trans.__('It was stopped; to go on with it:')} command={resume} />
  ) : null;
}

function Figures({ model, simulation }: { model: SimulationModel; simulation: ISimulation }): JSX.Element {
  const trans = useTrans();
  const { attack, privacy, client_count, attacker_count } = simulation;
  const last = model.rounds[model.rounds.length - 1];
  const taken = attackersWeight(model);
  const figures: Setting[] = [
    [trans.__('Aggregation'), called(simulation.aggregation, simulation.aggregation_options)],
    [trans.__('Attack'), attack ? called(attack.name, attack.options) : trans.__('none')],
    [trans.__('Clients'), count(client_count)],
    [
      trans.__('Attackers'),
      attacker_count === 0
        ? trans.__('none')
        : `${count(attacker_count)} (${percent(attacker_count / client_count)})`
    ],
    ...(taken === null
      ? []
      : [[trans.__('Weight of attackers in the last round'), percent(taken)] as Setting]),
    [trans.__('Data divided'), text(simulation.partition)],
    ...privacySettings(trans, privacy, last?.epsilon),
    [trans.__('Trained with'), simulation.backend],
    ...(simulation.parameters ? [[trans.__('Parameters'), count(simulation.parameters)] as Setting] : []),
    [trans.__('Seed'), simulation.seed ?? trans.__('none')],
    [trans.__('Id'), simulation.id]
  ];
  return <Settings settings={figures} />;
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value);
}

/** The share of the last round's weight that went to attackers; null when nobody attacks or rules give no weights. */
function attackersWeight({ quantities, simulation }: SimulationModel): number | null {
  const last = quantities.rounds[quantities.rounds.length - 1];
  const weights = last?.columns.get('weight');
  if (!weights || !simulation?.attacker_count) {
    return null;
  }
  const attackers = weights.filter((_, place) => quantities.clients[last.clients[place]].attacker);
  return attackers.reduce((sum, weight) => sum + weight, 0);
}
