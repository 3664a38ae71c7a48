/** Documents of the projects' domains that wait for more holders of the domain key. */

import type { IApproval } from '../governance';
import { problemOf } from '../request';
import type { IApi } from '../tokens';
import { isWhole } from './approvals';
import { LookModel } from './look';

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

/** A name as the API has them: nothing that a shell would take for more than a word. */
const WORD = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * The commands that make a node a member that was added with this request; the API cannot. None for other requests, and
 * for a text that is not the one that was approved.
 */
export function signCommands(approval: IApproval): string[] {
  if (approval.action !== 'node.add' || approval.state !== 'executed' || !isWhole(approval)) {
    return [];
  }
  const { organisation, node } = (JSON.parse(approval.body) as { body: INodeAdded }).body;
  if (!node) {
    return []; // an invitation: the key comes with whoever uses it
  }
  return node.projects
    .filter(project => [project, node.id, organisation].every(word => WORD.test(word)))
    .map(project => `flaas domain sign ${project} ${node.id} --organisation ${organisation}`);
}

interface INodeAdded {
  organisation: string;
  node?: { id: string; projects: string[] };
}

/**
 * Read what waits in these projects, the oldest first; of those whose documents the caller may not see, nothing.
 */
async function readDocuments(api: IApi, projects: readonly string[]): Promise<ProjectDocument[]> {
  const found = await Promise.all(
    projects.map(async project => {
      try {
        const path = `/v1/projects/${encodeURIComponent(project)}/pending`;
        const answer = await api.api<{ _embedded: { pending: IPendingDocument[] } }>(path);
        return answer._embedded.pending.map(each => ({ ...each, project }));
      } catch (error) {
        const { status, code } = problemOf(error);
        // A server half that does not forward the question says nothing about what the caller may see.
        if ([403, 404].includes(status) && code !== 'not-proxied') {
          return [];
        }
        throw error;
      }
    })
  );
  return found.flat().sort((one, other) => one.created.localeCompare(other.created));
}

/** What waits in the projects of whoever is signed in. */
export class DocumentsModel extends LookModel<readonly ProjectDocument[]> {
  constructor(api: IApi, projects: () => readonly string[]) {
    super(() => readDocuments(api, projects()), []);
  }

  get documents(): readonly ProjectDocument[] {
    return this.found;
  }
}
