/**
 * The shapes that the coordination API answers with about people, roles, approvals, the audit log and models.
 */

import type { IProblem, IResource } from './tokens';

/** A role and where it is held: `platform`, `organisation:<id>`, `project:<id>` or `node:<id>`. */
export interface IHeldRole {
  role: string;
  scope: string;
}

/** Who the API takes the caller for. */
export interface IMe extends IResource {
  subject: string;
  kind: string;
  organisation: string | null;
  roles: IHeldRole[];
  session: string | null;
  /** Where the caller may do what, by operation. */
  permissions: { [operation: string]: string[] };
}

export type UserState = 'invited' | 'active' | 'locked' | 'removed';

export interface IUser extends IResource {
  id: string;
  kind: 'person' | 'service';
  organisation: string | null;
  /** Null unless the caller may see it. */
  name: string | null;
  email: string | null;
  state: UserState;
  roles: IHeldRole[];
  has_key: boolean;
}

export interface IRole extends IResource {
  name: string;
  description: string;
  built_in: boolean;
  /** Roles that it includes directly. */
  juniors: string[];
  seniors: string[];
  /** Granted directly. */
  permissions: (string | { operation: string; object: string })[];
  inherited: (string | { operation: string; object: string })[];
  users: (string | { user: string; scope?: string })[];
}

export interface IPermission {
  operation: string;
  object: string;
  description: string;
  /** Who may do it, and the way through the hierarchy from that role to the one that was granted it. */
  roles: { role: string; path: string[] }[];
}

export interface IExclusion extends IResource {
  name: string;
  kind: 'static' | 'dynamic';
  roles: string[];
  /** Nobody has this many of them. */
  cardinality: number;
  per_scope: boolean;
}

/** A function of the standard with its arguments. */
export interface IRoleChange {
  function: string;
  arguments: { [name: string]: unknown };
}

export interface IRoleConflict {
  exclusion: string;
  user?: string | null;
  session?: string | null;
  roles: string[];
}

export interface IRolePreview {
  conflicts: IRoleConflict[];
  problem: IProblem | null;
}

export type ApprovalState = 'pending' | 'executed' | 'denied' | 'expired' | 'withdrawn' | 'failed';

export interface IFactor {
  role: string;
  scope: string;
  needed: number;
  given: number;
  /** Who has approved for it. */
  approvers?: string[];
}

/** A critical action that somebody has asked for. */
export interface IApproval extends IResource {
  id: string;
  action: string;
  description: string;
  scope: string;
  requester: string;
  state: ApprovalState;
  /** Canonical JSON, as text: what is executed, and what the digest is of. */
  body: string;
  sha256: string;
  created: string;
  expires: string;
  /** When it is executed, once all have approved and while it can still be denied. */
  due?: string | null;
  factors: IFactor[];
  decisions: {
    decider: string;
    role: string;
    decision: 'approve' | 'deny';
    time: string | number;
    counts?: boolean;
    reason?: string | null;
  }[];
  /** What is still needed, in words. */
  missing?: string[];
  result: unknown;
  problem: (Partial<IProblem> & { message?: string }) | null;
}

/** Which actions need whose approval. */
export interface IPolicy extends IResource {
  /** Whether one administrator may still act alone. */
  founding?: boolean;
  /** Approvals that could not be filled with the people that there are. */
  shortfalls?: { action: string; role: string; scope: string; needed: number; there_are: number }[];
}

export interface IAuditEntry {
  sequence: number;
  time: string;
  actor: string;
  actor_kind: string;
  operation: string;
  object: string;
  organisation: string | null;
  project: string | null;
  outcome: 'done' | 'asked' | 'refused';
  details: { [name: string]: unknown };
  hash: string;
}

/** A head of the audit log that the API has signed. */
export interface ICheckpoint {
  sequence?: number;
  time?: string | number;
  hash?: string;
  [name: string]: unknown;
}

export type ModelState = 'candidate' | 'released' | 'revoked';

/** A version of a model that a run has made. */
export interface IModelVersion extends IResource {
  id: string;
  project: string;
  run: string | null;
  round: number | null;
  digest: string;
  state: ModelState;
  created: string;
  reason: string | null;
}

/** How a sign-in by code stands, as the server half tells it. */
export interface IDeviceSignIn {
  state: 'none' | 'pending' | 'done' | 'denied' | 'expired' | 'failed';
  url?: string;
  user_code?: string;
  verification_uri?: string;
  verification_uri_complete?: string | null;
  /** Seconds. */
  expires_in?: number;
  subject?: string | null;
  problem?: IProblem | null;
}
