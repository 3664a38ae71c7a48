/** The catalogue, to read: what each rule defends against and each attack needs to know. */

import * as React from 'react';

import type { ICatalogue } from '../tokens';
import { useTrans } from './hooks';

export function Protocols({ catalogue }: { catalogue: ICatalogue }): JSX.Element {
  const trans = useTrans();
  return (
    <>
      <details className="flaas-Section">
        <summary>
          <h3>{trans.__('All %1 aggregation rules', catalogue.aggregation.length)}</h3>
        </summary>
        <Table
          label={trans.__('Aggregation rules')}
          columns={[
            trans.__('Rule'),
            trans.__('Does'),
            trans.__('Defends'),
            trans.__('Limits'),
            trans.__('Secure aggregation')
          ]}
          rows={catalogue.aggregation.map(rule => [
            rule.name,
            rule.summary,
            rule.defends,
            rule.limits,
            `${rule.secure_aggregation.supported ? trans.__('yes') : trans.__('no')}: ${rule.secure_aggregation.reason}`
          ])}
        />
      </details>
      <details className="flaas-Section">
        <summary>
          <h3>{trans.__('All %1 attacks', catalogue.attacks.length)}</h3>
        </summary>
        <Table
          label={trans.__('Attacks')}
          columns={[trans.__('Attack'), trans.__('Does'), trans.__('Knows')]}
          rows={catalogue.attacks.map(attack => [attack.name, attack.summary, attack.knowledge])}
        />
      </details>
    </>
  );
}

interface ITableProps {
  label: string;
  columns: string[];
  /** Cells; the first names the row. */
  rows: string[][];
}

function Table({ label, columns, rows }: ITableProps): JSX.Element {
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table" aria-label={label}>
        <thead>
          <tr>
            {columns.map(column => (
              <th key={column} scope="col">
                {column}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(([name, ...cells]) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              {cells.map((cell, index) => (
                <td key={columns[index + 1]}>{cell}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
