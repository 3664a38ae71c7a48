/** Changing roles and separation of duty: every change is tried by the API before it can be saved. */

import { Button, HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IExclusion, IRoleChange } from '../governance';
import { exclusionChange, type IExclusionWish, included, permissionName, type RoleDraft } from '../model';
import { type IAccessProps, PartProblem, WaitsNotice } from './accessparts';
import { Field, NumberField, TextField } from './fields';
import { useModel, useTrans } from './hooks';
import { Notice } from './notice';

export function RoleEditor(props: IAccessProps): JSX.Element {
  const { model } = props;
  const { draft } = model;
  const trans = useTrans();
  useModel(draft);
  const name = draft.role?.name ?? '';
  React.useEffect(() => {
    // What was saved, or changed elsewhere, is what the next change starts from.
    const now = model.roles.find(role => role.name === name) ?? null;
    if (now && now !== draft.role && draft.changes.length === 0) {
      draft.edit(now);
    }
  }, [model.roles, name, draft]);
  const editable = model.offers('edit_roles', 'role:manage');
  const save = async (): Promise<void> => {
    const made = draft.wish.name;
    if (await draft.save()) {
      await model.refresh();
      draft.settle(model.roles.find(role => role.name === (made || name)) ?? null);
    }
  };
  return (
    <>
      <PartProblem model={model} part="roles" />
      {!editable && (
        <p className="flaas-Hint">{trans.__('Your roles let you look; changing roles is for others.')}</p>
      )}
      <div className="flaas-Editor">
        <div className="flaas-Form-fields">
          <RoleForm {...props} editable={editable} />
          <Exclusions {...props} editable={editable} />
        </div>
        <Outcome model={model} editable={editable} save={save} />
      </div>
    </>
  );
}

interface IEditable extends IAccessProps {
  editable: boolean;
}

function RoleForm({ model, editable }: IEditable): JSX.Element {
  const trans = useTrans();
  const { draft } = model;
  const { wish, role } = draft;
  const [filter, setFilter] = React.useState('');
  const toggled = (all: string[], each: string, on: boolean): string[] =>
    (on ? [...all, each] : all.filter(other => other !== each)).sort();
  const below = new Set(wish.juniors.flatMap(junior => [...included(model.roles, junior)]));
  const inherited = new Set(
    model.roles
      .filter(({ name }) => below.has(name))
      .flatMap(({ permissions }) => permissions.map(permissionName))
  );
  const above = model.roles.filter(({ name }) => wish.name && included(model.roles, name).has(wish.name));
  const wanted = filter.trim().toLowerCase();
  return (
    <fieldset className="flaas-Data">
      <legend>{trans.__('Role')}</legend>
      <div className="flaas-Controls">
        <Field label={trans.__('Which')}>
          {id => (
            <HTMLSelect
              id={id}
              value={role?.name ?? ''}
              onChange={event =>
                draft.edit(model.roles.find(({ name }) => name === event.target.value) ?? null)
              }
              options={[
                { label: trans.__('a new role'), value: '' },
                ...model.roles.map(({ name }) => ({ label: name, value: name }))
              ]}
            />
          )}
        </Field>
        {!role && editable && (
          <>
            <TextField
              label={trans.__('Its name')}
              value={wish.name}
              change={value => draft.set({ name: value.trim() })}
            />
            <TextField
              label={trans.__('What it is for')}
              value={wish.description}
              change={description => draft.set({ description })}
            />
          </>
        )}
      </div>
      {role && (
        <p className="flaas-Hint">
          {role.description}
          {role.built_in && (
            <span className="flaas-Secondary">{trans.__('Every installation begins with it.')}</span>
          )}
        </p>
      )}
      <fieldset className="flaas-Data" disabled={!editable}>
        <legend>{trans.__('Includes')}</legend>
        <div className="flaas-Checks">
          {model.roles
            .filter(({ name }) => name !== wish.name)
            .map(each => {
              // Whoever includes this role cannot be included in it: the hierarchy has no circles.
              const circle = above.includes(each) && !wish.juniors.includes(each.name);
              return (
                <label key={each.name} title={each.description}>
                  <input
                    type="checkbox"
                    checked={wish.juniors.includes(each.name)}
                    disabled={circle}
                    onChange={event =>
                      draft.set({ juniors: toggled(wish.juniors, each.name, event.target.checked) })
                    }
                  />
                  <span>
                    {each.name}
                    {circle && ` (${trans.__('includes this one')})`}
                  </span>
                </label>
              );
            })}
        </div>
      </fieldset>
      <fieldset className="flaas-Data">
        <legend>{trans.__('Permissions')}</legend>
        <TextField
          label={trans.__('Filter')}
          placeholder={trans.__('operation or words')}
          value={filter}
          change={setFilter}
        />
        <div className="flaas-Checks flaas-mod-long">
          {model.permissions
            .filter(each => `${permissionName(each)} ${each.description}`.toLowerCase().includes(wanted))
            .map(each => {
              const name = permissionName(each);
              return (
                <label key={name} title={each.description}>
                  <input
                    type="checkbox"
                    checked={wish.permissions.includes(name)}
                    disabled={!editable}
                    onChange={event =>
                      draft.set({ permissions: toggled(wish.permissions, name, event.target.checked) })
                    }
                  />
                  <span>
                    {name}
                    {inherited.has(name) && ` (${trans.__('already included')})`}
                    <span className="flaas-Secondary">{each.description}</span>
                  </span>
                </label>
              );
            })}
        </div>
      </fieldset>
    </fieldset>
  );
}

const NEW: IExclusionWish = { name: '', kind: 'static', roles: [], cardinality: 2, per_scope: false };

function Exclusions({ model, editable }: IEditable): JSX.Element {
  const trans = useTrans();
  const { draft } = model;
  const [wish, setWish] = React.useState<IExclusionWish | null>(null);
  const set = (changes: Partial<IExclusionWish>): void => {
    const next = { ...(wish ?? NEW), ...changes };
    setWish(next);
    const whole = next.name && next.roles.length >= next.cardinality;
    draft.exclude(whole ? exclusionChange(next.kind, next) : null);
  };
  const close = (): void => {
    setWish(null);
    draft.exclude(null);
  };
  return (
    <fieldset className="flaas-Data">
      <legend>{trans.__('Separation of duties')}</legend>
      <PartProblem model={model} part="exclusions" />
      <ul className="flaas-Runs" aria-label={trans.__('Separation of duties')}>
        {model.exclusions.map(each => (
          <li key={`${each.kind} ${each.name}`} className="flaas-Run">
            <div className="flaas-Run-head">
              <strong>{each.name}</strong>
              {editable && (
                <Button
                  small
                  className="flaas-Button"
                  aria-label={trans.__('Try without %1', each.name)}
                  onClick={() => {
                    setWish(null);
                    draft.exclude(exclusionChange(each.kind, each.name));
                  }}
                >
                  {trans.__('Try without it')}
                </Button>
              )}
            </div>
            <span>
              <Rule exclusion={each} />
            </span>
          </li>
        ))}
      </ul>
      {!editable ? null : wish === null ? (
        <Button small className="flaas-Button" onClick={() => set({})}>
          {trans.__('Add one …')}
        </Button>
      ) : (
        <div className="flaas-Box">
          <div className="flaas-Controls">
            <TextField label={trans.__('Its name')} value={wish.name} change={name => set({ name })} />
            <Field label={trans.__('Kind')}>
              {id => (
                <HTMLSelect
                  id={id}
                  value={wish.kind}
                  onChange={event => set({ kind: event.target.value as IExclusion['kind'] })}
                  options={[
                    { label: trans.__('static: nobody holds'), value: 'static' },
                    { label: trans.__('dynamic: nobody uses at once'), value: 'dynamic' }
                  ]}
                />
              )}
            </Field>
            <NumberField
              label={trans.__('This many or more')}
              value={wish.cardinality}
              least={2}
              whole
              change={cardinality => set({ cardinality })}
            />
          </div>
          <div className="flaas-Checks">
            {model.roles.map(({ name, description }) => (
              <label key={name} title={description}>
                <input
                  type="checkbox"
                  checked={wish.roles.includes(name)}
                  onChange={event =>
                    set({
                      roles: event.target.checked
                        ? [...wish.roles, name].sort()
                        : wish.roles.filter(other => other !== name)
                    })
                  }
                />
                <span>{name}</span>
              </label>
            ))}
          </div>
          <label className="flaas-Accept">
            <input
              type="checkbox"
              checked={wish.per_scope}
              onChange={event => set({ per_scope: event.target.checked })}
            />
            <span>{trans.__('only where they meet in the same scope')}</span>
          </label>
          <Button small className="flaas-Button" onClick={close}>
            {trans.__('Cancel')}
          </Button>
        </div>
      )}
    </fieldset>
  );
}

function Rule({ exclusion }: { exclusion: IExclusion }): JSX.Element {
  const trans = useTrans();
  const { kind, roles, cardinality, per_scope } = exclusion;
  const names = roles.join(', ');
  const words =
    kind === 'static'
      ? trans.__('Nobody holds %1 or more of: %2', cardinality, names)
      : trans.__('Nobody uses %1 or more at once of: %2', cardinality, names);
  return (
    <>
      {words}
      {per_scope && `, ${trans.__('where they meet in the same scope')}`}
    </>
  );
}

/** A change in words. */
function Change({ change }: { change: IRoleChange }): JSX.Element {
  const trans = useTrans();
  const given = change.arguments as { [name: string]: string };
  const permission = `${given.object}:${given.operation}`;
  const words: { [name: string]: () => string } = {
    add_role: () => trans.__('Add the role %1', given.role),
    add_inheritance: () => trans.__('%1 includes %2', given.ascendant, given.descendant),
    delete_inheritance: () => trans.__('%1 no longer includes %2', given.ascendant, given.descendant),
    grant_permission: () => trans.__('%1 can do %2', given.role, permission),
    revoke_permission: () => trans.__('%1 can no longer do %2', given.role, permission),
    create_ssd_set: () => trans.__('Separate duties: %1 (static)', given.name),
    delete_ssd_set: () => trans.__('No longer separate: %1 (static)', given.name),
    create_dsd_set: () => trans.__('Separate duties: %1 (dynamic)', given.name),
    delete_dsd_set: () => trans.__('No longer separate: %1 (dynamic)', given.name)
  };
  return <>{words[change.function]?.() ?? change.function}</>;
}

interface IOutcomeProps {
  model: IAccessProps['model'];
  editable: boolean;
  save: () => Promise<void>;
}

/** What saving would do, what stands in its way, and what came of it. */
function Outcome({ model, editable, save }: IOutcomeProps): JSX.Element {
  const trans = useTrans();
  const { draft } = model;
  const { changes, outcomes, problem, saving } = draft;
  return (
    <section className="flaas-Box flaas-Outcome" aria-label={trans.__('Changes')}>
      <h3>{trans.__('Changes')}</h3>
      {changes.length === 0 ? (
        <p className="flaas-Empty">{trans.__('Nothing is changed yet.')}</p>
      ) : (
        <ol className="flaas-List" aria-label={trans.__('What would change')}>
          {changes.map((change, place) => (
            <li key={place}>
              <Change change={change} />
            </li>
          ))}
        </ol>
      )}
      <div role="status">
        <Verdict draft={draft} />
      </div>
      {problem && <Notice problem title={problem.title} detail={problem.detail} hint={problem.hint} />}
      {outcomes.map(({ change, waits }, place) =>
        waits ? (
          <WaitsNotice key={place} approval={waits} open={() => model.show('approvals')} />
        ) : (
          <p key={place} className="flaas-Hint">
            <span aria-hidden="true">✓</span> <Change change={change} />
          </p>
        )
      )}
      {changes.length > 0 && (
        <div className="flaas-Buttons">
          {editable && (
            <Button
              className="flaas-Button flaas-mod-primary"
              disabled={!draft.isSound || saving}
              onClick={() => void save()}
            >
              {saving ? trans.__('Saving …') : trans.__('Save')}
            </Button>
          )}
          <Button className="flaas-Button" onClick={() => draft.edit(draft.role)}>
            {trans.__('Discard')}
          </Button>
        </div>
      )}
    </section>
  );
}

function Verdict({ draft }: { draft: RoleDraft }): JSX.Element | null {
  const trans = useTrans();
  const { preview, changes, problem } = draft;
  if (changes.length === 0 || problem) {
    return null;
  }
  if (!preview) {
    return <p className="flaas-Hint">{draft.wish.name || draft.role ? trans.__('Being tried …') : ''}</p>;
  }
  if (preview.problem) {
    const { title, detail, hint } = preview.problem;
    return <Notice problem title={title} detail={detail} hint={hint} />;
  }
  if (preview.conflicts.length === 0) {
    return (
      <p className="flaas-Hint">
        <span aria-hidden="true">✓</span> {trans.__('Tried: no separation of duties is violated.')}
      </p>
    );
  }
  return (
    <div className="flaas-Notice flaas-mod-problem" role="alert">
      <div className="flaas-Notice-text">
        <strong>{trans.__('This would violate a separation of duties')}</strong>
        <ul className="flaas-List">
          {preview.conflicts.map(({ exclusion, user, session, roles }, place) => (
            <li key={place}>
              {user
                ? trans.__('%1: %2 would have %3', exclusion, user, roles.join(', '))
                : session
                  ? trans.__('%1: a session would have %2 at once', exclusion, roles.join(', '))
                  : trans.__('%1: %2', exclusion, roles.join(', '))}
            </li>
          ))}
        </ul>
        <p>{trans.__('It cannot be saved so. Take one of the roles away first, or change less.')}</p>
      </div>
    </div>
  );
}
