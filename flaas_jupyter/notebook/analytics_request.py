"""A question over rows as data: asked by JupyterLab's panel and by the widget, answered in this kernel.

The panel sends one JSON text, `show` asks the nodes and displays what they have released under a MIME type of its own.
Nothing of a question is code: operations and options are looked up by name, columns and values are values.
"""

from __future__ import annotations

import json
import math
import operator
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..errors import FlaasError, InvalidInput

if TYPE_CHECKING:
    from ..analytics import AnalyticsResult, Frame

Json = dict[str, Any]

MIME = "application/vnd.flaas.analytics+json"
_MOST_ROWS = 10_000
"""Rows of an answer that are shown."""

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True)
class Operation:
    """What a form offers.

    Attributes
    ----------
    title : str
        For people.
    least, most : int, int or None
        Columns that it takes; None: any number.
    grouped : str
        Whether it has groups: ``"no"``, ``"may"``, ``"must"``.
    bounded : bool
        Whether differential privacy needs limits of the columns.
    """

    title: str
    least: int = 1
    most: int | None = None
    grouped: str = "may"
    bounded: bool = True


OPERATIONS: Mapping[str, Operation] = {
    "count": Operation("count of rows", 0, 0, bounded=False),
    "sum": Operation("sum"),
    "mean": Operation("mean"),
    "var": Operation("variance"),
    "std": Operation("standard deviation"),
    "min": Operation("least value"),
    "max": Operation("greatest value"),
    "describe": Operation("describe", grouped="no"),
    "histogram": Operation("histogram", 1, 1, "no", bounded=False),
    "quantile": Operation("quantiles"),
    "group_by": Operation("several figures by group", grouped="must"),
    "correlation": Operation("correlation", 2, grouped="no"),
}
"""As the panel's form has them (labextension/src/model/question.ts)."""


@dataclass(frozen=True)
class AnalyticsRequest:
    """A question; `from_dict` checks one.

    Attributes
    ----------
    operation : str
        One of `OPERATIONS`.
    columns : tuple of str
    where : tuple of (str, str, number or str)
        Column, one of `COMPARISONS`, value; a row that counts meets all of them.
    by : str or None
        Column that makes groups.
    groups : dict
        ``values`` or ``edges`` of the groups, or nothing where they are known.
    functions : tuple of str
        Of ``group_by``.
    options : dict
        What the operation takes beside: ``bins`` and ``range``, or ``q``.
    bounds : dict of str to (float, float)
        Limits of the columns, for differential privacy.
    via : str
        ``"mpc"`` or ``"he"``.
    epsilon : float or None
    """

    operation: str
    columns: tuple[str, ...] = ()
    where: tuple[tuple[str, str, float | str], ...] = ()
    by: str | None = None
    groups: Json = field(default_factory=dict)
    functions: tuple[str, ...] = ()
    options: Json = field(default_factory=dict)
    bounds: Json = field(default_factory=dict)
    via: str = "mpc"
    epsilon: float | None = None

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> AnalyticsRequest:
        """Read a question as the panel and the widget send it.

        Raises
        ------
        InvalidInput
            Code ``bad-question``: names what of it is not acceptable, and what is allowed.
        """
        name = data.get("operation")
        if not isinstance(name, str) or name not in OPERATIONS:
            raise _bad(f"operation is {name!r}; there are {', '.join(OPERATIONS)}")
        operation = OPERATIONS[name]
        columns = tuple(_texts(data.get("columns") or [], "columns"))
        if len(columns) < operation.least or (operation.most is not None and len(columns) > operation.most):
            most = "" if operation.most is None else f" to {operation.most}"
            raise _bad(f"{name} takes {operation.least}{most} columns or more, and has {len(columns)}")
        by, groups = _groups(data.get("by"), operation.grouped, name)
        return cls(
            name,
            columns,
            tuple(_condition(each) for each in data.get("where") or []),
            by,
            groups,
            tuple(_texts(data.get("functions") or [], "functions")) if name == "group_by" else (),
            _options(data, name),
            {str(column): _pair(pair, f"bounds of {column}") for column, pair in (data.get("bounds") or {}).items()},
            str(data.get("via") or "mpc"),
            None if data.get("epsilon") is None else _number(data["epsilon"], "epsilon"),
        )

    @property
    def title(self) -> str:
        """The question in a few words."""
        parts = [OPERATIONS[self.operation].title]
        if self.columns:
            parts.append(f"of {', '.join(self.columns)}")
        if self.by is not None:
            parts.append(f"by {self.by}")
        if self.where:
            parts.append("where " + " and ".join(f"{column} {sign} {value}" for column, sign, value in self.where))
        return " ".join(parts)

    def ask(self, federation: Any) -> AnalyticsResult:
        """Put the question to a federation, connected or simulated.

        Raises
        ------
        FlaasError
            What ``federation.analytics`` raises.
        """
        keywords: Json = {"via": self.via, **self.options}
        if self.where:
            keywords["where"] = self._where(federation.frame())
        if self.epsilon is not None:
            keywords["epsilon"] = self.epsilon
        if self.bounds:
            keywords["bounds"] = self.bounds
        keywords |= self.groups
        ask = getattr(federation.analytics, self.operation)
        if self.operation == "group_by":
            first: list[Any] = [self.by, list(self.functions) or ["count", "mean"], list(self.columns)]
        elif self.operation == "histogram":
            first = [self.columns[0]]
        else:
            first = [list(self.columns)] if self.columns else []
        if self.by is not None and self.operation != "group_by":
            keywords["by"] = self.by
        found: AnalyticsResult = ask(*first, **keywords)
        return found

    def _where(self, frame: Frame) -> Any:
        conditions = [COMPARISONS[sign](frame[column], value) for column, sign, value in self.where]
        whole = conditions[0]
        for condition in conditions[1:]:
            whole = whole & condition
        return whole


# ---- what is displayed ----------------------------------------------------------------------------------------------


def answered(result: AnalyticsResult, request: AnalyticsRequest, seconds: float) -> Json:
    """Return a released result as JSON values, the same for a number, a series and a table.

    Returns
    -------
    dict
        ``index`` (names of what rows are known by), ``columns``, ``rows`` (each ``key``, ``values``, ``hidden``: which
        of them were withheld), ``chart``, ``reasons``, ``nodes``, ``via``, ``epsilon``, ``error_bound``, ``seconds``,
        ``title``. A figure that there is none of is null.
    """
    index, columns, rows = _table(result, request)
    bound = float(result.error_bound)
    return {
        "index": index,
        "columns": columns,
        "rows": rows[:_MOST_ROWS],
        "chart": _chart(request, len(rows)),
        "reasons": list(result.reasons),
        "nodes": list(result.nodes),
        "via": request.via,
        "epsilon": result.epsilon,
        "error_bound": bound if math.isfinite(bound) else None,
        "seconds": seconds,
        "title": request.title,
    }


def _table(result: Any, request: AnalyticsRequest) -> tuple[list[str], list[str], list[Json]]:
    """Return the names of the index and of the columns, and the rows."""
    import pandas as pd

    if not isinstance(result, pd.DataFrame | pd.Series):  # a number
        return [], [OPERATIONS[request.operation].title], [_row((), [result], [result.suppressed])]
    hidden = result.suppressed
    if isinstance(result, pd.Series):
        table = pd.DataFrame({"": pd.Series(result)})
        columns = [OPERATIONS[request.operation].title if result.name is None else str(result.name)]
    elif request.operation == "histogram":
        places = zip(result["lower"], result["upper"], result["count"], hidden, strict=True)
        return ["from", "to"], ["count"], [_row((low, high), [count], [gone]) for low, high, count, gone in places]
    else:
        table = pd.DataFrame(result)
        columns = [_column_name(name) for name in table.columns]
    keys = [key if isinstance(key, tuple) else (key,) for key in table.index]
    cells = zip(keys, table.to_numpy().tolist(), _cells(hidden, len(columns)), strict=True)
    return _index_names(table.index.names, request), columns, [_row(key, values, gone) for key, values, gone in cells]


def _cells(hidden: Any, width: int) -> list[list[bool]]:
    """Which figures are withheld, whether it is said row by row or one by one."""
    flags = hidden.to_numpy()
    return [[bool(flag)] * width if flags.ndim == 1 else [bool(each) for each in flag] for flag in flags]


def _row(key: Sequence[Any], values: Sequence[Any], hidden: Sequence[Any]) -> Json:
    return {
        "key": [_key(part) for part in key],
        "values": [_figure(value) for value in values],
        "hidden": [bool(gone) for gone in hidden],
    }


def _figure(value: Any) -> float | int | None:
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _key(part: Any) -> float | int | str:
    plain = part.item() if hasattr(part, "item") else part
    if isinstance(plain, float) and math.isinf(plain):
        return "∞" if plain > 0 else "-∞"
    return plain if isinstance(plain, int | float) and not isinstance(plain, bool) else str(plain)


def _column_name(name: Any) -> str:
    """A column of two levels is a figure of a column."""
    return f"{name[1]} of {name[0]}" if isinstance(name, tuple) and len(name) == 2 else str(name)


def _index_names(names: Sequence[Any], request: AnalyticsRequest) -> list[str]:
    usual = {"describe": "figure", "quantile": "quantile"}.get(request.operation, "column")
    return [usual if name is None else str(name) for name in names]


def _chart(request: AnalyticsRequest, rows: int) -> str | None:
    """How the answer is best drawn; what has figures of different units in a row is not."""
    if rows < 2 or request.operation in ("describe", "correlation"):
        return None
    return "line" if request.operation == "quantile" and request.by is None else "bars"


def budgeted(federation: Any) -> list[Json]:
    """Return what private answers have cost at each node, and what is left, as JSON values."""
    lines = []
    for row in federation.analytics.budget().to_dict("records"):
        problem, budget = row.get("problem"), _known(row.get("budget"))
        if budget == 0 and row.get("privacy") != "required":
            budget = None  # the owner asks for no differential privacy, and so keeps no limit
        lines.append(
            {
                "node": str(row["node"]),
                "dataset": str(row["dataset"]),
                "spent": _known(row.get("spent")) or 0.0,
                "budget": budget,
                "remaining": None if budget is None else _known(row.get("remaining")),
                "problem": problem if isinstance(problem, str) else None,
            }
        )
    return lines


def _known(value: Any) -> float | None:
    """A number; None where there is none, as pandas may write it."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


# ---- what the panel calls -------------------------------------------------------------------------------------------


@contextmanager
def federation_of(project: str, dataset: str) -> Iterator[Any]:
    """Connect as who is signed in now, for one question: somebody else may be the next."""
    from .. import connected

    with connected.connect() as session:
        yield session.project(project).federation(dataset=dataset)


def show(text: str) -> None:
    """Answer a question of the panel, given as JSON, and display the answer or why there is none."""
    asked = json.loads(text)

    def answer() -> Json:
        request = AnalyticsRequest.from_dict(asked)
        with federation_of(asked["project"], asked["dataset"]) as federation:
            began = time.perf_counter()
            result = request.ask(federation)
            return {"answer": answered(result, request, time.perf_counter() - began)}

    _display(answer)


def show_budget(text: str) -> None:
    """Display what private answers have cost at each node of the data set that the JSON names."""
    asked = json.loads(text)

    def answer() -> Json:
        with federation_of(asked["project"], asked["dataset"]) as federation:
            return {"budget": budgeted(federation)}

    _display(answer)


def _display(answer: Callable[[], Json]) -> None:
    from IPython.display import display

    try:
        content = answer()
    except FlaasError as error:
        content = {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    display({MIME: content, "text/plain": "Shown in the panel Federated learning."}, raw=True)


# ---- checks -------------------------------------------------------------------------------------------------------


def _bad(why: str) -> InvalidInput:
    return InvalidInput(f"The question is not acceptable: {why}.", code="bad-question")


def _texts(values: Any, what: str) -> list[str]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _bad(f"{what} must be a list of names, not {values!r}")
    return values


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _bad(f"{what} is {value!r}; allowed is a number")
    return value


def _pair(pair: Any, what: str) -> tuple[float, float]:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        raise _bad(f"{what} are {pair!r}; allowed are two numbers, the lower one first")
    low, high = (_number(value, what) for value in pair)
    if not low < high:
        raise _bad(f"{what} are {low} and {high}; the lower one comes first")
    return low, high


def _condition(each: Any) -> tuple[str, str, float | str]:
    if not isinstance(each, Mapping) or not isinstance(each.get("column"), str):
        raise _bad(f"{each!r} is no condition; it has a column, a comparison and a value")
    sign, value = str(each.get("comparison")), each.get("value")
    if sign not in COMPARISONS:
        raise _bad(f"{sign!r} is no comparison; there are {' '.join(COMPARISONS)}")
    return each["column"], sign, value if isinstance(value, str) else _number(value, f"the value for {each['column']}")


def _groups(by: Any, grouped: str, name: str) -> tuple[str | None, Json]:
    if by is None:
        if grouped == "must":
            raise _bad(f"{name} needs the column that makes groups")
        return None, {}
    if grouped == "no":
        raise _bad(f"{name} has no groups")
    if not isinstance(by, Mapping) or not isinstance(by.get("column"), str):
        raise _bad(f"by is {by!r}; it has a column, and values or edges")
    groups = {}
    for kind in ("values", "edges"):
        listed = by.get(kind)
        if listed is None:
            continue
        if not isinstance(listed, list) or not all(isinstance(each, str | int | float) for each in listed):
            raise _bad(f"the {kind} of {by['column']} must be a list of numbers or texts, not {listed!r}")
        groups[kind] = {by["column"]: listed}
    return by["column"], groups


def _options(data: Mapping[str, Any], name: str) -> Json:
    """What a histogram or a quantile takes beside."""
    if name == "quantile":
        quantiles = data.get("quantiles") or [0.25, 0.5, 0.75]
        if not isinstance(quantiles, list):
            raise _bad(f"quantiles are {quantiles!r}; allowed is a list of numbers from 0 to 1")
        return {"q": [_number(value, "a quantile") for value in quantiles]}
    bins = data.get("bins")
    if name != "histogram" or bins is None:
        return {}
    if not isinstance(bins, Mapping):
        raise _bad(f"bins are {bins!r}; they have a count, and may have limits, low and high")
    options: Json = {"bins": int(_number(bins.get("count"), "the number of bins"))}
    if bins.get("low") not in (None, "") or bins.get("high") not in (None, ""):
        options["range"] = _pair([bins.get("low"), bins.get("high")], "the limits of the bins")
    return options
