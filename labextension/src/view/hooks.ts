/**
 * What components share: the translation, and following models and the clock.
 */

import { nullTranslator, type TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import type { IModel } from '../tokens';

/** Domain of the extension's strings. */
export const DOMAIN = 'flaas_jupyter';

export const TranslationContext = React.createContext<TranslationBundle>(nullTranslator.load(DOMAIN));

export function useTrans(): TranslationBundle {
  return React.useContext(TranslationContext);
}

/** Render again whenever `model` changes. */
export function useModel(model: IModel | null): void {
  const [, render] = React.useReducer((turn: number) => turn + 1, 0);
  React.useEffect(() => {
    // A change between rendering and now would go unseen.
    render();
    model?.changed.connect(render);
    return () => {
      model?.changed.disconnect(render);
    };
  }, [model]);
}

/** The present time; rendered again every `interval` milliseconds at least. */
export function useNow(interval = 30_000): Date {
  const [, render] = React.useReducer((turn: number) => turn + 1, 0);
  React.useEffect(() => {
    const timer = setInterval(render, interval);
    return () => clearInterval(timer);
  }, [interval]);
  return new Date();
}

/** Call `look` every `interval` milliseconds while `host` can be seen. */
export function useLooks(host: React.RefObject<HTMLElement>, look: () => void, interval: number): void {
  React.useEffect(() => {
    const timer = setInterval(() => {
      // Not every browser can tell whether something is shown; then it is.
      if (!document.hidden && (host.current?.checkVisibility?.() ?? true)) {
        look();
      }
    }, interval);
    return () => clearInterval(timer);
  }, [host, look, interval]);
}
