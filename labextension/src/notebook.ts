/**
 * Putting a notebook where the user works.
 */

import { type INotebookTracker, NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { ServiceManager } from '@jupyterlab/services';

import { pythonOf } from './kernels';
import type { INotebook } from './model';

/** Names to try before the one that Jupyter Server gives stays. */
const NAMES = 50;

/**
 * Write a notebook under a name that no file has.
 *
 * @param services Where contents and kernels are.
 * @param folder Where to put it.
 * @param stem Its name, but for a number where that is taken.
 * @param write Makes it, for the kernel with a name.
 * @returns Its path.
 */
export async function createNotebook(
  { contents, kernelspecs }: Pick<ServiceManager.IManager, 'contents' | 'kernelspecs'>,
  folder: string,
  stem: string,
  write: (kernel: string) => INotebook
): Promise<string> {
  await kernelspecs.ready;
  const content = write(pythonOf(kernelspecs));
  // Jupyter Server makes a name that is free; renaming fails where a file has the name, saving would replace it.
  const { path } = await contents.newUntitled({ path: folder, type: 'notebook' });
  await contents.save(path, { type: 'notebook', format: 'json', content });
  for (let turn = 1; turn <= NAMES; turn++) {
    const name = `${folder ? `${folder}/` : ''}${stem}${turn === 1 ? '' : `-${turn}`}.ipynb`;
    try {
      return (await contents.rename(path, name)).path;
    } catch {
      // Taken.
    }
  }
  return path;
}

/**
 * Put code into a new cell below the active one of an open notebook.
 *
 * @param path The notebook's; '' for the one that was used last.
 * @returns The notebook, or null if there is none.
 */
export function insertCell(
  notebooks: INotebookTracker | null,
  path: string,
  code: string
): NotebookPanel | null {
  const panel =
    (path ? notebooks?.find(({ context }) => context.path === path) : null) ??
    notebooks?.currentWidget ??
    null;
  if (panel) {
    NotebookActions.insertBelow(panel.content);
    panel.content.activeCell?.model.sharedModel.setSource(code);
  }
  return panel;
}
