/** Versions of models that runs have made: which are released, and which must not be used any more. */

import { InputDialog, showErrorMessage } from '@jupyterlab/apputils';
import { Button } from '@jupyterlab/ui-components';
import * as React from 'react';

import { ago, dateTime } from '../format';
import type { IApproval, IModelVersion } from '../governance';
import { follow, linkOf } from '../model';
import { waitsIn } from '../model/links';
import { problemOf } from '../request';
import type { IApi, ILink } from '../tokens';
import { useNow, useTrans } from './hooks';
import { StateLabel } from './state';
import { confirmed } from './stop';

export interface IModelsProps {
  models: readonly IModelVersion[];
  api: IApi;
  refresh: () => Promise<void>;
  /** Opens the inbox. */
  openApprovals: () => void;
}

export function Models({ models, api, refresh, openApprovals }: IModelsProps): JSX.Element {
  const trans = useTrans();
  const now = useNow();
  const [waits, setWaits] = React.useState<IApproval | null>(null);
  const release = (model: IModelVersion, link: ILink): void =>
    void confirmed({
      title: trans.__('Ask for the release of round %1?', model.round ?? '?'),
      body: trans.__('Others have to approve it before its weights may leave the project.'),
      label: trans.__('Ask for release'),
      act: async () => {
        setWaits(waitsIn(await follow(api, link)));
        await refresh();
      }
    });
  const revoke = async (model: IModelVersion, link: ILink): Promise<void> => {
    const reason = await InputDialog.getText({
      title: trans.__('Revoke the model of round %1?', model.round ?? '?'),
      label: trans.__('No node starts from it any more. Why:'),
      okLabel: trans.__('Revoke'),
      required: true
    });
    if (reason.button.accept && reason.value?.trim()) {
      try {
        setWaits(waitsIn(await follow(api, link, { reason: reason.value.trim() })));
        await refresh();
      } catch (error) {
        const problem = problemOf(error);
        await showErrorMessage(problem.title, `${problem.detail} ${problem.hint}`.trim());
      }
    }
  };
  return (
    <>
      {waits && (
        <p className="flaas-Warning" role="status">
          {trans.__('It waits for approval.')}{' '}
          <button type="button" className="flaas-Run-open" onClick={openApprovals}>
            {trans.__('Show the request')}
          </button>
        </p>
      )}
      <ul className="flaas-Runs" aria-label={trans.__('Models')}>
        {models.map(model => {
          const [releases, revokes] = [linkOf(model, 'release'), linkOf(model, 'revoke')];
          const name = trans.__('round %1', model.round ?? '?');
          return (
            <li key={model.id} className="flaas-Run">
              <div className="flaas-Run-head">
                <span title={model.digest}>
                  <strong>{name}</strong> <code>{model.digest.slice(0, 10)}</code>
                </span>
                <div className="flaas-Buttons">
                  {releases && (
                    <Button
                      small
                      className="flaas-Button"
                      aria-label={trans.__('Release the model of %1', name)}
                      onClick={() => release(model, releases)}
                    >
                      {trans.__('Release …')}
                    </Button>
                  )}
                  {revokes && (
                    <Button
                      small
                      className="flaas-Button"
                      aria-label={trans.__('Revoke the model of %1', name)}
                      onClick={() => void revoke(model, revokes)}
                    >
                      {trans.__('Revoke …')}
                    </Button>
                  )}
                </div>
              </div>
              <div className="flaas-Run-state">
                <StateLabel state={model.state} />
                <span title={dateTime(model.created)}>{ago(trans, model.created, now)}</span>
              </div>
              {model.reason && <p className="flaas-Reason">{model.reason}</p>}
            </li>
          );
        })}
      </ul>
    </>
  );
}
