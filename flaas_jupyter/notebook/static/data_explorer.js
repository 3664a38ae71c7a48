/**
 * The page's half of the data explorer: shows the views that the kernel holds, and says which is asked for. Nothing is
 * computed from rows here. Text from the kernel is set as text, never as HTML.
 */

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 640;
const HEIGHT = 240;
const LEFT = 64;
const BOTTOM = 44;

function shape(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) {
    element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function figure(value, digits = 6) {
  return value === null || value === undefined ? '–' : String(Number(Number(value).toPrecision(digits)));
}

const LEVELS = {
  nothing: 'nothing is shown',
  schema: 'the schema is shown',
  private: 'statistics with differential privacy are shown',
  aggregates: 'statistics over groups that are large enough are shown',
  owner: 'your own rows, exactly'
};

// ---- charts ---------------------------------------------------------------------------------------------------------

/** Marks that the keyboard goes through: one can be reached by Tab, the arrows move on; each says what it is. */
function marked(svg, marks, columns = 1) {
  marks.forEach((mark, at) => {
    mark.setAttribute('tabindex', at === 0 ? '0' : '-1');
    mark.addEventListener('keydown', event => {
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
      const to =
        event.key === 'Home'
          ? 0
          : event.key === 'End'
            ? marks.length - 1
            : at + (steps[event.key] ?? Number.NaN);
      if (marks[to]) {
        event.preventDefault();
        mark.setAttribute('tabindex', '-1');
        marks[to].setAttribute('tabindex', '0');
        marks[to].focus();
      }
    });
  });
  svg.append(...marks);
  return svg;
}

function canvas(title, height = HEIGHT) {
  return shape(
    'svg',
    { viewBox: `0 0 ${WIDTH} ${height}`, width: WIDTH, height, role: 'group', 'aria-label': title },
    shape('title', {}, title)
  );
}

function word(text, x, y, anchor = 'middle') {
  return shape('text', { x, y, 'text-anchor': anchor, class: 'flaas-de-word' }, text);
}

/** A bar, or the outline of one that is withheld; `told` is read out and shown as a tip. */
function bar(told, x, y, width, height, withheld) {
  return shape(
    'rect',
    {
      x,
      y,
      width: Math.max(width, 1),
      height: Math.max(height, withheld ? HEIGHT / 3 : 0),
      class: withheld ? 'flaas-de-withheld' : 'flaas-de-bar',
      role: 'img',
      'aria-label': told
    },
    shape('title', {}, told)
  );
}

function range(low, high) {
  return low === null
    ? `below ${figure(high)}`
    : high === null
      ? `${figure(low)} and above`
      : `${figure(low)} to ${figure(high)}`;
}

/** Rows by bin: bars as wide as their bins and as high as their rows per width, so that merged bins look as they are. */
function histogram(title, { edges, counts, suppressed, reasons }) {
  const svg = canvas(title);
  const bins = counts.map((count, at) => ({
    count,
    low: edges[at],
    high: edges[at + 1],
    gone: suppressed[at],
    at
  }));
  const closed = bins.filter(({ low, high }) => low !== null && high !== null);
  if (closed.length === 0) {
    return svg;
  }
  const narrow = Math.min(...closed.map(({ low, high }) => high - low));
  const heightOf = ({ count, low, high }) =>
    count === null ? 0 : low === null || high === null ? count : (count * narrow) / (high - low);
  const most = Math.max(...bins.map(heightOf), 1e-12);
  const first = closed[0].low - (bins[0].low === null ? narrow : 0);
  const last = closed[closed.length - 1].high + (bins[bins.length - 1].high === null ? narrow : 0);
  const x = value => LEFT + ((value - first) / (last - first)) * (WIDTH - LEFT - 12);
  const floor = HEIGHT - BOTTOM;
  const marks = bins.map(each => {
    const from = x(each.low ?? first);
    const to = x(each.high ?? last);
    const high = (heightOf(each) / most) * (floor - 16);
    const why = reasons[String(each.at)] ?? reasons[''] ?? '';
    const told = `${range(each.low, each.high)}: ${each.gone ? `withheld, ${why}` : `${figure(each.count)} rows${why ? `, ${why}` : ''}`}`;
    return bar(told, from + 0.5, floor - (each.gone ? HEIGHT / 3 : high), to - from - 1, high, each.gone);
  });
  svg.append(
    shape('line', { x1: LEFT, y1: floor, x2: WIDTH - 12, y2: floor, class: 'flaas-de-axis' }),
    word(figure(most), LEFT - 6, 22, 'end'),
    word('0', LEFT - 6, floor, 'end'),
    word(figure(closed[0].low), x(closed[0].low), floor + 16),
    word(figure(closed[closed.length - 1].high), x(closed[closed.length - 1].high), floor + 16, 'end')
  );
  return marked(svg, marks);
}

/** One bar for each name, lying, so that names have room. */
function bars(title, names, values, suppressed, told) {
  const step = 22;
  const svg = canvas(title, names.length * step + 8);
  const most = Math.max(...values.map(value => value ?? 0), 1e-12);
  const marks = names.map((_, at) => {
    const width = ((values[at] ?? 0) / most) * (WIDTH - 280);
    return shape(
      'rect',
      {
        x: 200,
        y: at * step + 6,
        width: suppressed[at] ? 60 : Math.max(width, 1),
        height: step - 6,
        class: suppressed[at] ? 'flaas-de-withheld' : 'flaas-de-bar',
        role: 'img',
        'aria-label': told(at)
      },
      shape('title', {}, told(at))
    );
  });
  names.forEach((name, at) => {
    const short = name.length > 28 ? `${name.slice(0, 27)}…` : name;
    svg.append(
      word(short, 194, at * step + 18, 'end'),
      word(
        suppressed[at] ? 'withheld' : figure(values[at]),
        206 + (suppressed[at] ? 60 : ((values[at] ?? 0) / most) * (WIDTH - 280)),
        at * step + 18,
        'start'
      )
    );
  });
  return marked(svg, marks);
}

/** A field of squares; opacity is how far a value is from 0, its sign is written. */
function matrix(title, rows, columns, valueOf, reasonOf, most = 1) {
  const step = Math.max(18, Math.min(44, (WIDTH - 180) / Math.max(columns.length, 1)));
  const svg = canvas(title, rows.length * step + 90);
  const marks = [];
  rows.forEach((row, i) => {
    columns.forEach((column, j) => {
      const value = valueOf(i, j);
      const told = `${row}, ${column}: ${value === null ? `withheld${reasonOf(i, j) ? `, ${reasonOf(i, j)}` : ''}` : figure(value, 3)}`;
      marks.push(
        shape(
          'rect',
          {
            x: 150 + j * step,
            y: 8 + i * step,
            width: step - 2,
            height: step - 2,
            class: value === null ? 'flaas-de-withheld' : 'flaas-de-bar',
            'fill-opacity': value === null ? 1 : 0.08 + 0.47 * Math.min(1, Math.abs(value) / most),
            role: 'img',
            'aria-label': told
          },
          shape('title', {}, told)
        )
      );
    });
  });
  marked(svg, marks, columns.length);
  rows.forEach((row, i) => svg.append(word(row.slice(0, 22), 144, 8 + i * step + step / 2 + 4, 'end')));
  columns.forEach((column, j) => {
    const x = 150 + j * step + step / 2;
    const y = 16 + rows.length * step;
    const label = word(column.slice(0, 14), x, y, 'end');
    label.setAttribute('transform', `rotate(-45 ${x} ${y})`);
    svg.append(label);
  });
  if (step >= 34) {
    rows.forEach((_, i) =>
      columns.forEach((__, j) => {
        const value = valueOf(i, j);
        if (value !== null) {
          const label = word(value.toFixed(2), 150 + j * step + step / 2 - 1, 8 + i * step + step / 2 + 4);
          label.setAttribute('pointer-events', 'none');
          svg.append(label);
        }
      })
    );
  }
  return svg;
}

// ---- what each view is drawn and written as -------------------------------------------------------------------------

const unique = values => [...new Set(values)];

function drawing(view) {
  const { part } = view;
  if (part === 'column') {
    const { column } = view;
    const title = `Distribution of ${column.name}`;
    return column.kind === 'histogram'
      ? histogram(title, column)
      : bars(
          title,
          column.labels,
          column.counts,
          column.suppressed,
          at =>
            `${column.labels[at]}: ${column.suppressed[at] ? `withheld, ${column.reasons[String(at)] ?? ''}` : `${figure(column.counts[at])} rows`}`
        );
  }
  if (part === 'labels') {
    const { labels } = view;
    return bars(
      `Rows by class of ${labels.column ?? 'the label'}`,
      labels.classes,
      labels.counts,
      labels.suppressed,
      at =>
        `${labels.classes[at]}: ${labels.suppressed[at] ? `withheld, ${labels.reasons[String(at)] ?? ''}` : `${figure(labels.counts[at])} rows`}`
    );
  }
  if (part === 'missing') {
    const { missing } = view;
    const names = missing.map(({ column }) => column);
    return bars(
      'Share of missing values',
      names,
      missing.map(({ share }) => share),
      missing.map(({ suppressed }) => suppressed),
      at =>
        `${names[at]}: ${missing[at].suppressed ? `withheld, ${missing[at].reason}` : `${figure(missing[at].count)} missing`}`
    );
  }
  if (part === 'correlations') {
    const { columns, values, reason } = view.correlations;
    return matrix(
      'Correlations',
      columns,
      columns,
      (i, j) => values[i][j],
      () => reason
    );
  }
  const rows = unique(view.drift.map(({ column }) => column));
  const nodes = unique(view.drift.map(({ node }) => node));
  const found = (i, j) => view.drift.find(({ column, node }) => column === rows[i] && node === nodes[j]);
  return matrix(
    'Distance of each node from all nodes',
    rows,
    nodes,
    (i, j) => found(i, j)?.distance ?? null,
    (i, j) => found(i, j)?.reason
  );
}

/** The same figures: heads, and rows of texts and numbers; null is withheld. */
function figures(view) {
  const { part } = view;
  if (part === 'column') {
    const { column } = view;
    return column.kind === 'histogram'
      ? {
          heads: ['from', 'to', 'rows'],
          rows: column.counts.map((count, at) => [
            column.edges[at] ?? '−∞',
            column.edges[at + 1] ?? '∞',
            count
          ])
        }
      : { heads: ['value', 'rows'], rows: column.labels.map((label, at) => [label, column.counts[at]]) };
  }
  if (part === 'labels') {
    return {
      heads: ['class', 'rows'],
      rows: view.labels.classes.map((name, at) => [name, view.labels.counts[at]])
    };
  }
  if (part === 'missing') {
    return {
      heads: ['column', 'missing', 'share'],
      rows: view.missing.map(({ column, count, share }) => [column, count, share])
    };
  }
  if (part === 'correlations') {
    const { columns, values } = view.correlations;
    return { heads: ['', ...columns], rows: columns.map((name, at) => [name, ...values[at]]) };
  }
  const nodes = unique(view.drift.map(({ node }) => node));
  return {
    heads: ['column', ...nodes],
    rows: unique(view.drift.map(({ column }) => column)).map(name => [
      name,
      ...nodes.map(
        node => view.drift.find(each => each.column === name && each.node === node)?.distance ?? null
      )
    ])
  };
}

function reasons(view) {
  const shown = view[view.part];
  const entries = Array.isArray(shown) ? shown : [shown];
  const told = entries.flatMap(entry => [
    ...Object.values(entry?.reasons ?? {}),
    ...(entry?.reason ? [entry.reason] : [])
  ]);
  return unique([...told, ...view.notes]);
}

// ---- taking it away -------------------------------------------------------------------------------------------------

function save(name, blob) {
  const link = el('a', { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** A cell of CSV; texts that a spreadsheet would take for formulas have an apostrophe in front. */
function cell(value) {
  if (value === null) {
    return '';
  }
  const text =
    typeof value === 'string' && /^[=+\-@\t\r]/.test(value) && value !== '−∞' ? `'${value}` : String(value);
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv(view) {
  const { heads, rows } = figures(view);
  return [heads, ...rows].map(row => row.map(cell).join(',')).join('\n') + '\n';
}

/** The drawing by itself: colours that the page's style sheet gives are written into it. */
function alone(svg) {
  const copy = svg.cloneNode(true);
  const from = svg.querySelectorAll('*');
  copy.querySelectorAll('*').forEach((element, at) => {
    const style = getComputedStyle(from[at]);
    for (const name of ['fill', 'stroke', 'stroke-dasharray', 'font-family', 'font-size']) {
      element.setAttribute(name, style.getPropertyValue(name));
    }
    element.removeAttribute('tabindex');
  });
  const background =
    getComputedStyle(svg.closest('.flaas-de')).getPropertyValue('--jp-layout-color1').trim() || 'white';
  copy.prepend(shape('rect', { width: '100%', height: '100%', fill: background }));
  copy.setAttribute('xmlns', SVG);
  return new XMLSerializer().serializeToString(copy);
}

function png(svg, done) {
  const { width, height } = svg.viewBox.baseVal;
  const picture = new Image();
  picture.onload = () => {
    const surface = el('canvas', { width: width * 2, height: height * 2 });
    surface.getContext('2d').drawImage(picture, 0, 0, width * 2, height * 2);
    surface.toBlob(done, 'image/png');
  };
  picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(alone(svg))}`;
}

function exports(view, svg) {
  const name = [view.dataset, view.part, view.column?.name]
    .filter(Boolean)
    .join('-')
    .replace(/[^\w.-]+/g, '_');
  const button = (label, take) => el('button', { type: 'button', onclick: take }, label);
  return el(
    'div',
    { class: 'flaas-de-row', role: 'group', 'aria-label': 'Export' },
    button('CSV', () => save(`${name}.csv`, new Blob([csv(view)], { type: 'text/csv' }))),
    button('SVG', () => save(`${name}.svg`, new Blob([alone(svg)], { type: 'image/svg+xml' }))),
    button('PNG', () => png(svg, blob => save(`${name}.png`, blob)))
  );
}

// ---- the page -------------------------------------------------------------------------------------------------------

function table(caption, heads, rows) {
  return el(
    'div',
    { class: 'flaas-de-scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    el(
      'table',
      {},
      el('caption', {}, caption),
      el('thead', {}, el('tr', {}, ...heads.map(head => el('th', { scope: 'col' }, head)))),
      el(
        'tbody',
        {},
        ...rows.map(row =>
          el(
            'tr',
            {},
            ...row.map(value =>
              value instanceof Node
                ? el('td', {}, value)
                : el(
                    'td',
                    { class: typeof value === 'number' ? 'flaas-de-number' : '' },
                    value === null ? 'withheld' : typeof value === 'number' ? figure(value) : String(value)
                  )
            )
          )
        )
      )
    )
  );
}

function columns(overview, ask) {
  const open = !['nothing', 'schema'].includes(overview.level);
  return table(
    'Columns',
    ['name', 'type', 'role', 'unit', 'range or categories', 'differs at'],
    overview.columns.map(column => [
      open
        ? el(
            'button',
            { type: 'button', onclick: () => ask({ part: 'column', column: column.name }) },
            column.name
          )
        : column.name,
      column.dtype,
      column.role,
      column.unit ?? '',
      column.range
        ? `${figure(column.range[0])} to ${figure(column.range[1])}`
        : (column.categories ?? []).join(', '),
      unique(column.differences.map(({ node, field }) => `${node} (${field})`)).join(', ')
    ])
  );
}

function nodes(overview, asked) {
  const view = asked ?? overview;
  const budget = Object.fromEntries((view.budget ?? []).map(line => [line.node, line]));
  return table(
    'Nodes',
    ['name', 'organisation', 'rows', 'online', 'shown', 'privacy budget'],
    view.nodes.map(node => {
      const line = budget[node.name];
      const words = !line
        ? ''
        : line.budget === null
          ? `ε ${figure(line.spent, 3)} spent, no limit`
          : `ε ${figure(line.spent, 3)} of ${figure(line.budget, 3)} spent`;
      return [
        node.name,
        node.organisation,
        node.rows ?? '',
        node.online ? 'yes' : 'no',
        node.problem ? node.problem.message : (LEVELS[node.level] ?? node.level),
        line && line.budget !== null && line.budget > 0
          ? el('span', {}, budgetMeter(line, words), ` ${words}`)
          : words
      ];
    })
  );
}

function summary({ summary: told, epsilon, error_bound: bound }) {
  const names = {
    count: 'values',
    missing: 'missing',
    mean: 'mean',
    std: 'std',
    min: 'min',
    median: 'median',
    max: 'max'
  };
  const parts = Object.entries(names)
    .filter(([key]) => told[key] !== null)
    .map(([key, name]) => `${name} ${figure(told[key])}`);
  if (epsilon !== null) {
    parts.push(`ε ${figure(epsilon, 3)} spent`, `counts within ± ${figure(bound, 3)}`);
  }
  return el('p', { class: 'flaas-de-note' }, parts.join('; '));
}

function shownView(view) {
  const svg = drawing(view);
  const { heads, rows } = figures(view);
  return [
    el('strong', {}, svg.getAttribute('aria-label')),
    svg,
    ...(view.part === 'column' ? [summary(view.column)] : []),
    ...reasons(view).map(reason => el('p', { class: 'flaas-de-note' }, reason)),
    el('details', {}, el('summary', {}, 'As a table'), table(svg.getAttribute('aria-label'), heads, rows)),
    exports(view, svg)
  ];
}

function render({ model, el: root }) {
  root.classList.add('flaas-de');
  const form = { epsilon: '', low: '', high: '' };
  const top = el('div');
  const below = el('div', { 'aria-live': 'polite' });
  const send = message => {
    root.setAttribute('aria-busy', 'true');
    below.replaceChildren(el('p', { class: 'flaas-de-note', role: 'status' }, 'The nodes are asked …'));
    model.send(message);
  };
  /** What was typed, as a number where it is one: the kernel says what is wrong with anything else. */
  const typed = text => (text.trim() === '' || !Number.isFinite(Number(text)) ? text.trim() : Number(text));
  const ask = view => {
    const bounds = [typed(form.low), typed(form.high)];
    const given = view.part === 'column' && bounds.some(each => each !== '') ? { bounds } : {};
    const epsilon = typed(form.epsilon);
    send({ do: 'show', view: { ...view, ...given, epsilon: epsilon === '' ? null : epsilon } });
  };
  const input = (label, key, placeholder) =>
    el(
      'label',
      {},
      label,
      el('input', {
        type: 'text',
        value: form[key],
        placeholder,
        inputmode: 'decimal',
        oninput: event => {
          form[key] = event.target.value;
        }
      })
    );
  const views = level =>
    ['nothing', 'schema'].includes(level)
      ? []
      : [
          ['missing', 'Missing values'],
          ['correlations', 'Correlations'],
          ['labels', 'Labels'],
          ['drift', 'Nodes against all']
        ].map(([part, title]) => el('button', { type: 'button', onclick: () => ask({ part }) }, title));
  const drawTop = ({ datasets, overview, nodes: asked }) => {
    if (!overview) {
      return;
    }
    const open = overview.level === 'private' || overview.level === 'aggregates';
    refill(
      top,
      el(
        'div',
        { class: 'flaas-de-row' },
        datasets.length > 1
          ? el(
              'label',
              {},
              'Data set',
              el(
                'select',
                { onchange: event => send({ do: 'choose', dataset: event.target.value }) },
                ...datasets.map(name =>
                  el('option', { value: name, selected: name === overview.dataset }, name)
                )
              )
            )
          : el('strong', {}, overview.dataset),
        ...views(overview.level),
        el('button', { type: 'button', onclick: () => ask({ part: 'nodes' }) }, 'Ask the nodes'),
        ...(open
          ? [input('Privacy ε', 'epsilon', 'none'), input('From', 'low', 'all'), input('To', 'high', 'all')]
          : [])
      ),
      el(
        'p',
        { class: 'flaas-de-note' },
        [
          LEVELS[overview.level] ?? overview.level,
          ...(overview.rows === null ? [] : [`${overview.rows} rows`])
        ].join('; ')
      ),
      ...overview.notes.map(note => el('p', { class: 'flaas-de-note' }, note)),
      columns(overview, ask),
      nodes(overview, asked)
    );
  };
  const draw = () => {
    const state = model.get('state');
    root.removeAttribute('aria-busy');
    drawTop(state);
    below.replaceChildren(
      ...(state.error
        ? [el('p', { class: 'flaas-de-error', role: 'alert' }, `${state.error.message} ${state.error.hint}`)]
        : []),
      ...(state.shown ? shownView(state.shown) : [])
    );
  };
  root.replaceChildren(top, below);
  model.on('change:state', draw);
  draw();
  return () => model.off('change:state', draw);
}

export default { render };
