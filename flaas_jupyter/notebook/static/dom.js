/** Make an element; children are elements or texts. Stands before each widget's own module (`widget_files.module`). */
function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith('on')) {
      element.addEventListener(key.slice(2), value);
    } else if (value === true) {
      element.setAttribute(key, '');
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(key, value);
    }
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

/** Put other children into an element, and the keyboard back on the control where it was. */
function refill(host, ...children) {
  const controls = () => [...host.querySelectorAll('input, select, button')];
  const at = controls().indexOf(document.activeElement);
  host.replaceChildren(...children);
  if (at >= 0) {
    const now = controls();
    now[Math.min(at, now.length - 1)].focus();
  }
}

/** How much of a node's privacy budget is spent, drawn and in words. */
function budgetMeter({ node, spent, budget }, words) {
  return el('meter', {
    min: 0,
    max: budget,
    value: Math.min(spent, budget),
    'aria-label': `Privacy budget at ${node}`,
    'aria-valuetext': words
  });
}
