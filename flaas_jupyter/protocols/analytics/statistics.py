"""A statistic: what every node computes from its rows alone, so that the sums over nodes are all that is needed.

A `Statistic` is data. It is read from JSON and checked whole (`parse`); each node computes its part (`local`), writes
it as integers (`encode`), these are added up under masks or under encryption, and whoever opens the sum reads it
(`decode`) and applies the release policy (`flaas_jupyter.protocols.analytics.release`).

The vector is ``[rows, rows that meet the condition, counts of cells …, integer fields …, reals in windows …]``. With
differential privacy the first two are zeros, for nothing may leave without noise, and reals are integers in a unit that
the bounds decide; see `flaas_jupyter.protocols.analytics.noise`.

Kinds are registered: `register` takes the class of a new one.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from . import limits
from .encoding import WINDOWS, from_windows, to_windows
from .expressions import Columns, Expression, Kind, column_name, unknown_column
from .expressions import parse as parse_expression
from .grouping import Key, cells_of, label, parse_keys

if TYPE_CHECKING:
    from .policy import ReleasePolicy
    from .release import Disclosed

VERSION = 1
_HEADER = 2
_COMMON = ("v", "kind", "columns", "where", "assign", "by", "bounds", "epsilon")

S = TypeVar("S", bound="type[Statistic]")


@dataclass(frozen=True)
class Local:
    """What one node has computed. Nothing of it leaves but as a part of a sum.

    Attributes
    ----------
    counts : ndarray of int64, shape (cells,)
        Rows in each cell.
    values : ndarray of float64, shape (cells, fields)
    rows : ndarray of bool, shape (n,)
        Which rows meet the condition.
    partitions : tuple of ndarray of int64, shape (n,)
        Groups and bins whose borders the asker has chosen, for the query audit: each row's cell, -1 in none.
    """

    counts: NDArray[np.int64]
    values: NDArray[np.float64]
    rows: NDArray[np.bool_]
    partitions: tuple[NDArray[np.int64], ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class Opened:
    """The sums over all nodes, before the release policy: seen by the releaser only.

    Attributes
    ----------
    counts : ndarray of int64, shape (cells,)
    values : ndarray of float64, shape (cells, fields)
    total, matched : int
        Rows of all nodes, and those that meet the condition; -1 with differential privacy.
    """

    counts: NDArray[np.int64]
    values: NDArray[np.float64]
    total: int = -1
    matched: int = -1


@dataclass(frozen=True)
class Table:
    """The rows a kind measures: columns as float64, derived ones included, or as they are; and each row's cell."""

    columns: dict[str, NDArray[np.float64]]
    matched: NDArray[np.bool_]
    labels: NDArray[np.int64]
    groups: int
    raw: dict[str, NDArray[Any]] = field(default_factory=dict)

    def of_group(self, valid: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the cells of the rows that meet the condition and are `valid`."""
        found: NDArray[np.int64] = self.labels[self.matched & valid]
        return found


@dataclass(frozen=True)
class Statistic(ABC):
    """What is asked of every node; `parse` makes one.

    Attributes
    ----------
    columns : tuple of str
        What is measured.
    where : Expression or None
        The condition that rows must meet.
    assign : tuple of (str, Expression)
        Derived columns, in order; a later one may use an earlier one.
    by : tuple of Key
        Group keys.
    bounds : dict of str to (float, float)
        Range that a column is clipped to; with `epsilon` only.
    epsilon : float or None
        Differential privacy of this statistic, with δ = `noise.DELTA`.
    """

    kind: ClassVar[str] = ""
    own: ClassVar[tuple[str, ...]] = ()
    """Entries of the JSON form beside the common ones."""
    raw: ClassVar[bool] = False
    """Whether columns are measured as they are, texts too, and not as numbers."""

    columns: tuple[str, ...] = ()
    where: Expression | None = None
    assign: tuple[tuple[str, Expression], ...] = ()
    by: tuple[Key, ...] = ()
    bounds: dict[str, tuple[float, float]] = field(default_factory=dict)
    epsilon: float | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Statistic:
        """Check the JSON form of this kind and return the statistic; a kind of another form has its own.

        Raises
        ------
        InvalidInput
            As `statistics.parse`.
        """
        entries = data
        version = entries.get("v", VERSION)
        if version != VERSION or isinstance(version, bool):
            raise limits.bad(f"its version is {str(version)[:20]!r}; this release knows {VERSION}")
        limits.only(entries, (*_COMMON, *cls.own), f"a {cls.kind} statistic")
        listed = limits.sequence(entries.get("columns", []), "columns", limits.MAXIMUM_COLUMNS)
        columns = [column_name(name) for name in listed]
        if len(set(columns)) != len(columns):
            raise limits.bad("columns names one twice")
        assign, kinds = _parse_assign(entries.get("assign"))
        where = None if entries.get("where") is None else parse_expression(entries["where"], kinds)
        if where is not None and where.kind != "boolean":
            raise limits.bad(f"where is a {where.kind}, not a condition", 'For example frame["age"] > 30.')
        epsilon = limits.epsilon(entries.get("epsilon"))
        common: dict[str, Any] = {
            "columns": tuple(columns),
            "where": where,
            "assign": assign,
            "by": parse_keys(entries.get("by") or []),
            "bounds": _parse_bounds(entries.get("bounds"), epsilon),
            "epsilon": epsilon,
        }
        for name in columns:
            if kinds.get(name, "number") != "number":
                raise limits.bad(
                    f"the derived column {name!r} is a condition, not a number",
                    "Count the rows that meet it with where=, or group by it.",
                )
        statistic = cls(**common, **cls.read_own(entries, common))
        if statistic.raw_cells > limits.MAXIMUM_CELLS or statistic.length > limits.MAXIMUM_INTEGERS:
            raise limits.too_large(
                f"it has {statistic.raw_cells} cells and {statistic.length} numbers; allowed are "
                f"{limits.MAXIMUM_CELLS} and {limits.MAXIMUM_INTEGERS}"
            )
        if epsilon is not None:
            statistic.largest()  # the bounds that it needs are there
        return statistic

    # ---- what a kind says ------------------------------------------------------------------------------------------

    @classmethod
    def read_own(cls, data: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
        """Check the entries of the kind's own and return them as fields."""
        return {}

    def own_dict(self) -> dict[str, Any]:
        """Return the kind's own entries as JSON values."""
        return {}

    @property
    @abstractmethod
    def raw_cells(self) -> int:
        """Cells of `Local` and `Opened`: those of rows in no group, and of values outside all bins, included."""

    @property
    def cells(self) -> int:
        """Cells that can be released."""
        return self.raw_cells

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the values of each cell."""
        return ()

    @property
    def real(self) -> NDArray[np.bool_]:
        """Which fields are reals, shape (fields,); the others are integers."""
        return np.zeros(len(self.fields), bool)

    @abstractmethod
    def measure(self, table: Table) -> Local:
        """Compute the sums over the rows of `table`."""

    @abstractmethod
    def disclose(self, opened: Opened, policy: ReleasePolicy) -> Disclosed:
        """Decide what of the sums may be released."""

    def largest(self) -> NDArray[np.float64]:
        """Return what one row changes each field by at most, shape (fields,); `bounds` decide it."""
        return np.ones(len(self.fields))

    @property
    def touched(self) -> int:
        """How many numbers of the vector one row changes at most, with differential privacy."""
        return 1

    # ---- common ----------------------------------------------------------------------------------------------------

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the canonical JSON form, 64 hex digits."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the statistic as JSON values; `parse` reads them."""
        return {
            "v": VERSION,
            "kind": self.kind,
            "columns": list(self.columns),
            "where": None if self.where is None else self.where.to_dict(),
            "assign": [[name, expression.to_dict()] for name, expression in self.assign],
            "by": [key.to_dict() for key in self.by],
            "bounds": {name: list(pair) for name, pair in self.bounds.items()},
            "epsilon": self.epsilon,
            **self.own_dict(),
        }

    @property
    def columns_used(self) -> frozenset[str]:
        """Columns of the data set that are read; derived ones are not among them."""
        used = set(self.columns) | {key.column for key in self.by}
        if self.where is not None:
            used |= self.where.columns
        for name, expression in reversed(self.assign):
            if name in used:
                used = (used - {name}) | expression.columns
        return frozenset(used)

    def require(self, schema: Collection[str]) -> None:
        """Refuse columns that the data set does not have.

        Parameters
        ----------
        schema : collection of str
            Names of its columns.

        Raises
        ------
        InvalidInput
            Code ``unknown-column``.
        """
        for name in sorted(self.columns_used):
            if name not in schema:
                raise unknown_column(name, schema)

    @property
    def groups(self) -> int:
        """Cells of the keys, those of rows in no group included."""
        return cells_of(self.by)

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of groups of each key."""
        return tuple(key.size for key in self.by)

    @property
    def movable(self) -> bool:
        """Whether borders between groups are the asker's choice: edges, or derived keys."""
        derived = {name for name, _ in self.assign}
        return any(key.ordered or key.column in derived for key in self.by)

    @property
    def inner(self) -> NDArray[np.int64]:
        """The cells of the keys that are groups, in order, among `groups`."""
        extended = np.arange(self.groups).reshape([key.size + 1 for key in self.by] or [1])
        inside = tuple(slice(0, key.size) for key in self.by)
        return extended[inside].reshape(-1).astype(np.int64)

    def local(self, columns: Columns) -> Local:
        """Compute this node's part.

        Parameters
        ----------
        columns : mapping of str to ndarray, shape (n,)
            The columns that are used, at least.

        Raises
        ------
        InvalidInput
            ``unknown-column``; ``bad-statistic``: a column is not of the kind that is asked for.
        """
        return self.measure(self.table(columns))

    def table(self, columns: Columns) -> Table:
        """Return what is measured: derived columns, the rows that meet the condition, and each row's cell.

        Raises
        ------
        InvalidInput
            As `local`.
        """
        self.require(columns)
        rows = _rows(columns)
        known: dict[str, NDArray[Any]] = {name: np.asarray(columns[name]) for name in self.columns_used}
        for name, expression in self.assign:
            if expression.columns <= known.keys():
                known[name] = expression.evaluate(known, rows)
        matched = np.ones(rows, bool) if self.where is None else np.asarray(self.where.evaluate(known, rows), bool)
        for key in self.by:
            _require_alike(key, known[key.column])
        labels = label(self.by, known, rows)
        if self.raw:
            return Table({}, matched, labels, self.groups, {name: known[name] for name in self.columns})
        measured = {name: self._numbers(name, known[name]) for name in self.columns}
        return Table(measured, matched, labels, self.groups)

    def _numbers(self, name: str, values: NDArray[Any]) -> NDArray[np.float64]:
        if values.dtype.kind not in "biuf":
            raise limits.bad(f"column {name!r} is text; it can be counted and grouped by, not measured")
        numbers = values.astype(np.float64, copy=False)
        if name in self.bounds:
            numbers = np.clip(numbers, *self.bounds[name])
        if not np.isfinite(numbers).all():
            numbers = np.where(np.isfinite(numbers), numbers, np.nan)
        return numbers

    @property
    def length(self) -> int:
        """Number of integers in the vector."""
        real = int(self.real.sum())
        reals = real if self.epsilon is not None else WINDOWS * real
        return _HEADER + self.raw_cells * (1 + len(self.fields) - real + reals)

    def units(self) -> NDArray[np.float64]:
        """Return what 1 in the vector means for each real field, with differential privacy."""
        from .noise import unit

        return np.array([unit(size) for size in self.largest()[self.real]])

    def encode(self, local: Local) -> NDArray[np.int64]:
        """Return a node's part as the integers to be summed, shape (`length`,)."""
        real = self.real
        whole = np.rint(local.values[:, ~real]).astype(np.int64).reshape(-1)
        reals = np.ascontiguousarray(local.values[:, real])
        if self.epsilon is None:
            header = [local.rows.size, int(local.rows.sum())]
            parts = to_windows(reals.reshape(-1)).reshape(-1)
        else:
            header = [0, 0]
            parts = np.rint(reals / self.units()).astype(np.int64).reshape(-1)
        return np.concatenate([np.array(header, np.int64), local.counts.astype(np.int64), whole, parts])

    def decode(self, vector: NDArray[Any]) -> Opened:
        """Read the sum of the nodes' vectors.

        Parameters
        ----------
        vector : ndarray of int64 or object (Python integers), shape (`length`,)

        Raises
        ------
        InvalidInput
            ``wrong-shape``; ``implausible-sum``: no data make such counts.
        """
        if vector.shape != (self.length,):
            raise InvalidInput(
                f"The sum has {vector.shape} integers; this statistic has {self.length}.", code="wrong-shape"
            )
        real, cells = self.real, self.raw_cells
        whole = len(real) - int(real.sum())
        ends = np.cumsum([_HEADER, cells, cells * whole])
        header, counts, integers, rest = np.split(vector, ends)
        values = np.empty((cells, len(real)))
        values[:, ~real] = integers.astype(np.float64).reshape(cells, whole)
        if self.epsilon is None:
            values[:, real] = from_windows(rest.reshape(-1, WINDOWS)).reshape(cells, -1)
            total, matched = int(header[0]), int(header[1])
            if not 0 <= matched <= total or counts.min(initial=0) < 0:
                raise InvalidInput(
                    "The sum that was opened has counts that no rows can have.",
                    code="implausible-sum",
                    hint="A node has computed something else; its owner should look at its version.",
                )
        else:
            values[:, real] = rest.astype(np.float64).reshape(cells, -1) * self.units()
            total = matched = -1
        return Opened(counts.astype(np.int64), values, total, matched)

    def noise(self, members: int, threshold: int, key: bytes) -> NDArray[np.int64]:
        """Return this member's share of the noise, to be added to `encode`'s vector; zeros without `epsilon`.

        Parameters
        ----------
        members, threshold : int
            N and T of the secure sum.
        key : bytes
            32 random bytes of this member's own, for this sum only.

        Raises
        ------
        InvalidInput
            Code ``bad-statistic``: a column that is measured has no bounds.
        """
        from .noise import shares

        return shares(self, members, threshold, key)


def parse(data: object) -> Statistic:
    """Check a statistic and return it.

    Parameters
    ----------
    data : object
        JSON values, or a `Statistic`, which is returned as it is.

    Raises
    ------
    InvalidInput
        ``bad-statistic``, ``bad-expression``, ``unknown-statistic``, ``statistic-too-large``.
    """
    if isinstance(data, Statistic):
        return data
    entries = limits.mapping(data, "it")
    return kind_of(entries.get("kind")).parse(entries)


# ---- kinds ----------------------------------------------------------------------------------------------------------

_KINDS: dict[str, type[Statistic]] = {}
_HOMES = {
    **dict.fromkeys(("count", "moments", "histogram", "cross", "order", "prefixes"), ".kinds"),
    "tree_histogram": "..boosting",
    **dict.fromkeys(("explanation", "performance"), "..explaining"),
}
"""Modules that register a kind when they are imported."""


def register(kind: str, cls: S) -> S:
    """Make a kind of statistic known under its name, and return its class.

    Raises
    ------
    InvalidInput
        Code ``bad-statistic``: another class has that name.
    """
    if _KINDS.get(kind, cls) is not cls:
        raise limits.bad(f"there is another kind {kind!r} already")
    cls.kind = kind
    _KINDS[kind] = cls
    return cls


def kind_of(name: object) -> type[Statistic]:
    """Return the class of a kind.

    Raises
    ------
    InvalidInput
        Code ``unknown-statistic``.
    """
    if isinstance(name, str) and name in _HOMES and name not in _KINDS:
        try:
            importlib.import_module(_HOMES[name], __package__)
        except ModuleNotFoundError as error:
            if not str(error.name).startswith(str(__package__).rpartition(".")[0]):
                raise
    if not isinstance(name, str) or name not in _KINDS:
        known = ", ".join(sorted({*_HOMES, *_KINDS}))
        raise InvalidInput(f"{str(name)[:40]!r} is no kind of statistic; there are {known}.", code="unknown-statistic")
    return _KINDS[name]


# ---- parts ----------------------------------------------------------------------------------------------------------


def _parse_assign(data: object) -> tuple[tuple[tuple[str, Expression], ...], dict[str, Kind]]:
    """Read derived columns; a mapping, or pairs in order."""
    if data is None:
        return (), {}
    pairs = list(data.items()) if isinstance(data, dict) else limits.sequence(data, "assign", limits.MAXIMUM_COLUMNS)
    if len(pairs) > limits.MAXIMUM_COLUMNS:
        raise limits.too_large(f"assign has {len(pairs)} columns; allowed are {limits.MAXIMUM_COLUMNS}")
    kinds: dict[str, Kind] = {}
    found: list[tuple[str, Expression]] = []
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise limits.bad("assign is no mapping of names to expressions")
        name = column_name(pair[0])
        expression = parse_expression(pair[1], kinds)
        if expression.kind not in ("number", "boolean"):
            raise limits.bad(f"the derived column {name!r} is a {expression.kind}")
        kinds[name] = expression.kind
        found.append((name, expression))
    return tuple(found), kinds


def _parse_bounds(data: object, epsilon: float | None) -> dict[str, tuple[float, float]]:
    found: dict[str, tuple[float, float]] = {}
    for name, pair in limits.mapping(data or {}, "bounds").items():
        low, high = (
            limits.number(end, f"a bound of {name}") for end in limits.sequence(pair, f"the bounds of {name}", 2)
        )
        if not low < high:
            raise limits.bad(f"the bounds of {name!r} are {low:g} and {high:g}; the lower one comes first")
        found[name] = (low, high)
    if found and epsilon is None:
        raise limits.bad(
            "bounds clip values and come with epsilon only",
            "Without differential privacy leave them out; sums are exact whatever the range.",
        )
    return found


def _rows(columns: Columns) -> int:
    sizes = {len(values) for values in columns.values()}
    if len(sizes) != 1:
        raise limits.bad(f"the columns have {sorted(sizes) or 'no'} rows; they must be as long as each other")
    return sizes.pop()


def _require_alike(key: Key, column: NDArray[Any]) -> None:
    text = column.dtype.kind not in "biuf"
    if text != bool(key.values and isinstance(key.values[0], str)):
        raise limits.bad(
            f"column {key.column!r} has {'text' if text else 'numbers'}, and its groups are given as "
            f"{'numbers' if text else 'text'}"
        )
