/** Between a chart and the same figures as a table. */

import { Button } from '@jupyterlab/ui-components';
import * as React from 'react';

import { useTrans } from './hooks';

export interface ITableToggleProps {
  asTable: boolean;
  show: (asTable: boolean) => void;
}

export function TableToggle({ asTable, show }: ITableToggleProps): JSX.Element {
  const trans = useTrans();
  return (
    <Button small className="flaas-Button" aria-pressed={asTable} onClick={() => show(!asTable)}>
      {trans.__('Show as table')}
    </Button>
  );
}
