/** The key that a file is sealed for: what it is, why it is believed, and that somebody has compared it. */

import { Button, checkIcon, infoIcon, type LabIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { dateTime } from '../format';
import type { IKeyCheck } from '../model';
import { useTrans } from './hooks';
import { Notice } from './notice';
import { confirmed } from './stop';
import { problemWords } from './uploadwords';

export interface IUploadKeyProps {
  /** Null while it is asked for. */
  check: IKeyCheck | null;
  /** Whether the person says that it is the right one. */
  compared: boolean;
  setCompared: (compared: boolean) => void;
  /** Asks for the key again. */
  again: () => void;
  /** Forgets the key of the project that is known here. */
  forget: () => Promise<void>;
}

export function UploadKey({ check, compared, setCompared, again, forget }: IUploadKeyProps): JSX.Element {
  const trans = useTrans();
  if (!check) {
    return <p className="flaas-Empty">{trans.__('The node’s key is being checked …')}</p>;
  }
  const { trusted, pin, problem } = check;
  if (!trusted) {
    const ask = async (): Promise<void> => {
      await confirmed({
        title: trans.__('Forget the key of the project?'),
        body: trans.__(
          'Whoever gave this page the other key could then read what you upload. Do it only if an administrator of the project has told you, not through this page, that the key was changed.'
        ),
        label: trans.__('Forget the key'),
        act: forget
      });
    };
    return (
      <>
        {problem && <Notice problem {...problemWords(trans, problem)} />}
        <div className="flaas-Buttons">
          <Button type="button" small className="flaas-Button" onClick={again}>
            {trans.__('Check again')}
          </Button>
          {problem?.code === 'domain-key-changed' && (
            <Button type="button" small className="flaas-Button" onClick={() => void ask()}>
              {trans.__('Forget the known key …')}
            </Button>
          )}
        </div>
      </>
    );
  }
  const { name, organisation, fingerprint, domainFingerprint, expires, online } = trusted;
  const reasons: [LabIcon, string][] = [
    [
      checkIcon,
      trans.__('The node has signed it; it is good until %1.', new Date(expires * 1000).toLocaleDateString())
    ],
    [checkIcon, trans.__('The key of the project says that this is a node of the project.')],
    pin
      ? [
          checkIcon,
          trans.__(
            'This browser has known the key of the project since %1.',
            dateTime(new Date(pin.since).toISOString())
          )
        ]
      : [
          infoIcon,
          trans.__(
            'This browser sees the key of the project for the first time, and will know it from now on.'
          )
        ]
  ];
  return (
    <section className="flaas-Key" aria-label={trans.__('Key of the node')}>
      <p className="flaas-Hint">
        {trans.__(
          'The file is encrypted in this browser. Only %1 (%2) can read it: not Jupyter Server, not the coordination API, nobody on the way.',
          name,
          organisation
        )}
      </p>
      <dl>
        <dt>{trans.__('Key of the node')}</dt>
        <dd>
          <code className="flaas-Fingerprint">{fingerprint}</code>
        </dd>
        <dt>{trans.__('Key of the project, its beginning')}</dt>
        <dd>
          <code className="flaas-Fingerprint">{domainFingerprint}</code>
        </dd>
      </dl>
      <ul>
        {reasons.map(([icon, reason]) => (
          <li key={reason}>
            <icon.react tag="span" className="flaas-State-icon" aria-hidden="true" elementSize="small" />
            {reason}
          </li>
        ))}
      </ul>
      {check.compared ? (
        <p className="flaas-Hint">{trans.__('You have compared it before.')}</p>
      ) : (
        <label className="flaas-Choice">
          <input type="checkbox" checked={compared} onChange={event => setCompared(event.target.checked)} />
          <span>
            {trans.__(
              'I have compared the key of the node with what its owner sees (flaas node status), not through this page.'
            )}
          </span>
        </label>
      )}
      {!online && (
        <p className="flaas-Hint">{trans.__('The node is offline. The upload waits until it is back.')}</p>
      )}
    </section>
  );
}
