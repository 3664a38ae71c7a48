/** A sign-in by code that is under way: the code, where to enter it, how long it is good. */

import { Button } from '@jupyterlab/ui-components';
import * as React from 'react';

import type { DeviceModel } from '../model';
import { useModel, useNow, useTrans } from './hooks';
import { Notice } from './notice';

export function DeviceSignIn({ device }: { device: DeviceModel }): JSX.Element | null {
  const trans = useTrans();
  useModel(device);
  const { signIn } = device;
  const again = { label: trans.__('Start again'), run: () => void device.cancel() };
  switch (signIn.state) {
    case 'pending':
      return <Pending device={device} />;
    case 'denied':
      return (
        <Notice
          problem
          title={trans.__('The sign-in was refused')}
          detail={trans.__('Somebody has said no on the API’s page.')}
          action={again}
        />
      );
    case 'expired':
      return (
        <Notice
          problem
          title={trans.__('The code has expired')}
          detail={trans.__('Nobody has entered it in time.')}
          action={again}
        />
      );
    case 'failed':
      return (
        <Notice
          problem
          title={signIn.problem?.title ?? trans.__('The sign-in has failed')}
          detail={signIn.problem?.detail}
          hint={signIn.problem?.hint}
          action={again}
        />
      );
    case 'done':
      return <Notice title={trans.__('Signed in; one moment …')} />;
    case 'none':
      return null;
  }
}

function Pending({ device }: { device: DeviceModel }): JSX.Element {
  const trans = useTrans();
  const now = useNow(1_000);
  const { signIn, ends } = device;
  const seconds = Math.max(0, Math.round((ends - now.getTime()) / 1000));
  const first = React.useRef<HTMLAnchorElement>(null);
  React.useEffect(() => first.current?.focus(), []);
  return (
    <section className="flaas-Device" aria-label={trans.__('Sign in by code')}>
      <p>{trans.__('1. Open this page, here or on another device, and sign in there:')}</p>
      <a
        ref={first}
        className="flaas-Device-link"
        href={signIn.verification_uri_complete ?? signIn.verification_uri}
        target="_blank"
        rel="noopener noreferrer"
      >
        {signIn.verification_uri}
      </a>
      <p>{trans.__('2. Check that it shows this code, or enter it:')}</p>
      <output className="flaas-Device-code" aria-label={trans.__('Code')}>
        {signIn.user_code}
      </output>
      <p className="flaas-Hint">
        {trans.__(
          'This page goes on by itself; it can be closed meanwhile. The code is good for %1.',
          `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
        )}
      </p>
      {signIn.problem && <p className="flaas-Warning">{signIn.problem.detail}</p>}
      <Button className="flaas-Button" onClick={() => void device.cancel()}>
        {trans.__('Cancel')}
      </Button>
    </section>
  );
}
