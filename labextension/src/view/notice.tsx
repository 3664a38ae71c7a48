/**
 * A plain message: what is the matter, what to do, and a button that does it.
 */

import { Button, errorIcon, infoIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IProblem } from '../tokens';
import { useTrans } from './hooks';

export interface INoticeProps {
  title: string;
  detail?: string;
  hint?: string;
  /** A command to type, shown as code. */
  command?: string;
  action?: { label: string; run: () => void };
  /** Whether something is wrong; announced at once. */
  problem?: boolean;
}

export function Notice({ title, detail, hint, command, action, problem }: INoticeProps): JSX.Element {
  const Icon = (problem ? errorIcon : infoIcon).react;
  return (
    <div className={`flaas-Notice${problem ? ' flaas-mod-problem' : ''}`} role={problem ? 'alert' : 'status'}>
      <Icon tag="span" className="flaas-Notice-icon" aria-hidden="true" />
      <div className="flaas-Notice-text">
        <strong>{title}</strong>
        {detail && <p>{detail}</p>}
        {hint && <p>{hint}</p>}
        {command && <code className="flaas-Notice-command">{command}</code>}
        {action && (
          <Button className="flaas-Button" onClick={action.run}>
            {action.label}
          </Button>
        )}
      </div>
    </div>
  );
}

/** What a request failed with, and a way to try it again. */
export function ProblemNotice({ problem, retry }: { problem: IProblem; retry: () => void }): JSX.Element {
  const trans = useTrans();
  return (
    <Notice
      problem
      title={problem.title}
      detail={problem.detail}
      hint={problem.hint}
      action={{ label: trans.__('Retry'), run: retry }}
    />
  );
}

/** Why what is shown is old, and a way to look anew. */
export function OldNotice({ problem, retry }: { problem: IProblem; retry: () => void }): JSX.Element {
  const trans = useTrans();
  return (
    <Notice
      problem
      title={trans.__('Not up to date: %1', problem.title)}
      detail={problem.detail}
      hint={problem.hint}
      action={{ label: trans.__('Retry'), run: retry }}
    />
  );
}
