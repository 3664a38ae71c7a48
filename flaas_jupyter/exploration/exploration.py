"""`Exploration`: the views of a data set, each from one query over its nodes, or from none."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from ..errors import InvalidInput, NotAllowed, NotFound
from . import views
from .source import OPEN, Described, Explored, Json, Looked
from .view import View

VERSION = 1
PARTS = ("overview", "nodes", "column", "missing", "correlations", "labels", "drift")
"""What can be shown."""
SHOWN_COLUMNS = 2000
"""Columns that an overview lists."""


class Exploration:
    """What may be seen of a data set's rows, as far as their owners show it.

    Nothing is asked before a view is. What a view shows depends on the caller's role (permission ``data:explore``) and
    on what each owner allows (``explore`` in ``node.toml``): nothing, the schema, statistics with differential privacy,
    or statistics of at least ``minimum_group`` rows. Every view is entered in the log of every node.

    Parameters
    ----------
    explored : Explored
        Real nodes, a simulation, or an owner's own rows.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> from flaas_jupyter import simulate
    >>> table = pd.DataFrame({"age": np.arange(90) % 60, "sex": np.arange(90) % 2})
    >>> exploration = simulate(table, np.arange(90) % 3, clients=3).explore()
    >>> exploration.labels().table["count"].tolist()
    [30, 30, 30]
    """

    def __init__(self, explored: Explored) -> None:
        self._explored = explored
        self._known: Described | None = None

    def __repr__(self) -> str:
        known = self.described
        return f"<Exploration of {known.dataset!r}: {known.level}, {len(known.columns)} columns>"

    @property
    def described(self) -> Described:
        """What is known without asking a node; looked up once."""
        if self._known is None:
            self._known = self._explored.describe()
        return self._known

    @property
    def level(self) -> str:
        """What the caller may see: ``"nothing"``, ``"schema"``, ``"private"``, ``"aggregates"`` or ``"owner"``."""
        return self.described.level

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return [str(column["name"]) for column in self.described.columns]

    # ---- views -----------------------------------------------------------------------------------------------------

    def view(self, part: str, **options: Any) -> View:
        """Return a view by its name; see the method of that name for its options.

        Raises
        ------
        InvalidInput
            Code ``unknown-view``.
        """
        if part not in PARTS:
            raise InvalidInput(
                f"There is no view {str(part)[:40]!r}; there are {', '.join(PARTS)}.", code="unknown-view"
            )
        asked: Callable[..., View] = getattr(self, part)
        return asked(**options)

    def overview(self) -> View:
        """Return schema, rows and nodes, and where nodes differ: from descriptions, without asking a node."""
        self._known = self._explored.describe()
        return self._shown("overview")

    def nodes(self) -> View:
        """Ask each node what the caller may see there, and what private answers have cost."""
        looked: Looked = self._explored.look()
        known = self.described
        nodes = [{**node, **looked.nodes.get(node["node"], {})} for node in known.nodes]
        return self._shown("nodes", nodes=nodes, budget=looked.budget)

    def column(
        self,
        name: str,
        *,
        bins: int | None = None,
        bounds: Sequence[float] | None = None,
        epsilon: float | None = None,
    ) -> View:
        """Return the distribution of a column and its summary.

        Parameters
        ----------
        name : str
        bins : int, optional
            How many to show about; by default up to 40 with round edges, or one for each of up to 60 whole numbers.
        bounds : (float, float), optional
            What is shown; all of the column by default. With `epsilon` what the bins divide and values are clipped to:
            needed then, unless the owners have declared a range.
        epsilon : float, optional
            Differential privacy; needed where a node gives private answers only.

        Raises
        ------
        NotAllowed
            ``explore-closed``: statistics are not told; ``epsilon-needed``; and what a node refuses with.
        NotFound
            ``unknown-column``.
        InvalidInput
            ``bounds-missing``, ``categories-unknown``, ``bad-bins``, ``bad-bounds``, ``bad-epsilon``.
        """
        epsilon = self._require_open(epsilon)
        column = self._column(name)
        limits = _limits(bounds)
        if bins is not None and (isinstance(bins, bool) or not isinstance(bins, int) or not 1 <= bins <= 1000):
            raise InvalidInput(f"bins is {bins!r}; allowed is an integer from 1 to 1000.", code="bad-bins")
        found = views.distribution(self._explored.source, column, bins, limits, epsilon)
        return self._shown("column", column=found)

    def missing(self, columns: Sequence[str] | None = None, *, epsilon: float | None = None) -> View:
        """Return how many values of each column are missing; of the first 256 columns unless they are given."""
        epsilon = self._require_open(epsilon)
        chosen = self._chosen(columns, 256)
        return self._shown("missing", missing=views.missing(self._explored.source, chosen, epsilon))

    def correlations(self, columns: Sequence[str] | None = None, *, epsilon: float | None = None) -> View:
        """Return Pearson's correlation of each two columns; of the first 12 that are numbers unless they are given."""
        epsilon = self._require_open(epsilon)
        chosen = self._numbers(columns, 12)
        found = views.correlations(self._explored.source, chosen, epsilon)
        return self._shown("correlations", correlations=found)

    def labels(self, *, epsilon: float | None = None) -> View:
        """Return how many rows each class has, of data sets with labels."""
        epsilon = self._require_open(epsilon)
        label = next((column for column in self.described.columns if column["kind"] == "label"), None)
        if label is None:
            nothing: Json = {"column": None, "classes": [], "counts": [], "suppressed": [], "reasons": {}}
            return self._shown("labels", labels=nothing, notes=["The data set has no labels."])
        return self._shown("labels", labels=views.labels(self._explored.source, label, epsilon))

    def drift(self, columns: Sequence[str] | None = None) -> View:
        """Return how far each node's rows are from those of all nodes: 0, the same distribution, to 1.

        Each node tells one rounded number for a column (Jensen-Shannon distance), if its owner allows that
        (``explore_drift`` in ``node.toml``). Of the first 12 columns that are numbers unless they are given.
        """
        self._require_open(1.0)
        chosen = self._numbers(columns, 12)
        found = views.drift(self._explored.source, chosen, self.described)
        return self._shown("drift", drift=found)

    # ---- inside ----------------------------------------------------------------------------------------------------

    def _shown(self, part: str, notes: Sequence[str] = (), **found: Any) -> View:
        known = self.described
        more = len(known.columns) - SHOWN_COLUMNS
        listed = known.columns[:SHOWN_COLUMNS] if part in ("overview", "nodes") else []
        cut = [f"{more} further columns are not listed."] if more > 0 and part == "overview" else []
        return View(
            {
                "version": VERSION,
                "part": part,
                "dataset": known.dataset,
                "project": known.project,
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
                "level": known.level,
                "rows": known.rows,
                "nodes": known.nodes,
                "columns": listed,
                "budget": None,
                "notes": [*known.notes, *cut, *notes],
                **found,
            }
        )

    def _require_open(self, epsilon: float | None) -> float | None:
        """Return ε as it may be, where statistics are told."""
        known = self.described
        if known.level not in OPEN:
            raise NotAllowed(
                f"Statistics of data set {known.dataset!r} are not shown to you: its level is {known.level!r}.",
                code="explore-closed",
                hint=" ".join(known.notes) or "Its owners decide with explore in their node.toml.",
            )
        if epsilon is None:
            if known.level == "private":
                raise NotAllowed(
                    f"The owners of {known.dataset!r} give statistics with differential privacy only.",
                    code="epsilon-needed",
                    hint="Give epsilon=, for example 0.5; nodes() shows what is left of the budget.",
                )
            return None
        if isinstance(epsilon, bool) or not isinstance(epsilon, int | float) or not 0 < epsilon < math.inf:
            raise InvalidInput(f"epsilon is {epsilon!r}; allowed is a number above 0, or None.", code="bad-epsilon")
        return float(epsilon)

    def _column(self, name: str) -> Json:
        found = next((column for column in self.described.columns if column["name"] == name), None)
        if found is None:
            known = ", ".join(self.columns[:20]) + (" …" if len(self.columns) > 20 else "")
            raise NotFound(
                f"There is no column {str(name)[:80]!r} to be seen; there are {known or 'none'}.",
                code="unknown-column",
                hint="overview() lists them; ids, and columns that their owners keep back, are not among them.",
            )
        return found

    def _chosen(self, columns: Sequence[str] | None, most: int) -> list[Json]:
        if columns is None:
            return self.described.columns[:most]
        if isinstance(columns, str) or not all(isinstance(name, str) for name in columns) or not columns:
            raise InvalidInput("columns must be a list of names, or None.", code="bad-columns")
        return [self._column(name) for name in dict.fromkeys(columns)]

    def _numbers(self, columns: Sequence[str] | None, most: int) -> list[Json]:
        if columns is None:
            return [each for each in self.described.columns if each["kind"] != "text" and each["dtype"]][:most]
        chosen = self._chosen(columns, most)
        for column in chosen:
            if column["kind"] == "text":
                raise InvalidInput(
                    f"Column {column['name']!r} is text; this view is about numbers.", code="bad-columns"
                )
        return chosen


def _limits(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    if bounds is None:
        return None
    given = list(bounds) if isinstance(bounds, Sequence) and not isinstance(bounds, str) else []
    finite = [each for each in given if type(each) in (int, float) and math.isfinite(each)]
    if len(given) != 2 or len(finite) != 2 or not given[0] < given[1]:
        raise InvalidInput(
            "bounds must be two numbers, the lower one first.", code="bad-bounds", hint="For example bounds=(0, 120)."
        )
    return float(given[0]), float(given[1])


def options_of(asked: Mapping[str, Any]) -> Json:
    """Return the options of a view that was asked for as JSON; entries that are null or not of this view are left."""
    takes = {
        "column": ("column", "bins", "bounds", "epsilon"),
        "missing": ("columns", "epsilon"),
        "correlations": ("columns", "epsilon"),
        "labels": ("epsilon",),
        "drift": ("columns",),
    }.get(str(asked.get("part")), ())
    options = {name: asked[name] for name in takes if asked.get(name) is not None}
    if "column" in options:
        options["name"] = options.pop("column")
    elif asked.get("part") == "column":
        raise InvalidInput("The view of a column needs its name.", code="unknown-column")
    return options
