/**
 * People, roles and requests, as the coordination API answers with them.
 */

import type { IApproval, IPermission, IRole, IUser } from '../governance';
import { type IPendingDocument, sha256 } from '../model';
import { list, table } from './mock';

export function role(name: string, changes: Partial<IRole> = {}): IRole {
  return {
    name,
    description: `What ${name} is for`,
    built_in: true,
    juniors: [],
    seniors: [],
    permissions: [],
    inherited: [],
    users: [],
    ...changes
  };
}

export const ROLES = [
  role('viewer', { permissions: ['run:read'] }),
  role('operator', { juniors: ['viewer'], permissions: [{ operation: 'pause', object: 'run' }] }),
  role('org-admin', { juniors: ['operator'] }),
  role('approver', { juniors: ['viewer'] })
];

export const PERMISSIONS: IPermission[] = [
  {
    operation: 'read',
    object: 'run',
    description: 'Read runs',
    roles: [
      { role: 'viewer', path: ['viewer'] },
      { role: 'org-admin', path: ['org-admin', 'operator', 'viewer'] }
    ]
  },
  {
    operation: 'pause',
    object: 'run',
    description: 'Pause runs',
    roles: [
      { role: 'operator', path: ['operator'] },
      { role: 'org-admin', path: ['org-admin', 'operator'] }
    ]
  }
];

export function user(id: string, changes: Partial<IUser> = {}): IUser {
  return {
    id,
    kind: 'person',
    organisation: 'north',
    name: null,
    email: null,
    state: 'active',
    roles: [{ role: 'viewer', scope: 'project:demo' }],
    has_key: false,
    ...changes
  };
}

export function manageable(id: string, changes: Partial<IUser> = {}): IUser {
  const href = `/v1/users/${id}`;
  return user(id, {
    _links: {
      self: { href },
      give_role: { href: `${href}/roles`, method: 'POST' },
      take_role: { href: `${href}/roles/{role}/{scope}`, method: 'DELETE' },
      invite: { href: `${href}/invitation`, method: 'POST' },
      delete: { href, method: 'DELETE' }
    },
    ...changes
  });
}

export function approval(id: string, links: string[] = [], changes: Partial<IApproval> = {}): IApproval {
  const body = '{"action":"role.change","body":{"a":1}}';
  const entries = links.map(name => [name, { href: `/v1/approvals/${id}/${name}`, method: 'POST' }]);
  return {
    id,
    action: 'role.change',
    description: '',
    scope: 'platform',
    requester: 'carla',
    state: 'pending',
    body,
    sha256: sha256(body),
    created: '2026-01-01T00:00:00Z',
    expires: '2099-01-01T00:00:00Z',
    factors: [{ role: 'approver', scope: 'platform', needed: 2, given: 1 }],
    decisions: [],
    result: null,
    problem: null,
    _links: Object.fromEntries(entries) as IApproval['_links'],
    ...changes
  };
}

/** A membership that waits for another holder of the domain key. */
export function waits(changes: Partial<IPendingDocument> = {}): IPendingDocument {
  return {
    id: '4f1c0a77e2b1'.padEnd(64, '0'),
    kind: 'memberships',
    document: { body: { node_id: 'ab'.repeat(32), organisation: 'clinic' }, signatures: {} },
    missing: 1,
    created_by: 'ben',
    created: '2026-01-01T00:00:00Z',
    ...changes
  };
}

/** A federation with people in it. */
export function governed(operations: string[] = []): { [request: string]: unknown } {
  return {
    ...table(),
    'GET /': { _links: {} },
    'GET /v1/me': {
      subject: 'ana',
      kind: 'person',
      organisation: 'north',
      roles: [{ role: 'org-admin', scope: 'organisation:north' }],
      session: 's1',
      permissions: Object.fromEntries(operations.map(each => [each, ['organisation:north']]))
    },
    'GET /v1/users': list('users', [manageable('ben'), user('ana')]),
    'GET /v1/roles': list('roles', ROLES),
    'GET /v1/permissions': list('permissions', PERMISSIONS),
    'GET /v1/separation': list('exclusions', []),
    'GET /v1/policy': { founding: false },
    'GET approvals/key': { key: 'f'.repeat(64) },
    'GET /v1/approvals?state=pending': list('approvals', []),
    'POST /v1/roles/preview': { conflicts: [], problem: null }
  };
}
