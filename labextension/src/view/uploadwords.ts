/** Words for what happens to uploads. What the API, Jupyter Server or a node say brings its own. */

import type { TranslationBundle } from '@jupyterlab/translation';

import type { UploadFault, UploadPhase } from '../model';
import { READABLE } from '../model';
import type { IProblem } from '../tokens';

export interface IWords {
  title: string;
  detail: string;
  hint: string;
}

/** A problem in words. */
export function problemWords(trans: TranslationBundle, problem: IProblem): IWords {
  const { code, title, detail, hint } = problem;
  const anew = trans.__('Discard this upload, and begin anew.');
  const words: { [code: string]: Partial<IWords> } = {
    'another-size': {
      title: trans.__('That is another file'),
      detail: trans.__('It has %1 bytes.', detail),
      hint: trans.__(
        'Choose the file with which this upload was begun. If it was changed since, discard this upload, and begin anew.'
      )
    },
    'another-file': {
      title: trans.__('That is another file'),
      detail: trans.__('What was sent already is not what this file has there.'),
      hint: trans.__(
        'Choose the file with which this upload was begun. If it was changed since, discard this upload, and begin anew.'
      )
    },
    'file-changed': {
      title: trans.__('The file was changed while it was uploaded'),
      detail: '',
      hint: anew
    },
    'file-unreadable': {
      title: trans.__('The file cannot be read any more'),
      detail: trans.__('It was moved, removed or changed on disk.'),
      hint: trans.__('Put it back and choose it again, or discard this upload, and begin anew.')
    },
    'held-elsewhere': {
      title: trans.__('Another tab works on this upload'),
      detail: '',
      hint: trans.__('Let it go on there, or pause it there and go on here.')
    },
    'receipt-forged': {
      title: trans.__('It is not the node that says how this upload ended'),
      detail: trans.__(
        'The answer is not sealed by the node. Something between here and the node has made it.'
      ),
      hint: trans.__('Try again. If it happens again, tell the owner of the node, and use another way.')
    },
    'not-kept': {
      title: trans.__('This browser keeps nothing for this page'),
      detail,
      hint: trans.__('Leave the private window, or free some disk space, then reload the page.')
    },
    'signed-out': {
      title: trans.__('Nobody is signed in'),
      detail: '',
      hint: trans.__('Sign in in this panel, then begin again.')
    },
    'key-changed': {
      title: trans.__('The node has another key than a moment ago'),
      detail: '',
      hint: trans.__('Close this form and choose the file again, to see its key as it is now.')
    },
    'http-413': {
      title: trans.__('Something on the way takes no requests of this size'),
      detail: trans.__('A file is sent in pieces of at most 4 MiB.'),
      hint: trans.__(
        'Ask who runs the proxy in front of Jupyter Server to allow 5 MiB and more (nginx: client_max_body_size).'
      )
    },
    'bad-statement': {
      title: trans.__('The key is not the node’s'),
      detail: trans.__('The node has not signed the key that the API gives for it.'),
      hint: trans.__('Upload nothing to it. Tell the administrators of the project.')
    },
    'not-the-node': {
      title: trans.__('The key is not the node’s'),
      detail: trans.__('What is signed is about another node.'),
      hint: trans.__('Upload nothing to it. Tell the administrators of the project.')
    },
    'key-expired': {
      title: trans.__('The node’s key is not in force'),
      detail: detail ? trans.__('It was good until %1.', new Date(detail).toLocaleString()) : '',
      hint: trans.__(
        'The node states it anew when it is online. Correct the clock of this machine if it is wrong.'
      )
    },
    'no-membership': {
      title: trans.__('The node is no member of this project'),
      detail: '',
      hint: trans.__('An administrator of the project has to sign a membership for it.')
    },
    'bad-membership': {
      title: trans.__('The node’s membership is not right'),
      detail: trans.__('The project’s key has not signed that this node is a node of this project.'),
      hint: trans.__('Upload nothing to it. Tell the administrators of the project.')
    },
    'membership-expired': {
      title: trans.__('The node’s membership is not in force'),
      detail: detail ? trans.__('It was good until %1.', new Date(detail).toLocaleString()) : '',
      hint: trans.__('An administrator of the project signs a new one. Correct the clock if it is wrong.')
    },
    'membership-older': {
      title: trans.__('The API gives an older membership of the node than before'),
      detail: trans.__('It may have been revoked since.'),
      hint: trans.__('Upload nothing to it. Tell the administrators of the project.')
    },
    'domain-key-changed': {
      title: trans.__('The key of the project is another one than before'),
      detail: trans.__('The API now gives %1 …', detail),
      hint: trans.__(
        'Ask an administrator of the project, not through this page, whether it was changed. Only if it was, forget the key that is known here.'
      )
    },
    'node-quarantined': {
      title: trans.__('The node is in quarantine'),
      detail: trans.__('It takes part in nothing until it is let back.'),
      hint: trans.__('Ask an operator of the project, or choose another node.')
    }
  };
  return { title: title || code, detail, hint, ...words[code] };
}

/** What is amiss with a file or with the form, and what to do. */
export function faultWords(trans: TranslationBundle, fault: UploadFault): string {
  switch (fault) {
    case 'several-files':
      return trans.__('One file at a time: choose one of them, and the next when it is on its way.');
    case 'folder':
      return trans.__(
        'That is a folder. Choose one file in it; folders are registered at the node itself: flaas dataset add'
      );
    case 'empty-file':
      return trans.__('The file is empty. Choose one with data.');
    case 'unknown-format':
      return trans.__('Nodes read %1. Choose such a file, or convert this one.', READABLE.join(', '));
    case 'long-name':
      return trans.__('The name of the file has more than 255 characters. Give it a shorter one.');
    case 'bad-name':
      return trans.__(
        'A data set’s name has 1 to 64 letters, digits, dots, dashes and underscores, and begins with a letter or digit.'
      );
    case 'no-node':
      return trans.__('Choose the node that the file is for.');
    case 'bad-classes':
      return trans.__('The number of classes is a whole number from 2 on, or left out.');
    case 'same-column':
      return trans.__('The column to predict cannot be the one with ids.');
  }
}

/** Why the node has not registered a file that it has; commands are nothing that the sender could type there. */
export function rejectionWords(trans: TranslationBundle, { detail, hint }: IProblem): IWords {
  return {
    title: trans.__('The node cannot register the file so'),
    detail,
    hint:
      hint && !/`?flaas /.test(hint)
        ? hint
        : trans.__('Correct it below, or discard it and upload another file.')
  };
}

export function phaseName(trans: TranslationBundle, phase: UploadPhase): string {
  const names: Record<UploadPhase, string> = {
    lost: trans.__('waits for its file'),
    'checking-file': trans.__('comparing the file'),
    sending: trans.__('uploading'),
    paused: trans.__('paused'),
    waiting: trans.__('no connection'),
    finishing: trans.__('the node checks it'),
    registered: trans.__('registered'),
    rejected: trans.__('not registered'),
    stopped: trans.__('stopped')
  };
  return names[phase];
}
