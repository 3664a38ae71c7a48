/** What parts, levels and figures of the explorer are called. */

import type { TranslationBundle } from '@jupyterlab/translation';

import { exact } from '../format';
import type { ExplorerTab, ITableWords, Wanted } from '../model';
import type { ExplorationLevel, IExploredColumn } from '../tokens';

export function tabName(trans: TranslationBundle, tab: ExplorerTab): string {
  const names: { [tab in ExplorerTab]: string } = {
    overview: trans.__('Overview'),
    column: trans.__('Distribution'),
    missing: trans.__('Missing values'),
    correlations: trans.__('Correlations'),
    labels: trans.__('Labels'),
    drift: trans.__('Drift')
  };
  return names[tab];
}

/** What an owner shows, in a few words. */
export function levelName(trans: TranslationBundle, level: ExplorationLevel): string {
  const names: { [level in ExplorationLevel]: string } = {
    nothing: trans.__('nothing'),
    schema: trans.__('names and types'),
    aggregates: trans.__('figures about many rows'),
    private: trans.__('figures with noise'),
    owner: trans.__('everything: it is yours')
  };
  return names[level];
}

/** What that means for who looks. */
export function levelText(trans: TranslationBundle, level: ExplorationLevel): string {
  const texts: { [level in ExplorationLevel]: string } = {
    nothing: trans.__('You see nothing of this data set: its owners, or your role, do not let you.'),
    schema: trans.__('You see names and types of columns, and no figures.'),
    aggregates: trans.__('You see figures about many rows together; what is about too few is withheld.'),
    private: trans.__('You see figures with noise; each look spends of your privacy budget.'),
    owner: trans.__('You see your own rows, exactly. Nobody else sees this.')
  };
  return texts[level];
}

export function roleName(trans: TranslationBundle, role: string): string {
  const names: { [role: string]: string } = {
    feature: trans.__('feature'),
    label: trans.__('label'),
    id: trans.__('id'),
    sensitive: trans.__('sensitive')
  };
  return names[role] ?? role;
}

/** What of a column's description nodes differ in. */
export function fieldName(trans: TranslationBundle, field: string): string {
  const names: { [field: string]: string } = {
    dtype: trans.__('type'),
    type: trans.__('type'),
    role: trans.__('role'),
    unit: trans.__('unit'),
    range: trans.__('range'),
    categories: trans.__('categories'),
    description: trans.__('description'),
    absent: trans.__('absent')
  };
  return names[field] ?? field;
}

/** What is declared of a column's values. */
export function declaredText(
  trans: TranslationBundle,
  { unit, range, categories }: IExploredColumn
): string[] {
  const texts: string[] = [];
  if (unit) {
    texts.push(unit);
  }
  const limits = rangeText(trans, range);
  if (limits !== null) {
    texts.push(limits);
  }
  if (categories) {
    texts.push(listed(trans, categories.map(String)));
  }
  return texts;
}

/** The limits of a column's values in words; null if these are none. */
export function rangeText(trans: TranslationBundle, range: unknown): string | null {
  const [low, high] = (Array.isArray(range) ? range : []).map(each =>
    typeof each === 'number' ? exact(each) : null
  );
  return low && high
    ? trans.__('%1 to %2', low, high)
    : low
      ? trans.__('from %1', low)
      : high
        ? trans.__('up to %1', high)
        : null;
}

/** Names that are listed before it is said how many more there are. */
const MOST_LISTED = 8;

export function listed(trans: TranslationBundle, names: readonly string[]): string {
  const first = names.slice(0, MOST_LISTED).join(', ');
  return names.length > MOST_LISTED ? trans.__('%1 and %2 more', first, names.length - MOST_LISTED) : first;
}

export function summaryName(trans: TranslationBundle, figure: string): string {
  const names: { [figure: string]: string } = {
    count: trans.__('Values'),
    missing: trans.__('Missing'),
    mean: trans.__('Mean'),
    std: trans.__('Standard deviation'),
    min: trans.__('Least value'),
    median: trans.__('Median'),
    max: trans.__('Greatest value')
  };
  return names[figure] ?? figure;
}

/** The order in which figures are told. */
export const SUMMARY: readonly string[] = ['count', 'missing', 'mean', 'std', 'min', 'median', 'max'];

export function tableWords(trans: TranslationBundle): ITableWords {
  return {
    from: trans.__('from'),
    to: trans.__('to'),
    rows: trans.__('rows'),
    share: trans.__('share'),
    column: trans.__('column'),
    count: trans.__('missing')
  };
}

/** What is missing of a choice. */
export function faultText(trans: TranslationBundle, fault: NonNullable<Wanted['fault']>): string {
  const texts: { [fault in NonNullable<Wanted['fault']>]: string } = {
    'no-dataset': trans.__('Choose a data set.'),
    'not-shown': trans.__('There are no figures to look at here.'),
    'no-column': trans.__('Choose a column.'),
    'epsilon-needed': trans.__(
      'The owners give figures with noise only: say with ε how much of your privacy budget a look may spend.'
    ),
    'bad-epsilon': trans.__('ε is a number above 0, or left out.'),
    'bad-bounds': trans.__('Limits are two numbers, the lower one first.')
  };
  return texts[fault];
}
