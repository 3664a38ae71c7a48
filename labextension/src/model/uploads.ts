/**
 * The uploads of whoever is signed in: those of this page, and those that were begun before a reload; and the keys of
 * nodes that they are sealed for.
 */

import { type ISignal, Signal } from '@lumino/signaling';

import { problemOf, RequestError } from '../request';
import type { IApi, IModel, INode, IProblem, IProject } from '../tokens';
import type { IKeptUpload, IUploadKeep } from '../upload/keep';
import { beginSealing, headerOf, type IDetails, obstacle } from '../upload/seal';
import { DistrustError, type IKeyAnswer, type IPin, type ITrusted, pinned, trusted } from '../upload/trust';
import { linkOf } from './links';
import { own, UploadModel } from './upload';

/** A node's key, checked, and what this browser knew of it before. */
export interface IKeyCheck {
  trusted: ITrusted | null;
  pin: IPin | null;
  /** Whether somebody has compared this very key here before. */
  compared: boolean;
  /** Why it must not be used. */
  problem: IProblem | null;
}

/** What is to be uploaded. */
export interface IUploadOrder {
  project: string;
  node: Pick<INode, 'id' | 'name'>;
  dataset: string;
  details: IDetails;
  file: File;
  /** Of the key that the person has seen. */
  fingerprint: string;
}

export class UploadsModel implements IModel {
  constructor(
    private readonly _api: IApi,
    private readonly _keep: IUploadKeep
  ) {}

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Why this page can seal nothing; undefined until that was looked at. */
  get obstacle(): 'insecure-page' | 'old-browser' | 'not-kept' | null | undefined {
    return this._obstacle;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  /** Those to a project, newest first. */
  of(project: string): UploadModel[] {
    return this._uploads.filter(({ kept }) => kept.project === project);
  }

  /**
   * Show the uploads of somebody else, or of nobody; what is under way is left off.
   *
   * @param who Address of the API, person, organisation, as the federation has them.
   */
  async attach(who: string | null): Promise<void> {
    if (who === this._owner) {
      return;
    }
    this._owner = who;
    this._uploads.forEach(upload => {
      if (upload.file && upload.phase !== 'registered') {
        this._files.set(upload.id, upload.file); // whoever signs in again need not choose it again
      }
      upload.dispose();
    });
    this._uploads = [];
    this._emit();
    this._obstacle = await obstacle();
    if (who === null || this._obstacle) {
      this._emit();
      return;
    }
    let kept: IKeptUpload[] = [];
    try {
      kept = await this._keep.uploads();
    } catch {
      this._obstacle = 'not-kept';
    }
    if (who !== this._owner || this._disposed) {
      return; // somebody else meanwhile
    }
    const here = new Set(this._uploads.map(({ id }) => id));
    const before = kept.filter(({ owner, id }) => owner === who && !here.has(id));
    before.forEach(each => {
      const upload = this._add(each, this._files.get(each.id) ?? null);
      if (each.finished) {
        void upload.resume(); // the file is not needed any more
      } else {
        void upload.look();
      }
    });
    this._emit();
  }

  /**
   * Whether the person may upload to a project.
   *
   * @throws RequestError It could not be asked.
   */
  async may(project: string): Promise<boolean> {
    const asked = await this._api.api<IProject>(`/v1/projects/${encodeURIComponent(project)}`);
    return linkOf(asked, 'create_upload') !== null;
  }

  /** Get a node's key and check it; never fails, the outcome is in the answer. */
  async check(project: string, node: string): Promise<IKeyCheck> {
    let pin: IPin | null = null;
    try {
      pin = await this._keep.pin(this._pinName(project));
      const path = `/v1/nodes/${encodeURIComponent(node)}/upload-key?project=${encodeURIComponent(project)}`;
      const answer = await this._api.api<IKeyAnswer>(path);
      const key = await trusted(answer, { node, project }, pin, Date.now() / 1000);
      return { trusted: key, pin, compared: pin?.compared.includes(key.fingerprint) ?? false, problem: null };
    } catch (error) {
      const problem = error instanceof DistrustError ? error.problem : problemOf(error);
      return { trusted: null, pin, compared: false, problem };
    }
  }

  /** Forget a project's domain key, to learn a new one. */
  async forgetPin(project: string): Promise<void> {
    await this._keep.setPin(this._pinName(project), null);
  }

  /**
   * Begin. The key is checked once more: a form may have been open for long.
   *
   * @throws RequestError It cannot begin.
   */
  async start({ project, node, dataset, details, file, fingerprint }: IUploadOrder): Promise<UploadModel> {
    const owner = this._owner;
    const { trusted: key, problem } = await this.check(project, node.id);
    if (!key || owner === null) {
      throw new RequestError(problem ?? own('signed-out'));
    }
    if (key.fingerprint !== fingerprint) {
      throw new RequestError(own('key-changed'));
    }
    const header = headerOf(node.id, file.size);
    const kept: IKeptUpload = {
      ...(await beginSealing(key.key, header, details)),
      id: header.upload,
      owner,
      project,
      node: node.id,
      nodeName: node.name,
      dataset,
      details,
      fingerprint,
      begun: Date.now(),
      finished: false
    };
    try {
      const pin = await this._keep.pin(this._pinName(project));
      await this._keep.setPin(this._pinName(project), pinned(pin, node.id, key, Date.now()));
      await this._keep.keep(kept);
    } catch (error) {
      throw new RequestError(own('not-kept', problemOf(error).detail));
    }
    const upload = this._add(kept, file);
    this._emit();
    void upload.resume();
    return upload;
  }

  /** End an upload, or put away one that has ended; what is returned is why the node could not be told. */
  async discard(upload: UploadModel): Promise<IProblem | null> {
    const problem = await upload.discard();
    this._files.delete(upload.id);
    this._uploads = this._uploads.filter(each => each !== upload);
    upload.dispose();
    this._emit();
    return problem;
  }

  dispose(): void {
    if (!this._disposed) {
      this._disposed = true;
      this._uploads.forEach(upload => upload.dispose());
      Signal.clearData(this);
    }
  }

  private _add(kept: IKeptUpload, file: File | null): UploadModel {
    const upload = new UploadModel(this._api, this._keep, kept, file);
    upload.changed.connect(this._emit, this);
    this._uploads = [...this._uploads, upload].sort((one, other) => other.kept.begun - one.kept.begun);
    return upload;
  }

  /** A project is known by its API, too: two of them may have one of the same name. */
  private _pinName(project: string): string {
    return `${this._owner?.split(' ')[0] ?? ''} ${project}`;
  }

  private _emit(): void {
    if (!this._disposed) {
      this._changed.emit();
    }
  }

  private _changed = new Signal<this, void>(this);
  private _owner: string | null = null;
  private _obstacle: UploadsModel['obstacle'] = undefined;
  private _uploads: UploadModel[] = [];
  private _files = new Map<string, File>();
  private _disposed = false;
}
