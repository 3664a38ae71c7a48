"""Questions over the rows of a federation, as a widget: a form, and what the nodes have released.

The kernel asks and holds the answer; the page shows `Analytics.state` and says what is asked. So it can be driven from
code as well as by hand, also outside JupyterLab, and for a simulated federation as for real nodes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import traitlets

from ..errors import FlaasError, InvalidInput
from . import analytics_request, widget_files
from .analytics_request import OPERATIONS, AnalyticsRequest
from .text_widget import TextWidget

Json = dict[str, Any]


class Analytics(TextWidget):
    """Ask questions over the rows of a federation's nodes together.

    Parameters
    ----------
    federation : ConnectedFederation or SimulatedFederation
        Whose rows are asked about.

    Raises
    ------
    InvalidInput
        Code ``no-analytics``: `federation` answers no questions.

    Examples
    --------
    >>> federation = flaas.connect().project("credit").federation(dataset="loans")  # doctest: +SKIP
    >>> widget = flaas.widgets.Analytics(federation)  # doctest: +SKIP
    >>> widget.ask(operation="mean", columns=["age"])["rows"]  # doctest: +SKIP
    """

    _esm = widget_files.module("analytics")
    _css = widget_files.style("analytics")
    state = traitlets.Dict().tag(sync=True)

    def __init__(self, federation: Any) -> None:
        super().__init__()
        if not hasattr(federation, "analytics") or not hasattr(federation, "frame"):
            raise InvalidInput(
                f"{federation!r} answers no questions over rows.",
                code="no-analytics",
                hint="Give a federation, as flaas.connect().project(…).federation(…) or flaas.simulate(…) make it.",
            )
        self._federation = federation
        self.state = {
            "dataset": str(getattr(federation, "dataset", "simulated clients")),
            "columns": [
                {"name": str(column["name"]), "numeric": _is_numeric(str(column["dtype"]))}
                for column in federation.analytics.source.schema
            ],
            "operations": [
                {
                    "name": name,
                    "title": operation.title,
                    "most": operation.most,
                    "grouped": operation.grouped,
                    "bounded": operation.bounded,
                }
                for name, operation in OPERATIONS.items()
            ],
            "answer": None,
            "budget": None,
            "error": None,
        }
        self.on_msg(self._clicked)

    def ask(self, **question: Any) -> Json:
        """Ask, and show the answer; see `AnalyticsRequest.from_dict` for what a question has.

        Returns
        -------
        dict
            See `analytics_request.answered`.
        """
        request = AnalyticsRequest.from_dict(question)
        began = time.perf_counter()
        result = request.ask(self._federation)
        answer = analytics_request.answered(result, request, time.perf_counter() - began)
        self._set(answer=answer)
        return answer

    def look_at_budget(self) -> list[Json]:
        """Ask the nodes what private answers have cost, and show it."""
        budget = analytics_request.budgeted(self._federation)
        self._set(budget=budget)
        return budget

    def __repr__(self) -> str:
        answer = self.state["answer"]
        head = f"Analytics over {self.state['dataset']}, {len(self.state['columns'])} columns"
        if answer is None:
            return head
        rows = [
            " ".join(str(part) for part in row["key"])
            + ": "
            + ", ".join(
                f"{name} {_shown(value, hidden)}"
                for name, value, hidden in zip(answer["columns"], row["values"], row["hidden"], strict=True)
            )
            for row in answer["rows"][:20]
        ]
        return "\n".join([head, f"  {answer['title']}", *(f"    {row.removeprefix(': ')}" for row in rows)])

    # ---- inside -------------------------------------------------------------------------------------------------

    def _set(self, **changes: Any) -> None:
        self.state = {**self.state, "error": None, **changes}

    def _clicked(self, _widget: object, content: Json, _buffers: object) -> None:
        """Do what the page asks for; what goes wrong is shown there."""
        try:
            if content.get("do") == "ask":
                question = content.get("request")
                self.ask(**(question if isinstance(question, Mapping) else {}))
            elif content.get("do") == "budget":
                self.look_at_budget()
        except FlaasError as error:
            self._set(answer=None, error={"message": error.message, "hint": error.hint})


def _shown(value: float | None, hidden: bool) -> str:
    return "withheld" if hidden else "–" if value is None else f"{value:.8g}"


def _is_numeric(dtype: str) -> bool:
    return dtype.startswith(("int", "uint", "float", "bool"))
