import { act, cleanup, fireEvent, render, screen, within } from '@testing-library/react';
import { nullTranslator } from '@jupyterlab/translation';
import * as React from 'react';

import type { IApproval } from '../governance';
import { AccessModel, type AccessTab, FederationModel, sha256, signCommands } from '../model';
import { Access } from '../view/access';
import { left } from '../view/accessinbox';
import { actionName } from '../view/accessparts';
import { approval, governed, user, waits } from './governed';
import { failure, list, MockApi, settle, VERSION } from './mock';

const trans = nullTranslator.load('');

let api: MockApi;
let federation: FederationModel;
let model: AccessModel;

async function show(tab: AccessTab = 'members'): Promise<void> {
  federation = new FederationModel({ api, version: VERSION });
  model = new AccessModel(api);
  model.show(tab);
  render(<Access federation={federation} model={model} showPanel={() => undefined} save={() => undefined} />);
  await act(async () => {
    await federation.session.refresh();
    await settle();
  });
}

beforeEach(() => {
  api = new MockApi(governed(['member:manage', 'role:manage', 'approval:decide']));
});

afterEach(() => {
  cleanup();
  model.dispose();
  federation.dispose();
  document.body.innerHTML = '';
});

describe('Access', () => {
  it('offers only what the links offer', async () => {
    await show();
    const rows = within(screen.getByRole('table', { name: 'Members' })).getAllByRole('row');
    expect(within(rows[1]).queryAllByRole('button')).toHaveLength(0); // oneself
    const names = within(rows[2])
      .getAllByRole('button')
      .map(each => each.getAttribute('aria-label'));
    expect(names).toEqual([
      'Take viewer (project demo) from ben',
      'Give ben a role',
      'Invite ben again',
      'Remove ben'
    ]);
  });

  it('shows an invitation until it is put away', async () => {
    await show();
    api.table['POST /v1/users/ben/invitation'] = { ...user('ben'), invitation: 'the-secret' };
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Invite ben again' }));
      await settle();
    });
    expect(screen.getByRole('region', { name: 'Shown once' }).textContent).toContain('the-secret');
    expect(screen.getByRole('button', { name: 'Copy the invitation of ben' })).toBeTruthy();
    fireEvent.click(screen.getByRole('button', { name: 'I have handed it over' }));
    expect(document.body.textContent).not.toContain('the-secret');
  });

  it('says what is hidden, and why', async () => {
    api.table['GET /v1/users'] = failure(403, 'not-allowed', 'member:read is missing.');
    await show();
    expect(screen.getByRole('status').textContent).toContain('member:read is missing.');
    expect(screen.queryByRole('table')).toBeNull();
  });

  it('goes from tab to tab with the arrow keys', async () => {
    await show();
    const tab = screen.getByRole('tab', { name: 'Members' });
    fireEvent.keyDown(tab, { key: 'ArrowLeft' });
    expect(screen.getByRole('tab', { name: 'Audit' }).getAttribute('aria-selected')).toBe('true');
    expect(screen.getAllByRole('tab').filter(each => each.tabIndex === 0)).toHaveLength(1);
    await act(settle);
  });

  it('shows the path through the hierarchy', async () => {
    await show('matrix');
    const cell = screen.getByRole('gridcell', { name: 'org-admin, run:read: through operator, viewer' });
    fireEvent.click(cell);
    const why = screen.getByRole('complementary', { name: 'Why' });
    expect(why.textContent).toContain('includes operator, which includes viewer, which was granted it.');
    fireEvent.keyDown(cell, { key: 'ArrowDown' });
    expect(document.activeElement?.getAttribute('aria-label')).toBe('org-admin, run:pause: through operator');
    const stops = screen.getAllByRole('gridcell').filter(each => each.tabIndex === 0);
    expect(stops).toHaveLength(1);
  });

  it('counts down', () => {
    const now = new Date('2026-01-01T00:00:00Z');
    expect(left(trans, '2026-01-01T00:09:05Z', now)).toBe('expires in 9:05');
    expect(left(trans, '2026-01-01T05:30:00Z', now)).toBe('expires in 5 h 30 min');
    expect(left(trans, '2026-01-04T02:00:00Z', now)).toBe('expires in 3 d 2 h');
    expect(left(trans, '2025-12-31T00:00:00Z', now)).toBe('expired');
  });

  it('asks before it approves, and approves only what is whole', async () => {
    const request = approval('a1', ['approve', 'deny']);
    api.table['GET /v1/approvals?state=pending'] = list('approvals', [request]);
    api.table['POST approvals/a1/decision'] = { ...request, state: 'executed' };
    await show('approvals');
    fireEvent.click(screen.getByRole('button', { name: 'Approve …' }));
    await act(settle);
    expect(api.requests).not.toContain('POST approvals/a1/decision');
    await act(async () => {
      fireEvent.click(document.querySelector('.jp-Dialog .jp-mod-warn')!);
      await new Promise(resolve => setTimeout(resolve));
    });
    expect(api.requests).toContain('POST approvals/a1/decision');
  });

  it('says what is to be signed for a node that was added', async () => {
    const text = (organisation: string, what: object): string =>
      JSON.stringify({
        action: 'node.add',
        body: { organisation, ...what },
        requester: 'oscar',
        scope: 'platform'
      });
    const added = (body: string, changes: Partial<IApproval> = {}): IApproval =>
      approval('a1', [], { action: 'node.add', state: 'executed', body, sha256: sha256(body), ...changes });
    const body = text('north', { node: { id: 'ab'.repeat(32), projects: ['credit', 'audit'] } });
    const waiting = added(body, {
      ...approval('a1', ['approve', 'deny']),
      body,
      sha256: sha256(body),
      action: 'node.add'
    });
    api.table['GET /v1/approvals?state=pending'] = list('approvals', [waiting]);
    await show('approvals');
    expect(screen.queryByRole('region', { name: 'To be signed' })).toBeNull();
    api.table['POST approvals/a1/decision'] = added(body);
    api.table['GET /v1/approvals?state=pending'] = list('approvals', []);
    api.table['GET /v1/approvals'] = list('approvals', [added(body)]);
    fireEvent.click(screen.getByRole('button', { name: 'Approve …' }));
    await act(settle);
    await act(async () => {
      fireEvent.click(document.querySelector('.jp-Dialog .jp-mod-warn')!);
      await new Promise(resolve => setTimeout(resolve));
    });
    await act(settle);
    const section = screen.getByRole('region', { name: 'To be signed' });
    expect([...section.querySelectorAll('code')].map(each => each.textContent)).toEqual(
      ['credit', 'audit'].map(
        project => `flaas domain sign ${project} ${'ab'.repeat(32)} --organisation north`
      )
    );
    expect(signCommands(added(text('north', { invite: { name: 'fresh' } })))).toEqual([]);
    expect(signCommands(added(body, { state: 'pending' }))).toEqual([]);
    expect(signCommands(added(body, { sha256: '0'.repeat(64) }))).toEqual([]);
    const odd = text('north; rm -rf /', { node: { id: 'ab'.repeat(32), projects: ['credit'] } });
    expect(signCommands(added(odd))).toEqual([]);
  });

  it('does not let a text be approved that its digest is not of', async () => {
    const request = approval('a1', ['approve'], { body: '{"changed":true}' });
    api.table['GET /v1/approvals?state=pending'] = list('approvals', [request]);
    await show('approvals');
    expect(screen.getByRole('alert').textContent).toContain('do not belong together');
    expect(screen.getByRole<HTMLButtonElement>('button', { name: 'Approve …' }).disabled).toBe(true);
  });

  it('offers a key to whoever can decide and has none', async () => {
    api.table['GET approvals/key'] = { key: null };
    await show('approvals');
    expect(screen.getByRole('button', { name: 'Make my key' })).toBeTruthy();
  });

  it('shows what waits for holders of the domain key, with the command that signs it', async () => {
    api.table['GET /v1/projects'] = list('projects', [{ id: 'demo' }, { id: 'other' }]);
    api.table['GET /v1/projects/demo/pending'] = { _embedded: { pending: [waits()] } };
    api.table['GET /v1/projects/other/pending'] = failure(403, 'not-allowed', 'membership:write is missing.');
    await show('approvals');
    await act(settle);
    const section = screen.getByRole('region', { name: 'Waits for holders of the domain key' });
    expect(section.textContent).toContain('Membership of abababababab… (clinic)');
    expect(section.textContent).toContain('1 signature is missing');
    expect(section.textContent).toContain('flaas domain cosign demo 4f1c0a77e2b1');
    const copy = 'Copy the command for Membership of abababababab… (clinic)';
    expect(within(section).getByRole('button', { name: copy })).toBeTruthy();
    api.table['GET /v1/projects/demo/pending'] = failure(503, 'api-unreachable', 'The API is away.');
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Look again' }));
      await settle();
    });
    const { textContent } = screen.getByRole('alert');
    expect(textContent).toContain('Not up to date: Title of api-unreachable');
    expect(textContent).toContain('The API is away.');
    expect(section.isConnected).toBe(true);
    api.table['GET /v1/projects/demo/pending'] = { _embedded: { pending: [] } };
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
      await settle();
    });
    expect(screen.queryByRole('alert')).toBeNull();
    expect(section.isConnected).toBe(false);
  });

  it('looks again at what waits for holders of the domain key, by itself and by the button', async () => {
    jest.useFakeTimers();
    try {
      await show('approvals');
      const region = (): HTMLElement | null =>
        screen.queryByRole('region', { name: 'Waits for holders of the domain key' });
      expect(region()).toBeNull();
      const path = 'GET /v1/projects/demo/pending';
      api.table[path] = { _embedded: { pending: [waits()] } };
      const hidden = jest.spyOn(document, 'hidden', 'get').mockReturnValue(true);
      const passed = async (): Promise<void> => {
        await act(async () => {
          jest.advanceTimersByTime(15_000);
          await settle();
        });
      };
      await passed();
      expect(region()).toBeNull();
      hidden.mockRestore();
      await passed();
      expect(region()).not.toBeNull();
      api.table[path] = { _embedded: { pending: [] } };
      await act(async () => {
        fireEvent.click(screen.getByRole('button', { name: 'Refresh' }));
        await settle();
      });
      expect(region()).toBeNull();
      cleanup();
      const { length } = api.requests;
      jest.advanceTimersByTime(60_000);
      expect(api.requests.slice(length)).not.toContain(path);
    } finally {
      jest.useRealTimers();
    }
  });

  it('says that requests are not up to date, and is there again after another look', async () => {
    api.table['GET /v1/approvals?state=pending'] = list('approvals', [approval('a1')]);
    await show('approvals');
    expect(screen.queryByRole('alert')).toBeNull();
    api.table['GET /v1/approvals?state=pending'] = failure(503, 'database-unavailable');
    await act(() => federation.approvals.refresh());
    expect(screen.getByRole('alert').textContent).toContain('Not up to date: Title of database-unavailable');
    expect(screen.getByRole('article', { name: 'Request' })).toBeTruthy();
    api.table['GET /v1/approvals?state=pending'] = list('approvals', []);
    await act(async () => {
      fireEvent.click(screen.getByRole('button', { name: 'Retry' }));
      await settle();
    });
    expect(screen.queryByRole('alert')).toBeNull();
    expect(screen.getByText('Nothing waits.')).toBeTruthy();
  });

  it('has a name for breaking the glass', () => {
    expect(actionName(trans, 'break-glass')).toBe('Open one action to one person for an hour');
  });

  it('says that the installation is being founded', async () => {
    api.table['GET /v1/policy'] = {
      founding: true,
      shortfalls: [{ action: 'node.add', role: 'operator', scope: 'platform', needed: 2, there_are: 1 }]
    };
    await show();
    expect(screen.getByText('This installation is being founded')).toBeTruthy();
    expect(screen.getByText(/Add a node: 1 of 2 with the role operator/)).toBeTruthy();
    expect(screen.queryByRole('button', { name: /Close the founding/ })).toBeNull();
  });
});
