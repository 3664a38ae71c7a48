/** The simulations on this machine, newest first. They are there without anybody being signed in. */

import { Button, addIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { ago, dateTime, percent, simulationName } from '../format';
import type { SimulationsModel } from '../model';
import type { ISimulation } from '../tokens';
import { useModel, useNow, useTrans } from './hooks';
import { Notice } from './notice';
import { RunProgress, StateLabel } from './state';
import { StopSimulation } from './stopsimulation';

/** Simulations to show before the rest is asked for. */
const FIRST = 10;

export interface ISimulationsProps {
  model: SimulationsModel;
  open: (simulation: ISimulation) => void;
  create: () => void;
}

export function Simulations({ model, open, create }: ISimulationsProps): JSX.Element {
  const trans = useTrans();
  const now = useNow();
  const [all, setAll] = React.useState(false);
  useModel(model);
  const { simulations, problem } = model;
  const shown = all ? simulations : simulations.slice(0, FIRST);
  return (
    <>
      {problem && (
        <Notice
          problem
          title={problem.title}
          detail={problem.detail}
          hint={problem.hint}
          action={{ label: trans.__('Retry'), run: () => void model.refresh() }}
        />
      )}
      {!model.loaded && !problem && <p className="flaas-Empty">{trans.__('Loading …')}</p>}
      {model.loaded && simulations.length === 0 && (
        <div className="flaas-Empty">
          <p>{trans.__('No simulation yet. Fit a model on a simulated federation:')}</p>
          <pre className="flaas-Snippet">
            {'federation = flaas.simulate(x, y, clients=100)\nmodel.fit(federation, rounds=20)'}
          </pre>
        </div>
      )}
      <Button small className="flaas-Button flaas-New" onClick={create}>
        <addIcon.react tag="span" aria-hidden="true" elementSize="small" />
        {trans.__('New simulation')}
      </Button>
      {shown.length > 0 && (
        <ul className="flaas-Runs" aria-label={trans.__('Simulations')}>
          {shown.map(simulation => (
            <li key={simulation.id} className="flaas-Run">
              <div className="flaas-Run-head">
                <button type="button" className="flaas-Run-open" onClick={() => open(simulation)}>
                  {simulationName(simulation)}
                </button>
                <StopSimulation simulation={simulation} stop={() => model.stop(simulation.id)} />
              </div>
              <Setting simulation={simulation} />
              <div className="flaas-Run-state">
                <StateLabel state={simulation.state} />
                <span title={dateTime(simulation.created)}>
                  {trans.__('started %1', ago(trans, simulation.created, now))}
                </span>
              </div>
              <RunProgress run={simulation} label={trans.__('Progress of %1', simulationName(simulation))} />
              {simulation.state === 'failed' && simulation.error && (
                <p className="flaas-Reason">{simulation.error.message}</p>
              )}
            </li>
          ))}
        </ul>
      )}
      {shown.length < simulations.length && (
        <button type="button" className="flaas-Run-open" onClick={() => setAll(true)}>
          {trans.__('Show %1 simulations', simulations.length)}
        </button>
      )}
    </>
  );
}

/** What is tried out: the rule, and the attack with its share of the clients. */
function Setting({ simulation }: { simulation: ISimulation }): JSX.Element {
  const trans = useTrans();
  const { aggregation, attack, client_count, attacker_count } = simulation;
  return (
    <span className="flaas-Setting">
      {attack
        ? trans.__(
            '%1 under %2, %3 attackers',
            aggregation,
            attack.name,
            percent(attacker_count / client_count)
          )
        : trans.__('%1, no attack', aggregation)}
    </span>
  );
}
