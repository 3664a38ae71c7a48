/** Step 4: the plan node by node, what it costs and why, and the launch. */

import { Button, launchIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { duration, hourly, usd } from '../format';
import type { IMissing } from '../model';
import type { IPlan } from '../tokens';
import { TextField } from './fields';
import { useTrans } from './hooks';
import { Notice, ProblemNotice } from './notice';
import type { IStepProps } from './wizardstep';

export function PlanStep({ model, federation, next }: IStepProps): JSX.Element {
  const trans = useTrans();
  const { plan, recommendation, missing, problem, busy, wishes } = model;
  if (!plan || !recommendation) {
    return problem ? (
      <ProblemNotice problem={problem} retry={() => void model.retry()} />
    ) : (
      <>
        <p className="flaas-Empty" role="status">
          {busy ? trans.__('Comparing prices …') : trans.__('There is no plan: choose something else.')}
        </p>
        {!busy && (
          <Button className="flaas-Button" onClick={() => next('prices')}>
            {trans.__('Back')}
          </Button>
        )}
      </>
    );
  }
  const launching = busy === 'launch';
  const titles = new Map(recommendation.providers.map(({ provider, title }) => [provider, title]));
  const project = federation.projects.find(({ id }) => id === model.project)?.name ?? model.project ?? '';
  const over = wishes?.budget !== null && wishes?.budget !== undefined && plan.total_usd > wishes.budget;
  return (
    <>
      <dl className="flaas-Figures">
        <div>
          <dt>{trans.__('Total')}</dt>
          <dd>{usd(plan.total_usd)}</dd>
        </div>
        <div>
          <dt>{trans.__('Machines')}</dt>
          <dd>{usd(plan.compute_usd)}</dd>
        </div>
        <div>
          <dt>{trans.__('Traffic')}</dt>
          <dd>{usd(plan.egress_usd)}</dd>
        </div>
        <div>
          <dt>{trans.__('Disks')}</dt>
          <dd>{usd(plan.storage_usd)}</dd>
        </div>
        <div>
          <dt>{trans.__('Ends by itself after')}</dt>
          <dd>{duration(trans, plan.hours)}</dd>
        </div>
      </dl>
      <PlanTable plan={plan} titles={titles} />
      <Why plan={plan} titles={titles} />
      {over && (
        <Notice
          problem
          title={trans.__('The plan costs more than the budget of %1', usd(wishes.budget!))}
          action={{ label: trans.__('Change what is wished'), run: () => next('prices') }}
        />
      )}
      {missing.map(each => (
        <Missing key={each.provider} missing={each} again={() => void model.compare('plan')} />
      ))}
      <fieldset className="flaas-Data">
        <legend>{trans.__('Data that the machines offer')}</legend>
        <p className="flaas-Hint">
          {trans.__(
            'What each machine reads, by the name that the project calls it; “{node}” stands for the node’s name. Left empty, the machines join without data.'
          )}
        </p>
        <div className="flaas-Form-row">
          <TextField
            label={trans.__('Data set')}
            value={model.data.name}
            placeholder="biopsies"
            change={name => model.describeData({ name })}
          />
          <TextField
            label={trans.__('Source')}
            value={model.data.source}
            placeholder="{node}.csv"
            change={source => model.describeData({ source })}
          />
          <TextField
            label={trans.__('Target column')}
            value={model.data.target}
            placeholder="malignant"
            change={target => model.describeData({ target })}
          />
        </div>
      </fieldset>
      <label className="flaas-Accept">
        <input
          type="checkbox"
          checked={model.accepted}
          disabled={launching}
          onChange={event => model.accept(event.target.checked)}
        />
        <span>
          {trans.__(
            'I accept up to %1 for %2 machines in the project %3; a higher price is refused.',
            usd(model.total),
            plan.nodes.length,
            project
          )}
        </span>
      </label>
      {problem && (
        <ProblemNotice
          problem={problem}
          retry={() => void (model.accepted || busy ? model.retry() : model.compare('plan'))}
        />
      )}
      <div className="flaas-Buttons">
        <Button className="flaas-Button" disabled={launching} onClick={() => next('choice')}>
          {trans.__('Back')}
        </Button>
        <Button
          className="flaas-Button flaas-mod-primary"
          disabled={!model.accepted || launching || missing.length > 0 || !model.project}
          onClick={() => void model.launchPlan()}
        >
          <launchIcon.react tag="span" aria-hidden="true" elementSize="small" />
          {launching ? trans.__('Launching …') : trans.__('Launch')}
        </Button>
        {!model.accepted && missing.length === 0 && (
          <span className="flaas-Hint">{trans.__('Nothing is launched before you accept the total.')}</span>
        )}
      </div>
    </>
  );
}

function PlanTable({ plan, titles }: { plan: IPlan; titles: Map<string, string> }): JSX.Element {
  const trans = useTrans();
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table" aria-label={trans.__('Plan')}>
        <thead>
          <tr>
            <th scope="col">{trans.__('Node')}</th>
            <th scope="col">{trans.__('Where')}</th>
            <th scope="col">{trans.__('Machine')}</th>
            {[
              trans.__('USD/hour'),
              trans.__('Machine'),
              trans.__('Traffic'),
              trans.__('Disk'),
              trans.__('Together')
            ].map((title, place) => (
              <th key={place} scope="col" className="flaas-mod-number">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {plan.nodes.map(node => (
            <tr key={node.name}>
              <th scope="row">{node.name}</th>
              <td>
                {titles.get(node.provider) ?? node.provider}, {node.region}
                {node.country && ` (${node.country})`}
              </td>
              <td>
                {node.instance_type}
                {node.market === 'spot' && `, ${trans.__('spot')}`}
              </td>
              <td className="flaas-mod-number">{hourly(node.usd_hour)}</td>
              <td className="flaas-mod-number">{usd(node.compute_usd)}</td>
              <td className="flaas-mod-number">{usd(node.egress_usd)}</td>
              <td className="flaas-mod-number">{usd(node.storage_usd)}</td>
              <td className="flaas-mod-number">
                {usd(node.compute_usd + node.egress_usd + node.storage_usd)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What each constraint costs, what the next best would, and the plan's own explanation. */
function Why({ plan, titles }: { plan: IPlan; titles: Map<string, string> }): JSX.Element {
  const trans = useTrans();
  const priced = plan.constraints.filter(({ usd: cost }) => cost !== 0);
  return (
    <>
      {priced.length > 0 && (
        <section aria-label={trans.__('What constraints cost')}>
          <h4>{trans.__('What constraints cost')}</h4>
          <ul className="flaas-List">
            {priced.map(({ constraint, usd: cost }) => (
              <li key={constraint}>
                {constraint}: <strong>{usd(cost)}</strong>
              </li>
            ))}
          </ul>
        </section>
      )}
      <details>
        <summary>{trans.__('Why this plan')}</summary>
        <ul className="flaas-List">
          {plan.explanation.map((line, place) => (
            <li key={place}>{line.trim()}</li>
          ))}
          {plan.runner_up.map(({ provider, total_usd }) => (
            <li key={provider}>
              {trans.__('Everything at %1: %2', titles.get(provider) ?? provider, usd(total_usd))}
            </li>
          ))}
        </ul>
      </details>
    </>
  );
}

function Missing({ missing, again }: { missing: IMissing; again: () => void }): JSX.Element {
  const trans = useTrans();
  return (
    <Notice
      problem
      title={
        missing.command
          ? trans.__('An account at %1 is needed', missing.title)
          : trans.__('Nothing can be launched at %1', missing.title)
      }
      detail={
        missing.command
          ? trans.__(
              'An operator of your organisation enters it on the command line, then look again here: secrets never go through the browser.'
            )
          : missing.why
      }
      command={missing.command ?? undefined}
      action={{ label: trans.__('Look again'), run: again }}
    />
  );
}
