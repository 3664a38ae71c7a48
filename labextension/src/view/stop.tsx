/** Stopping a run: asked for once more, and possible only while the API offers it. */

import { Dialog, showDialog, showErrorMessage } from '@jupyterlab/apputils';
import type { TranslationBundle } from '@jupyterlab/translation';
import { Button, stopIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { runName } from '../format';
import { problemOf } from '../request';
import type { IRun } from '../tokens';
import { useTrans } from './hooks';

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
  const answer = await showDialog({
    title: trans.__('Stop the run “%1”?', runName(run)),
    body: trans.__(
      'Round %1 of %2 is done. The run ends for all its nodes and cannot be continued; the model stays as the last finished round left it.',
      run.round,
      run.rounds
    ),
    buttons: [Dialog.cancelButton(), Dialog.warnButton({ label: trans.__('Stop the run') })],
    defaultButton: 0
  });
  if (!answer.button.accept) {
    return;
  }
  try {
    await stop();
  } catch (error) {
    const problem = problemOf(error);
    await showErrorMessage(problem.title, `${problem.detail} ${problem.hint}`.trim());
  }
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
