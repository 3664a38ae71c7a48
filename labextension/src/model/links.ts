/**
 * Doing what a link offers. A link is there only if the caller may do it now; nothing else decides what is shown.
 */

import { UUID } from '@lumino/coreutils';

import type { IApproval } from '../governance';
import type { IApi, ILink, IResource } from '../tokens';

/** The link of a resource by any of the names that it may have. */
export function linkOf(resource: IResource | null | undefined, ...names: string[]): ILink | null {
  for (const name of names) {
    const link = resource?._links?.[name];
    if (link) {
      return link;
    }
  }
  return null;
}

/**
 * Do what a link offers.
 *
 * @throws RequestError The API's refusal.
 */
export async function follow<T>(api: IApi, link: ILink, body?: unknown, method = 'POST'): Promise<T> {
  return api.api<T>(link.href, { method: link.method ?? method, body, idempotencyKey: UUID.uuid4() });
}

/** The request for approval that an answer is, if the action has to wait for one. */
export function waitsIn(answer: unknown): IApproval | null {
  const approval = answer as IApproval | null;
  const asked = typeof approval === 'object' && approval !== null && Array.isArray(approval.factors);
  return asked && typeof approval.sha256 === 'string' ? approval : null;
}
