/**
 * Signing in: by a code that is entered on the API's own page, or with a token. The token goes from the field to the server half and is nowhere else in the browser: the field is not
 * kept in a component's state, and is emptied as soon as the token is sent.
 */

import { Button } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { FederationModel } from '../model';
import { problemOf } from '../request';
import type { IProblem } from '../tokens';
import { DeviceSignIn } from './devicesignin';
import { useModel, useTrans } from './hooks';
import { Notice } from './notice';

export function SignIn({ federation }: { federation: FederationModel }): JSX.Element {
  const trans = useTrans();
  const url = React.useRef<HTMLInputElement>(null);
  const token = React.useRef<HTMLInputElement>(null);
  const [busy, setBusy] = React.useState(false);
  const [problem, setProblem] = React.useState<IProblem | null>(() =>
    // A token that is no longer good; that the address does not answer is said when it is tried.
    federation.problem && federation.problem.status < 500 ? federation.problem : null
  );
  const id = React.useId();
  const { device } = federation;
  useModel(device);

  const byCode = async (): Promise<void> => {
    if (!url.current?.reportValidity()) {
      return;
    }
    setBusy(true);
    setProblem(null);
    try {
      await device.start(url.current.value);
    } catch (error) {
      setProblem(problemOf(error));
    }
    setBusy(false);
  };

  const submit = async (event: React.FormEvent): Promise<void> => {
    event.preventDefault();
    const secret = token.current?.value ?? '';
    if (token.current) {
      token.current.value = '';
    }
    setBusy(true);
    setProblem(null);
    try {
      await federation.signIn(url.current?.value ?? '', secret);
    } catch (error) {
      setProblem(problemOf(error));
      setBusy(false);
      token.current?.focus();
    }
  };

  if (device.signIn.state !== 'none') {
    return <DeviceSignIn device={device} />;
  }
  return (
    <form className="flaas-SignIn" onSubmit={submit} aria-label={trans.__('Sign in')}>
      <p>{trans.__('Sign in to see nodes, data sets and runs, and to train from notebooks.')}</p>
      <label htmlFor={`${id}-url`}>{trans.__('Address of the coordination API')}</label>
      <input
        id={`${id}-url`}
        ref={url}
        type="url"
        className="flaas-Input"
        defaultValue={federation.status?.api.url ?? ''}
        spellCheck={false}
        required
      />
      <Button
        type="button"
        className="flaas-Button flaas-mod-primary"
        disabled={busy}
        aria-describedby={`${id}-code`}
        onClick={() => void byCode()}
      >
        {trans.__('Get a sign-in code')}
      </Button>
      <p id={`${id}-code`} className="flaas-Hint">
        {trans.__('You enter it on the API’s own page, where your password stays.')}
      </p>
      <p className="flaas-Or">{trans.__('or, with a token from your administrator')}</p>
      <label htmlFor={`${id}-token`}>{trans.__('Token')}</label>
      <input
        id={`${id}-token`}
        ref={token}
        type="password"
        className="flaas-Input"
        autoComplete="off"
        aria-describedby={`${id}-hint`}
        required
      />
      <p id={`${id}-hint`} className="flaas-Hint">
        {trans.__('It is kept by your Jupyter server, not by the browser.')}
      </p>
      <Button type="submit" className="flaas-Button" disabled={busy}>
        {busy ? trans.__('Signing in …') : trans.__('Sign in')}
      </Button>
      {problem && <Notice problem title={problem.title} detail={problem.detail} hint={problem.hint} />}
    </form>
  );
}
