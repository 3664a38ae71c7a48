"""From opened sums to what may be told: the one place where numbers leave the secure sum.

`release` holds a statistic's sums against the owners' policy and returns what is left. What a kind may tell beside
counts is the kind's own business (`Statistic.disclose`); common to all are the checks of the whole: enough nodes,
enough rows that meet the condition, and enough that do not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput, NotAllowed
from .encoding import RESOLUTION
from .noise import DELTA, half_widths
from .policy import ReleasePolicy
from .suppression import Span

if TYPE_CHECKING:
    from .statistics import Opened, Statistic

__all__ = ["Disclosed", "ReleasePolicy", "Released", "release"]

SMALL = "fewer than {k} rows"
_EPS = 2.0**-52
_MAXIMUM_CELLS = 1 << 20
_MAXIMUM_FIELDS = 1 << 16
_MAXIMUM_NUMBERS = 1 << 24
_MAXIMUM_NAMES = 10_000


@dataclass(frozen=True)
class Disclosed:
    """What a kind lets go of, and why the rest is withheld.

    Attributes
    ----------
    counts : ndarray of float64, shape (cells,)
        NaN where withheld.
    values : ndarray of float64, shape (cells, fields)
        NaN where withheld.
    suppressed : ndarray of bool, shape (cells,)
    spans : sequence of Span
        Withheld cells that are told together.
    reasons : sequence of str
    rounding : float
        What counts were rounded by at most, on purpose.
    """

    counts: NDArray[np.float64]
    values: NDArray[np.float64]
    suppressed: NDArray[np.bool_]
    spans: Sequence[Span] = ()
    reasons: Sequence[str] = ()
    rounding: float = 0.0


@dataclass(frozen=True)
class Released:
    """What is told of a statistic.

    Attributes
    ----------
    counts : ndarray of float64, shape (cells,)
        Rows of each cell, whole numbers; NaN where withheld.
    values : ndarray of float64, shape (cells, fields)
        NaN where withheld.
    suppressed : ndarray of bool, shape (cells,)
        Cells that are withheld.
    fields : tuple of str
        Names of the values.
    spans : tuple of Span
        Withheld neighbouring cells that are told together: start, stop, rows.
    epsilon, delta : float or None
        What the statistic has cost with differential privacy.
    nodes : tuple of str
        Who is in the sum.
    errors : tuple of float
        What counts (first) and each value are off by at most; with differential privacy, with 95 % probability.
    reasons : tuple of str
        Why cells were withheld.
    """

    counts: NDArray[np.float64]
    values: NDArray[np.float64]
    suppressed: NDArray[np.bool_]
    fields: tuple[str, ...] = ()
    spans: tuple[Span, ...] = ()
    epsilon: float | None = None
    delta: float | None = None
    nodes: tuple[str, ...] = ()
    errors: tuple[float, ...] = (0.0,)
    reasons: tuple[str, ...] = field(default=(), repr=False)

    @property
    def error_bound(self) -> float:
        """The largest of `errors`."""
        return max(self.errors, default=0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values; what is withheld is null."""
        return {
            "counts": _listed(self.counts),
            "values": [_listed(row) for row in self.values],
            "suppressed": self.suppressed.tolist(),
            "fields": list(self.fields),
            "spans": [list(span) for span in self.spans],
            "epsilon": self.epsilon,
            "delta": self.delta,
            "nodes": list(self.nodes),
            "errors": list(self.errors),
            "reasons": list(self.reasons),
        }

    @classmethod
    def from_dict(cls, data: object) -> Released:
        """Read `to_dict`'s form, as it came from a releaser.

        Raises
        ------
        InvalidInput
            Code ``bad-release``: it is not such a form.
        """
        if not isinstance(data, Mapping):
            raise _bad_release("it is no mapping")
        try:
            listed = {name: _list(data[name], name) for name in ("counts", "fields", "values", "suppressed", "spans")}
            listed |= {name: _list(data[name], name) for name in ("errors", "nodes", "reasons")}
            cells, width = len(listed["counts"]), len(listed["fields"])
            if cells > _MAXIMUM_CELLS or width > _MAXIMUM_FIELDS or cells * width > _MAXIMUM_NUMBERS:
                raise _bad_release(f"it has {cells} cells of {width} values")
            if any(len(listed[name]) > _MAXIMUM_NAMES for name in ("nodes", "reasons")):
                raise _bad_release(f"it has more than {_MAXIMUM_NAMES} nodes or reasons")
            if len(listed["errors"]) > 1 + width:
                raise _bad_release(f"it has {len(listed['errors'])} errors of {width} values")
            counts, fields = _row(listed["counts"]), tuple(str(name) for name in listed["fields"])
            values = np.array([_row(row) for row in data["values"]]).reshape(counts.size, len(fields))
            suppressed = np.array(data["suppressed"], bool).reshape(counts.size)
            spans = _spans(listed["spans"], cells)
            errors = tuple(float(error) for error in data["errors"])
            return cls(
                counts,
                values,
                suppressed,
                fields,
                spans,
                None if data["epsilon"] is None else float(data["epsilon"]),
                None if data["delta"] is None else float(data["delta"]),
                tuple(str(node) for node in data["nodes"]),
                errors,
                tuple(str(reason) for reason in data["reasons"]),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise _bad_release(str(error)) from error


def release(opened: Opened, statistic: Statistic, policy: ReleasePolicy, nodes: int | Sequence[str]) -> Released:
    """Apply the policy to opened sums.

    Parameters
    ----------
    opened : Opened
    statistic : Statistic
    policy : ReleasePolicy
        The strictest of the nodes' own (`ReleasePolicy.strictest`).
    nodes : int or sequence of str
        Who is in the sum.

    Returns
    -------
    Released

    Raises
    ------
    NotAllowed
        ``analytics-too-few-nodes``; what `ReleasePolicy.require` raises.
    """
    policy.require(statistic)
    members = () if isinstance(nodes, int) else tuple(nodes)
    count = nodes if isinstance(nodes, int) else len(members)
    if count < policy.minimum_nodes:
        raise NotAllowed(
            f"The sum is over {count} nodes; this data set's owners release sums over {policy.minimum_nodes} or more.",
            code="analytics-too-few-nodes",
            hint="Wait for more nodes to come online.",
        )
    k = policy.minimum_group
    why = _whole(opened, k)
    if why is not None:
        cells = statistic.cells
        withheld = np.full(cells, np.nan), np.full((cells, len(statistic.fields)), np.nan), np.ones(cells, bool)
        told = Disclosed(*withheld, reasons=(why,))
    else:
        told = statistic.disclose(opened, policy)
    if statistic.epsilon is not None:
        errors = half_widths(statistic, count)
    else:
        largest = np.abs(opened.values).max(axis=0, initial=0.0)
        # Pairwise sums of n terms are off by log2(n) last places at most; the windows by half a unit for each node.
        places = max(1.0, math.log2(max(opened.total, 2)))
        errors = np.zeros(1 + len(statistic.fields))
        if largest.size:
            errors[1:] = np.where(statistic.real, count * RESOLUTION + largest * _EPS * places, 0.0)
    errors[0] += told.rounding
    return Released(
        told.counts,
        told.values,
        told.suppressed,
        statistic.fields,
        tuple(told.spans),
        statistic.epsilon,
        None if statistic.epsilon is None else DELTA,
        members,
        tuple(float(error) for error in errors),
        tuple(told.reasons),
    )


def _whole(opened: Opened, minimum: int) -> str | None:
    """Say why nothing at all is told, or None."""
    if minimum <= 1 or opened.total < 0:
        return None
    if opened.matched < minimum:
        return f"fewer than {minimum} rows meet the condition"
    if 0 < opened.total - opened.matched < minimum:
        return f"the condition leaves out fewer than {minimum} rows, which taking it from the total would tell about"
    return None


def _listed(row: NDArray[np.float64]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in row.tolist()]


def _row(values: Any) -> NDArray[np.float64]:
    return np.array([math.nan if value is None else float(value) for value in values], np.float64)


def _list(data: Any, what: str) -> list[Any]:
    if not isinstance(data, list | tuple):
        raise _bad_release(f"its {what} are no list")
    return list(data)


def _spans(data: list[Any], cells: int) -> tuple[Span, ...]:
    """Read spans: apart from each other and within the cells, so that whoever walks along them comes to an end."""
    found: list[Span] = []
    for entry in data:
        if not isinstance(entry, list | tuple) or [type(part) for part in entry] != [int] * 3:
            raise _bad_release("a span is not three whole numbers")
        found.append(Span(*entry))
    behind = 0
    for span in sorted(found):
        if not behind <= span.start < span.stop <= cells or span.rows < 0:
            raise _bad_release("its spans are not apart from each other and within its cells")
        behind = span.stop
    return tuple(found)


def _bad_release(why: str) -> InvalidInput:
    return InvalidInput(
        f"The releaser's answer is not a release: {why}.",
        code="bad-release",
        hint="Ask again; the nodes choose another releaser.",
    )
