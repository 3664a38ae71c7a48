/**
 * The page's half of AccessControl: shows the state that the kernel holds. It decides nothing and changes nothing.
 * Text from the kernel is set as text, never as HTML.
 */

const TABS = [
  ['members', 'Members'],
  ['matrix', 'Who can do what'],
  ['mine', 'What I may do'],
  ['approvals', 'Waiting requests']
];

function table(caption, heads, rows) {
  return el(
    'div',
    { class: 'flaas-ac-scroll' },
    el(
      'table',
      {},
      el('caption', {}, caption),
      el('thead', {}, el('tr', {}, ...heads.map(head => el('th', { scope: 'col' }, head)))),
      el('tbody', {}, ...rows)
    )
  );
}

function row(head, ...cells) {
  return el('tr', {}, el('th', { scope: 'row' }, head), ...cells.map(cell => el('td', {}, cell)));
}

function hidden(state, part) {
  return state.hidden[part] ? el('p', { class: 'flaas-ac-note' }, state.hidden[part]) : null;
}

function members(state) {
  const rows = state.members.map(user =>
    row(
      user.name ? `${user.id}, ${user.name}` : user.id,
      user.kind,
      user.organisation ?? '',
      user.state,
      user.roles.join(', ') || 'none'
    )
  );
  return [
    hidden(state, 'members'),
    rows.length ? table('Members', ['Who', 'Kind', 'Organisation', 'State', 'Roles'], rows) : null
  ];
}

function matrix(state, view) {
  const why = el('p', { class: 'flaas-ac-why', role: 'status' }, view.why || 'Choose a cell to see why.');
  const explain = (permission, role) => {
    const path = permission.roles[role];
    view.why = !path
      ? `${role} cannot do ${permission.name}.`
      : path.length < 2
        ? `${role} was granted ${permission.name} itself.`
        : `${role} can do ${permission.name} because it includes ${path.slice(1).join(', which includes ')}, which was granted it.`;
    why.textContent = view.why;
  };
  const wanted = view.filter.toLowerCase();
  const body = state.permissions
    .filter(({ name, description }) => `${name} ${description}`.toLowerCase().includes(wanted))
    .map(permission =>
      el(
        'tr',
        {},
        el('th', { scope: 'row', title: permission.description }, permission.name),
        ...state.roles.map(({ name }) => {
          const path = permission.roles[name];
          const mark = !path ? '' : path.length < 2 ? '●' : '○';
          const words = !path ? 'no' : path.length < 2 ? 'granted' : `through ${path.slice(1).join(', ')}`;
          return el(
            'td',
            {},
            el(
              'button',
              {
                type: 'button',
                'aria-label': `${name}, ${permission.name}: ${words}`,
                onclick: () => explain(permission, name),
                onfocus: () => explain(permission, name)
              },
              mark || '·'
            )
          );
        })
      )
    );
  return [
    hidden(state, 'permissions'),
    el('p', { class: 'flaas-ac-note' }, '● granted, ○ through a role that it includes'),
    table('Who can do what', ['Operation', ...state.roles.map(({ name }) => name)], body),
    why
  ];
}

function mine(state) {
  const known = new Map(state.permissions.map(({ name, description }) => [name, description]));
  return [
    el('p', {}, `Roles: ${state.me.roles.join(', ') || 'none'}`),
    table(
      'What I may do',
      ['Operation', 'What it is'],
      state.me.permissions.map(name => row(name, known.get(name) ?? ''))
    )
  ];
}

function approvals(state) {
  const rows = state.approvals.map(entry =>
    row(
      entry.action,
      entry.scope,
      entry.mine ? `${entry.requester} (you)` : entry.requester,
      `${entry.given} of ${entry.needed}`,
      new Date(entry.expires).toLocaleString(),
      entry.for_me ? 'waits for you' : ''
    )
  );
  return [
    hidden(state, 'approvals'),
    rows.length
      ? table('Waiting requests', ['Action', 'Where', 'Asked for by', 'Approved', 'Expires', ''], rows)
      : el('p', { class: 'flaas-ac-note' }, 'Nothing waits.'),
    el('p', { class: 'flaas-ac-note' }, 'Decide in JupyterLab (Access, Approvals) or with `flaas approvals`.')
  ];
}

const VIEWS = { members, matrix, mine, approvals };

function render({ model, el: root }) {
  const view = { tab: 'members', filter: '', why: '' };
  const id = `flaas-ac-${Math.random().toString(36).slice(2)}`;
  root.classList.add('flaas-ac');
  const panel = el('div', { role: 'tabpanel', id: `${id}-panel`, 'aria-labelledby': `${id}-members` });
  const fill = () => {
    panel.setAttribute('aria-labelledby', `${id}-${view.tab}`);
    panel.replaceChildren(...VIEWS[view.tab](model.get('state'), view).filter(Boolean));
  };
  const draw = () => {
    const state = model.get('state');
    const waiting = state.approvals.filter(entry => entry.for_me).length;
    root.removeAttribute('aria-busy');
    const list = el('div', { role: 'tablist', 'aria-label': 'Access' });
    const show = (name, focus) => {
      view.tab = name;
      draw();
      if (focus) {
        root.querySelector('[aria-selected=true]').focus();
      }
    };
    TABS.forEach(([name, title], at) =>
      list.append(
        el(
          'button',
          {
            type: 'button',
            role: 'tab',
            id: `${id}-${name}`,
            'aria-selected': String(name === view.tab),
            'aria-controls': `${id}-panel`,
            tabindex: name === view.tab ? 0 : -1,
            onclick: () => show(name, true),
            onkeydown: event => {
              const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
              if (step) {
                event.preventDefault();
                show(TABS[(at + step + TABS.length) % TABS.length][0], true);
              }
            }
          },
          name === 'approvals' && waiting ? `${title} (${waiting} for you)` : title
        )
      )
    );
    const filter =
      view.tab === 'matrix'
        ? el(
            'label',
            {},
            'Filter ',
            el('input', {
              type: 'text',
              value: view.filter,
              oninput: event => {
                view.filter = event.target.value;
                fill();
              }
            })
          )
        : null;
    root.replaceChildren(
      el(
        'div',
        { class: 'flaas-ac-head' },
        el('strong', {}, `Access to ${state.project ?? 'all projects'}`),
        el('span', {}, `${state.me.subject} of ${state.me.organisation ?? 'no organisation'}`),
        el(
          'button',
          {
            type: 'button',
            onclick: () => {
              root.setAttribute('aria-busy', 'true');
              model.send({ do: 'refresh' });
            }
          },
          'Refresh'
        )
      ),
      ...(state.error ? [el('p', { class: 'flaas-ac-error', role: 'alert' }, `${state.error.message} ${state.error.hint ?? ''}`)] : []),
      list,
      ...(filter ? [filter] : []),
      panel
    );
    fill();
  };
  model.on('change:state', draw);
  draw();
  return () => model.off('change:state', draw);
}

export default { render };
