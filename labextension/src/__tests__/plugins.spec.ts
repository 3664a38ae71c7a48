import plugins from '../index';
import { version } from '../version';
import { IFederation } from '../tokens';

describe('plugins', () => {
  it('say what they are for, and need nothing but the federation', () => {
    for (const plugin of plugins) {
      expect(plugin.description).toBeTruthy();
      expect((plugin.requires ?? []).filter(token => token !== IFederation)).toEqual([]);
    }
    expect(plugins[0].id).toBe('@flaas/labextension:plugin'); // the settings' schema has this name
  });

  it('know their version', () => {
    expect(version).toMatch(/^\d+\.\d+\.\d+/);
  });
});
