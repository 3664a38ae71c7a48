/**
 * Who is there and what they may do: members, roles, permissions, separation of duty, policy.
 */

import { type ISignal, Signal } from '@lumino/signaling';

import type {
  IApproval,
  IExclusion,
  IHeldRole,
  IMe,
  IPermission,
  IPolicy,
  IRole,
  IUser
} from '../governance';
import { problemOf } from '../request';
import type { IApi, ILink, IModel, IProblem, IResource } from '../tokens';
import { follow, linkOf, waitsIn } from './links';
import { AuditModel } from './audit';
import { readAll } from './lists';
import { RoleDraft } from './roles';

/** The view's tabs. */
export const TABS = ['members', 'matrix', 'editor', 'approvals', 'audit'] as const;

export type AccessTab = (typeof TABS)[number];

/** The parts that are read by themselves: who may see one need not see another. */
export type AccessPart = 'entry' | 'me' | 'users' | 'roles' | 'permissions' | 'exclusions' | 'policy';

/** Somebody to invite. */
export interface IInvitation {
  id: string;
  kind: IUser['kind'];
  organisation: string;
  name: string;
  email: string;
  role: string;
  scope: string;
}

/** What is shown once: whoever has it is let in. */
export interface IOnce {
  user: string;
  secret: string;
  kind: 'invitation' | 'token';
  /** Requests for roles that wait for approval. */
  approvals: string[];
}

/** What came of an action. */
export interface IDone {
  waits: IApproval | null;
}

/** The scopes of a kind, as people read them. */
export function scopeKind(scope: string): string {
  return scope.split(':')[0];
}

/**
 * Who is there and what they may do.
 */
export class AccessModel implements IModel {
  constructor(private _api: IApi) {
    this.audit = new AuditModel(_api);
    this.draft = new RoleDraft(_api);
  }

  readonly audit: AuditModel;
  readonly draft: RoleDraft;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get tab(): AccessTab {
    return this._tab;
  }

  get me(): IMe | null {
    return this._me;
  }

  get users(): readonly IUser[] {
    return this._users;
  }

  get roles(): readonly IRole[] {
    return this._roles;
  }

  get permissions(): readonly IPermission[] {
    return this._permissions;
  }

  get exclusions(): readonly IExclusion[] {
    return this._exclusions;
  }

  get policy(): IPolicy | null {
    return this._policy;
  }

  get loaded(): boolean {
    return this._loaded;
  }

  /** Why a part could not be read. */
  problem(part: AccessPart): IProblem | null {
    return this._problems.get(part) ?? null;
  }

  /** What is to be shown once; null when it was put away. */
  get once(): IOnce | null {
    return this._once;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Whether the API says that the caller may do it somewhere. */
  may(operation: string): boolean {
    return (this._me?.permissions?.[operation]?.length ?? 0) > 0;
  }

  /** Whether the API offers to make something that is not there yet, by the links of its entry point. */
  offers(relation: 'create_user' | 'edit_roles', operation: string): boolean {
    const link = linkOf(this._entry, relation);
    // An API whose entry point says nothing of governance says in `permissions` what the caller may do.
    return link !== null || (linkOf(this._entry, 'users', 'roles') === null && this.may(operation));
  }

  /** Where the caller may do it. */
  scopesFor(operation: string): string[] {
    return this._me?.permissions?.[operation] ?? [];
  }

  show(tab: AccessTab): void {
    this._tab = tab;
    this._emit();
  }

  /** Read everything anew; never fails, what fails is in `problem`. */
  async refresh(): Promise<void> {
    const turn = ++this._turn;
    const read = async (part: AccessPart, load: () => Promise<() => void>): Promise<void> => {
      try {
        const keep = await load();
        if (turn === this._turn) {
          this._problems.delete(part);
          keep();
        }
      } catch (error) {
        if (turn === this._turn) {
          this._problems.set(part, problemOf(error));
        }
      }
    };
    await Promise.all([
      read('entry', async () => {
        const entry = await this._api.api<IResource>('/');
        return () => (this._entry = entry);
      }),
      read('me', async () => {
        const me = await this._api.api<IMe>('/v1/me');
        return () => (this._me = { ...me, roles: me.roles ?? [], permissions: me.permissions ?? {} });
      }),
      read('users', async () => {
        const users = await readAll<IUser>(this._api, '/v1/users', 'users');
        return () => (this._users = users.sort((one, other) => one.id.localeCompare(other.id)));
      }),
      read('roles', async () => {
        const roles = await readAll<IRole>(this._api, '/v1/roles', 'roles');
        return () => (this._roles = roles);
      }),
      read('permissions', async () => {
        const permissions = await readAll<IPermission>(this._api, '/v1/permissions', 'permissions');
        return () => (this._permissions = permissions);
      }),
      read('exclusions', async () => {
        const exclusions = await readAll<IExclusion>(this._api, '/v1/separation', 'exclusions');
        return () => (this._exclusions = exclusions);
      }),
      read('policy', async () => {
        const policy = await this._api.api<IPolicy>('/v1/policy');
        return () => (this._policy = policy);
      })
    ]);
    if (turn === this._turn) {
      this._loaded = true;
      this._emit();
    }
  }

  /** Forget what was read: somebody else is signed in. */
  forget(): void {
    this._turn++;
    this._me = this._policy = this._once = this._entry = null;
    this._users = this._roles = this._permissions = this._exclusions = [];
    this._problems.clear();
    this._loaded = false;
    this.audit.forget();
    this.draft.edit(null);
    this._emit();
  }

  /**
   * Invite somebody; what is shown once is in `once`.
   *
   * @throws RequestError The API's refusal.
   */
  async invite(wish: IInvitation): Promise<void> {
    const body = {
      id: wish.id,
      kind: wish.kind,
      organisation: wish.organisation,
      name: wish.name || null,
      email: wish.email || null,
      roles: wish.role ? [{ role: wish.role, scope: wish.scope }] : []
    };
    this._keepOnce(await follow<IAnswer>(this._api, { href: '/v1/users', method: 'POST' }, body));
    await this.refresh();
  }

  /** @throws RequestError The API's refusal. */
  async inviteAgain(user: IUser): Promise<void> {
    const link = linkOf(user, 'invite', 'invitation');
    if (link) {
      this._keepOnce(await follow<IAnswer>(this._api, link));
      await this.refresh();
    }
  }

  /** Put away what was shown once. */
  putAway(): void {
    this._once = null;
    this._emit();
  }

  /** @throws RequestError The API's refusal. */
  async give(user: IUser, held: IHeldRole): Promise<IDone> {
    const link = linkOf(user, 'give_role', 'roles');
    return link ? this._act(link, held) : { waits: null };
  }

  /** @throws RequestError The API's refusal. */
  async take(user: IUser, { role, scope }: IHeldRole): Promise<IDone> {
    const link = linkOf(user, 'take_role');
    if (!link) {
      return { waits: null };
    }
    const href = link.href
      .replace('{role}', encodeURIComponent(role))
      .replace('{scope}', encodeURIComponent(scope));
    return this._act({ ...link, href, method: link.method ?? 'DELETE' });
  }

  /** @throws RequestError The API's refusal. */
  async remove(user: IUser): Promise<IDone> {
    const link = linkOf(user, 'delete', 'remove');
    if (!link) {
      return { waits: null };
    }
    // Of what is removed, as it is now: the API wants to know that it is still what was read.
    const { tag } = await this._api.tagged<IUser>(linkOf(user, 'self')?.href ?? link.href);
    const answer: unknown = await this._api.api(link.href, { method: link.method ?? 'DELETE', ifMatch: tag });
    await this.refresh();
    return { waits: waitsIn(answer) };
  }

  /** From now on nobody acts alone. @throws RequestError The API's refusal. */
  async closeFounding(link: ILink): Promise<IDone> {
    return this._act(link, {});
  }

  dispose(): void {
    this._disposed = true;
    this.audit.dispose();
    this.draft.dispose();
    Signal.clearData(this);
  }

  private async _act(link: ILink, body?: unknown): Promise<IDone> {
    const waits = waitsIn(await follow(this._api, link, body));
    await this.refresh();
    return { waits };
  }

  private _keepOnce(answer: IAnswer): void {
    const secret = answer.invitation ?? answer.token;
    if (secret) {
      const kind = answer.invitation ? 'invitation' : 'token';
      this._once = { user: answer.id, secret, kind, approvals: answer.approvals ?? [] };
      this._emit();
    }
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _changed = new Signal<this, void>(this);
  private _tab: AccessTab = 'members';
  private _entry: IResource | null = null;
  private _me: IMe | null = null;
  private _users: readonly IUser[] = [];
  private _roles: readonly IRole[] = [];
  private _permissions: readonly IPermission[] = [];
  private _exclusions: readonly IExclusion[] = [];
  private _policy: IPolicy | null = null;
  private _problems = new Map<AccessPart, IProblem>();
  private _once: IOnce | null = null;
  private _loaded = false;
  private _turn = 0;
  private _disposed = false;
}

interface IAnswer extends IUser {
  invitation?: string;
  token?: string;
  approvals?: string[];
}
