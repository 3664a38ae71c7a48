/** The runs of a project, newest first. */

import * as React from 'react';

import { ago, dateTime, runName } from '../format';
import { isActive } from '../model';
import type { IRun } from '../tokens';
import { useNow, useTrans } from './hooks';
import { RunProgress, StateLabel, stateName } from './state';
import { PauseButton } from './pause';
import { StopButton } from './stop';

/** Runs to show before the rest is asked for. */
const FIRST = 20;

export interface IRunsProps {
  runs: readonly IRun[];
  open: (run: IRun) => void;
  stop: (run: IRun) => Promise<void>;
  follow: (run: IRun, relation: 'pause' | 'resume') => Promise<void>;
}

export function Runs({ runs, open, stop, follow }: IRunsProps): JSX.Element {
  const trans = useTrans();
  const now = useNow();
  const [all, setAll] = React.useState(false);
  if (runs.length === 0) {
    return <p className="flaas-Empty">{trans.__('No run yet: fit a FederatedModel in a notebook.')}</p>;
  }
  const shown = all ? runs : runs.slice(0, FIRST);
  return (
    <>
      <ul className="flaas-Runs" aria-label={trans.__('Runs')}>
        {shown.map(run => (
          <li key={run.id} className="flaas-Run">
            <div className="flaas-Run-head">
              <button type="button" className="flaas-Run-open" onClick={() => open(run)}>
                {runName(run)}
              </button>
              <div className="flaas-Buttons">
                <PauseButton run={run} follow={relation => follow(run, relation)} />
                <StopButton run={run} stop={() => stop(run)} />
              </div>
            </div>
            <div className="flaas-Run-state">
              <StateLabel state={run.state} />
              <span title={dateTime(run.started ?? run.created)}>
                {run.started
                  ? trans.__('started %1', ago(trans, run.started, now))
                  : trans.__('created %1', ago(trans, run.created, now))}
              </span>
            </div>
            {(isActive(run) || run.round > 0) && (
              <RunProgress run={run} label={trans.__('Progress of %1', runName(run))} />
            )}
            {run.waiting_for && <p className="flaas-Reason">{trans.__('Waits for %1', run.waiting_for)}</p>}
            {run.state === 'failed' && run.reason && <p className="flaas-Reason">{run.reason.message}</p>}
          </li>
        ))}
      </ul>
      {shown.length < runs.length && (
        <button type="button" className="flaas-Run-open" onClick={() => setAll(true)}>
          {trans.__('Show all %1 runs', runs.length)}
        </button>
      )}
      <Announcer runs={runs} />
    </>
  );
}

/** Tells screen readers when a run changes its state; not each round, which would talk without end. */
function Announcer({ runs }: { runs: readonly IRun[] }): JSX.Element {
  const trans = useTrans();
  const known = React.useRef(new Map<string, string>());
  const [message, setMessage] = React.useState('');
  React.useEffect(() => {
    const news = runs.filter(run => {
      const before = known.current.get(run.id);
      known.current.set(run.id, run.state);
      return before !== undefined && before !== run.state;
    });
    if (news.length > 0) {
      const words = news.map(run => trans.__('Run %1: %2', runName(run), stateName(trans, run.state)));
      setMessage(words.join('. '));
    }
  }, [runs, trans]);
  return (
    <div className="flaas-Hidden" role="status" aria-live="polite">
      {message}
    </div>
  );
}
