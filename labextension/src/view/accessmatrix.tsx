/** Who can do what, and why: permissions by role, with the way through the hierarchy for each cell. */

import { HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { IPermission } from '../governance';
import { holdersOf, pathOf, permissionName, resourceOf } from '../model';
import { type IAccessProps, PartProblem, heldText } from './accessparts';
import { Field, TextField } from './fields';
import { useTrans } from './hooks';

interface ICell {
  permission: string;
  role: string;
}

export function Matrix({ model }: IAccessProps): JSX.Element {
  const trans = useTrans();
  const [filter, setFilter] = React.useState('');
  const [only, setOnly] = React.useState('');
  const [chosen, setChosen] = React.useState<ICell | null>(null);
  const [pointed, setPointed] = React.useState<ICell | null>(null);
  const wanted = filter.trim().toLowerCase();
  const roles = model.roles.map(({ name }) => name);
  const shown = model.permissions.filter(permission => {
    const text = `${permissionName(permission)} ${permission.description}`.toLowerCase();
    const mine = only !== 'me:' || model.may(permissionName(permission));
    const has = !only || only === 'me:' || pathOf(permission, only) !== null;
    return text.includes(wanted) && mine && has;
  });
  const columns = only && only !== 'me:' ? roles.filter(role => role === only) : roles;
  const cell = pointed ?? chosen;
  return (
    <>
      <PartProblem model={model} part="permissions" />
      <div className="flaas-Controls">
        <TextField
          label={trans.__('Filter')}
          placeholder={trans.__('operation or words')}
          value={filter}
          change={setFilter}
        />
        <Field label={trans.__('What may be done by')}>
          {id => (
            <HTMLSelect
              id={id}
              value={only}
              onChange={event => setOnly(event.target.value)}
              options={[
                { label: trans.__('all roles'), value: '' },
                { label: trans.__('me'), value: 'me:' },
                ...roles.map(name => ({ label: name, value: name }))
              ]}
            />
          )}
        </Field>
        <p className="flaas-Hint">
          <span aria-hidden="true">●</span> {trans.__('granted')} <span aria-hidden="true">○</span>{' '}
          {trans.__('through a role that it includes')}
        </p>
      </div>
      <div className="flaas-Matrix-parts">
        <Grid permissions={shown} roles={columns} chosen={chosen} choose={setChosen} point={setPointed} />
        <Why model={model} cell={cell} />
      </div>
    </>
  );
}

interface IGridProps {
  permissions: readonly IPermission[];
  roles: readonly string[];
  chosen: ICell | null;
  choose: (cell: ICell) => void;
  point: (cell: ICell | null) => void;
}

/** A grid with one stop for Tab; arrow keys go from cell to cell. */
function Grid({ permissions, roles, chosen, choose, point }: IGridProps): JSX.Element {
  const trans = useTrans();
  const table = React.useRef<HTMLTableElement>(null);
  const at = chosen ? permissions.findIndex(each => permissionName(each) === chosen.permission) : -1;
  const column = chosen ? roles.indexOf(chosen.role) : -1;
  const stop = at >= 0 && column >= 0 ? [at, column] : [0, 0];
  const go = (row: number, to: number): void => {
    const [y, x] = [
      Math.max(0, Math.min(permissions.length - 1, row)),
      Math.max(0, Math.min(roles.length - 1, to))
    ];
    choose({ permission: permissionName(permissions[y]), role: roles[x] });
    table.current?.querySelector<HTMLElement>(`[data-cell="${y} ${x}"]`)?.focus();
  };
  const onKeyDown = (event: React.KeyboardEvent, row: number, place: number): void => {
    const moves: { [key: string]: [number, number] } = {
      ArrowDown: [row + 1, place],
      ArrowUp: [row - 1, place],
      ArrowRight: [row, place + 1],
      ArrowLeft: [row, place - 1],
      Home: [row, 0],
      End: [row, roles.length - 1],
      PageDown: [row + 10, place],
      PageUp: [row - 10, place]
    };
    const move = moves[event.key];
    if (move) {
      event.preventDefault();
      go(...move);
    }
  };
  if (permissions.length === 0) {
    return <p className="flaas-Empty">{trans.__('No permission fits.')}</p>;
  }
  return (
    <div className="flaas-Scroll flaas-Matrix-scroll">
      <table className="flaas-Matrix" role="grid" ref={table} aria-label={trans.__('Who can do what')}>
        <thead>
          <tr>
            <th scope="col">{trans.__('Operation')}</th>
            {roles.map(role => (
              <th scope="col" key={role} className="flaas-Matrix-role">
                {role}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {permissions.map((permission, row) => {
            const name = permissionName(permission);
            const first = row === 0 || resourceOf(permissions[row - 1]) !== resourceOf(permission);
            return (
              <tr key={name} className={first ? 'flaas-mod-first' : undefined}>
                <th scope="row" title={permission.description}>
                  {name}
                  <span className="flaas-Secondary">{permission.description}</span>
                </th>
                {roles.map((role, place) => {
                  const path = pathOf(permission, role);
                  const cell = { permission: name, role };
                  const here = chosen?.permission === name && chosen.role === role;
                  const words =
                    path === null
                      ? trans.__('no')
                      : path.length === 1
                        ? trans.__('granted')
                        : trans.__('through %1', path.slice(1).join(', '));
                  return (
                    <td
                      key={role}
                      role="gridcell"
                      data-cell={`${row} ${place}`}
                      tabIndex={stop[0] === row && stop[1] === place ? 0 : -1}
                      aria-selected={here}
                      aria-label={trans.__('%1, %2: %3', role, name, words)}
                      onClick={() => choose(cell)}
                      onFocus={() => choose(cell)}
                      onMouseEnter={() => point(cell)}
                      onMouseLeave={() => point(null)}
                      onKeyDown={event => onKeyDown(event, row, place)}
                    >
                      <span aria-hidden="true">{path === null ? '' : path.length === 1 ? '●' : '○'}</span>
                    </td>
                  );
                })}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** The way from the role to the permission, and who holds it. */
function Why({ model, cell }: { model: IAccessProps['model']; cell: ICell | null }): JSX.Element {
  const trans = useTrans();
  const permission = cell && model.permissions.find(each => permissionName(each) === cell.permission);
  if (!cell || !permission) {
    return (
      <aside className="flaas-Box flaas-Why" aria-label={trans.__('Why')}>
        <p className="flaas-Hint">
          {trans.__('Choose a cell to see why a role can do something, and who has it.')}
        </p>
      </aside>
    );
  }
  const path = pathOf(permission, cell.role);
  const able = permission.roles.map(({ role }) => role);
  const holders = holdersOf(model.users, path ? [cell.role] : []);
  const everybody = holdersOf(model.users, able);
  const list = (found: typeof holders): JSX.Element => (
    <ul className="flaas-List">
      {found.slice(0, 30).map(({ user, held }) => (
        <li key={`${user} ${held.role} ${held.scope}`}>
          {user}: {heldText(trans, held.role, held.scope)}
        </li>
      ))}
      {found.length > 30 && <li>{trans.__('and %1 more', found.length - 30)}</li>}
    </ul>
  );
  return (
    <aside className="flaas-Box flaas-Why" aria-label={trans.__('Why')}>
      <h3>
        {cell.role}, {cell.permission}
      </h3>
      <p className="flaas-Hint">{permission.description}</p>
      <div role="status">
        {path === null ? (
          <p>
            {trans.__('%1 cannot do this: neither it nor a role that it includes was granted it.', cell.role)}
          </p>
        ) : path.length === 1 ? (
          <p>{trans.__('%1 was granted this itself.', cell.role)}</p>
        ) : (
          <p>
            {trans.__(
              '%1 can do this because it includes %2, which was granted it.',
              cell.role,
              path.slice(1).join(trans.__(', which includes '))
            )}
          </p>
        )}
        {path && (
          <ol className="flaas-Path" aria-label={trans.__('Way through the hierarchy')}>
            {[...path, cell.permission].map((step, place) => (
              <li key={step} className={place === path.length ? 'flaas-mod-end' : undefined}>
                {step}
              </li>
            ))}
          </ol>
        )}
      </div>
      {model.problem('users') === null && (
        <>
          {path && (
            <>
              <h4>{trans.__('Who holds %1', cell.role)}</h4>
              {holders.length > 0 ? list(holders) : <p className="flaas-Empty">{trans.__('Nobody.')}</p>}
            </>
          )}
          <h4>{trans.__('Who can do %1', cell.permission)}</h4>
          {everybody.length > 0 ? list(everybody) : <p className="flaas-Empty">{trans.__('Nobody.')}</p>}
        </>
      )}
    </aside>
  );
}
