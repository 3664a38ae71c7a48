/**
 * A chart as a file of its own: what the page's style sheets and the theme's variables say is written into it, with
 * title, legend and notes, so that it looks the same elsewhere and still says what was withheld.
 */

/** What the picture says beside the chart. */
export interface ICaption {
  title: string;
  /** Below the chart: who answered, what was withheld, what it has cost. */
  notes: readonly string[];
}

/** What of an element's computed style shows. */
const SHOWN = [
  'fill',
  'fill-opacity',
  'stroke',
  'stroke-opacity',
  'stroke-width',
  'stroke-dasharray',
  'opacity',
  'font-family',
  'font-size',
  'font-weight',
  'font-variant-numeric',
  'text-anchor'
];

const SVG = 'http://www.w3.org/2000/svg';

/** Pixels. */
const MARGIN = 16;
const LINE = 18;
const TITLE = 15;
/** Width of a character of notes and legend, more or less. */
const CHARACTER = 6.8;
const SWATCH = 22;

/** How much finer a picture of pixels is than the page. */
const FINENESS = 2;

/**
 * The chart in `figure` as SVG.
 *
 * @param figure A chart as the page shows it, with its legend.
 * @throws Error There is no chart in it.
 */
export function svgOf(figure: Element, { title, notes }: ICaption): string {
  const source = figure.querySelector<SVGSVGElement>('.flaas-Figure-plot svg');
  if (!source) {
    throw new Error('There is no chart here.');
  }
  const theme = getComputedStyle(figure);
  const colour = (variable: string, usual: string): string =>
    theme.getPropertyValue(variable).trim() || usual;
  const ink = colour('--jp-ui-font-color0', 'black');
  const chart = standing(source);
  const [chartWidth, chartHeight] = ['width', 'height'].map(side => Number(source.getAttribute(side)) || 0);
  const width = Math.max(320, chartWidth) + 2 * MARGIN;
  const most = Math.floor((width - 2 * MARGIN) / CHARACTER);

  const root = document.createElementNS(SVG, 'svg');
  root.setAttribute('role', 'img');
  root.setAttribute('font-family', theme.fontFamily || 'sans-serif');
  const named = document.createElementNS(SVG, 'title');
  named.textContent = clean(title);
  const description = document.createElementNS(SVG, 'desc');
  description.textContent = clean(notes.join(' '));
  const ground = document.createElementNS(SVG, 'rect');
  root.append(named, description, ground);
  let top = MARGIN;
  const write = (line: string, size: number, weight: string): void => {
    root.append(textAt(MARGIN, top + size, line, size, ink, weight));
    top += LINE * (size / 12);
  };
  wrapped(title, Math.floor(most * (12 / TITLE))).forEach(line => write(line, TITLE, '600'));
  top += 6;
  place(chart, MARGIN, top, chartWidth, chartHeight);
  root.append(chart);
  top += chartHeight + 10;

  let left = MARGIN;
  for (const item of figure.querySelectorAll('.flaas-Legend > li')) {
    const words = clean(item.textContent?.trim() ?? '');
    const swatch = item.querySelector('svg');
    const room = words.length * CHARACTER + (swatch ? SWATCH : 0) + 16;
    if (left > MARGIN && left + room > width - MARGIN) {
      left = MARGIN;
      top += LINE;
    }
    if (swatch) {
      const key = standing(swatch);
      place(key, left, top, Number(swatch.getAttribute('width')), Number(swatch.getAttribute('height')));
      root.append(key);
    }
    root.append(textAt(left + (swatch ? SWATCH : 0), top + 10, words, 12, ink, 'normal'));
    left += room;
  }
  top += left > MARGIN ? LINE + 6 : 0;
  notes.flatMap(note => wrapped(note, most)).forEach(line => write(line, 12, 'normal'));

  const height = Math.ceil(top + MARGIN / 2);
  for (const [name, value] of Object.entries({ width, height, viewBox: `0 0 ${width} ${height}` })) {
    root.setAttribute(name, String(value));
  }
  ground.setAttribute('width', '100%');
  ground.setAttribute('height', '100%');
  ground.setAttribute('fill', colour('--jp-layout-color1', 'white'));
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(root)}`;
}

/** An SVG as a picture of pixels. */
export async function pngOf(svg: string): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement('canvas');
  canvas.width = image.naturalWidth * FINENESS;
  canvas.height = image.naturalHeight * FINENESS;
  const context = canvas.getContext('2d');
  context?.scale(FINENESS, FINENESS);
  context?.drawImage(image, 0, 0);
  return new Promise((resolve, reject) =>
    canvas.toBlob(
      blob => (blob ? resolve(blob) : reject(new Error('The browser cannot paint the chart.'))),
      'image/png'
    )
  );
}

/** A copy that needs no style sheet, without the mark of where the keyboard is. */
function standing(source: Element): SVGElement {
  const marked = [...source.querySelectorAll('.flaas-mod-marked')];
  marked.forEach(element => element.classList.remove('flaas-mod-marked'));
  const copy = source.cloneNode(true) as SVGElement;
  const [originals, copies] = [source, copy].map(each => [each, ...each.querySelectorAll('*')]);
  originals.forEach((original, index) => {
    const twin = copies[index];
    const style = getComputedStyle(original);
    for (const property of SHOWN) {
      const value = style.getPropertyValue(property);
      // A reference to a pattern stays as it is: the page's address would come into it.
      if (value && !value.includes('url(')) {
        twin.setAttribute(property, value);
      }
    }
    for (const name of ['class', 'style', 'aria-hidden']) {
      twin.removeAttribute(name);
    }
    for (const node of twin.childNodes) {
      if (node.nodeType === Node.TEXT_NODE) {
        node.nodeValue = clean(node.nodeValue ?? '');
      }
    }
  });
  marked.forEach(element => element.classList.add('flaas-mod-marked'));
  return copy;
}

function place(element: SVGElement, x: number, y: number, width: number, height: number): void {
  for (const [name, value] of Object.entries({ x, y, width, height })) {
    element.setAttribute(name, String(value));
  }
}

function textAt(x: number, y: number, words: string, size: number, ink: string, weight: string): SVGElement {
  const text = document.createElementNS(SVG, 'text');
  const attributes = { x, y, 'font-size': `${size}px`, 'font-weight': weight, fill: ink };
  Object.entries(attributes).forEach(([name, value]) => text.setAttribute(name, String(value)));
  text.textContent = clean(words);
  return text;
}

/** Lines of at most so many characters, broken between words where there are any. */
function wrapped(words: string, most: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of words
    .split(/\s+/)
    .flatMap(each => each.match(new RegExp(`.{1,${most}}`, 'gsu')) ?? [])) {
    if (line && line.length + 1 + word.length > most) {
      lines.push(line);
      line = word;
    } else {
      line = line ? `${line} ${word}` : word;
    }
  }
  return line ? [...lines, line] : lines;
}

/** Without characters that XML cannot hold: a label may have any. */
function clean(words: string): string {
  return words.replace(/[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/gu, '');
}
