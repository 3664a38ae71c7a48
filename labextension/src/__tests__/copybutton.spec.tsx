import { Clipboard } from '@jupyterlab/apputils';
import { act, cleanup, fireEvent, render, screen } from '@testing-library/react';
import * as React from 'react';

import { CopyButton } from '../view/copybutton';
import { settle } from './mock';

/** What the browser has, as far as it has something. */
function provide(writeText?: (text: string) => Promise<void>): void {
  const value = writeText && { writeText };
  Object.defineProperty(navigator, 'clipboard', { value, configurable: true });
}

async function press(): Promise<string | null> {
  render(<CopyButton text="the text" label="Copy what is there" />);
  await act(async () => {
    fireEvent.click(screen.getByRole('button', { name: 'Copy what is there' }));
    await settle();
  });
  return screen.getByRole('status').textContent;
}

beforeEach(() => {
  jest.useFakeTimers();
});

afterEach(() => {
  cleanup();
  jest.restoreAllMocks();
  jest.useRealTimers();
  delete (navigator as { clipboard?: unknown }).clipboard;
});

const FAILED = 'Could not be copied: select the text and copy it.';

describe('CopyButton', () => {
  it('copies, and says so for a while', async () => {
    const write = jest.fn(() => Promise.resolve());
    provide(write);
    expect(await press()).toBe('Copied');
    expect(write).toHaveBeenCalledWith('the text');
    act(() => {
      jest.advanceTimersByTime(5_000);
    });
    expect(screen.getByRole('status').textContent).toBe('');
  });

  it('says that it may not', async () => {
    provide(() => Promise.reject(new DOMException('Not now.', 'NotAllowedError')));
    expect(await press()).toBe(FAILED);
  });

  it('has another way where the page came by plain HTTP', async () => {
    provide();
    const copy = jest.spyOn(Clipboard, 'copyToSystem').mockImplementation(() => {
      document.body.dispatchEvent(new Event('copy', { bubbles: true }));
    });
    expect(await press()).toBe('Copied');
    expect(copy).toHaveBeenCalledWith('the text');
  });

  it('says so where that does nothing', async () => {
    provide();
    jest.spyOn(Clipboard, 'copyToSystem').mockImplementation(() => undefined);
    expect(await press()).toBe(FAILED);
  });
});
