/** Step 5: how the launch goes on, node by node, up to training, and its end. */

import { Button, HTMLSelect, stopIcon } from '@jupyterlab/ui-components';
import * as React from 'react';

import { ago, clock, dateTime, duration, hourly, runName, usd } from '../format';
import { isActive, isLive, isReady, type ITraining, type LaunchModel, type RunModel, words } from '../model';
import { problemOf } from '../request';
import type { ILaunch, IProblem, IRun, ITemplate, NodeLaunchState } from '../tokens';
import { MetricsChart } from './chart';
import { Field } from './fields';
import { useModel, useNow, useTrans } from './hooks';
import { Notice, ProblemNotice } from './notice';
import { Rounds } from './rounds';
import { RunProgress, StateLabel, stateName } from './state';
import { confirmed } from './stop';
import type { IStepProps } from './wizardstep';

/** States of a node on its way, in order. */
const WAY: NodeLaunchState[] = ['planned', 'launching', 'booting', 'registered', 'joined', 'training'];

export function FollowStep(props: IStepProps): JSX.Element {
  const { model } = props;
  const trans = useTrans();
  const follow = model.launch;
  useModel(follow);
  if (!follow?.launch) {
    return follow?.problem ? (
      <>
        <ProblemNotice problem={follow.problem} retry={() => void follow.refresh()} />
        <div className="flaas-Buttons">
          <Button className="flaas-Button" onClick={() => model.restart()}>
            {trans.__('Start over')}
          </Button>
        </div>
      </>
    ) : (
      <p className="flaas-Empty" role="status">
        {trans.__('Looking for the launch …')}
      </p>
    );
  }
  const { launch } = follow;
  return (
    <>
      {follow.problem && (
        <Notice
          problem
          title={trans.__('Connection lost; last updated %1', follow.updated ? clock(follow.updated) : '?')}
          detail={follow.problem.detail}
          hint={isLive(launch) ? trans.__('The machines go on without this page.') : follow.problem.hint}
          action={{ label: trans.__('Retry'), run: () => void follow.refresh() }}
        />
      )}
      <Head follow={follow} launch={launch} />
      <Troubles follow={follow} launch={launch} />
      <NodeTable launch={launch} />
      <Training {...props} follow={follow} launch={launch} />
      {!isLive(launch) && <End {...props} launch={launch} />}
      <div className="flaas-Buttons">
        <Button className="flaas-Button" onClick={() => model.restart()}>
          {isLive(launch) ? trans.__('Launch others as well') : trans.__('Start over')}
        </Button>
      </div>
    </>
  );
}

interface ILaunchProps {
  follow: LaunchModel;
  launch: ILaunch;
}

/** State, cost so far, time left, and the way to end it. */
function Head({ follow, launch }: ILaunchProps): JSX.Element {
  const trans = useTrans();
  const now = useNow(10_000);
  const left = launch.ends_at ? (Date.parse(launch.ends_at) - now.getTime()) / 3_600_000 : null;
  const joined = launch.nodes.filter(({ state }) => state === 'joined' || state === 'training').length;
  return (
    <>
      <div className="flaas-RunView-header">
        <div className="flaas-RunView-state" role="status">
          <StateLabel state={launch.state} />
          <span>{trans.__('%1 of %2 nodes joined', joined, launch.nodes.length)}</span>
          <span title={dateTime(launch.created)}>
            {trans.__('launched %1 by %2', ago(trans, launch.created, now), launch.created_by)}
          </span>
        </div>
        <EndButton follow={follow} launch={launch} />
      </div>
      <dl className="flaas-Figures">
        <div>
          <dt>{trans.__('Cost so far, estimated')}</dt>
          <dd>{usd(launch.spent_usd)}</dd>
        </div>
        <div>
          <dt>{trans.__('Accepted')}</dt>
          <dd>{usd(launch.accepted_usd)}</dd>
        </div>
        {isLive(launch) && left !== null && (
          <div>
            <dt>{trans.__('Ends by itself in')}</dt>
            <dd>{duration(trans, left)}</dd>
          </div>
        )}
      </dl>
    </>
  );
}

function EndButton({ follow, launch }: ILaunchProps): JSX.Element | null {
  const trans = useTrans();
  if (!launch._links?.terminate) {
    return null;
  }
  const end = (): void =>
    void confirmed({
      title: trans.__('End the launch “%1”?', launch.title ?? launch.id),
      body: trans.__(
        'All its %1 machines are ended and what is on their disks is deleted; a run that needs them stops. So far it has cost about %2.',
        launch.nodes.length,
        usd(launch.spent_usd)
      ),
      label: trans.__('End the machines'),
      act: () => follow.terminate()
    });
  return (
    <Button className="flaas-Button flaas-Stop" onClick={end}>
      <stopIcon.react tag="span" aria-hidden="true" elementSize="small" />
      {trans.__('End')}
    </Button>
  );
}

/** What went wrong and what can be done; who waits for a signature and what gives it. */
function Troubles({ follow, launch }: ILaunchProps): JSX.Element {
  const trans = useTrans();
  const [problem, setProblem] = React.useState<IProblem | null>(null);
  const [busy, setBusy] = React.useState(false);
  const resume = async (): Promise<void> => {
    setBusy(true);
    setProblem(null);
    try {
      await follow.resume();
    } catch (error) {
      setProblem(problemOf(error));
    }
    setBusy(false);
  };
  const troubled = launch.nodes.filter(node => node.state === 'failed' || node.problem);
  const unsigned = launch.nodes.filter(({ state }) => state === 'registered');
  const first = launch.problem ?? troubled.find(node => node.problem)?.problem ?? null;
  return (
    <>
      {(launch.state === 'stuck' || launch.state === 'failed' || launch.problem) && (
        <Notice
          problem
          title={
            launch.state === 'failed'
              ? trans.__('The launch failed; nothing of it is left running')
              : trans.__('Not launched: %1', troubled.map(({ name }) => name).join(', ') || '?')
          }
          detail={first ? words(first).title : undefined}
          hint={
            [
              first ? words(first).hint : '',
              launch.state === 'stuck' ? trans.__('The other machines run.') : ''
            ]
              .filter(Boolean)
              .join(' ') || undefined
          }
          action={
            launch._links?.resume
              ? {
                  label: busy ? trans.__('Trying again …') : trans.__('Resume'),
                  run: () => void (busy ? undefined : resume())
                }
              : undefined
          }
        />
      )}
      {problem && <ProblemNotice problem={problem} retry={() => void resume()} />}
      {unsigned.length > 0 && (
        <Notice
          title={trans.__('Waits for a signature: %1', unsigned.map(({ name }) => name).join(', '))}
          detail={trans.__(
            'A launched node makes its own key. Who keeps the project’s domain key lets it in; the coordination API cannot.'
          )}
          command={`flaas domain approve ${launch.project} --launch ${launch.id}`}
        />
      )}
    </>
  );
}

function NodeTable({ launch }: { launch: ILaunch }): JSX.Element {
  const trans = useTrans();
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table" aria-label={trans.__('Machines')}>
        <thead>
          <tr>
            <th scope="col">{trans.__('Node')}</th>
            <th scope="col">{trans.__('State')}</th>
            <th scope="col">{trans.__('Where')}</th>
            <th scope="col" className="flaas-mod-number">
              {trans.__('USD/hour')}
            </th>
            <th scope="col" className="flaas-mod-number">
              {trans.__('So far')}
            </th>
          </tr>
        </thead>
        <tbody>
          {launch.nodes.map(node => {
            const place = WAY.indexOf(node.state);
            return (
              <tr key={node.name}>
                <th scope="row">
                  {node.name}
                  {node.machine && <span className="flaas-Secondary">{node.machine}</span>}
                </th>
                <td>
                  <StateLabel state={node.state} />
                  {place >= 0 && (
                    <progress
                      className="flaas-Way"
                      max={WAY.length - 2}
                      value={Math.min(place, WAY.length - 2)}
                      aria-label={trans.__('Progress of %1', node.name)}
                      aria-valuetext={stateName(trans, node.state)}
                    />
                  )}
                  {node.problem && <span className="flaas-Secondary">{words(node.problem).title}</span>}
                </td>
                <td>
                  {node.provider}, {node.region}
                  <span className="flaas-Secondary">
                    {node.instance_type}
                    {node.attempts > 1 && `, ${trans.__('attempt %1', node.attempts)}`}
                  </span>
                </td>
                <td className="flaas-mod-number">{hourly(node.usd_hour)}</td>
                <td className="flaas-mod-number">{usd(node.spent_usd)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** The notebook that trains, and the rounds as they come. */
function Training(props: IStepProps & ILaunchProps): JSX.Element | null {
  const { follow, launch, model, train } = props;
  const trans = useTrans();
  const [name, setName] = React.useState<string | null>(null);
  const [busy, setBusy] = React.useState(false);
  const [problem, setProblem] = React.useState<IProblem | null>(null);
  if (!isReady(launch) && !follow.run) {
    return null;
  }
  const { run } = follow;
  const datasets = follow.datasets.filter(each => each.target); // without one there is nothing to learn
  const dataset = datasets.find(each => each.name === name) ?? datasets[0] ?? null;
  const open = async (): Promise<void> => {
    setBusy(true);
    setProblem(null);
    try {
      await train(trainingOf(launch, dataset, model.templates));
    } catch (error) {
      setProblem(problemOf(error));
    }
    setBusy(false);
  };
  return (
    <section aria-label={trans.__('Training')} className="flaas-Step">
      <h4>{trans.__('Training')}</h4>
      {!dataset && isReady(launch) && (
        <Notice
          title={trans.__('The launched nodes hold no data set yet')}
          detail={trans.__('It shows here as soon as one of them offers one.')}
          action={{ label: trans.__('Look again'), run: () => void follow.refresh() }}
        />
      )}
      {dataset && isReady(launch) && (
        <div className="flaas-Controls">
          {datasets.length > 1 && (
            <Field label={trans.__('Data set')}>
              {id => (
                <HTMLSelect
                  id={id}
                  value={dataset.name}
                  onChange={event => setName(event.target.value)}
                  options={datasets.map(each => ({ value: each.name, label: each.name }))}
                />
              )}
            </Field>
          )}
          <Button
            className={`flaas-Button${run ? '' : ' flaas-mod-primary'}`}
            disabled={busy}
            onClick={() => void open()}
          >
            {busy ? trans.__('Opening the notebook …') : trans.__('Open training notebook')}
          </Button>
          <span className="flaas-Hint">
            {trans.__(
              'Makes a notebook that trains on %1, in the folder that the file browser shows, and runs it.',
              dataset.name
            )}
          </span>
        </div>
      )}
      {problem && <ProblemNotice problem={problem} retry={() => void open()} />}
      {run && <LiveRun key={run.id} {...props} run={run} />}
    </section>
  );
}

/** What the notebook is made from: the template's defence and rounds. */
export function trainingOf(
  launch: ILaunch,
  dataset: ITraining['dataset'],
  templates: readonly ITemplate[]
): ITraining {
  const template = templates.find(({ name }) => name === launch.template);
  return {
    project: launch.project,
    dataset,
    launch: launch.id,
    rounds: launch.rounds ?? template?.rounds ?? 10,
    localEpochs: template?.local_epochs ?? 1,
    batchSize: template?.batch_size ?? 32,
    aggregation: template?.aggregation ?? 'fedavg',
    secureAggregation: template?.secure_aggregation ?? false
  };
}

function LiveRun({
  federation,
  run,
  openRun,
  themeChanged
}: Pick<IStepProps, 'federation' | 'openRun' | 'themeChanged'> & { run: IRun }): JSX.Element | null {
  const trans = useTrans();
  const [model, setModel] = React.useState<RunModel | null>(null);
  React.useEffect(() => {
    const opened = federation.openRun(run.id);
    setModel(opened);
    void opened.refresh();
    return () => opened.dispose();
  }, [federation, run.id]);
  useModel(model);
  const current = model?.run;
  if (!model || !current) {
    return model?.problem ? (
      <ProblemNotice problem={model.problem} retry={() => model.retry()} />
    ) : (
      <p className="flaas-Empty">{trans.__('Loading …')}</p>
    );
  }
  return (
    <>
      <div className="flaas-RunView-header">
        <div className="flaas-RunView-state" role="status">
          <strong>{runName(current)}</strong>
          <StateLabel state={current.state} />
        </div>
        <Button className="flaas-Button" onClick={() => openRun(current.id)}>
          {trans.__('Open the run')}
        </Button>
      </div>
      {current.reason && (
        <Notice
          problem
          title={current.reason.code}
          detail={current.reason.message}
          hint={current.reason.hint}
        />
      )}
      <RunProgress run={current} label={trans.__('Progress of the training')} />
      <MetricsChart rounds={model.rounds} total={current.rounds} themeChanged={themeChanged} />
      {!isActive(current) && <Rounds rounds={model.rounds} nameOf={node => model.nameOf(node)} />}
    </>
  );
}

/** What it cost in the end, and where to see more of it. */
function End({ launch, openCosts }: IStepProps & { launch: ILaunch }): JSX.Element {
  const trans = useTrans();
  return (
    <Notice
      title={
        launch.state === 'ended'
          ? trans.__('Ended: nothing of it is left running')
          : trans.__('Nothing of it is left running')
      }
      detail={
        trans.__(
          'It cost about %1 of the %2 that were accepted',
          usd(launch.spent_usd),
          usd(launch.accepted_usd)
        ) +
        (launch.round ? `, ${trans.__('for %1 rounds', launch.round)}. ` : '. ') +
        trans.__('The bill comes hours or days later and is what counts.')
      }
      action={{ label: trans.__('Show costs'), run: openCosts }}
    />
  );
}
