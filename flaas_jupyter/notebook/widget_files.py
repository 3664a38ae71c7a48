"""The page's halves of the widgets. anywidget takes one module each, so what they share is put before it."""

from __future__ import annotations

from pathlib import Path

_STATIC = Path(__file__).parent / "static"


def module(name: str) -> str:
    """Return the JavaScript module of a widget."""
    return "\n".join((_STATIC / file).read_text(encoding="utf-8") for file in ("dom.js", f"{name}.js"))


def style(name: str) -> Path:
    """Return the file of a widget's style sheet."""
    return _STATIC / f"{name}.css"
