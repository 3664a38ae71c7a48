/**
 * The wizard in the main area: template, prices, choice, plan, launch, follow. A step is a file of its own.
 */

import { Button } from '@jupyterlab/ui-components';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import * as React from 'react';

import { type Step, STEPS, type WizardModel } from '../model';
import { useModel, useTrans } from './hooks';
import { MainView } from './mainview';
import { Notice, ProblemNotice } from './notice';
import { SignInFirst } from './signinfirst';
import { ChoiceStep } from './wizardchoice';
import { FollowStep } from './wizardfollow';
import { PlanStep } from './wizardplan';
import { PricesStep } from './wizardprices';
import type { IStepProps, IWizardProps } from './wizardstep';
import { TemplateStep } from './wizardtemplate';

/** The wizard as a widget; it owns its model. */
export class Wizard extends MainView<WizardModel> {
  constructor(props: IWizardProps, translator: ITranslator) {
    super(props.model, translator);
    this._props = props;
    this.title.label = this.trans.__('Launch machines');
  }

  protected override content(): JSX.Element {
    return <WizardSteps {...this._props} />;
  }

  private _props: IWizardProps;
}

/** The wizard's content. */
export function WizardSteps(props: IWizardProps): JSX.Element {
  const { federation, model } = props;
  const trans = useTrans();
  useModel(federation);
  useModel(model);
  const who = federation.identity;
  const project = federation.project?.project.id ?? null;
  const ready = who !== null && project !== null;
  React.useEffect(() => {
    if (ready) {
      void model.start(project, who);
    }
    // Another project in the panel is no reason to begin anew.
    // eslint-disable-next-line react-hooks/exhaustive-deps
  }, [ready, who, model]);
  const heading = React.useRef<HTMLHeadingElement>(null);
  const next = (step: Step): void => {
    model.go(step);
    // The keyboard goes where the new step begins.
    requestAnimationFrame(() => heading.current?.focus());
  };
  const names = stepNames(trans);
  const signedIn = federation.connection === 'signed-in';
  const place = STEPS.indexOf(model.step);
  return (
    <>
      <header className="flaas-RunView-header">
        <h2>{trans.__('Launch machines')}</h2>
        <Button className="flaas-Button" onClick={props.openCosts}>
          {trans.__('Show costs')}
        </Button>
      </header>
      {!signedIn && <SignInFirst federation={federation} showPanel={props.showPanel} />}
      {signedIn && !project && <Notice title={trans.__('Your organisation takes part in no project yet.')} />}
      {model.loaded && (
        <>
          <nav aria-label={trans.__('Steps')}>
            <ol className="flaas-Steps">
              {STEPS.map((step, index) => (
                <li key={step} className={index < place ? 'flaas-mod-done' : ''}>
                  <button
                    type="button"
                    aria-current={step === model.step ? 'step' : undefined}
                    disabled={step !== model.step && !model.mayGo(step)}
                    onClick={() => next(step)}
                  >
                    <span className="flaas-Steps-number" aria-hidden="true">
                      {index < place ? '✓' : index + 1}
                    </span>
                    {names[step]}
                  </button>
                </li>
              ))}
            </ol>
          </nav>
          <section className="flaas-Step" aria-label={names[model.step]}>
            <h3 ref={heading} tabIndex={-1}>
              {trans.__('Step %1 of %2: %3', place + 1, STEPS.length, names[model.step])}
            </h3>
            <StepContent {...props} next={next} />
          </section>
        </>
      )}
      {!model.loaded && model.problem && (
        <ProblemNotice problem={model.problem} retry={() => void model.retry()} />
      )}
      {!model.loaded && !model.problem && signedIn && project && (
        <p className="flaas-Empty" role="status">
          {trans.__('Looking for templates …')}
        </p>
      )}
    </>
  );
}

function stepNames(trans: TranslationBundle): Record<Step, string> {
  return {
    template: trans.__('Template'),
    prices: trans.__('Prices'),
    choice: trans.__('Choice'),
    plan: trans.__('Plan and launch'),
    follow: trans.__('Follow')
  };
}

function StepContent(props: IStepProps): JSX.Element {
  switch (props.model.step) {
    case 'template':
      return <TemplateStep {...props} />;
    case 'prices':
      return <PricesStep {...props} />;
    case 'choice':
      return <ChoiceStep {...props} />;
    case 'plan':
      return <PlanStep {...props} />;
    case 'follow':
      return <FollowStep {...props} />;
  }
}
