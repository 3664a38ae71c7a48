/** A project's budget: how much of it is spent, as a bar with its words, and an alert when it is much. */

import * as React from 'react';

import { percent, usd } from '../format';
import type { IBudget } from '../tokens';
import { useTrans } from './hooks';
import { Notice } from './notice';

/** How a budget stands, in a word. */
export function BudgetWords({ budget }: { budget: IBudget }): JSX.Element {
  const trans = useTrans();
  const words = {
    ok: trans.__('within budget'),
    warning: trans.__('near the budget'),
    exceeded: trans.__('over budget')
  };
  const signs = { ok: '✓', warning: '▲', exceeded: '■' };
  return (
    <span className={`flaas-Budget-state flaas-mod-${budget.state}`}>
      <span aria-hidden="true">{signs[budget.state]}</span> {words[budget.state]}
    </span>
  );
}

export function BudgetBar({ budget, name }: { budget: IBudget; name: string }): JSX.Element {
  const trans = useTrans();
  const words = trans.__(
    '%1 of %2 (%3)',
    usd(budget.spent_usd),
    usd(budget.budget_usd),
    percent(budget.share)
  );
  return (
    <div className="flaas-Budget">
      <div className="flaas-Budget-head">
        <strong>{name}</strong>
        <BudgetWords budget={budget} />
      </div>
      <div className={`flaas-Progress flaas-mod-${budget.state}`}>
        <progress
          max={1}
          value={Math.min(1, budget.share)}
          aria-label={trans.__('Budget of %1', name)}
          aria-valuetext={words}
        />
        <span className="flaas-Progress-words">{words}</span>
      </div>
    </div>
  );
}

/** What budgets need attention for, if any. */
export function BudgetAlert({
  budgets,
  nameOf
}: {
  budgets: readonly IBudget[];
  nameOf: (project: string) => string;
}): JSX.Element | null {
  const trans = useTrans();
  const worst = budgets.filter(({ state }) => state !== 'ok');
  if (worst.length === 0) {
    return null;
  }
  const exceeded = worst.some(({ state }) => state === 'exceeded');
  return (
    <Notice
      problem={exceeded}
      title={
        exceeded
          ? trans.__('Over budget: %1', names(worst.filter(({ state }) => state === 'exceeded')))
          : trans.__('Near the budget: %1', names(worst))
      }
      detail={
        exceeded
          ? trans.__(
              'New launches are refused there until the budget is raised; machines that run end when their hours are over.'
            )
          : undefined
      }
    />
  );

  function names(budgets: IBudget[]): string {
    return budgets.map(({ project, share }) => `${nameOf(project)} (${percent(share)})`).join(', ');
  }
}
