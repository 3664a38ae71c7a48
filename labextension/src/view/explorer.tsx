/**
 * The data explorer: what is in a data set that is spread over nodes, as far as its owners and one's role allow. Made of
 * what nodes have released together, part by part, each as a chart and as a table.
 */

import { Button, runIcon, stopIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { described, type ExplorerModel, EXPLORER_TABS, explorationCode, type ExplorerTab } from '../model';
import { problemOf } from '../request';
import type { IDataset, IProblem } from '../tokens';
import { AnalyticsProblem } from './analytics';
import { TablesContext } from './chartframe';
import { ColumnChoice, CorrelationsChoice, PartAnswer } from './explorerparts';
import { Budget, ExplorerOverview } from './exploreroverview';
import { faultText, levelText, tabName } from './explorerwords';
import { EpsilonField, KernelField, SelectField } from './fields';
import { useModel, useTrans } from './hooks';
import { Notice } from './notice';
import { Tabs } from './tabs';

export interface IExplorerProps {
  model: ExplorerModel;
  datasets: readonly IDataset[];
  /** Puts code into a notebook: the one with a path, or '' for the one that was used last, or a new one. */
  insert: (code: string, notebook: string) => Promise<void>;
}

export function Explorer({ model, datasets, insert }: IExplorerProps): JSX.Element {
  const trans = useTrans();
  useModel(model);
  const [problem, setProblem] = React.useState<IProblem | null>(null);
  const { form: choice, busy } = model;
  const dataset = datasets.find(({ name }) => name === choice.dataset) ?? datasets[0];
  if (!dataset) {
    return <p className="flaas-Empty">{trans.__('Without a data set there is nothing to look at.')}</p>;
  }
  const start = (event: React.FormEvent): void => {
    event.preventDefault();
    model.change({ dataset: dataset.name });
    model.start();
  };
  const put = async (): Promise<void> => {
    setProblem(null);
    try {
      await insert(explorationCode({ ...choice, dataset: dataset.name }, model.project), model.kernel);
    } catch (error) {
      setProblem(problemOf(error));
    }
  };
  const begun = choice.dataset === dataset.name && model.overview !== null;
  return (
    <div className="flaas-Explorer">
      <form
        className="flaas-Explorer-choice"
        onSubmit={start}
        aria-label={trans.__('Data explorer')}
        noValidate
      >
        <div className="flaas-Form-row">
          <SelectField
            label={trans.__('Data set')}
            value={dataset.name}
            options={datasets.map(({ name }) => [name, name])}
            choose={name => model.change({ dataset: name })}
          />
          <EpsilonField value={choice.epsilon} change={epsilon => model.change({ epsilon })} />
          <KernelField model={model} choose={kernel => model.change({ kernel })} />
        </div>
        {model.ownNode !== null && (
          <label className="flaas-Explorer-own">
            <input
              type="checkbox"
              checked={choice.own !== ''}
              onChange={event => model.change({ own: event.target.checked ? 'yes' : '' })}
            />
            {trans.__('Only my own rows, at %1', model.ownNode)}
          </label>
        )}
        <div className="flaas-Buttons">
          {busy ? (
            <Button type="button" className="flaas-Button" onClick={() => void model.stop()}>
              <stopIcon.react tag="span" aria-hidden="true" elementSize="small" />
              {trans.__('Stop')}
            </Button>
          ) : (
            <Button type="submit" className="flaas-Button flaas-mod-primary">
              <runIcon.react tag="span" aria-hidden="true" elementSize="small" />
              {begun ? trans.__('Explore anew') : trans.__('Explore')}
            </Button>
          )}
          <Button type="button" className="flaas-Button" onClick={() => void put()}>
            {trans.__('Insert as cell')}
          </Button>
        </div>
        <p className="flaas-Hint">
          {trans.__(
            'Each look is entered in the logs of the nodes, with your name. Figures come over the mesh to the kernel, and from there to this page.'
          )}
        </p>
      </form>
      {problem && <Notice problem title={problem.title} detail={problem.detail} hint={problem.hint} />}
      <div role="status" className={busy ? 'flaas-Freshness' : 'flaas-Hint'}>
        {busy
          ? model.progress || trans.__('The nodes are asked …')
          : begun && model.level
            ? levelText(trans, model.level)
            : ''}
      </div>
      <Tabs<ExplorerTab>
        label={trans.__('What to look at')}
        tabs={EXPLORER_TABS.map(tab => ({ name: tab, label: tabName(trans, tab) }))}
        shown={choice.tab}
        show={tab => model.change({ tab })}
      >
        <TablesContext.Provider
          value={[choice.tables !== '', asTable => model.change({ tables: asTable ? 'yes' : '' })]}
        >
          {choice.tab === 'overview' ? (
            <OverviewTab model={model} dataset={dataset} />
          ) : begun ? (
            <PartTab model={model} tab={choice.tab} key={choice.tab} />
          ) : (
            <p className="flaas-Empty">
              {trans.__('Nothing has been asked yet. Explore asks the nodes what they show.')}
            </p>
          )}
        </TablesContext.Provider>
      </Tabs>
    </div>
  );
}

/** What is known of the data set: from the API at once, from the nodes as soon as they have said it. */
function OverviewTab({ model, dataset }: { model: ExplorerModel; dataset: IDataset }): JSX.Element {
  const asked = model.form.dataset === dataset.name;
  const { request } = model.wanted('overview');
  const look = asked && request ? model.lookOf(request) : null;
  const overview = look?.answer ?? null;
  const nodesProblem = asked && model.form.own === '' ? model.nodesProblem : null;
  const known = React.useMemo(() => described(dataset), [dataset]);
  const nodes = model.form.own === '' && asked ? model.nodes : null;
  return (
    <>
      {look?.problem && (
        <AnalyticsProblem problem={look.problem} retry={model.busy ? null : () => model.start()} />
      )}
      {overview && nodesProblem && <AnalyticsProblem problem={nodesProblem} retry={null} />}
      <ExplorerOverview
        dataset={dataset.name}
        rows={overview ? overview.rows : known.rows}
        nodes={nodes?.nodes ?? overview?.nodes ?? known.nodes}
        columns={overview?.columns ?? known.columns}
        asked={overview !== null}
        notes={[...new Set([...(overview?.notes ?? []), ...(nodes?.notes ?? [])])]}
        budget={asked ? model.budget : null}
        open={column => model.change({ column, tab: 'column' })}
      />
    </>
  );
}

/** One part: what is missing to ask for it, or what came of it. */
function PartTab({
  model,
  tab
}: {
  model: ExplorerModel;
  tab: Exclude<ExplorerTab, 'overview'>;
}): JSX.Element {
  const trans = useTrans();
  const { request, fault } = model.wanted(tab);
  const look = request ? model.lookOf(request) : null;
  const answer = look?.answer ?? null;
  const under = look !== null && look.state !== 'done';
  const notShown = fault === 'not-shown';
  const notes = notShown ? (model.overview?.notes ?? []) : (answer?.notes ?? []);
  return (
    <div className="flaas-Explorer-part">
      {tab === 'column' && !notShown && <ColumnChoice model={model} />}
      {tab === 'correlations' && !notShown && <CorrelationsChoice model={model} />}
      {fault !== null && (
        <p className="flaas-Empty" role={fault === 'no-column' || notShown ? undefined : 'alert'}>
          {faultText(trans, fault)}
        </p>
      )}
      {request && (look === null || look.state === 'done') && (
        <div className="flaas-Buttons">
          <Button
            small
            className={`flaas-Button${look === null ? ' flaas-mod-primary' : ''}`}
            onClick={() => model.look(request)}
          >
            {request.epsilon === null
              ? look === null
                ? trans.__('Look')
                : trans.__('Look again')
              : look === null
                ? trans.__('Look, and spend ε %1 at each node', request.epsilon)
                : trans.__('Look again, and spend ε %1 more at each node', request.epsilon)}
          </Button>
        </div>
      )}
      {(fault === 'epsilon-needed' || (request !== null && request.epsilon !== null)) && (
        <Budget
          dataset={model.form.dataset}
          nodes={(model.nodes ?? model.overview)?.nodes ?? []}
          budget={model.budget}
        />
      )}
      {look?.problem && <AnalyticsProblem problem={look.problem} retry={null} />}
      {under && !answer && <p className="flaas-Empty">{trans.__('The nodes are asked …')}</p>}
      {answer && <PartAnswer answer={answer} columns={model.overview?.columns ?? []} />}
      {notes.length > 0 && (
        <ul className="flaas-Explorer-notes">
          {notes.map(note => (
            <li key={note}>{note}</li>
          ))}
        </ul>
      )}
    </div>
  );
}
