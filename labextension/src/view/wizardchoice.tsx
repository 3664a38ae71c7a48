/** Step 3: the recommendation, or another choice. */

import { Button } from '@jupyterlab/ui-components';
import * as React from 'react';

import { usd } from '../format';
import { MIXED } from '../model';
import type { IPlan, IProviderOffer } from '../tokens';
import { useTrans } from './hooks';
import { Notice, ProblemNotice } from './notice';
import type { IStepProps } from './wizardstep';

export function ChoiceStep({ model, next }: IStepProps): JSX.Element {
  const trans = useTrans();
  const { recommendation, problem, busy } = model;
  if (!recommendation) {
    return problem ? (
      <ProblemNotice problem={problem} retry={() => void model.retry()} />
    ) : (
      <p className="flaas-Empty" role="status">
        {busy ? trans.__('Comparing prices …') : trans.__('Compare the prices first.')}
      </p>
    );
  }
  const best = recommendation.plan;
  const titles = new Map(recommendation.providers.map(({ provider, title }) => [provider, title]));
  return (
    <>
      {!best && (
        <Notice
          problem
          title={trans.__('Nobody sells what fits')}
          detail={recommendation.why_not ?? recommendation.warnings.join(' ')}
          action={{ label: trans.__('Change what is wished'), run: () => next('prices') }}
        />
      )}
      <div className="flaas-Choices" role="radiogroup" aria-label={trans.__('Where the nodes are to be')}>
        {best && (
          <Choice
            value={MIXED}
            chosen={model.choice === MIXED}
            choose={() => model.choose(MIXED)}
            title={trans.__('The cheapest mixture')}
            badge={trans.__('recommended')}
            total={best.total_usd}
            text={trans.__(
              'Each node where it costs least, traffic between clouds included: %1.',
              where(best)
            )}
            warning={withoutAccount(best)}
          />
        )}
        {recommendation.providers.map(entry => (
          <Choice
            key={entry.provider}
            value={entry.provider}
            chosen={model.choice === entry.provider}
            choose={() => model.choose(entry.provider)}
            title={
              entry.provider === 'local'
                ? trans.__('This machine')
                : trans.__('Everything at %1', entry.title)
            }
            total={entry.plan?.total_usd ?? null}
            text={about(entry)}
            warning={entry.plan && !entry.launchable ? entry.why_not : ''}
          />
        ))}
      </div>
      {problem && <ProblemNotice problem={problem} retry={() => void model.retry()} />}
      <div className="flaas-Buttons">
        <Button className="flaas-Button" onClick={() => next('prices')}>
          {trans.__('Back')}
        </Button>
        <Button
          className="flaas-Button flaas-mod-primary"
          disabled={!model.mayGo('plan')}
          onClick={() => next('plan')}
        >
          {trans.__('Show the plan')}
        </Button>
      </div>
    </>
  );

  /** How many nodes are where. */
  function where(plan: IPlan): string {
    const counts = new Map<string, number>();
    for (const { provider } of plan.nodes) {
      counts.set(provider, (counts.get(provider) ?? 0) + 1);
    }
    return [...counts]
      .map(([provider, nodes]) => trans.__('%1 at %2', nodes, titles.get(provider) ?? provider))
      .join(', ');
  }

  /** Says for which providers of the mixture an account is needed. */
  function withoutAccount(plan: IPlan): string {
    const used = new Set(plan.nodes.map(({ provider }) => provider));
    return recommendation!.providers
      .filter(({ provider, account }) => used.has(provider) && provider !== 'local' && account === null)
      .map(({ title }) => trans.__('No account at %1 yet.', title))
      .join(' ');
  }

  function about({ provider, plan, offer, reason, why_not }: IProviderOffer): string {
    if (!plan) {
      return why_not || reason || trans.__('Nothing that fits.');
    }
    if (provider === 'local') {
      return trans.__('The nodes run as processes of the machine that the coordination API runs on.');
    }
    const machine = offer ? trans.__('%1 in %2.', offer.instance_type, offer.region) : '';
    return `${machine} ${reason}`.trim();
  }
}

interface IChoiceProps {
  value: string;
  chosen: boolean;
  choose: () => void;
  title: string;
  badge?: string;
  /** null: it cannot be chosen. */
  total: number | null;
  text: string;
  warning?: string;
}

function Choice({ value, chosen, choose, title, badge, total, text, warning }: IChoiceProps): JSX.Element {
  const id = React.useId();
  return (
    <label className={`flaas-Card flaas-Choice${chosen ? ' flaas-mod-chosen' : ''}`}>
      <span className="flaas-Card-head">
        <input
          type="radio"
          name="flaas-choice"
          value={value}
          checked={chosen}
          disabled={total === null}
          onChange={choose}
          aria-labelledby={`${id}-title`}
          aria-describedby={`${id}-text`}
        />
        <strong id={`${id}-title`}>{title}</strong>
        {badge && <span className="flaas-Badge">{badge}</span>}
        <span className="flaas-Choice-total">{total === null ? '–' : usd(total)}</span>
      </span>
      <span id={`${id}-text`} className="flaas-Card-text">
        <span>{text}</span>
        {warning && (
          <span className="flaas-Warning">
            <span aria-hidden="true">▲</span> {warning}
          </span>
        )}
      </span>
    </label>
  );
}
