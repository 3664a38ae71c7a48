/** Step 2: what may be changed of the template, and each provider's machines with the reasons for what was set aside. */

import { Button, HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import { daysSince, duration, hourly } from '../format';
import { areaOf, areaText, badNames, type INodeWish, type IWishes, resized } from '../model';
import type { ICandidate, IProviderOffer, Market } from '../tokens';
import { Field, OptionalNumber, TextField } from './fields';
import { useTrans } from './hooks';
import { Notice, ProblemNotice } from './notice';
import type { IStepProps } from './wizardstep';

const MOST_NODES = 200;
/** Days after which a price is called old. */
const OLD = 365;

export function PricesStep({ model, next }: IStepProps): JSX.Element {
  const trans = useTrans();
  const { wishes, recommendation, problem, busy, stale } = model;
  const bad = wishes ? badNames(wishes.nodes) : [];
  return (
    <>
      {wishes && (
        <Wishes
          key={model.template?.name}
          wishes={wishes}
          wish={changes => model.wish(changes)}
          providers={recommendation?.providers ?? []}
          busy={busy === 'prices'}
          stale={stale || (!recommendation && !busy)}
          bad={bad}
          compare={() => void model.compare()}
        />
      )}
      {problem && <ProblemNotice problem={problem} retry={() => void model.retry()} />}
      {busy === 'prices' && (
        <p className="flaas-Empty" role="status">
          {trans.__('Comparing prices …')}
        </p>
      )}
      {recommendation && (
        <div className="flaas-Offers" aria-busy={busy === 'prices'}>
          {stale && <Notice title={trans.__('Something was changed: compare the prices anew.')} />}
          {recommendation.warnings.map(warning => (
            <Notice key={warning} title={warning} />
          ))}
          {!recommendation.plan && (
            <Notice problem title={trans.__('There is no plan')} detail={recommendation.why_not} />
          )}
          {recommendation.hours !== null && recommendation.seconds_per_round !== null && (
            <p role="status">
              {trans.__(
                '%1 rounds of about %2 s: %3.',
                recommendation.rounds,
                Number(recommendation.seconds_per_round.toPrecision(2)),
                duration(trans, recommendation.hours)
              )}
            </p>
          )}
          {recommendation.providers.map(each => (
            <Offer
              key={each.provider}
              entry={each}
              asOf={each.offer?.as_of ?? recommendation.as_of[each.provider] ?? ''}
            />
          ))}
          {recommendation.assumptions.length > 0 && (
            <details>
              <summary>{trans.__('What was assumed')}</summary>
              <ul>
                {recommendation.assumptions.map(each => (
                  <li key={each}>{each}</li>
                ))}
              </ul>
            </details>
          )}
        </div>
      )}
      <div className="flaas-Buttons">
        <Button className="flaas-Button" onClick={() => next('template')}>
          {trans.__('Back')}
        </Button>
        <Button
          className="flaas-Button flaas-mod-primary"
          disabled={!model.mayGo('choice') || busy !== null}
          onClick={() => next('choice')}
        >
          {trans.__('Choose')}
        </Button>
      </div>
    </>
  );
}

interface IWishesProps {
  wishes: IWishes;
  wish: (changes: Partial<IWishes>) => void;
  providers: readonly IProviderOffer[];
  busy: boolean;
  stale: boolean;
  bad: string[];
  compare: () => void;
}

function Wishes(props: IWishesProps): JSX.Element {
  const { wishes, wish, providers, busy, stale, bad, compare } = props;
  const trans = useTrans();
  const [area, setArea] = React.useState(areaText(wishes.area));
  const change = (place: number, changes: Partial<INodeWish>): void =>
    wish({ nodes: wishes.nodes.map((node, index) => (index === place ? { ...node, ...changes } : node)) });
  return (
    <form
      className="flaas-Wishes"
      aria-label={trans.__('What is wished')}
      onSubmit={event => {
        event.preventDefault();
        compare();
      }}
    >
      <div className="flaas-Form-row">
        <TextField
          label={trans.__('Area')}
          title={trans.__('EU, all, or countries or regions with commas between them: DE, FR')}
          value={area}
          placeholder="EU"
          change={text => {
            setArea(text);
            wish({ area: areaOf(text) });
          }}
        />
        <Field label={trans.__('Market')}>
          {id => (
            <HTMLSelect
              id={id}
              value={wishes.market ?? 'on_demand'}
              onChange={event => wish({ market: event.target.value as Market })}
              options={[
                { value: 'on_demand', label: trans.__('on demand') },
                { value: 'spot', label: trans.__('spot: cheaper, may be taken away') }
              ]}
            />
          )}
        </Field>
        <OptionalNumber
          label={trans.__('Rounds')}
          value={wishes.rounds}
          least={1}
          whole
          change={rounds => wish({ rounds })}
        />
        <OptionalNumber
          label={trans.__('Hours')}
          value={wishes.hours}
          least={0.1}
          whole={false}
          placeholder={trans.__('from the rounds')}
          change={hours => wish({ hours })}
        />
        <OptionalNumber
          label={trans.__('Budget, USD')}
          value={wishes.budget}
          least={0}
          whole={false}
          placeholder={trans.__('none')}
          change={budget => wish({ budget })}
        />
        <OptionalNumber
          label={trans.__('Nodes')}
          value={wishes.nodes.length}
          least={1}
          whole
          change={nodes => {
            if (nodes !== null && nodes <= MOST_NODES) {
              wish({ nodes: resized(wishes.nodes, nodes) });
            }
          }}
        />
      </div>
      <details className="flaas-Pins">
        <summary>{trans.__('Where each node has to be')}</summary>
        <div className="flaas-Scroll">
          <table className="flaas-Table" aria-label={trans.__('Wishes for each node')}>
            <thead>
              <tr>
                <th scope="col">{trans.__('Node')}</th>
                <th scope="col">{trans.__('Provider')}</th>
                <th scope="col">{trans.__('Area')}</th>
              </tr>
            </thead>
            <tbody>
              {wishes.nodes.map((node, place) => (
                <tr key={place}>
                  <td>
                    <input
                      className="flaas-Input"
                      aria-label={trans.__('Name of node %1', place + 1)}
                      aria-invalid={bad.includes(node.name)}
                      value={node.name}
                      spellCheck={false}
                      onChange={event => change(place, { name: event.target.value })}
                    />
                  </td>
                  <td>
                    <HTMLSelect
                      aria-label={trans.__('Provider of %1', node.name)}
                      value={node.provider ?? ''}
                      onChange={event => change(place, { provider: event.target.value || null })}
                      options={[
                        { value: '', label: trans.__('the cheapest') },
                        ...providers.map(({ provider, title }) => ({ value: provider, label: title })),
                        ...(node.provider && !providers.some(({ provider }) => provider === node.provider)
                          ? [{ value: node.provider, label: node.provider }]
                          : [])
                      ]}
                    />
                  </td>
                  <td>
                    <AreaInput
                      label={trans.__('Area of %1', node.name)}
                      node={node}
                      change={value => change(place, { area: value })}
                    />
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </details>
      {bad.length > 0 && (
        <p className="flaas-Reason" role="alert">
          {trans.__(
            'Names of nodes differ and are lower-case letters, digits and hyphens; not so: %1',
            bad.map(name => name || '“”').join(', ')
          )}
        </p>
      )}
      <Button
        type="submit"
        className={`flaas-Button${stale ? ' flaas-mod-primary' : ''}`}
        disabled={busy || bad.length > 0}
      >
        {trans.__('Compare prices anew')}
      </Button>
    </form>
  );
}

function AreaInput({
  label,
  node,
  change
}: {
  label: string;
  node: INodeWish;
  change: (area: INodeWish['area']) => void;
}): JSX.Element {
  const trans = useTrans();
  return (
    <input
      className="flaas-Input"
      aria-label={label}
      defaultValue={areaText(node.area)}
      placeholder={trans.__('as above')}
      spellCheck={false}
      onChange={event => change(areaOf(event.target.value))}
    />
  );
}

function Offer({ entry, asOf }: { entry: IProviderOffer; asOf: string }): JSX.Element {
  const trans = useTrans();
  const { title, offer, plan, candidates, recommended, why_not, reason } = entry;
  const chosen = (candidate: ICandidate): boolean =>
    offer !== null &&
    candidate.instance_type === offer.instance_type &&
    candidate.region === offer.region &&
    candidate.price_usd_hour === offer.price_usd_hour;
  return (
    <section className="flaas-Offer" aria-label={title}>
      <h4>
        {title}
        {recommended && <span className="flaas-Badge">{trans.__('recommended')}</span>}
      </h4>
      <p>
        {offer
          ? trans.__(
              '%1 in %2 (%3), %4 USD an hour.',
              offer.instance_type,
              offer.region,
              offer.country,
              hourly(offer.price_usd_hour)
            )
          : !plan && trans.__('Nothing that fits.')}{' '}
        {plan ? reason : why_not || reason}
        {asOf && <span className="flaas-Secondary">{trans.__('Prices as of %1', asOf)}</span>}
      </p>
      {offer && daysSince(asOf, new Date()) > OLD && (
        <p className="flaas-Warning">
          <span aria-hidden="true">▲</span>{' '}
          {trans.__(
            'The price is %1 days old; an operator fetches today’s with: flaas costs refresh',
            daysSince(asOf, new Date())
          )}
        </p>
      )}
      {offer?.warning && (
        <p className="flaas-Warning">
          <span aria-hidden="true">▲</span> {offer.warning}
        </p>
      )}
      {candidates.length > 0 && (
        <details open={recommended}>
          <summary>{trans.__('Machines of %1 (%2)', title, candidates.length)}</summary>
          <div className="flaas-Scroll">
            <table className="flaas-Table" aria-label={trans.__('Machines of %1', title)}>
              <thead>
                <tr>
                  <th scope="col">{trans.__('Machine')}</th>
                  <th scope="col">{trans.__('Region')}</th>
                  <th scope="col" className="flaas-mod-number">
                    {trans.__('vCPU')}
                  </th>
                  <th scope="col" className="flaas-mod-number">
                    {trans.__('GiB')}
                  </th>
                  <th scope="col">{trans.__('GPU')}</th>
                  <th scope="col" className="flaas-mod-number">
                    {trans.__('USD/hour')}
                  </th>
                  <th scope="col">{trans.__('Price')}</th>
                  <th scope="col">{trans.__('Why, why not')}</th>
                </tr>
              </thead>
              <tbody>
                {candidates.map(each => (
                  <tr
                    key={`${each.region} ${each.instance_type}`}
                    className={chosen(each) ? 'flaas-mod-chosen' : ''}
                  >
                    <th scope="row">
                      {chosen(each) && (
                        <span role="img" aria-label={trans.__('chosen')}>
                          ✓{' '}
                        </span>
                      )}
                      {each.instance_type}
                    </th>
                    <td>
                      {each.region} ({each.country})
                    </td>
                    <td className="flaas-mod-number">{each.vcpus}</td>
                    <td className="flaas-mod-number">{each.memory_gib}</td>
                    <td>{each.gpu_count ? `${each.gpu_count} × ${each.gpu_name}` : '–'}</td>
                    <td className="flaas-mod-number">
                      {each.price_usd_hour === null ? '–' : hourly(each.price_usd_hour)}
                    </td>
                    <td title={each.source}>
                      {each.kind}, {each.as_of}
                    </td>
                    <td>
                      {chosen(each) ? trans.__('the cheapest that fits') : each.reason || trans.__('dearer')}
                      {each.warning && (
                        <span className="flaas-Secondary">
                          <span aria-hidden="true">▲</span> {each.warning}
                        </span>
                      )}
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </details>
      )}
    </section>
  );
}
