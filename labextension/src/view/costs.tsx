/**
 * What federated projects cost, in the main area: the bill by project, provider, service, node or day, the estimate
 * beside it, budgets, and how old each source is.
 */

import { Button, downloadIcon, HTMLSelect, refreshIcon } from '@jupyterlab/ui-components';
import type { ITranslator } from '@jupyterlab/translation';
import * as React from 'react';

import { ago, clock, dateTime, money, usd } from '../format';
import {
  billedTotals,
  type CostsModel,
  dayBars,
  estimatedTotal,
  type FederationModel,
  type NamedRange,
  words
} from '../model';
import type { CostGroup, IAccount, ICostSource, ICostSummary } from '../tokens';
import { BudgetAlert, BudgetBar } from './budget';
import { CostBars, CostDays } from './costbars';
import { Field } from './fields';
import { useModel, useNow, useTrans } from './hooks';
import { MainView } from './mainview';
import { Notice } from './notice';
import { SignInFirst } from './signinfirst';
import { TableToggle } from './tabletoggle';

export interface ICostsProps {
  federation: FederationModel;
  model: CostsModel;
  openWizard: () => void;
  showPanel: () => void;
  /** Gives the user a file. */
  save: (name: string, text: string) => void;
}

/** The view as a widget; it owns its model. */
export class CostsView extends MainView<CostsModel> {
  constructor(props: ICostsProps, translator: ITranslator) {
    super(props.model, translator);
    this._props = props;
    this.title.label = this.trans.__('Costs');
  }

  protected override content(): JSX.Element {
    return <Costs {...this._props} />;
  }

  private _props: ICostsProps;
}

/** The view's content. */
export function Costs(props: ICostsProps): JSX.Element {
  const { federation, model, openWizard, save } = props;
  const trans = useTrans();
  useModel(federation);
  useModel(model);
  const signedIn = federation.connection === 'signed-in';
  const who = federation.identity;
  const before = React.useRef(who);
  React.useEffect(() => {
    if (who !== before.current) {
      before.current = who;
      model.forget();
    }
    if (who) {
      void model.start();
    }
  }, [who, model]);
  const { summary, problem, refusal, query } = model;
  const nameOf = (key: string | null): string => {
    if (key === null) {
      return trans.__('all others');
    }
    if (key === '') {
      return query.group === 'project' ? trans.__('without project') : trans.__('not told');
    }
    const project = query.group === 'project' && federation.projects.find(({ id }) => id === key);
    return project ? project.name : key;
  };
  const projectName = (id: string): string => federation.projects.find(each => each.id === id)?.name ?? id;
  const download = async (): Promise<void> => {
    const table = await model.export();
    if (table !== null) {
      save(`costs-${query.from}-${query.to}.csv`, table);
    }
  };
  const retry = { label: trans.__('Retry'), run: () => void model.refresh() };
  return (
    <>
      <header className="flaas-RunView-header">
        <h2>{trans.__('Costs')}</h2>
        <div className="flaas-Buttons">
          <Button className="flaas-Button" onClick={() => void model.refresh()} disabled={!signedIn}>
            <refreshIcon.react tag="span" aria-hidden="true" elementSize="small" />
            {trans.__('Refresh')}
          </Button>
          <Button className="flaas-Button" onClick={() => void download()} disabled={!summary}>
            <downloadIcon.react tag="span" aria-hidden="true" elementSize="small" />
            {trans.__('Export CSV')}
          </Button>
          <Button className="flaas-Button flaas-mod-primary" onClick={openWizard}>
            {trans.__('Launch machines …')}
          </Button>
        </div>
      </header>
      {!signedIn && <SignInFirst federation={federation} showPanel={props.showPanel} />}
      {problem && signedIn && (
        <Notice
          problem
          title={
            summary && model.updated
              ? trans.__('Not up to date; last updated %1', clock(model.updated))
              : problem.title
          }
          detail={problem.detail}
          hint={problem.hint}
          action={retry}
        />
      )}
      {refusal && <Notice problem title={refusal.title} detail={refusal.detail} hint={refusal.hint} />}
      {signedIn && <Controls {...props} />}
      {signedIn && !summary && !problem && (
        <p className="flaas-Empty" role="status">
          {trans.__('Loading …')}
        </p>
      )}
      {summary && signedIn && (
        <div className="flaas-Costs" aria-busy={model.loading}>
          <BudgetAlert budgets={model.budgets} nameOf={projectName} />
          <Totals summary={summary} />
          <Days summary={summary} nameOf={nameOf} />
          <section aria-label={trans.__('Bill and estimate')}>
            <h3>{trans.__('Bill and estimate')}</h3>
            <Comparison summary={summary} nameOf={nameOf} />
          </section>
          <div className="flaas-RunView-columns">
            {model.budgets.length > 0 && (
              <section aria-label={trans.__('Budgets')}>
                <h3>{trans.__('Budgets')}</h3>
                {model.budgets.map(budget => (
                  <BudgetBar key={budget.project} budget={budget} name={projectName(budget.project)} />
                ))}
              </section>
            )}
            <section aria-label={trans.__('Sources')}>
              <h3>{trans.__('Sources')}</h3>
              <Sources
                sources={summary.sources}
                accounts={model.accounts}
                fetch={each => model.fetch(each)}
              />
            </section>
          </div>
        </div>
      )}
    </>
  );
}

function Controls({ federation, model }: ICostsProps): JSX.Element {
  const trans = useTrans();
  const { query, range, summary } = model;
  const ranges: [NamedRange, string][] = [
    ['week', trans.__('Last 7 days')],
    ['month', trans.__('This month')],
    ['last-month', trans.__('Last month')],
    ['quarter', trans.__('Last 90 days')]
  ];
  const groups: [CostGroup, string][] = [
    ['project', trans.__('Project')],
    ['provider', trans.__('Provider')],
    ['service', trans.__('Service')],
    ['node', trans.__('Node')],
    ['day', trans.__('Day')]
  ];
  const providers = [...new Set((summary?.sources ?? []).map(({ provider }) => provider).filter(Boolean))];
  if (query.provider && !providers.includes(query.provider)) {
    providers.push(query.provider);
  }
  const bad = !query.from || !query.to || query.from >= query.to;
  return (
    <div className="flaas-Controls" role="group" aria-label={trans.__('What to show')}>
      <Field label={trans.__('Days')}>
        {id => (
          <HTMLSelect
            id={id}
            value={range ?? ''}
            onChange={event => {
              const chosen = event.target.value as NamedRange | '';
              if (chosen) {
                model.showRange(chosen);
              } else {
                model.showDays({ from: query.from, to: query.to });
              }
            }}
            options={[
              ...ranges.map(([value, label]) => ({ value, label })),
              { value: '', label: trans.__('From … to') }
            ]}
          />
        )}
      </Field>
      <Field label={trans.__('From')}>
        {id => (
          <input
            id={id}
            type="date"
            className="flaas-Input"
            value={query.from}
            onChange={event => model.showDays({ from: event.target.value, to: query.to })}
          />
        )}
      </Field>
      <Field label={trans.__('To before')}>
        {id => (
          <input
            id={id}
            type="date"
            className="flaas-Input"
            value={query.to}
            onChange={event => model.showDays({ from: query.from, to: event.target.value })}
          />
        )}
      </Field>
      <Field label={trans.__('By')}>
        {id => (
          <HTMLSelect
            id={id}
            value={query.group}
            onChange={event => model.show({ group: event.target.value as CostGroup })}
            options={groups.map(([value, label]) => ({ value, label }))}
          />
        )}
      </Field>
      <Field label={trans.__('Project')}>
        {id => (
          <HTMLSelect
            id={id}
            value={query.project === null ? 'all' : `=${query.project}`}
            onChange={event =>
              model.show({ project: event.target.value === 'all' ? null : event.target.value.slice(1) })
            }
            options={[
              { value: 'all', label: trans.__('all') },
              ...federation.projects.map(({ id, name }) => ({ value: `=${id}`, label: name })),
              { value: '=', label: trans.__('without project') }
            ]}
          />
        )}
      </Field>
      <Field label={trans.__('Provider')}>
        {id => (
          <HTMLSelect
            id={id}
            value={query.provider ?? ''}
            onChange={event => model.show({ provider: event.target.value || null })}
            options={[
              { value: '', label: trans.__('all') },
              ...providers.map(value => ({ value, label: value }))
            ]}
          />
        )}
      </Field>
      {bad && (
        <p className="flaas-Reason" role="alert">
          {trans.__('The first day has to be before the last one.')}
        </p>
      )}
    </div>
  );
}

/** A figure for each currency, the estimate, and what belongs to no project. */
function Totals({ summary }: { summary: ICostSummary }): JSX.Element {
  const trans = useTrans();
  const lost = summary.without_project.filter(({ billed }) => billed !== 0);
  const totals = billedTotals(summary);
  return (
    <dl className="flaas-Figures">
      {totals.map(({ currency, billed }) => (
        <div key={currency}>
          <dt>{trans.__('Billed in %1', currency)}</dt>
          <dd>{money(billed, currency)}</dd>
        </div>
      ))}
      {totals.length === 0 && (
        <div>
          <dt>{trans.__('Billed')}</dt>
          <dd>{trans.__('nothing yet')}</dd>
        </div>
      )}
      <div>
        <dt>{trans.__('Estimated')}</dt>
        <dd>{usd(estimatedTotal(summary))}</dd>
      </div>
      {lost.map(({ currency, billed }) => (
        <div key={`lost ${currency}`}>
          <dt>{trans.__('Billed without project')}</dt>
          <dd>{money(billed, currency)}</dd>
        </div>
      ))}
    </dl>
  );
}

interface IPartProps {
  summary: ICostSummary;
  nameOf: (key: string | null) => string;
}

function Days({ summary, nameOf }: IPartProps): JSX.Element {
  const trans = useTrans();
  const [asTable, setAsTable] = React.useState(false);
  const known = summary.currencies.length > 0 ? summary.currencies : ['USD'];
  const [wanted, setWanted] = React.useState<string | null>(null);
  const currency =
    wanted && known.includes(wanted) ? wanted : known.includes('USD') ? 'USD' : (known[0] ?? 'USD');
  const bars = dayBars(summary, currency);
  const nothing = bars.keys.length === 0 && !bars.estimated;
  const props = { bars, currency, nameOf };
  return (
    <section className="flaas-Chart" aria-label={trans.__('Costs by day')}>
      <div className="flaas-Chart-head">
        <h3>{trans.__('By day, %1', currency)}</h3>
        <div className="flaas-Buttons">
          {known.length > 1 &&
            known.map(each => (
              <Button
                key={each}
                small
                className="flaas-Button"
                aria-pressed={each === currency}
                onClick={() => setWanted(each)}
              >
                {each}
              </Button>
            ))}
          <TableToggle asTable={asTable} show={setAsTable} />
        </div>
      </div>
      {nothing ? (
        <p className="flaas-Empty">{trans.__('Nothing was billed or estimated in these days.')}</p>
      ) : asTable ? (
        <CostDays {...props} />
      ) : (
        <CostBars {...props} />
      )}
    </section>
  );
}

function Comparison({ summary, nameOf }: IPartProps): JSX.Element {
  const trans = useTrans();
  if (summary.comparison.length === 0) {
    return <p className="flaas-Empty">{trans.__('There is nothing to compare.')}</p>;
  }
  const titles = { project: 'Project', provider: 'Provider', service: 'Service', node: 'Node', day: 'Day' };
  const figure = (value: number | null, currency: string): string =>
    value === null ? '–' : money(value, currency);
  return (
    <>
      <p className="flaas-Hint">
        {trans.__(
          'The estimate is there at once; the bill comes hours or days later and is what counts. They are two views of the same spending and are never added up.'
        )}
      </p>
      <div className="flaas-Scroll">
        <table className="flaas-Table" aria-label={trans.__('Bill and estimate')}>
          <thead>
            <tr>
              <th scope="col">{trans.__(titles[summary.group])}</th>
              <th scope="col" className="flaas-mod-number">
                {trans.__('Billed')}
              </th>
              <th scope="col" className="flaas-mod-number">
                {trans.__('Estimated')}
              </th>
              <th scope="col" className="flaas-mod-number">
                {trans.__('Difference')}
              </th>
              <th scope="col">{trans.__('Why')}</th>
            </tr>
          </thead>
          <tbody>
            {summary.comparison.map(({ key, currency, billed, estimated, difference, explanation }) => (
              <tr key={`${key} ${currency}`}>
                <th scope="row">{nameOf(key)}</th>
                <td className="flaas-mod-number">{figure(billed, currency)}</td>
                <td className="flaas-mod-number">{figure(estimated, 'USD')}</td>
                <td className="flaas-mod-number">{figure(difference, 'USD')}</td>
                <td>{explanation}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

interface ISourcesProps {
  sources: readonly ICostSource[];
  accounts: readonly IAccount[];
  fetch: (account: IAccount) => Promise<void>;
}

/** How old each source is, and what is wrong with it. */
function Sources({ sources, accounts, fetch }: ISourcesProps): JSX.Element {
  const trans = useTrans();
  const now = useNow();
  const running = (account: IAccount): boolean => account.fetch.state === 'running';
  const accountOf = ({ source }: ICostSource): IAccount | undefined =>
    accounts.find(({ id }) => source === id || source.endsWith(`:${id}`));
  const untold = accounts.filter(account => !sources.some(source => accountOf(source) === account));
  if (sources.length === 0 && accounts.length === 0) {
    return (
      <Notice
        title={trans.__('No bill is read yet')}
        detail={trans.__(
          'An operator enters a cloud account, or reads a bill from a file, on the command line: secrets never go through the browser.'
        )}
        command="flaas costs account add aws"
      />
    );
  }
  const refetch = (account: IAccount): JSX.Element => (
    <Button
      small
      className="flaas-Button"
      disabled={running(account)}
      aria-label={trans.__('Fetch the bill of %1', account.title)}
      onClick={() => void fetch(account)}
    >
      {running(account) ? trans.__('Fetching …') : trans.__('Fetch')}
    </Button>
  );
  return (
    <ul className="flaas-Runs" aria-label={trans.__('Sources')}>
      {sources.map(source => {
        const account = accountOf(source);
        const trouble = source.problem ?? account?.fetch.problem ?? null;
        return (
          <li key={source.source} className="flaas-Run">
            <div className="flaas-Run-head">
              <strong>{source.title}</strong>
              {account && refetch(account)}
            </div>
            <span title={dateTime(source.fetched)}>
              {trans.__('fetched %1', ago(trans, source.fetched, now))}
              {source.complete_until && `, ${trans.__('complete until %1', source.complete_until)}`}
            </span>
            {trouble && (
              <p className="flaas-Reason flaas-mod-problem">
                <span aria-hidden="true">■</span> {words(trouble).title} {words(trouble).hint}
              </p>
            )}
          </li>
        );
      })}
      {untold.map(account => (
        <li key={account.id} className="flaas-Run">
          <div className="flaas-Run-head">
            <strong>{account.title}</strong>
            {refetch(account)}
          </div>
          <span>{trans.__('no bill was fetched yet')}</span>
          {account.fetch.problem && (
            <p className="flaas-Reason flaas-mod-problem">
              <span aria-hidden="true">■</span> {words(account.fetch.problem).title}{' '}
              {words(account.fetch.problem).hint}
            </p>
          )}
        </li>
      ))}
    </ul>
  );
}
