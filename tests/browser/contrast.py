"""Contrast of text as WCAG 2.2 (1.4.3) computes it, from the colours that the browser paints with.

axe-core does not see into JupyterLab's shell, hence the computation.
"""

from __future__ import annotations

from dataclasses import dataclass

from playwright.sync_api import Locator

_COLOURS = """
root => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = colour => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const shown = [];
  for (const element of root.querySelectorAll('*')) {
    const text = [...element.childNodes]
      .filter(node => node.nodeType === Node.TEXT_NODE)
      .map(node => node.textContent.trim()).join(' ').trim();
    if (!text || !element.checkVisibility() || element.closest('.flaas-Hidden, svg, option')) continue;
    const backgrounds = [];
    for (let ancestor = element; ancestor; ancestor = ancestor.parentElement) {
      backgrounds.push(rgba(getComputedStyle(ancestor).backgroundColor));
    }
    shown.push({ text, where: element.className, colour: rgba(getComputedStyle(element).color), backgrounds });
  }
  return shown;
}
"""

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Text:
    """A text on the page and its contrast, 1 to 21."""

    text: str
    where: str
    contrast: float


def texts(root: Locator) -> list[Text]:
    """The visible texts under `root`, with their contrast."""
    found = []
    for item in root.evaluate(_COLOURS):
        background: Colour = (255, 255, 255)
        for layer in reversed(item["backgrounds"]):
            background = _over(layer, background)
        found.append(Text(item["text"], item["where"], ratio(_over(item["colour"], background), background)))
    return found


def ratio(one: Colour, other: Colour) -> float:
    """Contrast of two opaque colours, components 0 to 255."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _over(layer: list[float], below: Colour) -> Colour:
    alpha = layer[3]
    red, green, blue = (alpha * top + (1 - alpha) * under for top, under in zip(layer[:3], below, strict=True))
    return red, green, blue


def _luminance(colour: Colour) -> float:
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in (c / 255 for c in colour)
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
