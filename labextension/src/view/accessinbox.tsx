/** Critical actions that wait for approval: what exactly is asked, by whom, who is missing, and the decision. */

import { Button } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { dateTime, moment } from '../format';
import type { IApproval } from '../governance';
import {
  type AccessModel,
  type ApprovalsModel,
  isWhole,
  linkOf,
  missingOf,
  pretty,
  sha256,
  visible
} from '../model';
import { Documents, ToBeSigned } from './accessdocuments';
import { actionName, DoingNotice, type IAccessProps, type IDoing, scopeName, useDoing } from './accessparts';
import { useLooks, useModel, useNow, useTrans } from './hooks';
import { Notice, OldNotice, ProblemNotice } from './notice';
import { StateLabel } from './state';
import { confirmed } from './stop';

/** Milliseconds between looks at what waits for holders of the domain key. */
const EVERY = 15_000;

export function Inbox({ federation, model }: IAccessProps): JSX.Element {
  const { approvals, documents, projects } = federation;
  const trans = useTrans();
  const host = React.useRef<HTMLDivElement>(null);
  useModel(approvals);
  useModel(documents);
  useModel(federation);
  const doing = useDoing();
  const [chosen, setChosen] = React.useState<string | null>(null);
  const [decided, setDecided] = React.useState('');
  React.useEffect(() => {
    void approvals.refresh();
    void approvals.readKey();
  }, [approvals]);
  const look = React.useCallback(() => void documents.refresh(), [documents]);
  React.useEffect(() => {
    // At first, and when somebody else's projects are there.
    look();
  }, [look, projects]);
  useLooks(host, look, EVERY);
  const { pending, past } = approvals;
  const problem = approvals.problem ?? documents.problem;
  const all = [...pending, ...(past ?? [])];
  const shown = all.find(({ id }) => id === chosen) ?? pending[0] ?? null;
  if (approvals.problem && !approvals.loaded) {
    return <ProblemNotice problem={approvals.problem} retry={() => void approvals.refresh()} />;
  }
  if (!approvals.loaded) {
    return <p className="flaas-Empty">{trans.__('Loading …')}</p>;
  }
  const retry = (): void => {
    void approvals.refresh();
    look();
  };
  const choose = (id: string): void => {
    setChosen(id);
    doing.clear();
  };
  return (
    <>
      {problem && <OldNotice problem={problem} retry={retry} />}
      <ApprovalKey approvals={approvals} model={model} />
      <Documents documents={documents.documents} again={look} />
      <p className="flaas-Hidden" role="status">
        {decided}
      </p>
      <div ref={host} className="flaas-Inbox">
        <div className="flaas-Inbox-lists">
          <h3>{trans.__('Waiting')}</h3>
          {pending.length === 0 && <p className="flaas-Empty">{trans.__('Nothing waits.')}</p>}
          <Requests label={trans.__('Waiting')} requests={pending} shown={shown} choose={choose} />
          <h3>{trans.__('Past')}</h3>
          {past === null ? (
            <Button small className="flaas-Button" onClick={() => void approvals.readPast()}>
              {trans.__('Show what is past')}
            </Button>
          ) : past.length === 0 ? (
            <p className="flaas-Empty">{trans.__('Nothing was asked for yet.')}</p>
          ) : (
            <Requests label={trans.__('Past')} requests={past} shown={shown} choose={choose} />
          )}
        </div>
        {shown && (
          <Request
            key={shown.id}
            approval={shown}
            approvals={approvals}
            me={model.me?.subject ?? federation.status?.session.subject ?? null}
            doing={doing}
            tell={words => {
              setDecided(words);
              setChosen(shown.id); // what came of it
            }}
          />
        )}
      </div>
    </>
  );
}

/** Says that there is no key to decide with, where somebody has something to decide. */
function ApprovalKey({
  approvals,
  model
}: {
  approvals: ApprovalsModel;
  model: AccessModel;
}): JSX.Element | null {
  const trans = useTrans();
  const doing = useDoing();
  const known = model.users.find(({ id }) => id === model.me?.subject)?.has_key;
  if (approvals.keyProblem) {
    return <ProblemNotice problem={approvals.keyProblem} retry={() => void approvals.readKey()} />;
  }
  const lacking = approvals.key === null || (approvals.key !== undefined && known === false);
  if (!lacking || !model.may('approval:decide')) {
    return null;
  }
  return (
    <>
      <Notice
        title={trans.__('You have no key to decide with yet')}
        detail={trans.__(
          'Decisions are signed. The key is made on your Jupyter server and never leaves it; the API comes to know its public half.'
        )}
        action={{
          label: trans.__('Make my key'),
          run: () =>
            void doing.run(async () => {
              await approvals.makeKey();
              await Promise.all([model.refresh(), approvals.refresh()]);
            })
        }}
      />
      <DoingNotice doing={doing} open={() => undefined} />
    </>
  );
}

interface IRequestsProps {
  label: string;
  requests: readonly IApproval[];
  shown: IApproval | null;
  choose: (id: string) => void;
}

function Requests({ label, requests, shown, choose }: IRequestsProps): JSX.Element | null {
  const trans = useTrans();
  const now = useNow(1_000);
  if (requests.length === 0) {
    return null;
  }
  return (
    <ul className="flaas-Requests" aria-label={label}>
      {requests.map(each => (
        <li key={each.id}>
          <button type="button" aria-current={each.id === shown?.id} onClick={() => choose(each.id)}>
            <strong>{actionName(trans, each.action)}</strong>
            <span>{scopeName(trans, each.scope)}</span>
            <span>
              {each.state === 'pending' ? left(trans, each.expires, now) : <StateLabel state={each.state} />}
            </span>
            {linkOf(each, 'approve', 'deny') && (
              <span className="flaas-Badge">{trans.__('waits for you')}</span>
            )}
            {linkOf(each, 'withdraw') && <span className="flaas-Badge">{trans.__('yours')}</span>}
          </button>
        </li>
      ))}
    </ul>
  );
}

/** How long until `time`. */
export function left(trans: TranslationBundle, time: string, now: Date): string {
  const seconds = Math.floor((Date.parse(time) - now.getTime()) / 1000);
  if (seconds <= 0) {
    return trans.__('expired');
  }
  const two = (value: number): string => String(value).padStart(2, '0');
  if (seconds < 3600) {
    return trans.__('expires in %1', `${Math.floor(seconds / 60)}:${two(seconds % 60)}`);
  }
  const hours = Math.floor(seconds / 3600);
  return hours < 48
    ? trans.__('expires in %1 h %2 min', hours, Math.floor((seconds % 3600) / 60))
    : trans.__('expires in %1 d %2 h', Math.floor(hours / 24), hours % 24);
}

interface IRequestProps {
  approval: IApproval;
  approvals: ApprovalsModel;
  me: string | null;
  doing: IDoing;
  tell: (words: string) => void;
}

function Request({ approval, approvals, me, doing, tell }: IRequestProps): JSX.Element {
  const trans = useTrans();
  const now = useNow(1_000);
  const { state, factors, decisions } = approval;
  return (
    <article className="flaas-Box flaas-Request" aria-label={trans.__('Request')}>
      <header>
        <h3>{actionName(trans, approval.action)}</h3>
        {approval.description && <p className="flaas-Hint">{approval.description}</p>}
      </header>
      <dl className="flaas-Settings">
        <dt>{trans.__('Where')}</dt>
        <dd>{scopeName(trans, approval.scope)}</dd>
        <dt>{trans.__('Asked for by')}</dt>
        <dd>
          {approval.requester}
          {approval.requester === me && ` (${trans.__('you')})`}, {dateTime(approval.created)}
        </dd>
        <dt>{trans.__('State')}</dt>
        <dd>
          <StateLabel state={state} />
        </dd>
        {state === 'pending' && (
          <>
            <dt>{trans.__('Time left')}</dt>
            <dd role="timer" title={dateTime(approval.expires)}>
              {left(trans, approval.expires, now)}
            </dd>
          </>
        )}
        {state === 'pending' && approval.due && (
          <>
            <dt>{trans.__('Executed')}</dt>
            <dd>{trans.__('%1, unless somebody denies it before', dateTime(approval.due))}</dd>
          </>
        )}
      </dl>
      <div className="flaas-Scroll">
        <table className="flaas-Table" aria-label={trans.__('Approvals')}>
          <thead>
            <tr>
              <th scope="col">{trans.__('Who has to approve')}</th>
              <th scope="col" className="flaas-mod-number">
                {trans.__('Approved')}
              </th>
              <th scope="col">{trans.__('Missing')}</th>
            </tr>
          </thead>
          <tbody>
            {factors.map((factor, place) => (
              <tr key={place}>
                <th scope="row">
                  {factor.role.split('|').join(` ${trans.__('or')} `)}
                  <span className="flaas-Secondary">{scopeName(trans, factor.scope)}</span>
                  {(factor.approvers ?? []).length > 0 && (
                    <span className="flaas-Secondary">{factor.approvers!.join(', ')}</span>
                  )}
                </th>
                <td className="flaas-mod-number">{trans.__('%1 of %2', factor.given, factor.needed)}</td>
                <td>
                  {missingOf(factor) === 0
                    ? trans.__('✓ complete')
                    : trans._n('%1 person', '%1 persons', missingOf(factor))}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {decisions.length > 0 && (
        <ul className="flaas-List" aria-label={trans.__('Decisions')}>
          {decisions.map(({ decider, role, decision, time, counts, reason }, place) => (
            <li key={place}>
              {decision === 'approve'
                ? trans.__('%1 (%2) has approved', decider, role)
                : trans.__('%1 (%2) has denied', decider, role)}
              {`, ${moment(time)}`}
              {counts === false && `; ${trans.__('no longer counts: %1', reason ?? '?')}`}
            </li>
          ))}
        </ul>
      )}
      <Body approval={approval} />
      <ToBeSigned approval={approval} />
      {approval.problem && (
        <Notice
          problem
          title={approval.problem.title ?? trans.__('It could not be carried out')}
          detail={approval.problem.detail ?? approval.problem.message}
          hint={approval.problem.hint}
        />
      )}
      <DoingNotice doing={doing} open={() => undefined} />
      <Decide approval={approval} approvals={approvals} doing={doing} tell={tell} />
    </article>
  );
}

/** The text that is executed, easy to read or exactly as it is signed, and its digest as computed here. */
function Body({ approval }: { approval: IApproval }): JSX.Element {
  const trans = useTrans();
  const [exact, setExact] = React.useState(false);
  const whole = isWhole(approval);
  const text = approval.body;
  return (
    <section aria-label={trans.__('What exactly')}>
      <div className="flaas-Chart-head">
        <h4>{trans.__('What exactly')}</h4>
        <Button small className="flaas-Button" aria-pressed={exact} onClick={() => setExact(!exact)}>
          {trans.__('Exact text')}
        </Button>
      </div>
      {/* A text that is longer than its box can be scrolled with the keyboard. */}
      {/* eslint-disable-next-line jsx-a11y/no-noninteractive-tabindex */}
      <pre className={`flaas-Snippet${exact ? ' flaas-mod-exact' : ''}`} tabIndex={0}>
        {exact ? visible(text) : pretty(text)}
      </pre>
      {whole ? (
        <p className="flaas-Digest">
          <span aria-hidden="true">✓</span> SHA-256 <code>{sha256(text)}</code>{' '}
          {trans.__('(computed here, the same as the API’s)')}
        </p>
      ) : (
        <Notice
          problem
          title={trans.__('The text and its SHA-256 do not belong together')}
          detail={trans.__('Here: %1. The API says: %2.', sha256(text), approval.sha256)}
          hint={trans.__('Do not approve it. Tell whoever runs the coordination API.')}
        />
      )}
    </section>
  );
}

type IDecideProps = Pick<IRequestProps, 'approval' | 'approvals' | 'doing' | 'tell'>;

function Decide({ approval, approvals, doing, tell }: IDecideProps): JSX.Element | null {
  const trans = useTrans();
  const may = (name: string): boolean => approval.state === 'pending' && linkOf(approval, name) !== null;
  const what = actionName(trans, approval.action);
  const ask = (decision: 'approve' | 'deny'): void => {
    const approves = decision === 'approve';
    void confirmed({
      title: approves ? trans.__('Approve “%1”?', what) : trans.__('Deny “%1”?', what),
      body: approves
        ? trans.__(
            'You sign the text with the SHA-256 %1… as your decision. If nobody else is missing, it is executed at once.',
            approval.sha256.slice(0, 16)
          )
        : trans.__(
            'You sign your refusal of the text with the SHA-256 %1…. The request ends.',
            approval.sha256.slice(0, 16)
          ),
      label: approves ? trans.__('Approve') : trans.__('Deny'),
      act: async () => {
        await doing.run(async () => {
          const state = await approvals.decide(approval, decision);
          tell(approves ? trans.__('You have approved: %1', what) : trans.__('You have denied: %1', what));
          if (state !== 'pending' || approvals.past !== null) {
            await approvals.readPast();
          }
        });
      }
    });
  };
  const withdraw = (): void =>
    void confirmed({
      title: trans.__('Withdraw “%1”?', what),
      body: trans.__('The request ends. It can be made again.'),
      label: trans.__('Withdraw'),
      act: async () => void (await doing.run(() => approvals.withdraw(approval)))
    });
  if (!may('approve') && !may('deny') && !may('withdraw')) {
    return null;
  }
  const blocked = doing.busy || !isWhole(approval) || !approvals.key;
  return (
    <div className="flaas-Buttons">
      {may('approve') && (
        <Button className="flaas-Button flaas-mod-primary" disabled={blocked} onClick={() => ask('approve')}>
          {trans.__('Approve …')}
        </Button>
      )}
      {may('deny') && (
        <Button className="flaas-Button" disabled={blocked} onClick={() => ask('deny')}>
          {trans.__('Deny …')}
        </Button>
      )}
      {may('withdraw') && (
        <Button className="flaas-Button" disabled={doing.busy} onClick={withdraw}>
          {trans.__('Withdraw …')}
        </Button>
      )}
    </div>
  );
}
