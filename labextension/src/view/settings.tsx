/**
 * What something was set to: names and values, in the run view and in the simulation view.
 */

import * as React from 'react';

import { options } from '../format';

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
