/** Stopping and deleting simulations: asked for once more. */

import { Button, deleteIcon, stopIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { simulationName } from '../format';
import type { ISimulation } from '../tokens';
import { useTrans } from './hooks';
import { confirmed } from './stop';

export interface IStopSimulationProps {
  simulation: ISimulation;
  stop: () => Promise<void>;
}

export function StopSimulation({ simulation, stop }: IStopSimulationProps): JSX.Element | null {
  const trans = useTrans();
  const name = simulationName(simulation);
  if (simulation.state !== 'running') {
    return null;
  }
  if (simulation.stopping) {
    return <span role="status">{trans.__('stops after this round')}</span>;
  }
  const ask = (): Promise<boolean> =>
    confirmed({
      title: trans.__('Stop the simulation “%1”?', name),
      body: trans.__(
        'Round %1 of %2 is done. It ends before its next round; the notebook keeps the model as it is then, and can go on with it: model.fit(federation, resume="%3").',
        simulation.round,
        simulation.rounds,
        simulation.id
      ),
      label: trans.__('Stop the simulation'),
      act: stop
    });
  return (
    <Button
      className="flaas-Button flaas-Stop"
      aria-label={trans.__('Stop the simulation %1', name)}
      onClick={() => void ask()}
    >
      <stopIcon.react tag="span" aria-hidden="true" elementSize="small" />
      {trans.__('Stop')}
    </Button>
  );
}

export interface IDeleteSimulationProps {
  simulation: ISimulation;
  remove: () => Promise<void>;
  /** Called when it is gone. */
  gone: () => void;
}

export function DeleteSimulation({ simulation, remove, gone }: IDeleteSimulationProps): JSX.Element | null {
  const trans = useTrans();
  const name = simulationName(simulation);
  if (simulation.state === 'running') {
    return null;
  }
  const ask = async (): Promise<void> => {
    const done = await confirmed({
      title: trans.__('Delete the simulation “%1”?', name),
      body: trans.__(
        'Its rounds and its checkpoint are removed from this machine, and it cannot be resumed.'
      ),
      label: trans.__('Delete the simulation'),
      act: remove
    });
    if (done) {
      gone();
    }
  };
  return (
    <Button
      className="flaas-Button"
      aria-label={trans.__('Delete the simulation %1', name)}
      onClick={() => void ask()}
    >
      <deleteIcon.react tag="span" aria-hidden="true" elementSize="small" />
      {trans.__('Delete')}
    </Button>
  );
}
