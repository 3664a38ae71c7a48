/** Stopping: asked for once more. A run can be stopped only while the API offers it. */

import { Dialog, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Button, stopIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { runName } from '../format';
import { problemOf } from '../request';
import type { IRun } from '../tokens';
import { useTrans } from './hooks';

/** What is to be confirmed before it is done. */
export interface IConfirmation {
  title: string;
  body: string;
  /** Of the button that does it. */
  label: string;
  act: () => Promise<void>;
}

/** Ask, do it if the answer is yes, and show what it fails with; true when it is done. */
export async function confirmed({ title, body, label, act }: IConfirmation): Promise<boolean> {
  const answer = await showDialog({
    title,
    body,
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label })],
    defaultButton: 0
  });
  if (!answer.button.accept) {
    return false;
  }
  try {
    await act();
    return true;
  } catch (error) {
    const problem = problemOf(error);
    await showErrorMessage(problem.title, `${problem.detail} ${problem.hint}`.trim());
    return false;
  }
}

/**
 * Ask whether to stop `run`, and do it.
 *
 * @param stop Does it.
 */
export async function confirmStop(
  trans: TranslationBundle,
  run: IRun,
  stop: () => Promise<void>
): Promise<void> {
  await confirmed({
    title: trans.__('Stop the run “%1”?', runName(run)),
    body: trans.__(
      'Round %1 of %2 is done. The run ends for all its nodes and cannot be continued; the model stays as the last finished round left it.',
      run.round,
      run.rounds
    ),
    label: trans.__('Stop the run'),
    act: stop
  });
}

export function StopButton({ run, stop }: { run: IRun; stop: () => Promise<void> }): JSX.Element | null {
  const trans = useTrans();
  if (!run._links?.cancel) {
    return null;
  }
  return (
    <Button
      className="flaas-Button flaas-Stop"
      aria-label={trans.__('Stop the run %1', runName(run))}
      onClick={() => void confirmStop(trans, run, stop)}
    >
      <stopIcon.react tag="span" aria-hidden="true" elementSize="small" />
      {trans.__('Stop')}
    </Button>
  );
}
