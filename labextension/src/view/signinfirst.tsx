/** Says in the main area that somebody has to sign in, or what else is in the way; the panel has the way out. */

import * as React from 'react';

import type { FederationModel } from '../model';
import { useTrans } from './hooks';
import { Notice } from './notice';

export function SignInFirst({
  federation,
  showPanel
}: {
  federation: FederationModel;
  showPanel: () => void;
}): JSX.Element {
  const trans = useTrans();
  const { connection, problem } = federation;
  if (connection === 'starting') {
    return <Notice title={trans.__('Looking for the federation …')} />;
  }
  if (connection === 'signed-out') {
    return (
      <Notice
        title={trans.__('Nobody is signed in')}
        detail={trans.__('Sign in in the panel “Federated learning”; nothing that was entered here is lost.')}
        action={{ label: trans.__('Show the panel'), run: showPanel }}
      />
    );
  }
  return (
    <Notice
      problem
      title={problem?.title ?? trans.__('The federation cannot be reached')}
      detail={problem?.detail}
      hint={problem?.hint}
      action={{ label: trans.__('Retry'), run: () => void federation.refresh() }}
    />
  );
}
