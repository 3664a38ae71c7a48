/** How much of the privacy budget this person has spent at each node, as the nodes account it. */

import { Button } from '@jupyterlab/ui-components';
import * as React from 'react';

import { metric, percent } from '../format';
import type { AnalyticsModel } from '../model';
import type { IBudgetLine } from '../tokens';
import { AnalyticsProblem } from './analytics';
import { useTrans } from './hooks';

export function PrivacyBudget({ model, dataset }: { model: AnalyticsModel; dataset: string }): JSX.Element {
  const trans = useTrans();
  const { budgetProblem, busy } = model;
  const budget = model.budgetOf(dataset);
  return (
    <section className="flaas-PrivacyBudget" aria-label={trans.__('Privacy budget of %1', dataset)}>
      <div className="flaas-Chart-head">
        <h4>{trans.__('Privacy budget')}</h4>
        <Button
          small
          className="flaas-Button"
          disabled={busy !== null}
          onClick={() => void model.lookAtBudget(dataset)}
        >
          {busy === 'budget' ? trans.__('Asking …') : trans.__('Ask the nodes')}
        </Button>
      </div>
      {budgetProblem && <AnalyticsProblem problem={budgetProblem} retry={null} />}
      {budget && budget.length > 0
        ? budget.map(line => <BudgetMeter key={line.node} line={line} />)
        : !budgetProblem && (
            <p className="flaas-Hint">
              {budget
                ? trans.__('No node keeps account of you for %1 yet.', dataset)
                : trans.__('Every node keeps its own account of what your queries have spent.')}
            </p>
          )}
    </section>
  );
}

/** From which share on little is left. */
const LITTLE = 0.8;

export function BudgetMeter({ line }: { line: IBudgetLine }): JSX.Element {
  const trans = useTrans();
  const { node, spent, budget, remaining, problem } = line;
  if (problem !== null) {
    return (
      <div className="flaas-Budget">
        <strong>{node}</strong>
        <span className="flaas-Secondary">{problem}</span>
      </div>
    );
  }
  const share = budget === null ? null : budget > 0 ? Math.min(1, spent / budget) : 1;
  const words =
    share === null
      ? trans.__('ε %1 spent; the node sets no limit', metric(spent))
      : trans.__(
          'ε %1 of %2 spent (%3); one more query may take up to %4',
          metric(spent),
          metric(budget ?? 0),
          percent(share),
          metric(Math.max(0, remaining ?? 0))
        );
  return (
    <div className="flaas-Budget">
      <div className="flaas-Budget-head">
        <strong>{node}</strong>
        {share !== null && share >= LITTLE && (
          <span className={`flaas-Budget-state flaas-mod-${share >= 1 ? 'exceeded' : 'warning'}`}>
            <span aria-hidden="true">{share >= 1 ? '■' : '▲'}</span>{' '}
            {share >= 1 ? trans.__('spent') : trans.__('little left')}
          </span>
        )}
      </div>
      {share !== null && (
        <div
          className={`flaas-Progress flaas-mod-${share >= 1 ? 'exceeded' : share >= LITTLE ? 'warning' : 'ok'}`}
        >
          <div
            role="meter"
            className="flaas-Meter"
            aria-label={trans.__('Privacy budget at %1', node)}
            aria-valuemin={0}
            aria-valuemax={1}
            aria-valuenow={share}
            aria-valuetext={words}
          >
            <div style={{ width: `${100 * share}%` }} />
          </div>
        </div>
      )}
      <span className="flaas-Secondary">{words}</span>
    </div>
  );
}
