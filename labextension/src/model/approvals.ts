/**
 * Critical actions that wait for somebody's approval.
 */

import { Poll } from '@lumino/polling';
import { type ISignal, Signal } from '@lumino/signaling';

import type { ApprovalState, IApproval, IFactor } from '../governance';
import { problemOf } from '../request';
import type { IApi, IModel, IProblem } from '../tokens';
import { follow, linkOf } from './links';
import { readAll } from './lists';
import { sha256 } from './sha256';

/** Milliseconds between two looks. */
export const APPROVAL_LOOKS = { interval: 15_000, most: 300_000 };

/** How many approvals of a factor are still missing. */
export function missingOf({ needed, given }: IFactor): number {
  return Math.max(0, needed - given);
}

/** Whether the text that is shown is the one that the API's digest is of. */
export function isWhole(approval: IApproval): boolean {
  return typeof approval.body === 'string' && sha256(approval.body) === approval.sha256;
}

/** A text with what cannot be seen, or turns the text around it, written out: nothing reads as something else. */
export function visible(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, found =>
    found === '\n' ? found : `\\u${found.codePointAt(0)!.toString(16).padStart(4, '0')}`
  );
}

/** The text with a line for each part, easier to read; as it is if it is no JSON. */
export function pretty(text: string): string {
  try {
    return visible(JSON.stringify(JSON.parse(text), null, 2));
  } catch {
    return visible(text);
  }
}

/**
 * The inbox: requests that the caller may see, kept current by looking again.
 */
export class ApprovalsModel implements IModel {
  constructor(private _api: IApi) {
    this._poll = new Poll({
      name: '@flaas/labextension:approvals',
      factory: () => this._look(),
      frequency: { interval: APPROVAL_LOOKS.interval, backoff: true, max: APPROVAL_LOOKS.most },
      standby: 'when-hidden',
      auto: false
    });
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** What waits, the one that ends first in front. */
  get pending(): readonly IApproval[] {
    return this._pending;
  }

  /** What was asked for in the past, the newest first; read when it is asked for. */
  get past(): readonly IApproval[] | null {
    return this._past;
  }

  /** How many wait for the caller. */
  get waiting(): number {
    return this._pending.filter(each => linkOf(each, 'approve', 'deny')).length;
  }

  /** The public half of the key that decisions are signed with; undefined until it was asked. */
  get key(): string | null | undefined {
    return this._key;
  }

  /** Why the key cannot be used. */
  get keyProblem(): IProblem | null {
    return this._keyProblem;
  }

  get loaded(): boolean {
    return this._loaded;
  }

  get problem(): IProblem | null {
    return this._problem;
  }

  get isDisposed(): boolean {
    return this._poll.isDisposed;
  }

  /** Look, and go on looking; never fails, the outcome is `problem`. */
  async start(): Promise<void> {
    await this.refresh();
  }

  /** Leave off: nobody is signed in. */
  forget(): void {
    void this._poll.stop();
    this._turn++;
    this._forgotten++;
    this._pending = [];
    this._past = null;
    this._key = undefined;
    this._keyProblem = null;
    this._loaded = false;
    this._problem = null;
    this._emit();
  }

  /** Look now. */
  async refresh(): Promise<void> {
    await this._look().catch(() => undefined);
    if (!this.isDisposed) {
      void this._poll.schedule({ interval: this._poll.frequency.interval, phase: 'refreshed' });
    }
  }

  /** Read what is over. */
  async readPast(): Promise<void> {
    const forgotten = this._forgotten; // not the turn: that is another at every look
    try {
      const all = await readAll<IApproval>(this._api, '/v1/approvals', 'approvals', 1);
      if (forgotten !== this._forgotten) {
        return;
      }
      this._past = all
        .filter(({ state }) => state !== 'pending')
        .sort((one, other) => other.created.localeCompare(one.created));
    } catch (error) {
      if (forgotten !== this._forgotten) {
        return;
      }
      this._problem = problemOf(error);
    }
    this._emit();
  }

  /** One request, as it is now, whatever its state. */
  async read(id: string): Promise<IApproval> {
    return this._api.api<IApproval>(`/v1/approvals/${encodeURIComponent(id)}`);
  }

  /** Ask which key decisions are signed with. */
  async readKey(): Promise<void> {
    try {
      this._key = (await this._api.server<{ key: string | null }>('approvals/key')).key;
      this._keyProblem = null;
    } catch (error) {
      this._key = undefined;
      this._keyProblem = problemOf(error);
    }
    this._emit();
  }

  /**
   * Make a key, and have the API know its public half.
   *
   * @throws RequestError Why not.
   */
  async makeKey(): Promise<void> {
    this._key = (await this._api.server<{ key: string }>('approvals/key', 'POST', {})).key;
    this._emit();
  }

  /**
   * Approve or deny; signed in the server half, which compares what was read here with what the API has.
   *
   * @throws RequestError The refusal; nothing was signed, or it was not accepted.
   */
  async decide(approval: IApproval, decision: 'approve' | 'deny'): Promise<ApprovalState> {
    const path = `approvals/${encodeURIComponent(approval.id)}/decision`;
    // Of the text that was shown, not the digest that came with it.
    const told = await this._api.server<IApproval>(path, 'POST', { decision, sha256: sha256(approval.body) });
    await this.refresh();
    return told.state;
  }

  /**
   * Take back one's own request.
   *
   * @throws RequestError The API's refusal.
   */
  async withdraw(approval: IApproval): Promise<void> {
    const link = linkOf(approval, 'withdraw');
    if (link) {
      await follow(this._api, link);
      await this.refresh();
    }
  }

  dispose(): void {
    this._poll.dispose();
    Signal.clearData(this);
  }

  private async _look(): Promise<void> {
    const turn = ++this._turn;
    try {
      const pending = await readAll<IApproval>(this._api, '/v1/approvals?state=pending', 'approvals', 2);
      if (turn !== this._turn) {
        return;
      }
      this._pending = pending
        .filter(({ state }) => state === 'pending')
        .sort((one, other) => one.expires.localeCompare(other.expires));
      this._problem = null;
      this._loaded = true;
    } catch (error) {
      if (turn === this._turn) {
        this._problem = problemOf(error);
      }
      throw error; // the poll backs off
    } finally {
      this._emit();
    }
  }

  private _emit(): void {
    if (!this.isDisposed) {
      this._changed.emit();
    }
  }

  private _changed = new Signal<this, void>(this);
  private _poll: Poll;
  private _pending: readonly IApproval[] = [];
  private _past: readonly IApproval[] | null = null;
  private _key: string | null | undefined;
  private _keyProblem: IProblem | null = null;
  private _loaded = false;
  private _problem: IProblem | null = null;
  private _turn = 0;
  private _forgotten = 0;
}
