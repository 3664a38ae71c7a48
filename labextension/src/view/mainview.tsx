/**
 * What the views in the main area have in common.
 */

import { ReactWidget } from '@jupyterlab/ui-components';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';
import * as React from 'react';

import { federationIcon } from '../icons';
import { DOMAIN, TranslationContext } from './hooks';

/**
 * A view as a widget: it owns its model, and its content is React's. Who extends it gives it a label.
 */
export abstract class MainView<T extends IDisposable> extends ReactWidget {
  constructor(model: T, translator: ITranslator) {
    super();
    this.model = model;
    this.trans = translator.load(DOMAIN);
    this.addClass('flaas-RunView');
    this.title.icon = federationIcon;
    this.title.closable = true;
  }

  readonly model: T;

  override dispose(): void {
    if (!this.isDisposed) {
      this.model.dispose();
      super.dispose();
    }
  }

  /** What it shows. */
  protected abstract content(): JSX.Element;

  protected override render(): JSX.Element {
    return <TranslationContext.Provider value={this.trans}>{this.content()}</TranslationContext.Provider>;
  }

  protected readonly trans: TranslationBundle;
}
