/** A button that copies a text, and says whether it has. */

import { Clipboard } from '@jupyterlab/apputils';
import { Button } from '@jupyterlab/ui-components';
import * as React from 'react';

import { useTrans } from './hooks';

/** Milliseconds that it is said for. */
const SAID = 5_000;

export interface ICopyButtonProps {
  text: string;
  /** What is copied, in words that begin with “Copy”. */
  label: string;
}

export function CopyButton({ text, label }: ICopyButtonProps): JSX.Element {
  const trans = useTrans();
  const [outcome, setOutcome] = React.useState<'copied' | 'failed' | null>(null);
  React.useEffect(() => {
    // That it failed stays until it is tried again: there is something to do about it.
    const timer = outcome === 'copied' ? setTimeout(() => setOutcome(null), SAID) : undefined;
    return () => clearTimeout(timer);
  }, [outcome]);
  const run = (): void => {
    copy(text).then(
      () => setOutcome('copied'),
      () => setOutcome('failed')
    );
  };
  return (
    <>
      <Button small className="flaas-Button" aria-label={label} onClick={run}>
        {trans.__('Copy')}
      </Button>
      <span role="status">
        {outcome === 'copied' && trans.__('Copied')}
        {outcome === 'failed' && trans.__('Could not be copied: select the text and copy it.')}
      </span>
    </>
  );
}

/** Put `text` into the clipboard; rejected if that cannot be done. */
async function copy(text: string): Promise<void> {
  if (navigator.clipboard) {
    return navigator.clipboard.writeText(text);
  }
  // A page that came by plain HTTP has no such thing. What it has says nothing of its outcome, the event does.
  let copied = false;
  const told = (): void => {
    copied = true;
  };
  document.addEventListener('copy', told, true);
  try {
    Clipboard.copyToSystem(text);
  } finally {
    document.removeEventListener('copy', told, true);
  }
  if (!copied) {
    throw new Error('The browser does not let a page copy.');
  }
}
