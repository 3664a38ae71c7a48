/** Costs in the panel: this month's figures, the project's budget, and ways to dashboard and wizard. */

import { Button, launchIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { money, usd } from '../format';
import { billedTotals, type CostsModel, estimatedTotal } from '../model';
import { BudgetBar } from './budget';
import { useModel, useTrans } from './hooks';
import { Notice } from './notice';

export interface ICostSectionProps {
  model: CostsModel;
  /** The project that is shown. */
  project: { id: string; name: string } | null;
  openCosts: () => void;
  openWizard: () => void;
}

export function CostSection({ model, project, openCosts, openWizard }: ICostSectionProps): JSX.Element {
  const trans = useTrans();
  useModel(model);
  React.useEffect(() => void model.start(), [model]);
  const { summary, problem } = model;
  const budget = summary?.budgets.find(each => each.project === project?.id);
  return (
    <div className="flaas-CostSection">
      {summary ? (
        <dl className="flaas-Settings">
          {billedTotals(summary).map(({ currency, billed }) => (
            <React.Fragment key={currency}>
              <dt>{trans.__('Billed')}</dt>
              <dd>{money(billed, currency)}</dd>
            </React.Fragment>
          ))}
          <dt>{trans.__('Estimated')}</dt>
          <dd>{usd(estimatedTotal(summary))}</dd>
        </dl>
      ) : (
        !problem && <p className="flaas-Empty">{trans.__('Loading …')}</p>
      )}
      {problem && (
        <Notice
          title={trans.__('Costs cannot be shown')}
          detail={problem.detail}
          action={{ label: trans.__('Look again'), run: () => void model.refresh() }}
        />
      )}
      {budget && project && <BudgetBar budget={budget} name={project.name} />}
      <div className="flaas-Buttons">
        <Button small className="flaas-Button" onClick={openCosts}>
          {trans.__('Show costs')}
        </Button>
        <Button small className="flaas-Button" onClick={openWizard}>
          <launchIcon.react tag="span" aria-hidden="true" elementSize="small" />
          {trans.__('Launch machines …')}
        </Button>
      </div>
    </div>
  );
}

/** This month's bill, one figure a currency, for the head of the section. */
export function monthFigure(model: CostsModel): string {
  return model.summary
    ? billedTotals(model.summary)
        .map(({ currency, billed }) => money(billed, currency))
        .join(', ')
    : '';
}
