/**
 * What something was set to: names and values, in the run view and in the simulation view.
 */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { metric, options } from '../format';

export type Setting = [name: string, value: string | number];

export function Settings({ settings }: { settings: Setting[] }): JSX.Element {
  return (
    <dl className="flaas-Settings">
      {settings.map(([name, value]) => (
        <React.Fragment key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </React.Fragment>
      ))}
    </dl>
  );
}

/** A rule or an attack with the options it was given. */
export function called(name: string, values: { [name: string]: unknown }): string {
  const given = options(values);
  return given ? `${name} (${given})` : name;
}

/** The privacy that was asked for, and what is spent of it after the last round. */
export function privacySettings(
  trans: TranslationBundle,
  asked: { [name: string]: unknown } | null,
  spent: number | null | undefined
): Setting[] {
  const settings: Setting[] = [[trans.__('Privacy'), asked ? options(asked) : trans.__('none')]];
  if (typeof spent === 'number') {
    settings.push([trans.__('Privacy spent, ε'), metric(spent)]);
  }
  return settings;
}
