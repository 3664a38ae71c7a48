/** One upload: how far it is, what is in its way, and what can be done. */

import { showErrorMessage } from '@jupyterlab/apputils';
import {
  Button,
  checkIcon,
  circleEmptyIcon,
  errorIcon,
  type LabIcon,
  pauseIcon,
  runIcon
} from '@jupyterlab/ui-components';
import * as React from 'react';

import { ago, bytes, count, dateTime, percent } from '../format';
import type { UploadModel, UploadPhase, UploadsModel } from '../model';
import { detailsOf, EMPTY_UPLOAD, faultsOf } from '../model';
import { useModel, useNow, useTrans } from './hooks';
import { Notice } from './notice';
import { confirmed } from './stop';
import { UploadColumns } from './uploadcolumns';
import { faultWords, phaseName, problemWords, rejectionWords } from './uploadwords';

const ICONS: Record<UploadPhase, [LabIcon, string]> = {
  lost: [pauseIcon, ''],
  'checking-file': [runIcon, 'flaas-mod-running'],
  sending: [runIcon, 'flaas-mod-running'],
  paused: [pauseIcon, ''],
  waiting: [circleEmptyIcon, ''],
  finishing: [runIcon, 'flaas-mod-running'],
  registered: [checkIcon, 'flaas-mod-completed'],
  rejected: [errorIcon, 'flaas-mod-failed'],
  stopped: [errorIcon, 'flaas-mod-failed']
};

export interface IUploadItemProps {
  upload: UploadModel;
  uploads: UploadsModel;
  /** Called when it is gone: the keyboard has to be somewhere. */
  gone: () => void;
}

export function UploadItem({ upload, uploads, gone }: IUploadItemProps): JSX.Element {
  const trans = useTrans();
  const now = useNow();
  useModel(upload);
  const { kept, phase, problem, receipt } = upload;
  const [icon, state] = ICONS[phase];
  const words = problem && (phase === 'rejected' ? rejectionWords : problemWords)(trans, problem);
  return (
    <li className="flaas-Run" aria-label={kept.dataset}>
      <div className="flaas-Run-head">
        <strong>{kept.dataset}</strong>
        <span className="flaas-Secondary">{trans.__('to %1', kept.nodeName)}</span>
      </div>
      <span className="flaas-Setting">{trans.__('%1, %2', kept.details.name, bytes(upload.size))}</span>
      <div className="flaas-Run-state">
        <span role="status" className={`flaas-State ${state}`}>
          <icon.react tag="span" className="flaas-State-icon" aria-hidden="true" elementSize="small" />
          {phaseName(trans, phase)}
        </span>
        <span title={dateTime(new Date(kept.begun).toISOString())}>
          {trans.__('begun %1', ago(trans, new Date(kept.begun).toISOString(), now))}
        </span>
      </div>
      {phase !== 'registered' && phase !== 'rejected' && <Progress upload={upload} />}
      {receipt && (
        <dl className="flaas-Settings flaas-Receipt">
          {receipt.rows !== null && (
            <>
              <dt>{trans.__('Rows')}</dt>
              <dd>{count(receipt.rows)}</dd>
            </>
          )}
          <dt title={trans.__('Of the whole file, as the node has it: compare it with sha256sum.')}>
            SHA-256
          </dt>
          <dd>
            <code className="flaas-Fingerprint">{receipt.sha256}</code>
          </dd>
        </dl>
      )}
      {words && <Notice problem={phase !== 'waiting'} {...words} />}
      {phase === 'lost' && !problem && (
        <p className="flaas-Hint">
          {trans.__(
            'The page was loaded anew since. Choose the same file, and only what is missing is sent.'
          )}
        </p>
      )}
      {phase === 'waiting' && (
        <p className="flaas-Hint">{trans.__('It goes on by itself, or try it now.')}</p>
      )}
      {phase === 'rejected' && <RegisterAgain upload={upload} />}
      <Actions upload={upload} uploads={uploads} gone={gone} />
    </li>
  );
}

function Progress({ upload }: { upload: UploadModel }): JSX.Element {
  const trans = useTrans();
  const comparing = upload.phase === 'checking-file';
  const value = comparing ? upload.compared : upload.sent;
  const { size, rate } = upload;
  const share = percent(Math.floor((100 * value) / size) / 100);
  const words = comparing
    ? trans.__('%1 compared', bytes(value))
    : rate === null
      ? trans.__('%1 of %2 (%3)', bytes(value), bytes(size), share)
      : trans.__('%1 of %2 (%3), %4/s', bytes(value), bytes(size), share, bytes(rate));
  return (
    <div className="flaas-Progress flaas-mod-upload">
      <progress
        max={size}
        value={value}
        aria-label={trans.__('Progress of %1', upload.kept.dataset)}
        aria-valuetext={words}
      />
      <span className="flaas-Progress-words">{words}</span>
    </div>
  );
}

function Actions({ upload, uploads, gone }: IUploadItemProps): JSX.Element {
  const trans = useTrans();
  const input = React.useRef<HTMLInputElement>(null);
  const { phase, problem, kept } = upload;
  const { dataset } = kept;
  const discard = async (): Promise<void> => {
    const ended = phase === 'registered';
    const act = async (): Promise<void> => {
      const failed = await uploads.discard(upload);
      gone();
      if (failed) {
        const { title, detail, hint } = problemWords(trans, failed);
        await showErrorMessage(
          trans.__('Discarded here only'),
          trans.__(
            'The node could not be told: %1 It removes what it has by itself when the upload expires.',
            `${title}. ${detail} ${hint}`.trim()
          )
        );
      }
    };
    await (ended
      ? act()
      : confirmed({
          title: trans.__('Discard the upload “%1”?', dataset),
          body: trans.__('The node removes what it has of the file. Your own file stays as it is.'),
          label: trans.__('Discard the upload'),
          act
        }));
  };
  const anew = phase === 'lost' || problem?.code === 'file-unreadable';
  return (
    <div className="flaas-Buttons">
      {['sending', 'finishing', 'waiting', 'checking-file'].includes(phase) && (
        <Button
          small
          className="flaas-Button"
          aria-label={trans.__('Pause %1', dataset)}
          onClick={() => upload.pause()}
        >
          {trans.__('Pause')}
        </Button>
      )}
      {['paused', 'waiting', 'stopped'].includes(phase) && !anew && (
        <Button
          small
          className="flaas-Button"
          aria-label={
            phase === 'paused' ? trans.__('Go on with %1', dataset) : trans.__('Try %1 again', dataset)
          }
          onClick={() => void upload.resume()}
        >
          {phase === 'paused' ? trans.__('Go on') : trans.__('Try again')}
        </Button>
      )}
      {anew && (
        <>
          <Button
            small
            className="flaas-Button flaas-mod-primary"
            aria-label={trans.__('Choose the file of %1 again', dataset)}
            onClick={() => input.current?.click()}
          >
            {trans.__('Choose the file again …')}
          </Button>
          <input
            ref={input}
            type="file"
            hidden
            onChange={event => {
              const file = event.target.files?.[0];
              event.target.value = ''; // the same file may be chosen again
              if (file) {
                void upload.take(file);
              }
            }}
          />
        </>
      )}
      <Button
        small
        minimal={phase !== 'registered'}
        className="flaas-Button"
        aria-label={
          phase === 'registered' ? trans.__('Put %1 away', dataset) : trans.__('Discard %1', dataset)
        }
        onClick={() => void discard()}
      >
        {phase === 'registered' ? trans.__('Put away') : trans.__('Discard …')}
      </Button>
    </div>
  );
}

/** The node has the file, but cannot register it so. */
function RegisterAgain({ upload }: { upload: UploadModel }): JSX.Element {
  const trans = useTrans();
  const { details, dataset, node } = upload.kept;
  const [form, setForm] = React.useState({
    ...EMPTY_UPLOAD,
    dataset,
    node,
    target: details.target ?? '',
    idColumn: details.id_column ?? '',
    classes: details.classes === null ? '' : String(details.classes),
    raw: details.raw
  });
  const faults = faultsOf(form);
  return (
    <form
      className="flaas-Upload"
      aria-label={trans.__('Register %1 again', dataset)}
      noValidate
      onSubmit={event => {
        event.preventDefault();
        if (faults.length === 0) {
          void upload.finishWith(detailsOf(form, details.name));
        }
      }}
    >
      <p className="flaas-Hint">
        {trans.__('The node has the whole file. Nothing is sent again if you change what is said about it.')}
      </p>
      <UploadColumns form={form} columns={[]} change={changes => setForm({ ...form, ...changes })} />
      {faults.length > 0 && (
        <ul className="flaas-Faults" role="alert">
          {faults.map(fault => (
            <li key={fault}>{faultWords(trans, fault)}</li>
          ))}
        </ul>
      )}
      <div className="flaas-Buttons">
        <Button type="submit" small className="flaas-Button flaas-mod-primary">
          {trans.__('Register again')}
        </Button>
      </div>
    </form>
  );
}
