/** Step 1: a template, as cards of a radio group. */

import { Button, HTMLSelect } from '@jupyterlab/ui-components';
import * as React from 'react';

import { count } from '../format';
import { areaText } from '../model';
import type { INeed, ITemplate } from '../tokens';
import { useTrans } from './hooks';
import { Notice, ProblemNotice } from './notice';
import type { IStepProps } from './wizardstep';

type Filter = 'all' | 'defence' | 'gpu' | 'own';

/** Whether a template is shown. */
function passes(template: ITemplate, filter: Filter): boolean {
  switch (filter) {
    case 'all':
      return true;
    case 'defence':
      return template.tags.includes('defence');
    case 'gpu':
      return template.need.gpu_count > 0;
    case 'own':
      return !template.builtin;
  }
}

export function TemplateStep({ model, federation, next }: IStepProps): JSX.Element {
  const trans = useTrans();
  const [filter, setFilter] = React.useState<Filter>('all');
  const filters: [Filter, string][] = [
    ['all', trans.__('All')],
    ['defence', trans.__('Defence')],
    ['gpu', trans.__('GPU')],
    ['own', trans.__('Our own')]
  ];
  const shown = model.templates.filter(each => passes(each, filter));
  const hidden = model.template !== null && !shown.includes(model.template);
  return (
    <>
      <p className="flaas-Hint">
        {trans.__(
          'What are the nodes to do? A template says what machines that needs; all of it can be changed.'
        )}
      </p>
      <div className="flaas-Controls">
        <label className="flaas-Picker">
          <span>{trans.__('For the project')}</span>
          <HTMLSelect
            value={model.project ?? ''}
            onChange={event => model.chooseProject(event.target.value)}
            options={federation.projects.map(({ id, name }) => ({ label: name, value: id }))}
          />
        </label>
        <div className="flaas-Buttons" role="group" aria-label={trans.__('Show templates')}>
          {filters
            .filter(([value]) => value !== 'own' || model.templates.some(each => passes(each, value)))
            .map(([value, label]) => (
              <Button
                key={value}
                small
                className="flaas-Button"
                aria-pressed={filter === value}
                onClick={() => setFilter(value)}
              >
                {label}
              </Button>
            ))}
        </div>
      </div>
      {shown.length === 0 && (
        <Notice
          title={trans.__('No template fits')}
          action={{ label: trans.__('Show all'), run: () => setFilter('all') }}
        />
      )}
      <div className="flaas-Cards" role="radiogroup" aria-label={trans.__('Template')}>
        {shown.map(template => (
          <Card
            key={template.name}
            template={template}
            chosen={template.name === model.template?.name}
            choose={() => model.chooseTemplate(template.name)}
          />
        ))}
      </div>
      {hidden && (
        <p className="flaas-Hint">
          {trans.__('Chosen, but not shown here: %1', model.template?.title ?? '')}
        </p>
      )}
      {model.problem && <ProblemNotice problem={model.problem} retry={() => void model.retry()} />}
      <div className="flaas-Buttons">
        <Button
          className="flaas-Button flaas-mod-primary"
          disabled={!model.template}
          onClick={() => next('prices')}
        >
          {trans.__('Compare prices')}
        </Button>
      </div>
    </>
  );
}

interface ICardProps {
  template: ITemplate;
  chosen: boolean;
  choose: () => void;
}

function Card({ template, chosen, choose }: ICardProps): JSX.Element {
  const trans = useTrans();
  const id = React.useId();
  const facts = [
    trans.__('%1 nodes', count(template.nodes)),
    needText(trans, template.need),
    areaText(template.area),
    trans.__('%1 rounds', count(template.rounds)),
    template.aggregation,
    ...(template.secure_aggregation ? [trans.__('secure aggregation')] : []),
    ...(template.market === 'spot' ? [trans.__('spot')] : [])
  ];
  return (
    <label className={`flaas-Card${chosen ? ' flaas-mod-chosen' : ''}`}>
      <span className="flaas-Card-head">
        <input
          type="radio"
          name="flaas-template"
          checked={chosen}
          onChange={choose}
          aria-labelledby={`${id}-title`}
          aria-describedby={`${id}-text`}
        />
        <strong id={`${id}-title`}>{template.title}</strong>
      </span>
      <span id={`${id}-text`} className="flaas-Card-text">
        <span>{template.description}</span>
        <span className="flaas-Card-facts">{facts.join(' · ')}</span>
      </span>
    </label>
  );
}

/** What a machine has to have, in words. */
export function needText(trans: ReturnType<typeof useTrans>, need: INeed): string {
  const machine = trans.__('%1 vCPU, %2 GiB', need.vcpus, need.memory_gib);
  if (need.gpu_count === 0) {
    return machine;
  }
  const name = need.gpu_names.length > 0 ? need.gpu_names.join('/') : trans.__('GPU');
  const memory = need.gpu_memory_gib > 0 ? ` ${need.gpu_memory_gib} GiB` : '';
  return `${machine}, ${need.gpu_count} × ${name}${memory}`;
}
