/**
 * States in words, with an icon beside them: never a colour alone.
 */

import type { TranslationBundle } from '@jupyterlab/translation';
import {
  checkIcon,
  circleEmptyIcon,
  circleIcon,
  closeIcon,
  errorIcon,
  type LabIcon,
  pauseIcon,
  runIcon,
  stopIcon,
  usersIcon
} from '@jupyterlab/ui-components';
import * as React from 'react';

import type { INode, IParticipant, RunState, SimulationState } from '../tokens';
import { useTrans } from './hooks';

type State = RunState | SimulationState | INode['state'] | IParticipant['state'];

const ICONS: Record<State, LabIcon> = {
  queued: pauseIcon,
  gathering: usersIcon,
  running: runIcon,
  finishing: runIcon,
  completed: checkIcon,
  failed: errorIcon,
  cancelled: stopIcon,
  interrupted: pauseIcon,
  online: circleIcon,
  offline: circleEmptyIcon,
  invited: circleEmptyIcon,
  accepted: checkIcon,
  refused: closeIcon
};

/** The name of a state, in the reader's language. */
export function stateName(trans: TranslationBundle, state: State): string {
  const names: Record<State, string> = {
    queued: trans.__('waiting for nodes'),
    gathering: trans.__('gathering nodes'),
    running: trans.__('running'),
    finishing: trans.__('finishing'),
    completed: trans.__('completed'),
    failed: trans.__('failed'),
    cancelled: trans.__('cancelled'),
    interrupted: trans.__('interrupted'),
    online: trans.__('online'),
    offline: trans.__('offline'),
    invited: trans.__('invited'),
    accepted: trans.__('accepted'),
    refused: trans.__('refused')
  };
  return names[state] ?? state;
}

/** A state as icon and word. */
export function StateLabel({ state }: { state: State }): JSX.Element {
  const trans = useTrans();
  const Icon = (ICONS[state] ?? circleEmptyIcon).react;
  return (
    <span className={`flaas-State flaas-mod-${state}`}>
      <Icon tag="span" className="flaas-State-icon" aria-hidden="true" elementSize="small" />
      {stateName(trans, state)}
    </span>
  );
}

/** Rounds done of rounds asked for, as a bar with its words. */
export function RunProgress({
  run,
  label
}: {
  run: { round: number; rounds: number };
  label: string;
}): JSX.Element {
  const trans = useTrans();
  const words = trans.__('round %1 of %2', run.round, run.rounds);
  return (
    <div className="flaas-Progress">
      <progress max={run.rounds} value={run.round} aria-label={label} aria-valuetext={words} />
      <span className="flaas-Progress-words">{words}</span>
    </div>
  );
}
