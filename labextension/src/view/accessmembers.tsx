/** People and services: their roles, who is invited, and, where the API offers it, giving, taking and inviting. */

import { Button, HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IHeldRole, IUser } from '../governance';
import { type AccessModel, linkOf } from '../model';
import { DoingNotice, heldText, type IAccessProps, type IDoing, PartProblem, useDoing } from './accessparts';
import { CopyButton } from './copybutton';
import { Field, TextField } from './fields';
import { useTrans } from './hooks';
import { StateLabel } from './state';
import { confirmed } from './stop';

export function Members(props: IAccessProps): JSX.Element {
  const { model, federation } = props;
  const trans = useTrans();
  const doing = useDoing();
  const [filter, setFilter] = React.useState('');
  const [inviting, setInviting] = React.useState(false);
  const open = (): void => model.show('approvals');
  const wanted = filter.trim().toLowerCase();
  const shown = model.users.filter(user =>
    [user.id, user.name, user.email, user.organisation, ...user.roles.map(({ role }) => role)]
      .filter(Boolean)
      .some(text => text!.toLowerCase().includes(wanted))
  );
  const scopes = scopesKnown(model, federation.projects);
  return (
    <>
      <PartProblem model={model} part="users" />
      {model.problem('users') === null && (
        <>
          <div className="flaas-Controls">
            <TextField
              label={trans.__('Filter')}
              placeholder={trans.__('name, role, organisation')}
              value={filter}
              change={setFilter}
            />
            {model.offers('create_user', 'member:manage') && (
              <Button
                className="flaas-Button"
                aria-expanded={inviting}
                onClick={() => setInviting(!inviting)}
              >
                {trans.__('Invite …')}
              </Button>
            )}
          </div>
          {inviting && (
            <Invite model={model} scopes={scopes} doing={doing} close={() => setInviting(false)} />
          )}
          <Once model={model} open={open} />
          <DoingNotice doing={doing} open={open} />
          <div className="flaas-Scroll">
            <table className="flaas-Table flaas-Members" aria-label={trans.__('Members')}>
              <thead>
                <tr>
                  <th scope="col">{trans.__('Who')}</th>
                  <th scope="col">{trans.__('State')}</th>
                  <th scope="col">{trans.__('Roles')}</th>
                  <th scope="col">{trans.__('What may be done')}</th>
                </tr>
              </thead>
              <tbody>
                {shown.map(user => (
                  <Member key={user.id} user={user} model={model} scopes={scopes} doing={doing} />
                ))}
              </tbody>
            </table>
          </div>
          {shown.length === 0 && <p className="flaas-Empty">{trans.__('Nobody fits.')}</p>}
        </>
      )}
    </>
  );
}

/** Scopes to choose from: where the caller may give roles, and the projects that there are. */
function scopesKnown(model: AccessModel, projects: readonly { id: string }[]): string[] {
  const own = model.scopesFor('member:manage');
  const users = model.users.map(({ organisation }) => organisation && `organisation:${organisation}`);
  const found = [...own, ...users, ...projects.map(({ id }) => `project:${id}`)];
  return [...new Set(found.filter((scope): scope is string => Boolean(scope)))].sort();
}

interface IMemberProps {
  user: IUser;
  model: AccessModel;
  scopes: string[];
  doing: IDoing;
}

function Member({ user, model, scopes, doing }: IMemberProps): JSX.Element {
  const trans = useTrans();
  const [giving, setGiving] = React.useState(false);
  const may = (...names: string[]): boolean => linkOf(user, ...names) !== null;
  const take = (held: IHeldRole): void =>
    void confirmed({
      title: trans.__('Take a role from %1?', user.id),
      body: trans.__(
        '%1 no longer has the role %2, at once also in what runs already.',
        user.id,
        heldText(trans, held.role, held.scope)
      ),
      label: trans.__('Take the role'),
      act: async () => void (await doing.run(() => model.take(user, held)))
    });
  const remove = (): void =>
    void confirmed({
      title: trans.__('Remove %1?', user.id),
      body: trans.__('Sessions, tokens, roles and personal data go. The audit log stays as it is.'),
      label: trans.__('Remove'),
      act: async () => void (await doing.run(() => model.remove(user)))
    });
  return (
    <tr>
      <th scope="row">
        {user.id}
        {user.id === model.me?.subject && ` (${trans.__('you')})`}
        {user.kind === 'service' && ` (${trans.__('service')})`}
        <span className="flaas-Secondary">
          {[user.name, user.email, user.organisation].filter(Boolean).join(', ')}
        </span>
      </th>
      <td>
        <StateLabel state={user.state} />
        <span className="flaas-Secondary">
          {user.has_key ? trans.__('has a key for approvals') : trans.__('no key for approvals')}
        </span>
      </td>
      <td>
        {user.roles.length === 0 && trans.__('none')}
        <ul className="flaas-Chips" aria-label={trans.__('Roles of %1', user.id)}>
          {user.roles.map(held => (
            <li key={`${held.role} ${held.scope}`} className="flaas-Chip">
              {heldText(trans, held.role, held.scope)}
              {may('take_role') && (
                <button
                  type="button"
                  disabled={doing.busy}
                  aria-label={trans.__('Take %1 from %2', heldText(trans, held.role, held.scope), user.id)}
                  onClick={() => take(held)}
                >
                  <span aria-hidden="true">×</span>
                </button>
              )}
            </li>
          ))}
        </ul>
      </td>
      <td>
        <div className="flaas-Buttons">
          {may('give_role', 'roles') && (
            <Button
              small
              className="flaas-Button"
              aria-expanded={giving}
              aria-label={trans.__('Give %1 a role', user.id)}
              onClick={() => setGiving(!giving)}
            >
              {trans.__('Give a role …')}
            </Button>
          )}
          {may('invite', 'invitation') && (
            <Button
              small
              className="flaas-Button"
              disabled={doing.busy}
              aria-label={trans.__('Invite %1 again', user.id)}
              onClick={() => void doing.run(() => model.inviteAgain(user))}
            >
              {trans.__('Invite again')}
            </Button>
          )}
          {may('delete', 'remove') && (
            <Button
              small
              className="flaas-Button"
              disabled={doing.busy}
              aria-label={trans.__('Remove %1', user.id)}
              onClick={remove}
            >
              {trans.__('Remove …')}
            </Button>
          )}
        </div>
        {giving && (
          <Give
            user={user}
            model={model}
            scopes={scopes}
            give={async held => {
              if (await doing.run(() => model.give(user, held))) {
                setGiving(false);
              }
            }}
          />
        )}
      </td>
    </tr>
  );
}

interface IGiveProps {
  user: IUser;
  model: AccessModel;
  scopes: string[];
  give: (held: IHeldRole) => Promise<void>;
}

function Give({ user, model, scopes, give }: IGiveProps): JSX.Element {
  const trans = useTrans();
  const [role, setRole] = React.useState(model.roles[0]?.name ?? '');
  const [scope, setScope] = React.useState(user.organisation ? `organisation:${user.organisation}` : '');
  return (
    <form
      className="flaas-Controls"
      aria-label={trans.__('Give %1 a role', user.id)}
      onSubmit={event => {
        event.preventDefault();
        void give({ role, scope: scope.trim() });
      }}
    >
      <RoleField model={model} role={role} change={setRole} />
      <ScopeField scope={scope} scopes={scopes} change={setScope} />
      <Button type="submit" small className="flaas-Button flaas-mod-primary">
        {trans.__('Give')}
      </Button>
    </form>
  );
}

interface IRoleFieldProps {
  model: AccessModel;
  role: string;
  change: (role: string) => void;
  none?: string;
}

function RoleField({ model, role, change, none }: IRoleFieldProps): JSX.Element {
  const trans = useTrans();
  const options = model.roles.map(({ name }) => ({ label: name, value: name }));
  return (
    <Field label={trans.__('Role')} title={model.roles.find(({ name }) => name === role)?.description}>
      {id => (
        <HTMLSelect
          id={id}
          value={role}
          onChange={event => change(event.target.value)}
          options={none === undefined ? options : [{ label: none, value: '' }, ...options]}
        />
      )}
    </Field>
  );
}

interface IScopeFieldProps {
  scope: string;
  scopes: string[];
  change: (scope: string) => void;
}

function ScopeField({ scope, scopes, change }: IScopeFieldProps): JSX.Element {
  const trans = useTrans();
  const list = React.useId();
  return (
    <Field
      label={trans.__('Where')}
      title={trans.__('platform, organisation:<id>, project:<id> or node:<id>')}
    >
      {id => (
        <>
          <input
            id={id}
            list={list}
            className="flaas-Input"
            value={scope}
            required
            pattern="platform|(organisation|project|node):.+"
            spellCheck={false}
            onChange={event => change(event.target.value)}
          />
          <datalist id={list}>
            {scopes.map(each => (
              <option key={each} value={each} />
            ))}
          </datalist>
        </>
      )}
    </Field>
  );
}

interface IInviteProps {
  model: AccessModel;
  scopes: string[];
  doing: IDoing;
  close: () => void;
}

function Invite({ model, scopes, doing, close }: IInviteProps): JSX.Element {
  const trans = useTrans();
  const organisation = model.me?.organisation ?? '';
  const [wish, setWish] = React.useState({
    id: '',
    kind: 'person' as IUser['kind'],
    organisation,
    name: '',
    email: '',
    role: '',
    scope: `organisation:${organisation}`
  });
  const set = (changes: Partial<typeof wish>): void => setWish({ ...wish, ...changes });
  const submit = async (event: React.FormEvent): Promise<void> => {
    event.preventDefault();
    if (await doing.run(() => model.invite(wish))) {
      close();
    }
  };
  return (
    <form className="flaas-Box" aria-label={trans.__('Invite')} onSubmit={event => void submit(event)}>
      <div className="flaas-Controls">
        <Field label={trans.__('What')}>
          {id => (
            <HTMLSelect
              id={id}
              value={wish.kind}
              onChange={event => set({ kind: event.target.value as IUser['kind'] })}
              options={[
                { label: trans.__('a person'), value: 'person' },
                { label: trans.__('a service'), value: 'service' }
              ]}
            />
          )}
        </Field>
        <Field label={trans.__('Name to sign in with')}>
          {id => (
            <input
              id={id}
              className="flaas-Input"
              value={wish.id}
              required
              pattern="[a-z0-9][a-z0-9._\-]{0,63}"
              title={trans.__('small letters, digits, dots and dashes')}
              spellCheck={false}
              onChange={event => set({ id: event.target.value })}
            />
          )}
        </Field>
        <TextField
          label={trans.__('Organisation')}
          value={wish.organisation}
          change={value => set({ organisation: value })}
        />
        <TextField
          label={trans.__('Full name')}
          placeholder={trans.__('optional')}
          value={wish.name}
          change={name => set({ name })}
        />
        <TextField
          label={trans.__('E-mail')}
          placeholder={trans.__('optional')}
          value={wish.email}
          change={email => set({ email })}
        />
        <RoleField
          model={model}
          role={wish.role}
          none={trans.__('no role yet')}
          change={role => set({ role })}
        />
        <ScopeField scope={wish.scope} scopes={scopes} change={scope => set({ scope })} />
      </div>
      <p className="flaas-Hint">
        {trans.__('Name and e-mail are kept encrypted, and shown only to who looks after members.')}
      </p>
      <div className="flaas-Buttons">
        <Button type="submit" className="flaas-Button flaas-mod-primary" disabled={doing.busy}>
          {trans.__('Invite')}
        </Button>
        <Button type="button" className="flaas-Button" onClick={close}>
          {trans.__('Cancel')}
        </Button>
      </div>
    </form>
  );
}

/** An invitation or token: shown once, copied, put away. */
function Once({ model, open }: { model: AccessModel; open: () => void }): JSX.Element | null {
  const trans = useTrans();
  const { once } = model;
  if (!once) {
    return null;
  }
  return (
    <section className="flaas-Box flaas-Once" aria-label={trans.__('Shown once')}>
      <strong>
        {once.kind === 'invitation'
          ? trans.__('Invitation of %1', once.user)
          : trans.__('Token of the service %1', once.user)}
      </strong>
      <p className="flaas-Hint">
        {trans.__(
          'It is shown this once and kept nowhere. Hand it over on a way that you trust: whoever has it is let in as %1.',
          once.user
        )}
      </p>
      <code className="flaas-Notice-command">{once.secret}</code>
      {once.approvals.length > 0 && (
        <p className="flaas-Warning">
          {trans.__('The role waits for approval.')}{' '}
          <button type="button" className="flaas-Run-open" onClick={open}>
            {trans.__('Show the request')}
          </button>
        </p>
      )}
      <div className="flaas-Buttons">
        <CopyButton
          key={once.secret}
          text={once.secret}
          label={
            once.kind === 'invitation'
              ? trans.__('Copy the invitation of %1', once.user)
              : trans.__('Copy the token of the service %1', once.user)
          }
        />
        <Button className="flaas-Button" onClick={() => model.putAway()}>
          {trans.__('I have handed it over')}
        </Button>
      </div>
    </section>
  );
}
