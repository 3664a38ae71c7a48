/** Documents of the projects' domains that wait for more holders of the domain key. */

import { problemOf } from '../request';
import type { IApi } from '../tokens';

/** What one or more holders have signed, and others must before it is in force. */
export interface IPendingDocument {
  /** Digest of what is signed. */
  id: string;
  kind: 'memberships' | 'revocations' | 'networks';
  document: { body: { [field: string]: unknown }; signatures: { [holder: string]: string } };
  /** How many signatures are missing. */
  missing: number;
  created_by: string;
  created: string;
}

/** A document, and the project whose domain it is of. */
export type ProjectDocument = IPendingDocument & { project: string };

/** Hex digits of a digest that name a document in a command. */
const ENOUGH = 12;

/** The command with which a holder looks at the document, and signs it. */
export function cosignCommand({ project, id }: ProjectDocument): string {
  return `flaas domain cosign ${project} ${id.slice(0, ENOUGH)}`;
}

/**
 * Read what waits in these projects, the oldest first; of those whose documents the caller may not see, nothing.
 */
export async function readDocuments(api: IApi, projects: readonly string[]): Promise<ProjectDocument[]> {
  const found = await Promise.all(
    projects.map(async project => {
      try {
        const path = `/v1/projects/${encodeURIComponent(project)}/pending`;
        const answer = await api.api<{ _embedded: { pending: IPendingDocument[] } }>(path);
        return answer._embedded.pending.map(each => ({ ...each, project }));
      } catch (error) {
        if ([403, 404].includes(problemOf(error).status)) {
          return [];
        }
        throw error;
      }
    })
  );
  return found.flat().sort((one, other) => one.created.localeCompare(other.created));
}
