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
  launchIcon,
  lockIcon,
  pauseIcon,
  runIcon,
  stopIcon,
  usersIcon
} from '@jupyterlab/ui-components';
import * as React from 'react';

import type { ApprovalState, ModelState, UserState } from '../governance';
import type { INode, IParticipant, LaunchState, NodeLaunchState, RunState, SimulationState } from '../tokens';
import { useTrans } from './hooks';

type State =
  | RunState
  | SimulationState
  | LaunchState
  | NodeLaunchState
  | ApprovalState
  | ModelState
  | UserState
  | 'quarantined'
  | INode['state']
  | IParticipant['state'];

const ICONS: Record<State, LabIcon> = {
  queued: pauseIcon,
  gathering: usersIcon,
  running: runIcon,
  pausing: pauseIcon,
  paused: pauseIcon,
  finishing: runIcon,
  completed: checkIcon,
  failed: errorIcon,
  cancelled: stopIcon,
  interrupted: pauseIcon,
  online: circleIcon,
  offline: circleEmptyIcon,
  invited: circleEmptyIcon,
  accepted: checkIcon,
  refused: closeIcon,
  planned: circleEmptyIcon,
  launching: launchIcon,
  booting: launchIcon,
  registered: pauseIcon,
  joining: usersIcon,
  joined: checkIcon,
  ready: checkIcon,
  training: runIcon,
  ending: stopIcon,
  ended: stopIcon,
  stuck: errorIcon,
  pending: pauseIcon,
  executed: checkIcon,
  denied: closeIcon,
  expired: closeIcon,
  withdrawn: stopIcon,
  candidate: circleEmptyIcon,
  released: checkIcon,
  revoked: closeIcon,
  active: checkIcon,
  locked: lockIcon,
  removed: closeIcon,
  quarantined: closeIcon
};

/** The name of a state, in the reader's language. */
export function stateName(trans: TranslationBundle, state: State): string {
  const names: Record<State, string> = {
    queued: trans.__('waiting for nodes'),
    gathering: trans.__('gathering nodes'),
    running: trans.__('running'),
    pausing: trans.__('pauses after this round'),
    paused: trans.__('paused'),
    finishing: trans.__('finishing'),
    completed: trans.__('completed'),
    failed: trans.__('failed'),
    cancelled: trans.__('cancelled'),
    interrupted: trans.__('interrupted'),
    online: trans.__('online'),
    offline: trans.__('offline'),
    invited: trans.__('invited'),
    accepted: trans.__('accepted'),
    refused: trans.__('refused'),
    planned: trans.__('planned'),
    launching: trans.__('launching'),
    booting: trans.__('booting'),
    registered: trans.__('waits for a signature'),
    joining: trans.__('joining'),
    joined: trans.__('joined'),
    ready: trans.__('ready'),
    training: trans.__('training'),
    ending: trans.__('ending'),
    ended: trans.__('ended'),
    stuck: trans.__('needs attention'),
    pending: trans.__('waits for approval'),
    executed: trans.__('executed'),
    denied: trans.__('denied'),
    expired: trans.__('expired'),
    withdrawn: trans.__('withdrawn'),
    candidate: trans.__('candidate'),
    released: trans.__('released'),
    revoked: trans.__('revoked'),
    active: trans.__('active'),
    locked: trans.__('locked'),
    removed: trans.__('removed'),
    quarantined: trans.__('quarantined')
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
