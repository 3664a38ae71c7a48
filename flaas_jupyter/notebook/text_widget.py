"""What our widgets share: they are text where a page has no widgets."""

from __future__ import annotations

import html
from typing import Any

import anywidget

Json = dict[str, Any]


class TextWidget(anywidget.AnyWidget):  # type: ignore[misc]
    """A widget that says in text and plain HTML what it shows; `repr` is the text."""

    def _repr_html_(self) -> str:
        """Return it as text, for pages without widgets; everything in it is escaped."""
        return f"<pre>{html.escape(repr(self))}</pre>"

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[Json, Json] | None:
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None:
            return None
        data, metadata = bundle
        return {**data, "text/plain": repr(self), "text/html": self._repr_html_()}, metadata
