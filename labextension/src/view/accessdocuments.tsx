/** What waits for the signatures of those who hold the domain key; they sign with commands, on machines of their own. */

import { Button } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { moment } from '../format';
import type { IApproval } from '../governance';
import { cosignCommand, type ProjectDocument, signCommands } from '../model';
import { CopyButton } from './copybutton';
import { useTrans } from './hooks';

export interface IDocumentsProps {
  documents: readonly ProjectDocument[];
  /** Looks at what waits now. */
  again: () => void;
}

export function Documents({ documents, again }: IDocumentsProps): JSX.Element | null {
  const trans = useTrans();
  const heading = React.useId();
  if (documents.length === 0) {
    return null;
  }
  return (
    <section className="flaas-Box" aria-labelledby={heading}>
      <h3 id={heading}>{trans.__('Waits for holders of the domain key')}</h3>
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
            <Command
              words={cosignCommand(each)}
              label={trans.__('Copy the command for %1', titleOf(trans, each))}
            />
          </li>
        ))}
      </ul>
      <div className="flaas-Buttons">
        <Button small className="flaas-Button" onClick={again}>
          {trans.__('Look again')}
        </Button>
      </div>
    </section>
  );
}

/** What is to be signed now for a node that was added. */
export function ToBeSigned({ approval }: { approval: IApproval }): JSX.Element | null {
  const trans = useTrans();
  const commands = signCommands(approval);
  if (commands.length === 0) {
    return null;
  }
  return (
    <section aria-label={trans.__('To be signed')}>
      <p>
        {trans.__(
          'The node belongs to the mesh once the holders of the domain key have signed for it, on the machine where that key is:'
        )}
      </p>
      {commands.map(words => (
        <Command key={words} words={words} label={trans.__('Copy the command that signs for the node')} />
      ))}
    </section>
  );
}

function Command({ words, label }: { words: string; label: string }): JSX.Element {
  return (
    <div className="flaas-Buttons">
      <code className="flaas-Notice-command">{words}</code>
      <CopyButton text={words} label={label} />
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
