/** A vertical run: who brings which columns, how far it is, how many rows all have, and what it gives away. */

import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { bytes, count, metric } from '../format';
import type { IRun, IVerticalReport, VerticalMode } from '../tokens';
import { useTrans } from './hooks';
import { Settings, type Setting } from './settings';
import { StateLabel } from './state';

const PHASES: readonly IVerticalReport['phase'][] = ['alignment', 'training', 'done'];

export function isVertical(run: IRun): boolean {
  return run.kind === 'vertical';
}

/** What a mode is called. */
export function modeName(trans: TranslationBundle, mode: VerticalMode | null | undefined): string {
  switch (mode) {
    case 'oneway':
      return trans.__('one way: nothing comes back from the label');
    case 'split':
      return trans.__('split network: gradients come back');
    case 'linear_he':
      return trans.__('linear model under homomorphic encryption');
    default:
      return trans.__('unknown');
  }
}

export function Vertical({ run }: { run: IRun }): JSX.Element {
  const trans = useTrans();
  const { report } = run;
  const split = run.mode === 'split';
  return (
    <section className="flaas-Vertical" aria-label={trans.__('Vertical run')}>
      <h3>{trans.__('Vertical run')}</h3>
      <Phases run={run} />
      {report && report.statement.length > 0 && (
        <div className={`flaas-Leakage${split ? ' flaas-mod-split' : ''}`} role="note">
          <strong>
            {split
              ? trans.__('What this run gives away, with the label holder’s consent')
              : trans.__('What this run gives away')}
          </strong>
          <ul>
            {report.statement.map(sentence => (
              <li key={sentence}>{sentence}</li>
            ))}
          </ul>
        </div>
      )}
      {split && !report?.statement.length && (
        <div className="flaas-Leakage flaas-mod-split" role="note">
          <strong>{trans.__('This mode gives something of the label away')}</strong>
          <p>{trans.__('The statement of what it is comes with the alignment.')}</p>
        </div>
      )}
      <div className="flaas-RunView-columns flaas-Vertical-columns">
        <div>
          <Parties run={run} />
        </div>
        <div>
          <Settings settings={facts(trans, run)} />
        </div>
      </div>
    </section>
  );
}

/** Alignment, training, done: which of them it is at. */
function Phases({ run }: { run: IRun }): JSX.Element {
  const trans = useTrans();
  const names = {
    alignment: trans.__('Alignment'),
    training: trans.__('Training'),
    done: trans.__('Done')
  };
  const phase = run.state === 'completed' ? 'done' : run.report?.phase;
  const at = phase ? PHASES.indexOf(phase) : -1;
  return (
    <ol className="flaas-Phases" aria-label={trans.__('Phases')}>
      {PHASES.map((each, place) => {
        const over = place < at || phase === 'done';
        return (
          <li
            key={each}
            className={over ? 'flaas-mod-over' : place === at ? 'flaas-mod-now' : undefined}
            aria-current={place === at ? 'step' : undefined}
          >
            <span aria-hidden="true">{over ? '✓' : place === at ? '▸' : '○'}</span> {names[each]}
            {over && <span className="flaas-Hidden">{trans.__('done')}</span>}
          </li>
        );
      })}
    </ol>
  );
}

function Parties({ run }: { run: IRun }): JSX.Element {
  const trans = useTrans();
  const states = new Map(run.participants.map(participant => [participant.node, participant]));
  return (
    <div className="flaas-Scroll">
      <table className="flaas-Table" aria-label={trans.__('Parties')}>
        <thead>
          <tr>
            <th scope="col">{trans.__('Party')}</th>
            <th scope="col">{trans.__('Role')}</th>
            <th scope="col">{trans.__('Data set')}</th>
            <th scope="col" className="flaas-mod-number">
              {trans.__('Ids')}
            </th>
            <th scope="col">{trans.__('State')}</th>
          </tr>
        </thead>
        <tbody>
          {(run.parties ?? []).map(party => {
            const participant = states.get(party.node);
            const size = run.report?.sizes[party.name];
            return (
              <tr key={party.node}>
                <th scope="row">{party.name}</th>
                <td>
                  {run.label?.node === party.node
                    ? trans.__('label holder (%1), leads', run.label.column)
                    : trans.__('features')}
                </td>
                <td>{party.dataset}</td>
                <td className="flaas-mod-number">{size === undefined ? '–' : count(size)}</td>
                <td>
                  {participant ? <StateLabel state={participant.state} /> : '–'}
                  {participant?.reason && (
                    <span className="flaas-Secondary">{participant.reason.message}</span>
                  )}
                </td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

function facts(trans: TranslationBundle, run: IRun): Setting[] {
  const { report } = run;
  const settings: Setting[] = [
    [trans.__('Mode'), modeName(trans, run.mode)],
    [trans.__('Rows are known by'), run.id_column ?? '–'],
    [
      trans.__('In the intersection'),
      typeof report?.intersection === 'number' ? count(report.intersection) : trans.__('not known yet')
    ],
    [
      trans.__('Sent between parties'),
      typeof report?.bytes === 'number' ? bytes(report.bytes) : trans.__('not known yet')
    ]
  ];
  for (const [name, value] of Object.entries(report?.figures ?? {})) {
    settings.push([name, metric(value)]);
  }
  return settings;
}
