"""One view of the explorer: JSON values, a table and a chart of the same."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from .source import Json

if TYPE_CHECKING:
    import pandas as pd


class View:
    """What was shown.

    Parameters
    ----------
    data : dict
        JSON values: ``part``, ``dataset``, ``project``, ``time``, ``level``, ``rows``, ``nodes``, ``columns``,
        ``budget``, ``notes``, and what the part is about under its own name. What is withheld is None, with a reason.
    """

    def __init__(self, data: Json) -> None:
        self._data = data

    def __repr__(self) -> str:
        return f"{self.title}\n{self.table.to_string()}" + "".join(f"\n{reason}" for reason in self.reasons)

    def _repr_html_(self) -> str:
        notes = "".join(f"<br><small>{html.escape(reason)}</small>" for reason in self.reasons)
        return f"<div><strong>{html.escape(self.title)}</strong>{self.table.to_html(na_rep='–')}{notes}</div>"

    def to_dict(self) -> Json:
        """Return it as JSON values."""
        return dict(self._data)

    @property
    def part(self) -> str:
        """Which view it is."""
        return str(self._data["part"])

    @property
    def level(self) -> str:
        """What may be seen of the data set."""
        return str(self._data["level"])

    @property
    def title(self) -> str:
        """What it shows, in a few words."""
        of = f" of {self._data['column']['name']}" if self.part == "column" else ""
        return f"{_TITLES[self.part]}{of}, {self._data['dataset']}"

    @property
    def table(self) -> pd.DataFrame:
        """The view as a table; figures that were withheld are missing."""
        return _TABLES[self.part](self._data)

    @property
    def suppressed(self) -> bool:
        """Whether something was withheld."""
        return _any(self._data.get(self.part))

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why figures were withheld or told together, and what else is to be said."""
        return tuple(dict.fromkeys([*_reasons(self._data.get(self.part)), *self._data["notes"]]))

    def plot(self, *, ax: Any = None) -> Any:
        """Draw it; returns matplotlib's axes."""
        from .charts import draw

        return draw(self, ax)


_TITLES = {
    "overview": "Columns",
    "nodes": "Nodes",
    "column": "Distribution",
    "missing": "Missing values",
    "correlations": "Correlations",
    "labels": "Labels",
    "drift": "Distance of each node from all",
}


def _overview(data: Json) -> pd.DataFrame:
    import pandas as pd

    names = ["name", "dtype", "role", "unit", "description", "range", "categories"]
    rows = [{name: column[name] for name in names} for column in data["columns"]]
    for row, column in zip(rows, data["columns"], strict=True):
        row["differs at"] = ", ".join(sorted({each["node"] for each in column["differences"]}))
    return pd.DataFrame(rows, columns=[*names, "differs at"])


def _nodes(data: Json) -> pd.DataFrame:
    import pandas as pd

    budget = {line["node"]: line for line in data["budget"] or ()}
    rows = [
        {
            **{name: node[name] for name in ("name", "organisation", "rows", "online", "level")},
            "spent": budget.get(node["name"], {}).get("spent"),
            "remaining": budget.get(node["name"], {}).get("remaining"),
            "problem": (node["problem"] or {}).get("message"),
        }
        for node in data["nodes"]
    ]
    columns = ["name", "organisation", "rows", "online", "level", "spent", "remaining", "problem"]
    return pd.DataFrame(rows, columns=columns)


def _column(data: Json) -> pd.DataFrame:
    import pandas as pd

    column = data["column"]
    if column["kind"] == "categories":
        return pd.DataFrame({"value": column["labels"], "count": column["counts"]})
    edges = column["edges"]
    low = [-math.inf if edge is None else edge for edge in edges[:-1]]
    high = [math.inf if edge is None else edge for edge in edges[1:]]
    return pd.DataFrame({"lower": low, "upper": high, "count": column["counts"]})


def _missing(data: Json) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(data["missing"], columns=["column", "count", "share", "reason"]).set_index("column")


def _correlations(data: Json) -> pd.DataFrame:
    import pandas as pd

    names = data["correlations"]["columns"]
    return pd.DataFrame(data["correlations"]["values"], index=names, columns=names, dtype=float)


def _labels(data: Json) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame({"class": data["labels"]["classes"], "count": data["labels"]["counts"]})


def _drift(data: Json) -> pd.DataFrame:
    import pandas as pd

    rows = pd.DataFrame(data["drift"], columns=["column", "node", "distance"])
    columns, nodes = list(dict.fromkeys(rows["column"])), list(dict.fromkeys(rows["node"]))
    table = rows.pivot(index="column", columns="node", values="distance").astype(float)
    return table.reindex(index=columns, columns=nodes)


_TABLES: Mapping[str, Callable[[Json], pd.DataFrame]] = {
    "overview": _overview,
    "nodes": _nodes,
    "column": _column,
    "missing": _missing,
    "correlations": _correlations,
    "labels": _labels,
    "drift": _drift,
}


def _reasons(shown: Any) -> list[str]:
    """Return the reasons that a view has, wherever they stand in it."""
    entries = shown if isinstance(shown, list) else [shown]
    found: list[str] = []
    for entry in entries:
        if isinstance(entry, Mapping):
            found += [str(reason) for reason in (entry.get("reasons") or {}).values()]
            found += [str(entry["reason"])] if entry.get("reason") else []
    return found


def _any(shown: Any) -> bool:
    """Tell whether anything of a view is withheld."""
    entries = shown if isinstance(shown, list) else [shown]
    return any(_true(entry.get("suppressed")) for entry in entries if isinstance(entry, Mapping))


def _true(flags: Any) -> bool:
    return any(_true(each) for each in flags) if isinstance(flags, list) else bool(flags)
