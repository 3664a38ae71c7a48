"""What each view is made of: statistics of the whole data set, as steps of one query."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..analytics import categories, grouping
from ..analytics.calls import Call, Options
from ..analytics.private import quantiles_of_histogram
from ..analytics.scope import Scope
from ..analytics.source import Source
from ..column_kinds import column_kind
from ..errors import InvalidInput, NotAllowed
from ..protocols.analytics.release import Released
from .source import Described, Json

BINS = 20
"""With differential privacy."""
STEPS = 40
"""That a range is divided into at most."""
SHOWN_VALUES = 40
"""Of a text, those that most rows have."""
WHOLE = 60
"""Different whole numbers that have a bin each."""
_SPREADS = 4.0
_MISSING = "(missing)"
_AT_ONCE = 128
"""Columns of one statistic."""


def asking(source: Source, part: str, epsilon: float | None, **bounds: tuple[float, float]) -> Call:
    """Return the query of a view; its operation names the view, for the logs of the nodes."""
    return Call(source, f"explore-{part}", Options(Scope(), grouping.Groups(), "mpc", epsilon, bounds))


# ---- one column -----------------------------------------------------------------------------------------------------


def distribution(
    source: Source, column: Json, bins: int | None, limits: tuple[float, float] | None, epsilon: float | None
) -> Json:
    """Return ``column`` of the view: a histogram, or the counts of categories."""
    values = _categories(column)
    if values is not None or column["kind"] == "text":
        return _counted(source, "column", column, values, epsilon)
    name = str(column["name"])
    if epsilon is not None:
        return _private(source, column, bins, limits or _declared(column), epsilon)
    with asking(source, "column", None) as call:
        moments = call.moments([name], 2)
        rows = float(call.releases[0].counts[0])
        mean, spread = float(moments.mean.values[0, 0]), float(moments.std(1).values[0, 0])
        edges = grid(column, mean, spread)
        released = None if edges is None else call.step("histogram", [name], edges={name: edges})
        ordered = call.quantiles([name], [0.0, 0.5, 1.0])
        ends = [(float(each.values[0, 0]), float(each.errors[0, 0])) for each in ordered]
        why = [reason for each in call.releases for reason in each.reasons]
    told = _bins(released, edges, bins, limits)
    n = float(moments.n[0, 0])
    bounds_error = max((error for value, error in ends if math.isfinite(value)), default=math.nan)
    return {
        "name": name,
        "kind": "histogram",
        "labels": [],
        **told,
        "reasons": told["reasons"] or ({"": why[0]} if why and released is None else {}),
        "summary": {
            "count": _figure(n),
            "missing": _figure(rows - n),
            "mean": _figure(mean),
            "std": _figure(spread),
            "min": _figure(ends[0][0]),
            "median": _figure(ends[1][0]),
            "max": _figure(ends[2][0]),
        },
        "error_bound": 0.0,
        "bounds_error": _figure(bounds_error),
        "epsilon": None,
    }


def _private(source: Source, column: Json, bins: int | None, known: tuple[float, float] | None, epsilon: float) -> Json:
    """Return a histogram and moments with noise; the median is read off the histogram."""
    name = str(column["name"])
    if known is None:
        raise InvalidInput(
            f"Column {name!r} needs limits: what is counted with differential privacy cannot be looked up first.",
            code="bounds-missing",
            hint=f"Choose them from what you know of {name}, for example bounds=(0, 120); values outside are told as "
            "such.",
            column=name,
        )
    edges = [float(f"{edge:.12g}") for edge in np.linspace(*known, (bins or BINS) + 1)]
    if bins is None and _is_whole(column) and known[1] - known[0] < WHOLE:
        edges = [each - 0.5 for each in range(math.floor(known[0]), math.ceil(known[1]) + 2)]
    with asking(source, "column", epsilon, **{name: known}) as call:
        moments = call.share(2).moments([name], 2)
        # Values are clipped to the bounds of the column, and the bins cover just these.
        released = call.share(2).step("histogram", [name], edges={name: edges})
        spent = sum(each.epsilon or 0.0 for each in call.releases)
    told = _bins(released, edges, limits=(edges[0], edges[-1]))
    told["counts"] = [max(0, round(count)) for count in told["counts"]]  # noise may leave less than no rows
    counts = released.counts.reshape(1, 1, -1)
    median, _, _ = quantiles_of_histogram(counts, [np.array(edges)], 0.5, released.errors[0])
    return {
        "name": name,
        "kind": "histogram",
        "labels": [],
        **told,
        "summary": {
            "count": _figure(np.rint(moments.n[0, 0])),
            "missing": None,
            "mean": _figure(moments.mean.values[0, 0]),
            "std": _figure(moments.std(1).values[0, 0]),
            "min": None,
            "median": _figure(median[0, 0]),
            "max": None,
        },
        "error_bound": _figure(released.error_bound),
        "bounds_error": None,
        "epsilon": spent,
    }


def grid(column: Json, mean: float, spread: float) -> list[float] | None:
    """Return the edges that a column is counted in, in every view; None where too little is known of it.

    They are multiples of a round step, within the declared range or four standard deviations of the mean. So they stay
    what they are however often and in whichever view the column is looked at: of bins whose edges were moved a little,
    subtraction would tell about single rows, and the query audit of the nodes refuses them.
    """
    declared = _declared(column)
    if declared is None and not (math.isfinite(mean) and math.isfinite(spread)):
        return None
    low, high = declared or (mean - _SPREADS * spread, mean + _SPREADS * spread)
    whole = _is_whole(column)
    if high - low < (1.0 if whole else 1e-12 * max(abs(low), abs(high), 1e-300)):
        centre = round(mean) if whole else mean
        return [centre - 0.5, centre + 0.5]
    if whole and high - low < WHOLE:
        return [each - 0.5 for each in range(math.floor(low), math.ceil(high) + 2)]
    step = round_step((high - low) / STEPS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{place * step:.12g}") for place in range(first, last + 1)]


def round_step(width: float) -> float:
    """Return the smallest of 1, 2, 5 times a power of ten that is not below `width`."""
    power = 10.0 ** math.floor(math.log10(width))
    return next(float(f"{times * power:.3g}") for times in (1, 2, 5, 10) if times * power >= width * (1 - 1e-9))


def _is_whole(column: Json) -> bool:
    return str(column["dtype"]).lower().startswith(("int", "uint"))


class _Bin(NamedTuple):
    """Neighbouring cells that are shown as one."""

    low: float
    high: float
    rows: float
    merged: bool


def _bins(
    released: Released | None,
    edges: Sequence[float] | None,
    bins: int | None = None,
    limits: tuple[float, float] | None = None,
) -> Json:
    """Return edges, counts, and what was withheld or told together.

    Parameters
    ----------
    released : Released or None
    edges : sequence of float, or None
        That were asked for.
    bins : int, optional
        How many are to be shown about; neighbours are added up, which asks the nodes nothing.
    limits : (float, float), optional
        What is to be shown.
    """
    if released is None or edges is None:
        return {"edges": [], "counts": [], "suppressed": [], "reasons": {}}
    together = next((reason for reason in released.reasons if "together" in reason), "")
    withheld = next((reason for reason in released.reasons if "together" not in reason), "too few rows")
    shown = _trimmed(_cells(released, edges), limits)
    if bins is not None:
        shown = _coarser(shown, bins)
    hidden = [math.isnan(each.rows) for each in shown]
    return {
        "edges": [_figure(border) for border in (shown[0].low, *(each.high for each in shown))] if shown else [],
        "counts": [_figure(each.rows) for each in shown],
        "suppressed": hidden,
        "reasons": {"": withheld}
        if hidden and all(hidden)
        else {str(place): together for place, each in enumerate(shown) if each.merged and together},
    }


def _cells(released: Released, edges: Sequence[float]) -> list[_Bin]:
    """Return the cells of a released histogram, from below the first edge to above the last."""
    borders = [-math.inf, *edges, math.inf]
    spans = {span.start: span for span in released.spans}
    cells, place = [], 0
    while place < len(borders) - 1:
        span = spans.get(place)
        stop = place + 1 if span is None else span.stop
        count = float(released.counts[place]) if span is None else float(span.rows)
        cells.append(_Bin(borders[place], borders[stop], count, stop > place + 1))
        place = stop
    return cells


def _trimmed(cells: list[_Bin], limits: tuple[float, float] | None) -> list[_Bin]:
    """Leave out empty cells at both ends, and what lies outside the limits; withheld ones outside the edges too."""
    if limits is not None:
        cells = [each for each in cells if each.high > limits[0] and each.low < limits[1]]
    told = [place for place, each in enumerate(cells) if each.rows > 0] if limits is None else []
    if told:
        return cells[told[0] : told[-1] + 1]
    return [each for each in cells if math.isfinite(each.low) and math.isfinite(each.high)] or cells


def _coarser(cells: list[_Bin], bins: int) -> list[_Bin]:
    """Add neighbours up, so that about so many bins of equal width are left."""
    inside = [each for each in cells if math.isfinite(each.low) and math.isfinite(each.high)]
    if len(inside) <= bins:
        return cells
    low, width = inside[0].low, (inside[-1].high - inside[0].low) / bins
    groups: dict[int, list[_Bin]] = {}
    for each in inside:
        groups.setdefault(int(((each.low + each.high) / 2 - low) / width), []).append(each)
    added = [
        _Bin(group[0].low, group[-1].high, sum(each.rows for each in group), any(each.merged for each in group))
        for group in groups.values()
    ]
    first, last = cells[0], cells[-1]
    return [*([first] if first not in inside else []), *added, *([last] if last not in inside else [])]


def _declared(column: Json) -> tuple[float, float] | None:
    """Return the range that the owners have declared, or that labels have."""
    given = column.get("range")
    if given and len(given) == 2 and all(isinstance(each, int | float) for each in given) and given[0] < given[1]:
        return float(given[0]), float(given[1])
    return None if column["classes"] is None else (0.0, float(column["classes"] - 1))


# ---- categories -----------------------------------------------------------------------------------------------------


def _categories(column: Json) -> list[Any] | None:
    """Return the values that a column is known to have, None if it is not known."""
    if column["classes"] is not None:
        return list(range(int(column["classes"])))
    if column["dtype"] == "bool":
        return [False, True]
    declared = column.get("categories")
    return list(declared) if declared else None


def _by(call: Call, name: str, values: Sequence[Any]) -> Call:
    """Return the call by the listed values of a column."""
    return call.otherwise(groups=grouping.resolve(name, list(values), None, []))


def _counted(source: Source, part: str, column: Json, known: Sequence[Any] | None, epsilon: float | None) -> Json:
    """Return ``column`` of a view: rows by value; values that nobody has declared are those of enough rows."""
    name = str(column["name"])
    with asking(source, part, epsilon) as call:
        values = list(known) if known is not None else _found(call, column)
        if epsilon is not None and known is None:
            call.each(epsilon / 2)  # `categories.find` has spent the other half
        if not values:
            return _no_values(column, call)
        released = _by(call, name, values).step("count", [])
        spent = sum(each.epsilon or 0.0 for each in call.releases) or None
    hidden = [bool(flag) for flag in released.suppressed]
    count = None if any(hidden) else _figure(released.counts.sum())
    return {
        "name": name,
        "kind": "categories",
        "edges": [],
        "labels": [str(value) for value in values],
        "counts": [_figure(each) for each in released.counts],
        "suppressed": hidden,
        "reasons": _cell_reasons(hidden, released),
        "summary": {"count": count} | dict.fromkeys(("missing", "mean", "std", "min", "median", "max")),
        "error_bound": _figure(released.error_bound),
        "bounds_error": None,
        "epsilon": spent,
    }


def _found(call: Call, column: Json) -> list[str]:
    """Return the values that enough rows have, the most frequent first; months in their order."""
    epsilon = call.options.epsilon
    half = call if epsilon is None else call.otherwise(epsilon=epsilon / 2)
    longest = categories.LONGEST if epsilon is None else categories.PRIVATE_LONGEST
    values = categories.find(half, str(column["name"]), "values", longest).values[:SHOWN_VALUES]
    return sorted(values) if column_kind(str(column["dtype"])) == "date" else values


def _no_values(column: Json, call: Call) -> Json:
    """Return ``column`` of a view of which no value is told."""
    why = next((reason for each in call.releases for reason in each.reasons), "no value is that of enough rows")
    return {
        "name": str(column["name"]),
        "kind": "categories",
        **{name: [] for name in ("edges", "labels", "counts", "suppressed")},
        "reasons": {"": why},
        "summary": dict.fromkeys(("count", "missing", "mean", "std", "min", "median", "max")),
        "error_bound": None,
        "bounds_error": None,
        "epsilon": sum(each.epsilon or 0.0 for each in call.releases) or None,
    }


def labels(source: Source, column: Json, epsilon: float | None) -> Json:
    """Return ``labels`` of the view: rows by class."""
    found = _counted(source, "labels", column, _categories(column) or [], epsilon)
    return {
        "column": found["name"],
        "classes": found["labels"],
        "counts": found["counts"],
        "suppressed": found["suppressed"],
        "reasons": found["reasons"],
        "error_bound": found["error_bound"],
        "epsilon": found["epsilon"],
    }


def _cell_reasons(hidden: Sequence[bool], released: Released) -> dict[str, str]:
    why = "; ".join(released.reasons)
    return {str(place): why for place, flag in enumerate(hidden) if flag}


# ---- all columns ----------------------------------------------------------------------------------------------------


def missing(source: Source, columns: Sequence[Json], epsilon: float | None) -> list[Json]:
    """Return ``missing`` of the view: by column, how many values are not there."""
    # Where no type is declared it may be anything: counting works for all, measuring would be refused for all columns.
    numbers = [str(column["name"]) for column in columns if column["kind"] != "text" and column["dtype"]]
    texts = [str(column["name"]) for column in columns if column["kind"] == "text" or not column["dtype"]]
    found: dict[str, Json] = {}
    refusals: list[NotAllowed] = []
    with asking(source, "missing", epsilon, **_wide(columns, epsilon)) as whole:
        parts = len(texts) + math.ceil(len(numbers) / _AT_ONCE)
        call = whole.share(max(1, parts))
        groups = [numbers[first : first + _AT_ONCE] for first in range(0, len(numbers), _AT_ONCE)]
        for names in groups:
            found.update(_unless_refused(_missing_numbers, call, names, refusals))
        for name in texts:
            found.update(_unless_refused(_missing_text, call, [name], refusals))
    if refusals and len(refusals) == len(groups) + len(texts):
        raise refusals[0]
    return [found[str(column["name"])] for column in columns]


def _unless_refused(
    count: Callable[[Call, list[str]], dict[str, Json]], call: Call, names: list[str], refusals: list[NotAllowed]
) -> dict[str, Json]:
    """Count, or give the reason for which a node refuses to; the other columns are asked for all the same."""
    try:
        return count(call, names)
    except NotAllowed as refusal:
        refusals.append(refusal)
        hidden = {"count": None, "share": None, "suppressed": True, "reason": refusal.message}
        return {name: {"column": name, **hidden} for name in names}


def _missing_numbers(call: Call, names: list[str]) -> dict[str, Json]:
    released = call.step("moments", names, power=1)
    there = released.values.reshape(1, len(names), 2)[0, :, 0]
    return {
        name: _share(name, float(released.counts[0]), count, released)
        for name, count in zip(names, there.tolist(), strict=True)
    }


def _missing_text(call: Call, names: list[str]) -> dict[str, Json]:
    """Count the rows whose text is missing: a derived key, since texts are not measured."""
    (name,) = names
    is_null = {"op": "isnull", "args": [{"column": name}]}
    keyed = call.otherwise(
        scope=Scope(assign=((_MISSING, is_null),)),
        groups=grouping.resolve(_MISSING, None, None, [], frozenset({_MISSING})),
    )
    released = keyed.step("count", [])
    there, gone = (float(count) for count in released.counts)
    if math.isnan(there) or math.isnan(gone):
        return {name: _share(name, math.nan, math.nan, released)}
    return {name: _share(name, there + gone, there, released)}


def _share(name: str, rows: float, there: float, released: Released) -> Json:
    count = rows - there
    hidden = math.isnan(count)
    if not hidden:
        count = max(0.0, count)  # noise may leave less than none
    return {
        "column": name,
        "count": _figure(count if released.epsilon is None else np.rint(count)),
        "share": _figure(count / rows) if rows > 0 else None,
        "suppressed": hidden,
        "reason": "; ".join(released.reasons) or "too few rows" if hidden else None,
    }


def _wide(columns: Sequence[Json], epsilon: float | None) -> dict[str, tuple[float, float]]:
    """Return bounds for sums that nobody looks at: counting takes none, but noise does."""
    if epsilon is None:
        return {}
    return {str(column["name"]): _declared(column) or (0.0, 1.0) for column in columns}


def correlations(source: Source, columns: Sequence[Json], epsilon: float | None) -> Json:
    """Return ``correlations`` of the view: a matrix."""
    names = [str(column["name"]) for column in columns]
    if len(names) < 2:
        return {"columns": names, "values": [[1.0]] * len(names), "suppressed": [[False]] * len(names), "reason": None}
    bounds: dict[str, tuple[float, float]] = {}
    if epsilon is not None:
        for column in columns:
            known = _declared(column)
            if known is None:
                raise InvalidInput(
                    f"Column {column['name']!r} needs a declared range for correlations with differential privacy.",
                    code="bounds-missing",
                    hint="Its owners declare it in the schema of the data set; or choose columns that have one.",
                )
            bounds[str(column["name"])] = known
    with asking(source, "correlations", epsilon, **bounds) as call:
        matrix, hidden, _ = call.correlation(names)
        why = [reason for each in call.releases for reason in each.reasons]
        spent = sum(each.epsilon or 0.0 for each in call.releases) or None
    return {
        "columns": names,
        "values": [[_figure(value) for value in row] for row in matrix],
        "suppressed": [[bool(flag) for flag in row] for row in hidden],
        "reason": why[0] if why and hidden.any() else None,
        "epsilon": spent,
    }


# ---- nodes ----------------------------------------------------------------------------------------------------------


def drift(source: Source, columns: Sequence[Json], described: Described) -> list[Json]:
    """Return ``drift`` of the view: by column and node, how far its rows are from those of all nodes."""
    names = {str(node["node"]): str(node["name"]) for node in described.nodes}
    if described.level == "private":
        return _untold(columns, names, "exact histograms are needed, and an owner gives private answers only")
    if described.level == "owner":
        return _untold(columns, names, "these are the rows of one node")
    if not any(node["drift"] for node in described.nodes):
        return _untold(columns, names, "its owner does not tell it (explore_drift in node.toml)")
    wanted = [str(column["name"]) for column in columns]
    with asking(source, "drift", None) as call:
        moments = call.moments(wanted, 2)
        means, spreads = moments.mean.values[0], moments.std(1).values[0]
        grids = {
            str(column["name"]): grid(column, mean, spread)
            for column, mean, spread in zip(columns, means.tolist(), spreads.tolist(), strict=True)
        }
        edges = {name: cuts for name, cuts in grids.items() if cuts is not None}
        if not edges:
            return _untold(columns, names, "too few rows")
        call.step("histogram", list(edges), edges=edges)
        query: Any = call.query
        told = {str(each["node"]): each for each in query.distances()}
    found = []
    for name in wanted:
        for node, called in names.items():
            entry = told.get(node, {"distances": None, "problem": {"message": "it is not in the histogram"}})
            distance = _at(entry["distances"], list(edges).index(name)) if name in edges else None
            why = (entry["problem"] or {}).get("message") or "too few rows"
            found.append(_distance(name, called, distance, why))
    return found


def _at(distances: Any, place: int) -> float | None:
    """Return one of the distances that a node has told; what is no such number is none."""
    if not isinstance(distances, list | tuple) or place >= len(distances):
        return None
    value = distances[place]
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _untold(columns: Sequence[Json], names: dict[str, str], why: str) -> list[Json]:
    return [_distance(str(column["name"]), name, None, why) for column in columns for name in names.values()]


def _distance(column: str, node: str, distance: float | None, why: str) -> Json:
    hidden = distance is None
    return {
        "column": column,
        "node": node,
        "distance": distance,
        "suppressed": hidden,
        "reason": why if hidden else None,
    }


def _figure(value: Any) -> float | int | None:
    """Return a number as JSON has it; None for what is withheld, missing or infinite."""
    number = float(value)
    if not math.isfinite(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number
