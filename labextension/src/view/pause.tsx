/** Having a run pause after its present round, and go on: as the API's links offer it. */

import { showErrorMessage } from '@jupyterlab/apputils';
import { Button, pauseIcon, runIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { runName } from '../format';
import { linkOf } from '../model';
import { problemOf } from '../request';
import type { IRun } from '../tokens';
import { useTrans } from './hooks';

export interface IPauseProps {
  run: IRun;
  follow: (relation: 'pause' | 'resume') => Promise<void>;
}

export function PauseButton({ run, follow }: IPauseProps): JSX.Element | null {
  const trans = useTrans();
  const [busy, setBusy] = React.useState(false);
  const relation = linkOf(run, 'pause') ? 'pause' : linkOf(run, 'resume') ? 'resume' : null;
  if (!relation) {
    return null;
  }
  const act = async (): Promise<void> => {
    setBusy(true);
    try {
      await follow(relation);
    } catch (error) {
      const problem = problemOf(error);
      await showErrorMessage(problem.title, `${problem.detail} ${problem.hint}`.trim());
    } finally {
      setBusy(false);
    }
  };
  const Icon = (relation === 'pause' ? pauseIcon : runIcon).react;
  return (
    <Button
      className="flaas-Button"
      disabled={busy}
      aria-label={
        relation === 'pause'
          ? trans.__('Pause the run %1', runName(run))
          : trans.__('Go on with the run %1', runName(run))
      }
      onClick={() => void act()}
    >
      <Icon tag="span" aria-hidden="true" elementSize="small" />
      {relation === 'pause' ? trans.__('Pause') : trans.__('Go on')}
    </Button>
  );
}
