/**
 * The page's half of the cost wizard: shows the state that the kernel holds and tells it what was clicked.
 * Nothing is computed here. Text from the kernel is set as text, never as HTML.
 */

const POLL = 2000;
const STEPS = [
  ['template', 'Template'],
  ['prices', 'Prices'],
  ['plan', 'Plan'],
  ['follow', 'Deployment']
];

const usd = (value, digits = 2) =>
  value === null || value === undefined ? '–' : `${Number(value).toFixed(digits)} USD`;

function table(caption, heads, rows) {
  return el(
    'table',
    {},
    el('caption', {}, caption),
    el('thead', {}, el('tr', {}, ...heads.map(head => el('th', { scope: 'col' }, head)))),
    el('tbody', {}, ...rows)
  );
}

function need(template) {
  const { vcpus, memory_gib, gpu_count, gpu_names, gpu_memory_gib } = template.need;
  const gpu = gpu_count
    ? `, ${gpu_count} × ${gpu_names.length ? gpu_names.join(' or ') : `GPU with ${gpu_memory_gib} GiB`}`
    : '';
  return `${template.nodes} nodes: ${vcpus} vCPU, ${memory_gib} GiB${gpu}`;
}

function templateStep(state, say) {
  return el(
    'div',
    { class: 'flaas-cw-cards', role: 'list' },
    ...state.templates.map(template =>
      el(
        'div',
        { role: 'listitem' },
        el(
          'button',
          { type: 'button', class: 'flaas-cw-card', onclick: () => say('template', { name: template.name }) },
          el('strong', {}, template.title),
          el('span', {}, need(template)),
          el('span', { class: 'flaas-cw-muted' }, template.description)
        )
      )
    )
  );
}

function field(label, input) {
  return el('label', {}, el('span', {}, label), input);
}

function optionsForm(state, say) {
  const value = name => state.options[name] ?? state.template[name] ?? '';
  const form = el(
    'form',
    {
      class: 'flaas-cw-options',
      onsubmit: event => {
        event.preventDefault();
        const data = new FormData(form);
        const number = name => (data.get(name) ? Number(data.get(name)) : null);
        const area = String(data.get('area')).split(',').map(part => part.trim()).filter(Boolean);
        say('compare', {
          area: area.length > 1 ? area : (area[0] ?? null),
          market: data.get('market'),
          rounds: number('rounds'),
          nodes: number('nodes'),
          budget_usd: number('budget_usd')
        });
      }
    },
    field('Area', el('input', { name: 'area', value: [value('area')].flat().join(', ') })),
    field(
      'Market',
      el(
        'select',
        { name: 'market' },
        ...[['on_demand', 'on demand'], ['spot', 'spot']].map(([key, text]) =>
          el('option', { value: key, selected: value('market') === key }, text)
        )
      )
    ),
    field('Rounds', el('input', { name: 'rounds', type: 'number', min: 1, value: value('rounds') })),
    field(
      'Nodes',
      el('input', { name: 'nodes', type: 'number', min: 1, max: 200, value: [value('nodes')].flat().length > 1 ? '' : value('nodes') })
    ),
    field('Budget, USD', el('input', { name: 'budget_usd', type: 'number', min: 0, step: 'any', value: value('budget_usd') })),
    el('button', { type: 'submit' }, 'Compare')
  );
  return form;
}

function pricesStep(state, say) {
  const rows = state.answer.providers.map(entry =>
    el(
      'tr',
      { class: entry.recommended ? 'flaas-cw-best' : '' },
      el('td', {}, entry.recommended ? '✓ ' : '', entry.title),
      el('td', {}, entry.offer?.instance_type ?? '–'),
      el('td', {}, entry.offer ? `${entry.offer.region} (${entry.offer.country})` : '–'),
      el('td', { class: 'flaas-cw-number' }, entry.offer ? usd(entry.offer.price_usd_hour, 4) : '–'),
      el('td', { class: 'flaas-cw-number' }, usd(entry.plan?.total_usd)),
      el('td', {}, entry.offer?.as_of ?? ''),
      el('td', {}, entry.reason || entry.why_not || entry.offer?.warning || ''),
      el(
        'td',
        {},
        el(
          'button',
          {
            type: 'button',
            disabled: entry.plan === null,
            'aria-label': `Choose ${entry.title}`,
            onclick: () => say('choose', { provider: entry.provider })
          },
          'Choose'
        )
      )
    )
  );
  const best = state.answer.plan;
  return el(
    'div',
    {},
    optionsForm(state, say),
    table(
      'What the whole project costs at each provider',
      ['Provider', 'Machine', 'Region', 'Per hour', 'Project', 'Prices of', 'Note', ''],
      rows
    ),
    el(
      'button',
      { type: 'button', class: 'flaas-cw-primary', disabled: best === null, onclick: () => say('choose', {}) },
      best ? `Take the recommendation: ${usd(best.total_usd)}` : 'Nobody sells it'
    ),
    el('ul', { class: 'flaas-cw-muted' }, ...[...state.answer.warnings, ...state.answer.assumptions].map(text => el('li', {}, text)))
  );
}

function planStep(state, say) {
  const { plan } = state;
  const project = el(
    'select',
    { 'aria-label': 'Project' },
    ...state.projects.map(id => el('option', { value: id, selected: id === state.project }, id))
  );
  const accept = el('input', { type: 'checkbox' });
  const launch = el(
    'button',
    {
      type: 'button',
      class: 'flaas-cw-primary',
      disabled: true,
      onclick: () => say('launch', { accept_usd: plan.total_usd, project: project.value })
    },
    'Launch'
  );
  accept.addEventListener('change', () => (launch.disabled = !accept.checked));
  return el(
    'div',
    {},
    table(
      `${usd(plan.total_usd)} for ${plan.hours.toFixed(2)} h`,
      ['Node', 'Provider', 'Region', 'Machine', 'Per hour', 'Machine', 'Traffic', 'Storage'],
      plan.nodes.map(node =>
        el(
          'tr',
          {},
          ...[node.name, node.provider, `${node.region} (${node.country ?? '–'})`, node.instance_type].map(text => el('td', {}, text)),
          ...[usd(node.usd_hour, 4), usd(node.compute_usd), usd(node.egress_usd), usd(node.storage_usd)].map(text =>
            el('td', { class: 'flaas-cw-number' }, text)
          )
        )
      )
    ),
    el('ul', {}, ...plan.constraints.map(each => el('li', {}, `${each.constraint}: ${usd(each.usd)}`))),
    state.can_launch
      ? el('div', { class: 'flaas-cw-launch' }, field('Project', project), el('label', {}, accept, ` I accept up to ${usd(plan.total_usd)}`), launch)
      : el('p', {}, 'Sign in (Federated learning panel, or `flaas login`) to launch this plan.')
  );
}

function followStep(state, say) {
  const { launch } = state;
  const waiting = launch.nodes.some(node => node.state === 'registered');
  const problems = [launch.problem, ...launch.nodes.map(node => node.problem)].filter(Boolean);
  const over = launch.state === 'ended' || launch.state === 'failed';
  return el(
    'div',
    {},
    el('p', { role: 'status' }, `${launch.title ?? launch.id}: ${launch.state}, ${usd(launch.spent_usd, 4)} so far`),
    table(
      'Machines',
      ['Node', 'Provider', 'Region', 'Machine', 'State', 'So far'],
      launch.nodes.map(node =>
        el(
          'tr',
          {},
          ...[node.name, node.provider, node.region, node.instance_type, node.state].map(text => el('td', {}, text)),
          el('td', { class: 'flaas-cw-number' }, usd(node.spent_usd, 4))
        )
      )
    ),
    waiting
      ? el('p', {}, 'Nodes wait for the signature of the domain key: ', el('code', {}, `flaas domain approve ${launch.project} --launch ${launch.id}`))
      : null,
    ...problems.map(problem => el('p', { class: 'flaas-cw-error' }, problem.message ?? problem.detail ?? '', ' ', problem.hint ?? '')),
    launch.state === 'stuck' ? el('button', { type: 'button', onclick: () => say('resume') }, 'Try again') : null,
    over ? null : el('button', { type: 'button', onclick: () => window.confirm('End all machines of this launch?') && say('end') }, 'End all machines')
  );
}

const VIEWS = { template: templateStep, prices: pricesStep, plan: planStep, follow: followStep };

function render({ model, el: root }) {
  let timer = null;
  let submitted = {}; // what was typed is shown again when it was refused
  root.classList.add('flaas-cw');
  const say = (what, arguments_ = {}) => {
    root.setAttribute('aria-busy', 'true');
    submitted = what === 'compare' ? arguments_ : {};
    model.send({ do: what, with: arguments_ });
  };
  const draw = () => {
    const known = model.get('state');
    const state = known.error ? { ...known, options: { ...known.options, ...submitted } } : known;
    root.removeAttribute('aria-busy');
    window.clearTimeout(timer);
    const at = STEPS.findIndex(([name]) => name === state.step);
    root.replaceChildren(
      el(
        'ol',
        { class: 'flaas-cw-steps' },
        ...STEPS.map(([, title], index) => el('li', { 'aria-current': index === at ? 'step' : null }, title))
      ),
      ...(state.error ? [el('p', { class: 'flaas-cw-error', role: 'alert' }, state.error.message, ' ', state.error.hint)] : []),
      VIEWS[state.step](state, say),
      ...(at > 0 ? [el('button', { type: 'button', class: 'flaas-cw-back', onclick: () => say('back') }, 'Back')] : [])
    );
    if (state.step === 'follow' && state.launch.state !== 'ended' && state.launch.state !== 'failed') {
      timer = window.setTimeout(() => say('refresh'), POLL);
    }
  };
  model.on('change:state', draw);
  draw();
  return () => {
    window.clearTimeout(timer);
    model.off('change:state', draw);
  };
}

export default { render };
