/**
 * Reading lists of the API, and not reading them more often than needed.
 */

import type { IApi, IPage } from '../tokens';

/** Items a page; the API's most. */
const LIMIT = 200;

/**
 * Read a list, page after page.
 *
 * @param api How to ask.
 * @param path Path of the list, perhaps with a query.
 * @param plural Name of the list in `_embedded`.
 * @param pages Most pages to read.
 */
export async function readAll<T>(api: IApi, path: string, plural: string, pages = 10): Promise<T[]> {
  const items: T[] = [];
  let next: string | undefined = `${path}${path.includes('?') ? '&' : '?'}limit=${LIMIT}`;
  for (let page = 0; next && page < pages; page++) {
    const body: IPage<T> = await api.api<IPage<T>>(next);
    items.push(...(body._embedded[plural] ?? []));
    next = body._links?.next?.href;
  }
  return items;
}

/**
 * Let calls during a call of `work` lead to one more call after it, however many they were.
 *
 * A burst of events asks for the same list many times; the last answer is the one that counts.
 */
export function coalesced(work: () => Promise<void>): () => Promise<void> {
  let running: Promise<void> | null = null;
  let again = false;
  const loop = async (): Promise<void> => {
    do {
      again = false;
      await work();
    } while (again);
  };
  return () => {
    if (running) {
      again = true;
    } else {
      running = loop().finally(() => {
        running = null;
      });
    }
    return running;
  };
}
