/** The data sets of a project: what can be trained on. Descriptions only; the data stays at the nodes. */

import * as React from 'react';

import { count } from '../format';
import type { IDataset } from '../tokens';
import { useTrans } from './hooks';

export function Datasets({ datasets }: { datasets: readonly IDataset[] }): JSX.Element {
  const trans = useTrans();
  if (datasets.length === 0) {
    return (
      <p className="flaas-Empty">{trans.__('No node has described a data set yet: flaas dataset add')}</p>
    );
  }
  return (
    <table className="flaas-Table" aria-label={trans.__('Data sets')}>
      <thead>
        <tr>
          <th scope="col">{trans.__('Name')}</th>
          <th scope="col" className="flaas-mod-number">
            {trans.__('Rows')}
          </th>
          <th scope="col" className="flaas-mod-number">
            {trans.__('Features')}
          </th>
          <th scope="col" className="flaas-mod-number">
            {trans.__('Nodes')}
          </th>
        </tr>
      </thead>
      <tbody>
        {datasets.map(dataset => (
          <tr key={dataset.name}>
            <th
              scope="row"
              title={
                dataset.target ? trans.__('Target: %1', dataset.target.name) : trans.__('Without a target')
              }
            >
              {dataset.name}
            </th>
            <td className="flaas-mod-number">{count(dataset.rows)}</td>
            <td className="flaas-mod-number">{dataset.features.length}</td>
            <td className="flaas-mod-number" title={dataset.nodes.map(node => node.node_name).join(', ')}>
              {trans.__('%1 of %2', dataset.nodes.filter(node => node.online).length, dataset.nodes.length)}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
