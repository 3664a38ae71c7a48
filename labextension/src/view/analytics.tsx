/**
 * Questions over the rows of a data set's nodes: a form, and below it what was released, as a chart and as a table, with
 * the nodes that answered, and how much of the privacy budget is spent.
 */

import { Button, runIcon, stopIcon } from '@jupyterlab/ui-components';
import type { TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { type AnalyticsModel, checked, type Fault, questionCode } from '../model';
import { problemOf } from '../request';
import type { IDataset, IProblem } from '../tokens';
import { AnalyticsAnswer } from './analyticsanswer';
import { AnalyticsFields } from './analyticsfields';
import { useModel, useTrans } from './hooks';
import { Notice } from './notice';
import { PrivacyBudget } from './privacybudget';

export interface IAnalyticsProps {
  model: AnalyticsModel;
  datasets: readonly IDataset[];
  /** Puts code into a notebook: the one with a path, or '' for the one that was used last, or a new one. */
  insert: (code: string, notebook: string) => Promise<void>;
}

export function Analytics({ model, datasets, insert }: IAnalyticsProps): JSX.Element {
  const trans = useTrans();
  useModel(model);
  const [problem, setProblem] = React.useState<IProblem | null>(null);
  const [shown, setShown] = React.useState(false);
  const { form, busy, asked } = model;
  const result = React.useRef<HTMLDivElement>(null);
  const askedHere = React.useRef(false);
  React.useEffect(() => {
    if (askedHere.current && (asked?.answer || asked?.problem)) {
      askedHere.current = false;
      result.current?.scrollIntoView?.({ block: 'nearest' }); // the form is long, and the answer may be below it
    }
  }, [asked]);
  const dataset = datasets.find(({ name }) => name === form.dataset) ?? datasets[0];
  if (!dataset) {
    return <p className="flaas-Empty">{trans.__('Without a data set there is nothing to ask about.')}</p>;
  }
  const { request, faults } = checked(form, model.project, dataset);
  const submit = (event: React.FormEvent): void => {
    event.preventDefault();
    setShown(true);
    if (request) {
      askedHere.current = true;
      void model.ask(request);
    }
  };
  const put = async (): Promise<void> => {
    setShown(true);
    setProblem(null);
    if (request) {
      try {
        await insert(questionCode(request), model.kernel);
      } catch (error) {
        setProblem(problemOf(error));
      }
    }
  };
  return (
    <div className="flaas-Analytics">
      <form onSubmit={submit} aria-label={trans.__('Analytics')} noValidate>
        <AnalyticsFields model={model} datasets={datasets} dataset={dataset} />
        {shown && faults.length > 0 && (
          <ul className="flaas-Faults" role="alert">
            {faults.map((fault, place) => (
              <li key={place}>{faultText(trans, fault)}</li>
            ))}
          </ul>
        )}
        <div className="flaas-Buttons">
          {busy === 'asking' ? (
            <Button type="button" className="flaas-Button" onClick={() => void model.stop()}>
              <stopIcon.react tag="span" aria-hidden="true" elementSize="small" />
              {trans.__('Stop')}
            </Button>
          ) : (
            <Button type="submit" className="flaas-Button flaas-mod-primary" disabled={busy !== null}>
              <runIcon.react tag="span" aria-hidden="true" elementSize="small" />
              {trans.__('Run')}
            </Button>
          )}
          <Button type="button" className="flaas-Button" onClick={() => void put()}>
            {trans.__('Insert as cell')}
          </Button>
          {model.kernels.owned && busy === null && (
            <Button type="button" className="flaas-Button" minimal onClick={() => void model.kernels.end()}>
              {trans.__('End the kernel')}
            </Button>
          )}
        </div>
        <p className="flaas-Hint">
          {trans.__(
            'Results come over the mesh to the kernel, and from there to this page as the output of a cell does. They never pass the coordination API or the server half of this extension.'
          )}
        </p>
      </form>
      <div ref={result} className="flaas-Analytics-result">
        {problem && <Notice problem title={problem.title} detail={problem.detail} hint={problem.hint} />}
        <div role="status" className={busy === 'asking' ? 'flaas-Freshness' : 'flaas-Hint'}>
          {busy === 'asking'
            ? model.progress || trans.__('The nodes are asked …')
            : asked?.answer
              ? trans._n('Answered by %1 node.', 'Answered by %1 nodes.', asked.answer.nodes.length)
              : ''}
        </div>
        {asked?.problem && (
          <AnalyticsProblem
            problem={asked.problem}
            retry={busy === null ? () => void model.ask(asked.request) : null}
          />
        )}
        {asked?.answer && <AnalyticsAnswer request={asked.request} answer={asked.answer} />}
        <PrivacyBudget model={model} dataset={dataset.name} />
      </div>
    </div>
  );
}

/** Why there is no answer, with a way out. */
export function AnalyticsProblem({
  problem,
  retry
}: {
  problem: IProblem;
  retry: (() => void) | null;
}): JSX.Element {
  const trans = useTrans();
  const { title, hint } = wordsOf(trans, problem);
  return (
    <Notice
      problem
      title={title}
      detail={problem.detail}
      hint={hint}
      action={retry ? { label: trans.__('Run again'), run: retry } : undefined}
    />
  );
}

/** The words of a problem that arose here; others bring their own. */
function wordsOf(trans: TranslationBundle, { code, title, hint }: IProblem): { title: string; hint: string } {
  const words: { [code: string]: { title: string; hint: string } } = {
    'kernel-lost': {
      title: trans.__('The kernel did not answer'),
      hint: trans.__('It may have been restarted. Run the query again, or choose another kernel.')
    },
    'kernel-error': {
      title: trans.__('The kernel reports an error'),
      hint: trans.__('Insert the query as a cell to see the whole error.')
    },
    'not-installed': {
      title: trans.__('The kernel has no flaas_jupyter'),
      hint: trans.__(
        'Install it in the kernel’s environment (pip install flaas_jupyter), or choose another kernel.'
      )
    },
    'no-answer': {
      title: trans.__('The kernel displayed nothing'),
      hint: trans.__('It may have another version of flaas_jupyter (pip install -U flaas_jupyter).')
    },
    'other-version': {
      title: trans.__('The kernel has another version of flaas_jupyter'),
      hint: trans.__('Install this one in the kernel’s environment (pip install -U flaas_jupyter).')
    },
    stopped: {
      title: trans.__('Stopped'),
      hint: trans.__('What nodes have charged to the privacy budget stays charged.')
    }
  };
  return words[code] ?? { title, hint };
}

/** What is amiss with the form, in words. */
export function faultText(trans: TranslationBundle, fault: Fault): string {
  switch (fault.code) {
    case 'no-dataset':
      return trans.__('Choose a data set.');
    case 'too-few-columns':
      return trans._n('Choose a column.', 'Choose %1 columns or more.', fault.least);
    case 'no-group-column':
      return trans.__('Choose the column that makes the groups.');
    case 'no-groups':
      return trans.__('Say which values make the groups: they are not looked up in the data.');
    case 'no-functions':
      return trans.__('Choose what the groups are described by.');
    case 'bad-edges':
      return trans.__('Ranges have two edges or more, numbers that rise.');
    case 'bad-range':
      return trans.__(
        'The limits of a histogram are two numbers, the lower one first; with ε they are needed.'
      );
    case 'bad-bins':
      return trans.__('A histogram has 1 to 1,000 bins.');
    case 'bad-number':
      return trans.__('%1 holds numbers, and “%2” is none.', fault.where, fault.text);
    case 'bad-quantile':
      return trans.__('Quantiles are numbers from 0 to 1; “%1” is none.', fault.text);
    case 'bad-epsilon':
      return trans.__('ε is a number above 0, or left out; “%1” is neither.', fault.text);
    case 'no-bounds':
      return trans.__(
        'With ε, %1 needs limits, the lower one first: noise is measured by them.',
        fault.column
      );
  }
}
