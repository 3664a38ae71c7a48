/** One line about the federation: whether it is there, and how many runs are active. A click opens the panel. */

import { ReactWidget } from '@jupyterlab/ui-components';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { federationIcon } from '../icons';
import type { IFederation } from '../tokens';
import { DOMAIN, TranslationContext, useModel, useTrans } from './hooks';

/** What the item says. */
export function summary(trans: TranslationBundle, federation: IFederation): string {
  switch (federation.connection) {
    case 'starting':
      return trans.__('Federation: …');
    case 'server-missing':
    case 'version-mismatch':
      return trans.__('Federation: not installed properly');
    case 'server-failing':
      return trans.__('Federation: no server');
    case 'api-unreachable':
      return trans.__('Federation: unreachable');
    case 'signed-out':
      return trans.__('Federation: not signed in');
    case 'signed-in':
      return trans._n('Federation: %1 active run', 'Federation: %1 active runs', federation.activeRuns);
  }
}

export class StatusItem extends ReactWidget {
  /**
   * @param open Opens the panel.
   * @param openApprovals Opens the inbox.
   */
  constructor(federation: IFederation, open: () => void, openApprovals: () => void, translator: ITranslator) {
    super();
    this._federation = federation;
    this._open = open;
    this._openApprovals = openApprovals;
    this._trans = translator.load(DOMAIN);
    this.addClass('flaas-StatusItem');
  }

  protected override render(): JSX.Element {
    return (
      <TranslationContext.Provider value={this._trans}>
        <Item federation={this._federation} open={this._open} openApprovals={this._openApprovals} />
      </TranslationContext.Provider>
    );
  }

  private _federation: IFederation;
  private _open: () => void;
  private _openApprovals: () => void;
  private _trans: TranslationBundle;
}

interface IItemProps {
  federation: IFederation;
  open: () => void;
  openApprovals: () => void;
}

function Item({ federation, open, openApprovals }: IItemProps): JSX.Element {
  const trans = useTrans();
  useModel(federation);
  const waiting = federation.connection === 'signed-in' ? federation.waitingApprovals : 0;
  return (
    <>
      <button
        type="button"
        className="flaas-StatusItem-button"
        onClick={open}
        title={federation.status?.api.url}
      >
        <federationIcon.react tag="span" aria-hidden="true" elementSize="small" />
        {summary(trans, federation)}
      </button>
      {waiting > 0 && (
        <button type="button" className="flaas-StatusItem-button" onClick={openApprovals}>
          {trans._n('%1 approval waits', '%1 approvals wait', waiting)}
        </button>
      )}
    </>
  );
}
