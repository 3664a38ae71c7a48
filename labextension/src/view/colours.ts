/**
 * Colours of a heat map, made from the theme's own: from near the background to far from it, so that in a light and in
 * a dark theme alike a greater value has more ink. Mixed in OKLab (Björn Ottosson, 2020), where equal steps look equal.
 */

/** Red, green and blue, 0 to 255. */
export type Rgb = readonly [number, number, number];

/** What the theme gives. */
export interface IThemeColours {
  background: Rgb;
  ink: Rgb;
  /** Of values above 0. */
  above: Rgb;
  /** Of values below 0. */
  below: Rgb;
}

export interface IPalette {
  /** 256 colours from the least value to the greatest. */
  colours: readonly Rgb[];
  /** Values of the first and the last colour. */
  least: number;
  greatest: number;
}

function toLab([red, green, blue]: Rgb): [number, number, number] {
  const [r, g, b] = [red, green, blue].map(value => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  const l = Math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b);
  const m = Math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b);
  const s = Math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b);
  return [
    0.2104542553 * l + 0.793617785 * m - 0.0040720468 * s,
    1.9779984951 * l - 2.428592205 * m + 0.4505937099 * s,
    0.0259040371 * l + 0.7827717662 * m - 0.808675766 * s
  ];
}

function fromLab([lightness, a, b]: readonly number[]): Rgb {
  const l = (lightness + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const m = (lightness - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const s = (lightness - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
    -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
    -0.0041960863 * l - 0.7034186147 * m + 1.707614701 * s
  ];
  const [red, green, blue] = linear.map(value => {
    const share = value <= 0.0031308 ? 12.92 * value : 1.055 * value ** (1 / 2.4) - 0.055;
    return Math.round(255 * Math.min(1, Math.max(0, share)));
  });
  return [red, green, blue];
}

/** Between two colours: `share` 0 is the first, 1 the second. */
export function mixed(one: Rgb, other: Rgb, share: number): Rgb {
  const [start, end] = [toLab(one), toLab(other)];
  return fromLab(start.map((value, index) => value + share * (end[index] - value)));
}

/** From a tint of `colour` on the background, over `colour`, to its shade towards the ink. */
function ramp({ background, ink }: IThemeColours, colour: Rgb, share: number): Rgb {
  return share < 0.6
    ? mixed(background, colour, 0.25 + (0.75 * share) / 0.6)
    : mixed(colour, ink, (0.5 * (share - 0.6)) / 0.4);
}

/**
 * The palette for values from `least` to `greatest`. It starts at 0, unless there are values below 0, which have a
 * colour of their own then, or all are far from 0, as similarities may be, and would look the same.
 */
export function palette(theme: IThemeColours, least: number, greatest: number): IPalette {
  const reach = Math.max(Math.abs(least), Math.abs(greatest)) || 1;
  const far = least > reach / 2 && least < reach;
  const [from, to] = [least < 0 ? -reach : far ? least : 0, reach];
  const colours = Array.from({ length: 256 }, (_, step) => {
    const share = least < 0 ? (2 * step) / 255 - 1 : step / 255;
    return ramp(theme, share < 0 ? theme.below : theme.above, Math.abs(share));
  });
  return { colours, least: from, greatest: to };
}

/** The colour of a value. */
export function colourOf({ colours, least, greatest }: IPalette, value: number): Rgb {
  const step = Math.round((255 * (value - least)) / (greatest - least));
  return colours[Math.min(255, Math.max(0, step))];
}

export function css([red, green, blue]: Rgb): string {
  return `rgb(${red}, ${green}, ${blue})`;
}

/** A colour of the theme that `element` is shown in, whichever way the theme writes it. */
export function themeColour(element: Element, variable: string): Rgb {
  const canvas = document.createElement('canvas');
  canvas.width = canvas.height = 1;
  const context = canvas.getContext('2d', { willReadFrequently: true });
  if (!context) {
    return [128, 128, 128];
  }
  context.fillStyle = getComputedStyle(element).getPropertyValue(variable).trim();
  context.fillRect(0, 0, 1, 1);
  const [red, green, blue] = context.getImageData(0, 0, 1, 1).data;
  return [red, green, blue];
}
