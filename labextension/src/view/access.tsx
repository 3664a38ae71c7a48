/**
 * Who may do what, who has approved it, and what was done: members, roles, approvals and audit log, in the main area.
 */

import { Button, refreshIcon } from '@jupyterlab/ui-components';
import type { ITranslator } from '@jupyterlab/translation';
import * as React from 'react';

import type { AccessModel, AccessTab } from '../model';
import { linkOf } from '../model';
import { Audit } from './accessaudit';
import { RoleEditor } from './accesseditor';
import { Inbox } from './accessinbox';
import { Matrix } from './accessmatrix';
import { Members } from './accessmembers';
import { actionName, DoingNotice, heldText, type IAccessProps, scopeName, useDoing } from './accessparts';
import { useModel, useTrans } from './hooks';
import { MainView } from './mainview';
import { Notice } from './notice';
import { SignInFirst } from './signinfirst';
import { confirmed } from './stop';
import { type ITab, Tabs } from './tabs';

/** The view as a widget; it owns its model. */
export class AccessView extends MainView<AccessModel> {
  constructor(props: IAccessProps, translator: ITranslator) {
    super(props.model, translator);
    this._props = props;
    this.title.label = this.trans.__('Access');
  }

  protected override content(): JSX.Element {
    return <Access {...this._props} />;
  }

  private _props: IAccessProps;
}

/** The view's content. */
export function Access(props: IAccessProps): JSX.Element {
  const { federation, model, showPanel } = props;
  const trans = useTrans();
  useModel(federation);
  useModel(model);
  const who = federation.identity;
  const before = React.useRef(who);
  React.useEffect(() => {
    if (who !== before.current) {
      before.current = who;
      model.forget();
    }
    if (who) {
      void model.refresh();
    }
  }, [who, model]);
  const refresh = (): void => {
    void model.refresh();
    void federation.approvals.refresh();
    void federation.documents.refresh();
  };
  const waiting = federation.approvals.waiting;
  const tabs: ITab<AccessTab>[] = [
    { name: 'members', label: trans.__('Members') },
    { name: 'matrix', label: trans.__('Roles') },
    { name: 'editor', label: trans.__('Role editor') },
    {
      name: 'approvals',
      label: trans.__('Approvals'),
      count: waiting,
      countLabel: trans._n('%1 waits for you', '%1 wait for you', waiting)
    },
    { name: 'audit', label: trans.__('Audit') }
  ];
  return (
    <>
      <header className="flaas-RunView-header">
        <div>
          <h2>{trans.__('Access')}</h2>
          {model.me && <Me model={model} />}
        </div>
        <Button small className="flaas-Button" onClick={refresh} disabled={!who}>
          <refreshIcon.react tag="span" aria-hidden="true" elementSize="small" />
          {trans.__('Refresh')}
        </Button>
      </header>
      {federation.connection !== 'signed-in' && <SignInFirst federation={federation} showPanel={showPanel} />}
      {who && <Founding model={model} />}
      {who && (
        <Tabs
          label={trans.__('Access')}
          tabs={tabs}
          shown={model.tab}
          show={name => {
            model.show(name);
          }}
        >
          {!model.loaded && model.tab !== 'approvals' ? (
            <p className="flaas-Empty">{trans.__('Loading …')}</p>
          ) : (
            <Shown {...props} />
          )}
        </Tabs>
      )}
    </>
  );
}

function Shown(props: IAccessProps): JSX.Element {
  switch (props.model.tab) {
    case 'members':
      return <Members {...props} />;
    case 'matrix':
      return <Matrix {...props} />;
    case 'editor':
      return <RoleEditor {...props} />;
    case 'approvals':
      return <Inbox {...props} />;
    case 'audit':
      return <Audit {...props} />;
  }
}

function Me({ model }: { model: AccessModel }): JSX.Element {
  const trans = useTrans();
  const { me } = model;
  const roles = (me?.roles ?? []).map(({ role, scope }) => heldText(trans, role, scope));
  return (
    <p className="flaas-Hint">
      {trans.__('You are %1 of %2', me?.subject ?? '?', me?.organisation ?? trans.__('no organisation'))}
      {roles.length > 0 ? `: ${roles.join(', ')}` : `, ${trans.__('without a role')}`}
    </p>
  );
}

/** Says while one administrator may still act alone. */
function Founding({ model }: { model: AccessModel }): JSX.Element | null {
  const trans = useTrans();
  const doing = useDoing();
  const link = linkOf(model.policy, 'close', 'close-founding', 'close_founding', 'founding');
  if (!model.policy?.founding) {
    return null;
  }
  const short = model.policy.shortfalls ?? [];
  const close = (): void =>
    void confirmed({
      title: trans.__('Close the founding phase?'),
      body: trans.__(
        'From then on critical actions need the approvals that the policy asks for, also from you. This cannot be undone. Check first that enough people hold the roles that approve.'
      ),
      label: trans.__('Close it'),
      act: async () => {
        if (link) {
          await doing.run(() => model.closeFounding(link));
        }
      }
    });
  return (
    <>
      <Notice
        title={trans.__('This installation is being founded')}
        detail={trans.__(
          'One administrator may still act alone, without anybody’s approval. Invite the others, give them their roles, then close this phase.'
        )}
        action={link ? { label: trans.__('Close the founding phase …'), run: close } : undefined}
      />
      {short.length > 0 && (
        <div className="flaas-Warning">
          {trans.__('It can be closed when these could be approved by somebody:')}
          <ul className="flaas-List">
            {short.map(({ action, role, scope, needed, there_are }) => (
              <li key={`${action} ${role} ${scope}`}>
                {trans.__(
                  '%1: %2 of %3 with the role %4 (%5)',
                  actionName(trans, action),
                  there_are,
                  needed,
                  role,
                  scopeName(trans, scope)
                )}
              </li>
            ))}
          </ul>
        </div>
      )}
      <DoingNotice doing={doing} open={() => model.show('approvals')} />
    </>
  );
}
