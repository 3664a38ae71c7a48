/** One model for each project, however many views show it, with a form that survives a reload. */

import type { IDisposable } from '@lumino/disposable';

/** Where forms are kept between visits. */
export interface IFormMemory {
  recall(): Promise<unknown>;
  remember(kept: unknown): Promise<void>;
}

/** A model with a form. */
export interface IFormed<Form> extends IDisposable {
  readonly form: Form;
  /** Take in a form that was kept. */
  take(form: Form): void;
}

export abstract class PerProject<Form, Model extends IFormed<Form>> {
  /**
   * @param memory Where forms are kept, if anywhere.
   * @param empty The form to begin with.
   * @param restored Makes a form of what was kept, as far as it can be used.
   */
  constructor(
    private readonly _memory: IFormMemory | null,
    private readonly _empty: Form,
    restored: (kept: unknown) => Form
  ) {
    this._recalled = this._recall(restored);
  }

  of(project: string): Model {
    let model = this._models.get(project);
    if (!model) {
      const made = this.make(project, this._kept[project] ?? this._empty, form => {
        this._kept = { ...this._kept, [project]: form };
        void this._memory?.remember(this._kept);
      });
      this._models.set(project, made);
      void this._recalled.then(() => {
        const form = this._kept[project] as Form | undefined;
        if (form && made.form === this._empty) {
          made.take(form);
        }
      });
      model = made;
    }
    return model;
  }

  /** Forget what was asked and answered: somebody else is there. Forms stay, they hold no data. */
  forget(): void {
    this._models.forEach(model => model.dispose());
    this._models.clear();
  }

  /** Make the model of a project; `keep` is called with its form whenever that changes. */
  protected abstract make(project: string, form: Form, keep: (form: Form) => void): Model;

  private async _recall(restored: (kept: unknown) => Form): Promise<void> {
    const kept = await Promise.resolve(this._memory?.recall()).catch(() => null);
    if (typeof kept === 'object' && kept !== null) {
      const forms = Object.entries(kept).map(([project, form]) => [project, restored(form)] as const);
      this._kept = { ...Object.fromEntries(forms), ...this._kept };
    }
  }

  private _recalled: Promise<void>;
  private _kept: { [project: string]: Form } = {};
  private _models = new Map<string, Model>();
}
