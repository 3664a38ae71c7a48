/** Tabs as the ARIA Authoring Practices have them: one stop for Tab, arrow keys between them. */

import * as React from 'react';

export interface ITab<T extends string> {
  name: T;
  label: string;
  /** A number beside the label; 0 shows none. */
  count?: number;
  /** What the number is, for who cannot see where it stands. */
  countLabel?: string;
}

export interface ITabsProps<T extends string> {
  label: string;
  tabs: readonly ITab<T>[];
  shown: T;
  show: (name: T) => void;
  children: React.ReactNode;
}

export function Tabs<T extends string>({ label, tabs, shown, show, children }: ITabsProps<T>): JSX.Element {
  const id = React.useId();
  const list = React.useRef<HTMLDivElement>(null);
  const onKeyDown = (event: React.KeyboardEvent): void => {
    const at = tabs.findIndex(({ name }) => name === shown);
    const last = tabs.length - 1;
    const moves: { [key: string]: number } = {
      ArrowRight: at === last ? 0 : at + 1,
      ArrowLeft: at === 0 ? last : at - 1,
      Home: 0,
      End: last
    };
    const next = moves[event.key];
    if (next !== undefined) {
      event.preventDefault();
      show(tabs[next].name);
      list.current?.querySelectorAll<HTMLElement>('[role=tab]')[next].focus();
    }
  };
  return (
    <>
      {/* eslint-disable-next-line jsx-a11y/interactive-supports-focus -- its tabs take the focus */}
      <div role="tablist" aria-label={label} className="flaas-Tabs" ref={list} onKeyDown={onKeyDown}>
        {tabs.map(tab => (
          <button
            key={tab.name}
            type="button"
            role="tab"
            id={`${id}-${tab.name}`}
            aria-selected={tab.name === shown}
            aria-controls={`${id}-panel`}
            tabIndex={tab.name === shown ? 0 : -1}
            onClick={() => show(tab.name)}
          >
            {tab.label}
            {Boolean(tab.count) && (
              <span className="flaas-Badge" aria-label={tab.countLabel}>
                {tab.count}
              </span>
            )}
          </button>
        ))}
      </div>
      <div role="tabpanel" id={`${id}-panel`} aria-labelledby={`${id}-${shown}`} className="flaas-TabPanel">
        {children}
      </div>
    </>
  );
}
