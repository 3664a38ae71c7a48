/** What the tabs of the access view have in common. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IApproval } from '../governance';
import type { AccessModel, AccessPart, FederationModel } from '../model';
import { problemOf } from '../request';
import type { IProblem } from '../tokens';
import { useTrans } from './hooks';
import { Notice, ProblemNotice } from './notice';

export interface IAccessProps {
  federation: FederationModel;
  model: AccessModel;
  showPanel: () => void;
  /** Gives the user a file. */
  save: (name: string, text: string) => void;
}

/** A scope in words. */
export function scopeName(trans: TranslationBundle, scope: string): string {
  const [kind, ...rest] = scope.split(':');
  const id = rest.join(':');
  switch (kind) {
    case 'platform':
      return trans.__('whole platform');
    case 'organisation':
      return trans.__('organisation %1', id);
    case 'project':
      return trans.__('project %1', id);
    case 'node':
      return trans.__('node %1', id.length > 20 ? `${id.slice(0, 12)}…` : id);
    default:
      return scope;
  }
}

/** The name that an action goes by. */
export function actionName(trans: TranslationBundle, action: string): string {
  const names: { [name: string]: string } = {
    'role.change': trans.__('Change a role'),
    'separation.change': trans.__('Change the separation of duties'),
    'member.roles': trans.__('Change somebody’s roles'),
    'organisation.add': trans.__('Add an organisation'),
    'organisation.remove': trans.__('Remove an organisation'),
    'node.add': trans.__('Add a node'),
    'model.release': trans.__('Release a model'),
    'launch.over-budget': trans.__('Launch above the budget'),
    'project.remove': trans.__('Remove a project'),
    'key.rotate': trans.__('Rotate the signing keys'),
    'policy.change': trans.__('Change the policy of approvals'),
    'break-glass': trans.__('Open one action to one person for an hour')
  };
  return names[action] ?? action;
}

/** Says that something waits for approval, with the way to the request. */
export function WaitsNotice({ approval, open }: { approval: IApproval; open: () => void }): JSX.Element {
  const trans = useTrans();
  return (
    <Notice
      title={trans.__('Waits for approval: %1', actionName(trans, approval.action))}
      detail={trans.__(
        'Nothing has changed yet. It is done when the others have approved it, or expires on %1.',
        new Date(approval.expires).toLocaleString()
      )}
      action={{ label: trans.__('Show the request'), run: open }}
    />
  );
}

/** What stands in the way of a part, if it could not be read. */
export function PartProblem({ model, part }: { model: AccessModel; part: AccessPart }): JSX.Element | null {
  const trans = useTrans();
  const problem = model.problem(part);
  if (!problem) {
    return null;
  }
  if (problem.status === 403) {
    return (
      <Notice
        title={trans.__('Your roles do not show you this')}
        detail={problem.detail}
        hint={problem.hint}
      />
    );
  }
  return <ProblemNotice problem={problem} retry={() => void model.refresh()} />;
}

/** Something that is done by a button: whether it is under way, what it failed with, what it waits for. */
export interface IDoing {
  busy: boolean;
  problem: IProblem | null;
  waits: IApproval | null;
  run: (act: () => Promise<{ waits: IApproval | null } | void>) => Promise<boolean>;
  clear: () => void;
}

export function useDoing(): IDoing {
  const [busy, setBusy] = React.useState(false);
  const [problem, setProblem] = React.useState<IProblem | null>(null);
  const [waits, setWaits] = React.useState<IApproval | null>(null);
  const run = React.useCallback<IDoing['run']>(async act => {
    setBusy(true);
    setProblem(null);
    setWaits(null);
    try {
      const done = await act();
      setWaits(done?.waits ?? null);
      return true;
    } catch (error) {
      setProblem(problemOf(error));
      return false;
    } finally {
      setBusy(false);
    }
  }, []);
  const clear = React.useCallback(() => {
    setProblem(null);
    setWaits(null);
  }, []);
  return { busy, problem, waits, run, clear };
}

/** What came of it. */
export function DoingNotice({ doing, open }: { doing: IDoing; open: () => void }): JSX.Element | null {
  if (doing.problem) {
    const { title, detail, hint } = doing.problem;
    return <Notice problem title={title} detail={detail} hint={hint} />;
  }
  return doing.waits ? <WaitsNotice approval={doing.waits} open={open} /> : null;
}

/** Roles with the scopes that they are held in, on one line each. */
export function heldText(trans: TranslationBundle, role: string, scope: string): string {
  return trans.__('%1 (%2)', role, scopeName(trans, scope));
}
