/**
 * The page's half of Analytics: a form, and what the kernel has been released. The kernel checks what is asked and does
 * everything. Text from the kernel is set as text, never as HTML.
 */

function select(label, value, options, change) {
  const choice = el(
    'select',
    { onchange: event => change(event.target.value) },
    ...options.map(([key, name]) => el('option', { value: key, selected: key === value }, name))
  );
  return el('label', {}, label, choice);
}

function text(label, value, change, placeholder = '') {
  return el(
    'label',
    {},
    label,
    el('input', {
      type: 'text',
      value,
      placeholder,
      spellcheck: 'false',
      oninput: event => change(event.target.value)
    })
  );
}

const COMPARISONS = ['>', '>=', '<', '<=', '==', '!='];

function listed(typed) {
  return typed
    .split(',')
    .map(part => part.trim())
    .filter(part => part !== '');
}

/** A number where the column holds numbers and one was typed; else what was typed, for the kernel to judge. */
function typedValue(columns, name, typed) {
  const numeric = columns.find(column => column.name === name)?.numeric ?? true;
  const value = typed.trim() === '' ? NaN : Number(typed);
  return numeric && Number.isFinite(value) ? value : typed;
}

/** The form as the request that the kernel understands. */
function requestOf(form, { columns, operations }) {
  const operation = operations.find(({ name }) => name === form.operation);
  const number = typed => typedValue([], '', typed);
  const grouped = operation.grouped !== 'no' && form.by !== '';
  const groups = listed(form.groups).map(part => typedValue(columns, form.by, part));
  return {
    operation: form.operation,
    columns: operation.most === 0 ? [] : form.columns.slice(0, operation.most ?? undefined),
    where: form.filters.map(filter => ({ ...filter, value: typedValue(columns, filter.column, filter.value) })),
    by: !grouped
      ? null
      : groups.length === 0
        ? { column: form.by } // a label's groups are known
        : { column: form.by, [form.ranges ? 'edges' : 'values']: groups },
    functions: form.operation === 'group_by' ? listed(form.functions) : null,
    bounds:
      form.epsilon.trim() !== '' && operation.bounded
        ? Object.fromEntries(form.columns.map(name => [name, listed(form.bounds[name] ?? '').map(number)]))
        : {},
    bins:
      form.operation === 'histogram'
        ? { low: number(form.low), high: number(form.high), count: number(form.bins) } // the kernel knows what '' is
        : null,
    quantiles: form.operation === 'quantile' ? listed(form.quantiles).map(number) : null,
    via: form.via,
    epsilon: form.epsilon.trim() === '' ? null : number(form.epsilon)
  };
}

function columnBoxes(form, columns, single, redraw) {
  const boxes = columns
    .filter(({ numeric }) => numeric)
    .map(({ name }) =>
      el(
        'label',
        { class: 'flaas-an-tick' },
        el('input', {
          type: 'checkbox',
          checked: form.columns.includes(name),
          onchange: event => {
            const others = single ? [] : form.columns.filter(each => each !== name);
            form.columns = event.target.checked ? [...others, name] : others;
            redraw();
          }
        }),
        name
      )
    );
  return el('fieldset', {}, el('legend', {}, single ? 'Column' : 'Columns'), ...boxes);
}

function filters(form, columns, redraw) {
  const rows = form.filters.map((filter, at) =>
    el(
      'span',
      {},
      el(
        'select',
        { 'aria-label': `Column of condition ${at + 1}`, onchange: event => (filter.column = event.target.value) },
        ...columns.map(({ name }) => el('option', { value: name, selected: name === filter.column }, name))
      ),
      ' ',
      el(
        'select',
        {
          'aria-label': `Comparison of condition ${at + 1}`,
          onchange: event => (filter.comparison = event.target.value)
        },
        ...COMPARISONS.map(each => el('option', { value: each, selected: each === filter.comparison }, each))
      ),
      ' ',
      el('input', {
        type: 'text',
        'aria-label': `Value of condition ${at + 1}`,
        value: filter.value,
        oninput: event => (filter.value = event.target.value)
      }),
      ' ',
      el(
        'button',
        {
          type: 'button',
          'aria-label': `Remove condition ${at + 1}`,
          onclick: () => {
            form.filters.splice(at, 1);
            redraw();
          }
        },
        '×'
      )
    )
  );
  const add = el(
    'button',
    {
      type: 'button',
      onclick: () => {
        form.filters.push({ column: columns[0]?.name ?? '', comparison: '>', value: '' });
        redraw();
      }
    },
    'Add a condition'
  );
  return el('fieldset', {}, el('legend', {}, rows.length ? 'Rows' : 'Rows: all of them'), ...rows, add);
}

function fields(form, state, redraw, send) {
  const { columns, operations } = state;
  const operation = operations.find(({ name }) => name === form.operation);
  const set = key => value => {
    form[key] = value;
  };
  const setAndDraw = key => value => {
    form[key] = value;
    redraw();
  };
  const named = columns.map(({ name }) => [name, name]);
  const bounded = form.epsilon.trim() !== '' && operation.bounded;
  return el(
    'form',
    {
      'aria-label': 'Analytics',
      onsubmit: event => {
        event.preventDefault();
        send({ do: 'ask', request: requestOf(form, state) });
      }
    },
    select(
      'Operation',
      form.operation,
      operations.map(({ name, title }) => [name, title]),
      setAndDraw('operation')
    ),
    select(
      'Computed by',
      form.via,
      [
        ['mpc', 'secure sums (MPC)'],
        ['he', 'homomorphic encryption (HE)']
      ],
      set('via')
    ),
    el(
      'label',
      {},
      'Privacy ε',
      el('input', {
        type: 'text',
        value: form.epsilon,
        placeholder: 'none',
        onchange: e => setAndDraw('epsilon')(e.target.value)
      })
    ),
    operation.most === 0 ? null : columnBoxes(form, columns, operation.most === 1, redraw),
    ...(form.operation === 'histogram'
      ? [text('From', form.low, set('low')), text('To', form.high, set('high')), text('Bins', form.bins, set('bins'))]
      : []),
    form.operation === 'quantile' ? text('Quantiles', form.quantiles, set('quantiles')) : null,
    form.operation === 'group_by' ? text('Figures', form.functions, set('functions')) : null,
    ...(operation.grouped === 'no'
      ? []
      : [
          select(
            'Groups by',
            form.by,
            [['', operation.grouped === 'must' ? 'choose a column' : 'no groups'], ...named],
            setAndDraw('by')
          ),
          ...(form.by === ''
            ? []
            : [
                select(
                  'Groups are',
                  form.ranges,
                  [
                    ['', 'values'],
                    ['yes', 'ranges']
                  ],
                  setAndDraw('ranges')
                ),
                text(form.ranges ? 'Edges of the ranges' : 'Values of the groups', form.groups, set('groups'), '0, 1')
              ])
        ]),
    filters(form, columns, redraw),
    ...(bounded
      ? form.columns.map(name =>
          text(`Limits of ${name}`, form.bounds[name] ?? '', value => (form.bounds[name] = value), '0, 100')
        )
      : []),
    el('button', { type: 'submit' }, 'Run'),
    el('button', { type: 'button', onclick: () => send({ do: 'budget' }) }, 'Privacy budget')
  );
}

function shown(value) {
  return typeof value === 'number' ? String(Number(value.toPrecision(8))) : (value ?? '–');
}

/** The figures, each row with a bar as long as its first figure. */
function answerTable(answer) {
  const firsts = answer.rows.map(({ values }) => (typeof values[0] === 'number' ? Math.abs(values[0]) : 0));
  const most = Math.max(...firsts, Number.MIN_VALUE);
  const drawn = answer.chart !== null && answer.rows.length > 1;
  return el(
    'div',
    { class: 'flaas-an-scroll' },
    el(
      'table',
      {},
      el('caption', {}, answer.title),
      el(
        'thead',
        {},
        el(
          'tr',
          {},
          ...[...answer.index, ...answer.columns].map(name => el('th', { scope: 'col' }, name)),
          drawn ? el('th', { scope: 'col', 'aria-hidden': 'true' }, answer.columns[0]) : null
        )
      ),
      el(
        'tbody',
        {},
        ...answer.rows.map(({ key, values, hidden }, at) =>
          el(
            'tr',
            {},
            ...key.map(part => el('th', { scope: 'row' }, String(part))),
            ...values.map((value, place) => el('td', {}, hidden[place] ? 'withheld' : shown(value))),
            drawn
              ? el(
                  'td',
                  { class: 'flaas-an-drawn', 'aria-hidden': 'true' },
                  el('span', { class: 'flaas-an-bar', style: `width: ${(150 * firsts[at]) / most}px` })
                )
              : null
          )
        )
      )
    )
  );
}

function answered(answer) {
  return [
    answerTable(answer),
    ...answer.reasons.map(reason => el('p', { class: 'flaas-an-note' }, `Withheld: ${reason}`)),
    el(
      'p',
      { class: 'flaas-an-note' },
      [
        `Nodes: ${answer.nodes.join(', ')}`,
        `computed by ${answer.via === 'he' ? 'homomorphic encryption' : 'secure sums'}`,
        answer.epsilon === null ? 'no ε spent' : `ε ${shown(answer.epsilon)} spent`,
        ...(answer.error_bound === null ? [] : [`exact within ${shown(answer.error_bound)}`])
      ].join('; ')
    )
  ];
}

function budget(lines) {
  if (lines.length === 0) {
    return [el('p', { class: 'flaas-an-note' }, 'No node keeps account of you yet.')];
  }
  return lines.map(line => {
    if (line.problem !== null) {
      return el('p', { class: 'flaas-an-note' }, `${line.node}: ${line.problem}`);
    }
    const words =
      line.budget === null
        ? `${line.node}: ε ${shown(line.spent)} spent; the node sets no limit`
        : `${line.node}: ε ${shown(line.spent)} of ${shown(line.budget)} spent; one more query may take up to ${shown(line.remaining)}`;
    const meter = line.budget === null ? null : budgetMeter(line, words);
    return el('p', { class: 'flaas-an-note' }, meter, ` ${words}`);
  });
}

function render({ model, el: root }) {
  root.classList.add('flaas-an');
  const form = {
    operation: 'describe',
    columns: [],
    filters: [],
    by: '',
    ranges: '',
    groups: '',
    functions: 'count, mean',
    low: '',
    high: '',
    bins: '10',
    quantiles: '0.25, 0.5, 0.75',
    via: 'mpc',
    epsilon: '',
    bounds: {}
  };
  const top = el('div');
  const below = el('div', { 'aria-live': 'polite' });
  const send = message => {
    root.setAttribute('aria-busy', 'true');
    below.replaceChildren(el('p', { class: 'flaas-an-note', role: 'status' }, 'The nodes are asked …'));
    model.send(message);
  };
  const drawForm = () => {
    refill(top, fields(form, model.get('state'), drawForm, send));
  };
  const draw = () => {
    const state = model.get('state');
    root.removeAttribute('aria-busy');
    below.replaceChildren(
      ...(state.error
        ? [el('p', { class: 'flaas-an-error', role: 'alert' }, `${state.error.message} ${state.error.hint}`)]
        : []),
      ...(state.answer ? answered(state.answer) : []),
      ...(state.budget ? budget(state.budget) : [])
    );
  };
  root.replaceChildren(
    el('strong', {}, `Analytics over ${model.get('state').dataset}`),
    top,
    el(
      'p',
      { class: 'flaas-an-note' },
      'Results come over the mesh to this kernel, and never pass the coordination API.'
    ),
    below
  );
  model.on('change:state', draw);
  drawForm();
  draw();
  return () => model.off('change:state', draw);
}

export default { render };
