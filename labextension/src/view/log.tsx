/** What happened in a run, newest first. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { clock, metric } from '../format';
import type { RunModel } from '../model';
import type { IEvent, IParticipant, IReason, IRound, IVerticalReport, RunState } from '../tokens';
import { useTrans } from './hooks';
import { stateName } from './state';

export function EventLog({ model }: { model: RunModel }): JSX.Element {
  const trans = useTrans();
  const events = model.log;
  if (events.length === 0) {
    return <p className="flaas-Empty">{trans.__('Nothing happened yet.')}</p>;
  }
  return (
    <ol className="flaas-Log" aria-label={trans.__('Events')} reversed>
      {[...events].reverse().map(event => (
        <li key={event.id}>
          <time dateTime={event.time}>{clock(new Date(event.time))}</time> {describe(trans, model, event)}
        </li>
      ))}
    </ol>
  );
}

/** An event in words. */
export function describe(trans: TranslationBundle, model: RunModel, event: IEvent): string {
  const data = event.data as {
    to?: RunState;
    state?: IParticipant['state'];
    node?: string;
    reason?: IReason | null;
  };
  const why = data.reason ? `: ${data.reason.message}` : '';
  const node = model.nameOf(data.node ?? event.node);
  switch (event.type) {
    case 'run.created':
      return trans.__('The run was created.');
    case 'run.state':
      return trans.__('State: %1', stateName(trans, data.to!)) + why;
    case 'run.participant':
      return trans.__('%1: %2', node, stateName(trans, data.state!)) + why;
    case 'run.aggregator':
      return trans.__('%1 aggregates.', node);
    case 'run.report':
      switch ((event.data as { phase?: IVerticalReport['phase'] }).phase) {
        case 'alignment':
          return trans.__('The parties align their rows.');
        case 'training':
          return trans.__('The rows are aligned; training begins.');
        default:
          return trans.__('The parties have finished.');
      }
    case 'run.round': {
      const round = event.data as unknown as IRound;
      const figures = Object.entries(round.metrics).map(([name, value]) => `${name} ${metric(value)}`);
      return trans.__('Round %1 done: %2', round.number, figures.join(', '));
    }
    default:
      return event.type;
  }
}
