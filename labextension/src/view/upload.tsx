/**
 * Uploads to the nodes of a project: a place to drop a file on, what is said about it, the key that it is sealed for,
 * and the uploads that are under way.
 */

import { Button, closeIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { bytes } from '../format';
import {
  columnsIn,
  datasetName,
  detailsOf,
  EMPTY_UPLOAD,
  faultOf,
  faultsOf,
  type IKeyCheck,
  type IUploadForm,
  type ProjectModel,
  READABLE,
  type UploadFault,
  type UploadsModel
} from '../model';
import { problemOf } from '../request';
import type { INode, IProblem } from '../tokens';
import { SelectField, TextField } from './fields';
import { useModel, useTrans } from './hooks';
import { Notice, ProblemNotice } from './notice';
import { UploadColumns } from './uploadcolumns';
import { UploadItem } from './uploaditem';
import { UploadKey } from './uploadkey';
import { faultWords, problemWords } from './uploadwords';

export interface IUploadsProps {
  uploads: UploadsModel;
  project: ProjectModel;
}

/** A part of the panel that is open while there is something to see to. */
export function UploadPart(props: IUploadsProps): JSX.Element {
  const { uploads, project } = props;
  const trans = useTrans();
  useModel(uploads);
  const own = uploads.of(project.project.id);
  const [opened, setOpened] = React.useState<boolean | null>(null);
  const open = opened ?? own.length > 0;
  return (
    <details
      className="flaas-Section flaas-Part"
      open={open}
      onToggle={event => {
        if (event.currentTarget.open !== open) {
          setOpened(event.currentTarget.open);
        }
      }}
    >
      <summary>
        <h4>{trans.__('Upload')}</h4>
        <span className="flaas-Section-figure">{own.length > 0 ? own.length : ''}</span>
      </summary>
      {open && <Uploads {...props} />}
    </details>
  );
}

export function Uploads({ uploads, project }: IUploadsProps): JSX.Element {
  const trans = useTrans();
  useModel(uploads);
  const id = project.project.id;
  const [may, setMay] = React.useState<boolean | IProblem | null>(null);
  const ask = React.useCallback(async () => {
    setMay(null);
    setMay(await uploads.may(id).catch(problemOf));
  }, [uploads, id]);
  React.useEffect(() => void ask(), [ask]);
  const own = uploads.of(id);
  const list = React.useRef<HTMLDivElement>(null);
  const focus = React.useCallback(() => list.current?.focus(), []);
  // What is dropped beside the place for it would otherwise be opened instead of this page.
  const catchFiles = (event: React.DragEvent): void => event.preventDefault();
  return (
    <div className="flaas-Uploads" onDragOver={catchFiles} onDrop={catchFiles}>
      <div ref={list} tabIndex={-1}>
        {own.length > 0 && (
          <ul className="flaas-Runs" aria-label={trans.__('Uploads')}>
            {own.map(upload => (
              <UploadItem key={upload.id} upload={upload} uploads={uploads} gone={focus} />
            ))}
          </ul>
        )}
      </div>
      <Entrance may={may} ask={ask} uploads={uploads} project={project} begun={focus} />
    </div>
  );
}

interface IFormProps extends IUploadsProps {
  /** Called when an upload has begun: its form is gone, and the keyboard has to be somewhere. */
  begun: () => void;
}

interface IEntranceProps extends IFormProps {
  may: boolean | IProblem | null;
  ask: () => Promise<void>;
}

/** The form, or why there is none and what to do. */
function Entrance({ may, ask, uploads, project, begun }: IEntranceProps): JSX.Element | null {
  const trans = useTrans();
  const here = trans.__('Where the node runs, a file is registered with:');
  switch (uploads.obstacle) {
    case undefined:
      return null;
    case 'insecure-page':
      return (
        <Notice
          problem
          title={trans.__('This page cannot encrypt')}
          detail={trans.__('Browsers have no cryptography for pages that come over plain HTTP.')}
          hint={`${trans.__('Open JupyterLab at an https:// address, or on the machine where it runs.')} ${here}`}
          command="flaas dataset add"
        />
      );
    case 'old-browser':
      return (
        <Notice
          problem
          title={trans.__('This browser cannot encrypt')}
          detail={trans.__('It knows neither X25519 nor Ed25519.')}
          hint={`${trans.__('Use Chrome or Edge from version 137 on, Firefox from 130 on, or Safari from 17 on.')} ${here}`}
          command="flaas dataset add"
        />
      );
    case 'not-kept':
      return (
        <Notice
          problem
          {...problemWords(trans, { status: 0, code: 'not-kept', title: '', detail: '', hint: '' })}
        />
      );
    case null:
  }
  if (may === null) {
    return <p className="flaas-Empty">{trans.__('Loading …')}</p>;
  }
  if (typeof may === 'object') {
    return <ProblemNotice problem={may} retry={() => void ask()} />;
  }
  if (!may) {
    return (
      <Notice
        title={trans.__('You may not upload to this project')}
        detail={trans.__('It takes the permission dataset:upload.')}
        hint={trans.__('Ask an administrator of your organisation for a role that has it; see Access above.')}
      />
    );
  }
  return <NewUpload uploads={uploads} project={project} begun={begun} />;
}

function NewUpload({ uploads, project, begun }: IFormProps): JSX.Element {
  const trans = useTrans();
  useModel(project);
  const [file, setFile] = React.useState<File | null>(null);
  const [fault, setFault] = React.useState<UploadFault | null>(null);
  const nodes = project.nodes.filter(node => node.uploads);
  const take = (files: readonly File[], folder: boolean): void => {
    const [chosen] = files;
    const wrong = folder ? 'folder' : files.length > 1 ? 'several-files' : chosen ? faultOf(chosen) : null;
    setFault(wrong);
    setFile(wrong || !chosen ? null : chosen);
  };
  if (nodes.length === 0) {
    return (
      <Notice
        title={trans.__('No node of this project takes uploads')}
        detail={trans.__('The owner of a node says whose uploads it takes: uploads in its node.toml.')}
        hint={trans.__('Give your id (flaas whoami) to the owner of the node.')}
      />
    );
  }
  return (
    <>
      {file ? (
        <UploadForm
          key={`${file.name} ${file.size} ${file.lastModified}`}
          file={file}
          nodes={nodes}
          uploads={uploads}
          project={project.project.id}
          close={() => setFile(null)}
          begun={begun}
        />
      ) : (
        <DropZone take={take} />
      )}
      {fault && (
        <p className="flaas-Faults" role="alert">
          {faultWords(trans, fault)}
        </p>
      )}
    </>
  );
}

/** A place to drop a file on, with a button for who does not. */
function DropZone({ take }: { take: (files: readonly File[], folder: boolean) => void }): JSX.Element {
  const trans = useTrans();
  const [over, setOver] = React.useState(false);
  const input = React.useRef<HTMLInputElement>(null);
  const allow = (event: React.DragEvent): void => {
    if (event.dataTransfer.types.includes('Files')) {
      event.preventDefault();
      event.dataTransfer.dropEffect = 'copy';
      setOver(true);
    }
  };
  const drop = (event: React.DragEvent): void => {
    event.preventDefault();
    setOver(false);
    const items = [...(event.dataTransfer.items ?? [])];
    const folder = items.some(item => item.webkitGetAsEntry?.()?.isDirectory);
    take([...event.dataTransfer.files], folder);
  };
  return (
    <div
      className={`flaas-Drop${over ? ' flaas-mod-over' : ''}`}
      role="group"
      aria-label={trans.__('Upload a file')}
      onDragEnter={allow}
      onDragOver={allow}
      onDragLeave={() => setOver(false)}
      onDrop={drop}
    >
      <p>{trans.__('Drop a file here: it is encrypted in this browser for one node.')}</p>
      <Button type="button" className="flaas-Button" onClick={() => input.current?.click()}>
        {trans.__('Choose a file …')}
      </Button>
      <input
        ref={input}
        type="file"
        hidden
        accept={READABLE.join(',')}
        onChange={event => {
          const files = [...(event.target.files ?? [])];
          event.target.value = ''; // the same file may be chosen again
          take(files, false);
        }}
      />
    </div>
  );
}

interface IUploadFormProps {
  file: File;
  nodes: readonly INode[];
  uploads: UploadsModel;
  project: string;
  close: () => void;
  begun: () => void;
}

function UploadForm({ file, nodes, uploads, project, close, begun }: IUploadFormProps): JSX.Element {
  const trans = useTrans();
  const [form, setForm] = React.useState<IUploadForm>({
    ...EMPTY_UPLOAD,
    dataset: datasetName(file.name),
    node: nodes.length === 1 ? nodes[0].id : ''
  });
  const [columns, setColumns] = React.useState<string[]>([]);
  const [shown, setShown] = React.useState(false);
  const [busy, setBusy] = React.useState(false);
  const [problem, setProblem] = React.useState<IProblem | null>(null);
  const { check, again } = useKeyCheck(uploads, project, form.node);
  const [compared, setCompared] = React.useState('');
  React.useEffect(() => {
    let current = true;
    void columnsIn(file).then(found => current && setColumns(found));
    return () => {
      current = false;
    };
  }, [file]);
  const root = React.useRef<HTMLFormElement>(null);
  React.useEffect(() => root.current?.querySelector<HTMLElement>('input')?.focus(), []);
  const faults = faultsOf(form);
  const fingerprint = check?.trusted?.fingerprint;
  const believed = fingerprint !== undefined && (check?.compared === true || compared === fingerprint);
  const node = nodes.find(({ id }) => id === form.node);
  const submit = async (event: React.FormEvent): Promise<void> => {
    event.preventDefault();
    setShown(true);
    if (faults.length > 0 || !node || !believed || busy) {
      return;
    }
    setBusy(true);
    setProblem(null);
    try {
      const { dataset } = form;
      await uploads.start({ project, node, dataset, details: detailsOf(form, file.name), file, fingerprint });
      close();
      begun();
    } catch (error) {
      setProblem(problemOf(error));
      setBusy(false);
    }
  };
  return (
    <form
      ref={root}
      className="flaas-Upload"
      aria-label={trans.__('Upload a file')}
      noValidate
      onSubmit={event => void submit(event)}
    >
      <div className="flaas-Upload-file">
        <span>
          <strong>{file.name}</strong> <span className="flaas-Secondary">{bytes(file.size)}</span>
        </span>
        <Button
          type="button"
          minimal
          small
          className="flaas-Button"
          aria-label={trans.__('Choose another file')}
          title={trans.__('Choose another file')}
          onClick={close}
        >
          <closeIcon.react tag="span" aria-hidden="true" elementSize="small" />
        </Button>
      </div>
      <TextField
        label={trans.__('Name of the data set')}
        value={form.dataset}
        change={dataset => setForm({ ...form, dataset })}
      />
      <UploadColumns form={form} columns={columns} change={changes => setForm({ ...form, ...changes })} />
      <SelectField
        label={trans.__('Node')}
        value={form.node}
        options={[
          ...(nodes.length === 1 ? [] : [['', trans.__('choose a node')] as const]),
          ...nodes.map(({ id, name, organisation }) => [id, `${name} (${organisation})`] as const)
        ]}
        choose={chosen => setForm({ ...form, node: chosen })}
      />
      {form.node && (
        <UploadKey
          check={check}
          compared={compared !== '' && compared === fingerprint}
          setCompared={yes => setCompared(yes && fingerprint ? fingerprint : '')}
          again={again}
          forget={async () => {
            await uploads.forgetPin(project);
            again();
          }}
        />
      )}
      {problem && <Notice problem {...problemWords(trans, problem)} />}
      {shown && (faults.length > 0 || (check?.trusted && !believed)) && (
        <ul className="flaas-Faults" role="alert">
          {faults.map(each => (
            <li key={each}>{faultWords(trans, each)}</li>
          ))}
          {check?.trusted && !believed && (
            <li>{trans.__('Compare the key of the node with what its owner sees, and say so above.')}</li>
          )}
        </ul>
      )}
      <div className="flaas-Buttons">
        <Button
          type="submit"
          className="flaas-Button flaas-mod-primary"
          disabled={busy || (form.node !== '' && !check?.trusted)}
        >
          {trans.__('Encrypt and upload')}
        </Button>
      </div>
    </form>
  );
}

/** The key of the node that is chosen, checked anew for each. */
function useKeyCheck(
  uploads: UploadsModel,
  project: string,
  node: string
): { check: IKeyCheck | null; again: () => void } {
  const [check, setCheck] = React.useState<IKeyCheck | null>(null);
  const [turn, again] = React.useReducer((count: number) => count + 1, 0);
  React.useEffect(() => {
    let current = true;
    setCheck(null);
    if (node) {
      void uploads.check(project, node).then(found => current && setCheck(found));
    }
    return () => {
      current = false;
    };
  }, [uploads, project, node, turn]);
  return { check, again };
}
