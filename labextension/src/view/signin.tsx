/**
 * Signing in. The token goes from the field to the server half and is nowhere else in the browser: the field is not
 * kept in a component's state, and is emptied as soon as the token is sent.
 */

import { Button } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { FederationModel } from '../model';
import { problemOf } from '../request';
import type { IProblem } from '../tokens';
import { useTrans } from './hooks';
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
        {trans.__('From your administrator. It is kept by your Jupyter server, not by the browser.')}
      </p>
      <Button type="submit" className="flaas-Button flaas-mod-primary" disabled={busy}>
        {busy ? trans.__('Signing in …') : trans.__('Sign in')}
      </Button>
      {problem && <Notice problem title={problem.title} detail={problem.detail} hint={problem.hint} />}
    </form>
  );
}
