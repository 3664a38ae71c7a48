/**
 * Roles: who may do what and why, and a draft of changes that is looked at before it is saved.
 */

import { type ISignal, Signal } from '@lumino/signaling';

import type {
  IApproval,
  IExclusion,
  IHeldRole,
  IPermission,
  IRole,
  IRoleChange,
  IRolePreview,
  IUser
} from '../governance';
import { problemOf } from '../request';
import type { IApi, IModel, IProblem } from '../tokens';
import { follow, waitsIn } from './links';

/** The name of a permission, `resource:verb`. */
export function permissionName(permission: string | { operation: string; object: string }): string {
  if (typeof permission === 'string') {
    return permission;
  }
  const { operation, object } = permission;
  return operation.includes(':') ? operation : `${object}:${operation}`;
}

/** What a permission is for: the part of its name before the colon. */
export function resourceOf(permission: IPermission): string {
  return permissionName(permission).split(':')[0];
}

/** The way from a role to the one that was granted the permission; null if it does not have it. */
export function pathOf(permission: IPermission, role: string): string[] | null {
  const found = permission.roles.find(each => each.role === role);
  return found ? (found.path.length > 0 ? found.path : [role]) : null;
}

/** A role with all that it includes. */
export function included(roles: readonly IRole[], name: string): Set<string> {
  const byName = new Map(roles.map(role => [role.name, role]));
  const found = new Set<string>();
  const waiting = [name];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (!found.has(next)) {
      found.add(next);
      waiting.push(...(byName.get(next)?.juniors ?? []));
    }
  }
  return found;
}

/** Who may do it, through which of the roles that they hold. */
export interface IHolder {
  user: string;
  held: IHeldRole;
}

/** Who holds one of `roles`, and where. */
export function holdersOf(users: readonly IUser[], roles: readonly string[]): IHolder[] {
  return users
    .filter(({ state }) => state !== 'removed')
    .flatMap(({ id, roles: held }) =>
      held.filter(({ role }) => roles.includes(role)).map(each => ({ user: id, held: each }))
    )
    .sort((one, other) => one.user.localeCompare(other.user));
}

/** What a role is to be. */
export interface IRoleWish {
  name: string;
  description: string;
  juniors: string[];
  permissions: string[];
}

/** A new separation of duty. */
export interface IExclusionWish {
  name: string;
  kind: IExclusion['kind'];
  roles: string[];
  cardinality: number;
  per_scope: boolean;
}

function wishOf(role: IRole | null): IRoleWish {
  return {
    name: role?.name ?? '',
    description: role?.description ?? '',
    juniors: [...(role?.juniors ?? [])].sort(),
    permissions: (role?.permissions ?? []).map(permissionName).sort()
  };
}

function change(name: string, values: { [name: string]: unknown }): IRoleChange {
  return { function: name, arguments: values };
}

function granted(permission: string, role: string): { [name: string]: unknown } {
  const [object, operation] = permission.split(':');
  return { operation, object, role };
}

/** The calls of the standard's functions that make a role what it is wished to be. */
export function changesOf(before: IRole | null, wish: IRoleWish): IRoleChange[] {
  const old = wishOf(before);
  const role = wish.name;
  const changes: IRoleChange[] = [];
  const only = (some: string[], others: string[]): string[] => some.filter(each => !others.includes(each));
  if (!before) {
    changes.push(change('add_role', { role, description: wish.description }));
  }
  // What is taken away comes first, so that a separation of duty is not in the way of what takes its place.
  for (const descendant of only(old.juniors, wish.juniors)) {
    changes.push(change('delete_inheritance', { ascendant: role, descendant }));
  }
  for (const permission of only(old.permissions, wish.permissions)) {
    changes.push(change('revoke_permission', granted(permission, role)));
  }
  for (const descendant of only(wish.juniors, old.juniors)) {
    changes.push(change('add_inheritance', { ascendant: role, descendant }));
  }
  for (const permission of only(wish.permissions, old.permissions)) {
    changes.push(change('grant_permission', granted(permission, role)));
  }
  return changes;
}

/** The call that makes, or ends, a separation of duty. */
export function exclusionChange(kind: IExclusion['kind'], wish: IExclusionWish | string): IRoleChange {
  const set = kind === 'static' ? 'ssd' : 'dsd';
  if (typeof wish === 'string') {
    return change(`delete_${set}_set`, { name: wish });
  }
  const { name, roles, cardinality, per_scope } = wish;
  return change(`create_${set}_set`, { name, roles, n: cardinality, per_scope });
}

/** How a change that was sent ended. */
export interface IOutcome {
  change: IRoleChange;
  /** Null: it was done at once. */
  waits: IApproval | null;
}

/**
 * A draft of changes. Whatever is changed is tried by the API first, which changes nothing then; only a draft that has
 * been found sound can be saved.
 */
export class RoleDraft implements IModel {
  constructor(private _api: IApi) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** The role as it is; null for a new one. */
  get role(): IRole | null {
    return this._role;
  }

  get wish(): IRoleWish {
    return this._wish;
  }

  /** What saving would send. */
  get changes(): readonly IRoleChange[] {
    return this._changes;
  }

  /** What the API says of the draft as it is now; null while it is being asked, or there is nothing to ask. */
  get preview(): IRolePreview | null {
    return this._preview;
  }

  get saving(): boolean {
    return this._saving;
  }

  /** Why it could not be tried, or saved. */
  get problem(): IProblem | null {
    return this._problem;
  }

  get outcomes(): readonly IOutcome[] {
    return this._outcomes;
  }

  get isSound(): boolean {
    const preview = this._preview;
    return preview !== null && preview.conflicts.length === 0 && preview.problem === null;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Begin with a role as it is, or with a new one. */
  edit(role: IRole | null): void {
    this._role = role;
    this._wish = wishOf(role);
    this._exclusion = null;
    this._outcomes = [];
    void this._try();
  }

  /** Change what the role is to be. */
  set(changes: Partial<IRoleWish>): void {
    this._wish = { ...this._wish, ...changes };
    this._outcomes = [];
    void this._try();
  }

  /** Wish for a separation of duty instead, or for its end. */
  exclude(exclusion: IRoleChange | null): void {
    this._exclusion = exclusion;
    this._outcomes = [];
    void this._try();
  }

  /** Begin anew with what the API has now. */
  settle(role: IRole | null): void {
    this._role = role;
    this._wish = wishOf(role);
    this._exclusion = null;
    void this._try();
  }

  /** Have the changes made, in order; true if all were done or asked for. */
  async save(): Promise<boolean> {
    if (!this.isSound || this._saving) {
      return false;
    }
    const changes = this._changes;
    this._saving = true;
    this._outcomes = [];
    this._problem = null;
    this._changed.emit();
    let complete = true;
    try {
      for (const each of changes) {
        const link = { href: `/v1/rbac/${each.function}`, method: 'POST' };
        const waits = waitsIn(await follow(this._api, link, { arguments: each.arguments }));
        this._outcomes = [...this._outcomes, { change: each, waits }];
        if (waits && each.function === 'add_role' && changes.length > 1) {
          complete = false; // the others need a role that is not there yet
          break;
        }
      }
    } catch (error) {
      this._problem = problemOf(error);
      complete = false;
    }
    this._saving = false;
    this._emit();
    return complete;
  }

  dispose(): void {
    this._disposed = true;
    Signal.clearData(this);
  }

  private async _try(): Promise<void> {
    const turn = ++this._turn;
    this._changes = this._exclusion ? [this._exclusion] : changesOf(this._role, this._wish);
    this._preview = null;
    this._problem = null;
    this._emit();
    if (this._changes.length === 0 || (!this._exclusion && !this._wish.name)) {
      return;
    }
    try {
      const body = { changes: this._changes };
      const preview = await this._api.api<IRolePreview>('/v1/roles/preview', { method: 'POST', body });
      if (turn === this._turn) {
        this._preview = preview;
      }
    } catch (error) {
      if (turn === this._turn) {
        this._problem = problemOf(error);
      }
    }
    if (turn === this._turn) {
      this._emit();
    }
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _changed = new Signal<this, void>(this);
  private _role: IRole | null = null;
  private _wish: IRoleWish = wishOf(null);
  private _exclusion: IRoleChange | null = null;
  private _changes: readonly IRoleChange[] = [];
  private _preview: IRolePreview | null = null;
  private _outcomes: readonly IOutcome[] = [];
  private _problem: IProblem | null = null;
  private _saving = false;
  private _turn = 0;
  private _disposed = false;
}
