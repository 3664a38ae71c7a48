/**
 * A run in the main area: its state, its chart, its rounds, its participants, and a way to stop it.
 */

import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import type { ISignal } from '@lumino/signaling';
import * as React from 'react';

import { bytes, clock, count, dateTime, runName } from '../format';
import { isActive, type RunModel } from '../model';
import type { IParticipant, IRound, IRun } from '../tokens';
import { MetricsChart } from './chart';
import { useModel, useTrans } from './hooks';
import { EventLog } from './log';
import { MainView } from './mainview';
import { Notice } from './notice';
import { Rounds } from './rounds';
import { Settings, called, privacySettings, type Setting } from './settings';
import { RunProgress, StateLabel } from './state';
import { PauseButton } from './pause';
import { StopButton } from './stop';
import { isVertical, Vertical } from './vertical';

export type ThemeSignal = ISignal<unknown, unknown> | null;

/**
 * The view as a widget; it owns its model.
 */
export class RunView extends MainView<RunModel> {
  constructor(model: RunModel, themeChanged: ThemeSignal, translator: ITranslator) {
    super(model, translator);
    this._themeChanged = themeChanged;
    this.title.label = this.trans.__('Run');
    model.changed.connect(this._onChanged, this);
    void model.refresh();
  }

  protected override content(): JSX.Element {
    return <Run model={this.model} themeChanged={this._themeChanged} />;
  }

  private _onChanged(): void {
    if (this.model.run) {
      this.title.label = this.trans.__('Run: %1', runName(this.model.run));
    }
  }

  private _themeChanged: ThemeSignal;
}

/** The view's content. */
export function Run({ model, themeChanged }: { model: RunModel; themeChanged: ThemeSignal }): JSX.Element {
  const trans = useTrans();
  useModel(model);
  const { run, problem, liveness, updated } = model;
  const retry = { label: trans.__('Retry'), run: () => model.retry() };
  if (!run) {
    return problem ? (
      <Notice problem title={problem.title} detail={problem.detail} hint={problem.hint} action={retry} />
    ) : (
      <p className="flaas-Empty">{trans.__('Loading …')}</p>
    );
  }
  const rounds = model.rounds;
  const stale = liveness === 'lost' || problem !== null;
  return (
    <>
      <header className="flaas-RunView-header">
        <div>
          <h2>{runName(run)}</h2>
          <div className="flaas-RunView-state" role="status">
            <StateLabel state={run.state} />
            {run.created_by && (
              <span>
                {trans.__('by %1, %2', run.created_by, run.organisation)},{' '}
                {dateTime(run.started ?? run.created)}
              </span>
            )}
          </div>
        </div>
        <div className="flaas-Buttons">
          <PauseButton run={run} follow={relation => model.follow(relation)} />
          <StopButton run={run} stop={() => model.stop()} />
        </div>
      </header>
      {stale && (
        <Notice
          problem
          title={trans.__('Connection lost; last updated %1', updated ? clock(updated) : '?')}
          detail={problem?.detail}
          hint={isActive(run) ? trans.__('The run itself goes on without this page.') : ''}
          action={retry}
        />
      )}
      {run.waiting_for && <Notice title={trans.__('Waits for %1', run.waiting_for)} />}
      {run.reason && (
        <Notice
          problem
          title={trans.__('Why it ended: %1', run.reason.code)}
          detail={run.reason.message}
          hint={run.reason.hint}
        />
      )}
      <RunProgress run={run} label={trans.__('Progress')} />
      {isVertical(run) && <Vertical run={run} />}
      <MetricsChart rounds={rounds} total={run.rounds} themeChanged={themeChanged} />
      <div className="flaas-RunView-columns">
        <section aria-label={trans.__('Rounds')}>
          <h3>{trans.__('Rounds')}</h3>
          <Rounds rounds={rounds} nameOf={node => model.nameOf(node)} />
        </section>
        {!isVertical(run) && (
          <section aria-label={trans.__('Participants')}>
            <h3>{trans.__('Participants')}</h3>
            <Participants run={run} />
          </section>
        )}
        <section aria-label={trans.__('Settings')}>
          <h3>{trans.__('Settings')}</h3>
          <RunSettings model={model} run={run} />
        </section>
        <section aria-label={trans.__('Events')}>
          <h3>{trans.__('Events')}</h3>
          <EventLog model={model} />
        </section>
      </div>
    </>
  );
}

function Participants({ run }: { run: IRun }): JSX.Element {
  const trans = useTrans();
  if (run.participants.length === 0) {
    return <p className="flaas-Empty">{trans.__('No node is invited yet.')}</p>;
  }
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table" aria-label={trans.__('Participants')}>
        <thead>
          <tr>
            <th scope="col">{trans.__('Node')}</th>
            <th scope="col">{trans.__('State')}</th>
            <th scope="col" className="flaas-mod-number">
              {trans.__('Rows')}
            </th>
          </tr>
        </thead>
        <tbody>
          {run.participants.map(participant => (
            <tr key={participant.node}>
              <th scope="row" title={participant.node}>
                {participant.name}
                <span className="flaas-Secondary">
                  {participant.organisation}
                  {participant.node === run.aggregator && `, ${trans.__('aggregates')}`}
                </span>
              </th>
              <td>
                <ParticipantState participant={participant} />
              </td>
              <td className="flaas-mod-number">
                {participant.rows === null ? '–' : count(participant.rows)}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function ParticipantState({ participant }: { participant: IParticipant }): JSX.Element {
  const trans = useTrans();
  return (
    <>
      <StateLabel state={participant.state} />
      <span className="flaas-Secondary">
        {participant.reason?.message ?? (participant.online ? trans.__('online') : trans.__('offline'))}
      </span>
    </>
  );
}

function RunSettings({ model, run }: { model: RunModel; run: IRun }): JSX.Element {
  const trans = useTrans();
  const spent = model.rounds[model.rounds.length - 1]?.epsilon;
  const settings: Setting[] = [
    [trans.__('Data set'), run.dataset],
    ...(isVertical(run) ? [] : combinedBy(trans, run, model.rounds[model.rounds.length - 1])),
    ...privacySettings(trans, run.privacy, spent),
    [trans.__('Rounds'), run.rounds],
    [trans.__('Local epochs'), run.local_epochs],
    [trans.__('Batch size'), run.batch_size],
    ...(isVertical(run) ? [] : sizes(trans, run)),
    [trans.__('Parameters'), count(run.parameters)],
    [trans.__('Seed'), run.seed ?? trans.__('none')]
  ];
  return <Settings settings={settings} />;
}

/** How the updates become one model, and what the aggregator sees of them. */
function combinedBy(trans: TranslationBundle, run: IRun, last: IRound | undefined): Setting[] {
  return [
    [trans.__('Aggregation'), called(run.aggregation, run.aggregation_options)],
    [trans.__('Secure aggregation'), secrecy(trans, run, last)]
  ];
}

/** What secure aggregation shows of a participant's update, in one line, with the last round's figures. */
function secrecy(trans: TranslationBundle, run: IRun, last: IRound | undefined): string {
  if (!run.secure_aggregation) {
    return trans.__('no');
  }
  if (typeof run.group_size === 'number') {
    const groups = last?.groups;
    const words = trans.__(
      'yes, group mode: the aggregator sees means of groups of %1, privacy is one of %1',
      run.group_size
    );
    return groups ? trans.__('%1; %2 of %3 groups opened', words, groups.opened, groups.formed) : words;
  }
  if (run.sharded) {
    const shards = last?.shards;
    const words = trans.__('yes, sharded: every node adds up a part of the model');
    return shards
      ? trans.__(
          '%1; %2 parts, a node sent at most %3 and received %4',
          words,
          shards.count,
          bytes(shards.up),
          bytes(shards.down)
        )
      : words;
  }
  return trans.__('yes');
}

function sizes(trans: TranslationBundle, run: IRun): Setting[] {
  return [
    [trans.__('Nodes per round'), run.clients_per_round ?? trans.__('all')],
    [trans.__('Nodes at least'), run.minimum_nodes ?? trans.__('default')]
  ];
}
