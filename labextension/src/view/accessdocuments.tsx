/** What waits for the signatures of those who hold the domain key; they sign with commands, on machines of their own. */

import { Button } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { moment } from '../format';
import { cosignCommand, type ProjectDocument, readDocuments } from '../model';
import { problemOf } from '../request';
import type { IApi, IProblem } from '../tokens';
import { useTrans } from './hooks';
import { ProblemNotice } from './notice';

export interface IDocumentsProps {
  api: IApi;
  projects: readonly string[];
}

export function Documents({ api, projects }: IDocumentsProps): JSX.Element | null {
  const trans = useTrans();
  const [documents, setDocuments] = React.useState<readonly ProjectDocument[]>([]);
  const [problem, setProblem] = React.useState<IProblem | null>(null);
  const [looks, setLooks] = React.useState(0);
  const named = projects.join(' ');
  React.useEffect(() => {
    let wanted = true;
    readDocuments(api, named ? named.split(' ') : []).then(
      found => {
        if (wanted) {
          setDocuments(found);
          setProblem(null);
        }
      },
      error => wanted && setProblem(problemOf(error))
    );
    return () => {
      wanted = false;
    };
  }, [api, named, looks]);
  const again = (): void => setLooks(looks + 1);
  if (problem) {
    return <ProblemNotice problem={problem} retry={again} />;
  }
  if (documents.length === 0) {
    return null;
  }
  return (
    <section className="flaas-Box" aria-label={trans.__('Domain documents')}>
      <h3>{trans.__('Waits for holders of the domain key')}</h3>
      <p className="flaas-Hint">
        {trans.__(
          'Nodes believe what enough holders have signed, and nobody else: not the API, and not this panel. Each holder runs the command where the key is, looks at what it shows, and signs.'
        )}
      </p>
      <ul className="flaas-List">
        {documents.map(each => (
          <li key={each.project + each.id}>
            <strong>{titleOf(trans, each)}</strong>
            <span className="flaas-Secondary">
              {trans.__('%1, begun by %2, %3', each.project, each.created_by, moment(each.created))}
            </span>
            <span className="flaas-Badge">
              {trans._n('%1 signature is missing', '%1 signatures are missing', each.missing)}
            </span>
            <Command words={cosignCommand(each)} />
          </li>
        ))}
      </ul>
      <Button small className="flaas-Button" onClick={again}>
        {trans.__('Look again')}
      </Button>
    </section>
  );
}

function Command({ words }: { words: string }): JSX.Element {
  const trans = useTrans();
  const [copied, setCopied] = React.useState(false);
  return (
    <div className="flaas-Buttons">
      <code className="flaas-Notice-command">{words}</code>
      <Button
        small
        className="flaas-Button"
        onClick={() => void navigator.clipboard?.writeText(words).then(() => setCopied(true))}
      >
        {copied ? trans.__('Copied') : trans.__('Copy')}
      </Button>
    </div>
  );
}

function titleOf(trans: TranslationBundle, { kind, document: { body } }: ProjectDocument): string {
  const said = (field: string): string => (typeof body[field] === 'string' ? body[field] : '?');
  const key = said('node_id').slice(0, 12);
  switch (kind) {
    case 'memberships':
      return trans.__('Membership of %1… (%2)', key, said('organisation'));
    case 'revocations':
      return trans.__('Revocation of %1…', key);
    default:
      return trans.__('Network: relays, reflectors, direct connections');
  }
}
