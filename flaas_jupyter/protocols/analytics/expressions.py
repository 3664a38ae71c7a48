"""Conditions and derived columns: a typed tree of whitelisted operations, evaluated column by column with NumPy.

An expression travels as JSON, is checked whole before anything of it is computed, and can only name columns, constants
and the operations of `OPERATIONS`. Nothing in it is ever executed as a program. Missing values (NaN) follow pandas:
they pass through arithmetic, and every comparison with them is false except ``ne``.

``{"column": name} | {"value": number | text | true | false | null} | {"op": operation, "args": [expression, …]}``
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

Kind = Literal["number", "boolean", "text", "missing"]
Columns = Mapping[str, NDArray[Any]]

MAXIMUM_DEPTH = 32
MAXIMUM_SIZE = 2048
"""Nodes of one expression, constants included."""
MAXIMUM_TEXT = 256


@dataclass(frozen=True)
class _Operation:
    least: int
    most: int
    takes: tuple[Kind, ...]
    gives: Kind
    evaluate: Callable[..., Any]


def _isnull(values: Any) -> Any:
    array = np.asarray(values)
    if array.dtype.kind == "O":  # texts, None where one is missing
        return np.fromiter((value is None or value != value for value in array.tolist()), bool, array.size)
    if array.dtype.kind in "Mm":
        return np.isnat(array)
    return np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)


def _isin(values: Any, *choices: Any) -> Any:
    found = np.zeros(np.shape(values), bool)
    for choice in choices:
        found |= np.asarray(values == choice)
    return found


def _round(values: Any, digits: Any = 0) -> Any:
    return np.round(values, int(np.asarray(digits)))


def _conjunction(*operands: Any) -> Any:
    return np.logical_and.reduce(np.broadcast_arrays(*operands))


def _disjunction(*operands: Any) -> Any:
    return np.logical_or.reduce(np.broadcast_arrays(*operands))


_ANY: tuple[Kind, ...] = ("number", "text", "missing")
_NUMBER: tuple[Kind, ...] = ("number",)
_BOOLEAN: tuple[Kind, ...] = ("boolean",)

OPERATIONS: dict[str, _Operation] = {
    "gt": _Operation(2, 2, _NUMBER, "boolean", np.greater),
    "ge": _Operation(2, 2, _NUMBER, "boolean", np.greater_equal),
    "lt": _Operation(2, 2, _NUMBER, "boolean", np.less),
    "le": _Operation(2, 2, _NUMBER, "boolean", np.less_equal),
    "eq": _Operation(2, 2, _ANY, "boolean", lambda a, b: a == b),
    "ne": _Operation(2, 2, _ANY, "boolean", lambda a, b: a != b),
    "and": _Operation(2, 64, _BOOLEAN, "boolean", _conjunction),
    "or": _Operation(2, 64, _BOOLEAN, "boolean", _disjunction),
    "not": _Operation(1, 1, _BOOLEAN, "boolean", np.logical_not),
    "add": _Operation(2, 2, _NUMBER, "number", np.add),
    "sub": _Operation(2, 2, _NUMBER, "number", np.subtract),
    "mul": _Operation(2, 2, _NUMBER, "number", np.multiply),
    "div": _Operation(2, 2, _NUMBER, "number", np.true_divide),
    "log": _Operation(1, 1, _NUMBER, "number", np.log),
    "exp": _Operation(1, 1, _NUMBER, "number", np.exp),
    "abs": _Operation(1, 1, _NUMBER, "number", np.abs),
    "round": _Operation(1, 2, _NUMBER, "number", _round),
    "isnull": _Operation(1, 1, ("number", "text"), "boolean", _isnull),
    "isin": _Operation(2, 1025, _ANY, "boolean", _isin),
    "between": _Operation(3, 3, _NUMBER, "boolean", lambda x, low, high: (x >= low) & (x <= high)),
}
"""What an expression may compute."""


@dataclass(frozen=True)
class Expression:
    """A checked expression; `parse` makes it.

    Attributes
    ----------
    kind : str
        ``"number"``, ``"boolean"``, ``"text"`` or ``"missing"``.
    """

    kind: Kind
    column: str | None = None
    value: float | str | bool | None = None
    op: str | None = None
    args: tuple[Expression, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the expression as JSON values."""
        if self.op is not None:
            return {"op": self.op, "args": [argument.to_dict() for argument in self.args]}
        return {"column": self.column} if self.column is not None else {"value": self.value}

    def parts(self) -> Iterator[Expression]:
        """Return the expression and everything in it."""
        yield self
        for argument in self.args:
            yield from argument.parts()

    @property
    def columns(self) -> frozenset[str]:
        """Names of the columns in it."""
        return frozenset(part.column for part in self.parts() if part.column is not None)

    def evaluate(self, columns: Columns, rows: int) -> NDArray[Any]:
        """Return one value for each row.

        Parameters
        ----------
        columns : mapping of str to ndarray, shape (rows,)
        rows : int

        Returns
        -------
        ndarray, shape (rows,)
            float64 (NaN where missing) of a number, bool of a condition.

        Raises
        ------
        InvalidInput
            Code ``unknown-column``.
        """
        with np.errstate(all="ignore"):  # division by zero and logarithms of negatives are missing or infinite
            found = np.asarray(self._evaluate(columns))
        if self.kind == "number":
            found = found.astype(np.float64, copy=False)
        return np.broadcast_to(found, (rows,)) if found.ndim == 0 else found

    def _evaluate(self, columns: Columns) -> Any:
        if self.op is not None:
            return OPERATIONS[self.op].evaluate(*(argument._evaluate(columns) for argument in self.args))
        if self.column is None:
            return math.nan if self.value is None else self.value
        if self.column not in columns:
            raise unknown_column(self.column, columns)
        values = columns[self.column]
        return values.astype(np.float64, copy=False) if values.dtype.kind in "biuf" else values


def parse(data: object, kinds: Mapping[str, Kind] | None = None) -> Expression:
    """Check an expression and return it.

    Parameters
    ----------
    data : object
        JSON values.
    kinds : mapping of str to str, optional
        What columns are that are not numbers: derived conditions.

    Raises
    ------
    InvalidInput
        Code ``bad-expression``; the message names the part and what is allowed.
    """
    return _Parser(kinds or {}).parse(data, 1)


class _Parser:
    """Counts what it has seen, so that a small message cannot ask for much work."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds, self._size = kinds, 0

    def parse(self, data: object, depth: int) -> Expression:
        self._size += 1
        if depth > MAXIMUM_DEPTH or self._size > MAXIMUM_SIZE:
            raise _bad(f"it is deeper than {MAXIMUM_DEPTH} or has more than {MAXIMUM_SIZE} parts")
        if not isinstance(data, dict):
            raise _bad(f"{_shown(data)} is not a column, a value or an operation")
        keys = set(data)
        if keys == {"column"}:
            name = column_name(data["column"])
            return Expression(self._kinds.get(name, "number"), column=name)
        if keys == {"value"}:
            return _constant(data["value"])
        if keys == {"op", "args"}:
            return self._operation(data["op"], data["args"], depth)
        raise _bad(f'{_shown(data)} has other keys than "column", "value", or "op" and "args"')

    def _operation(self, name: object, args: object, depth: int) -> Expression:
        if not isinstance(name, str) or name not in OPERATIONS:
            raise _bad(f"{_shown(name)} is no operation; there are {', '.join(OPERATIONS)}")
        operation = OPERATIONS[name]
        if not isinstance(args, list) or not operation.least <= len(args) <= operation.most:
            raise _bad(f"{name} takes a list of {operation.least} to {operation.most} arguments")
        parsed = tuple(self.parse(argument, depth + 1) for argument in args)
        for argument in parsed:
            if argument.kind not in operation.takes and not (
                argument.kind == "missing" and "number" in operation.takes
            ):
                raise _bad(
                    f"{name} takes {' or '.join(operation.takes)}, not a {argument.kind}",
                    "To count the rows that meet a condition, give it as where=…, or group by it."
                    if argument.kind == "boolean"
                    else "",
                )
        if name == "isin" and any(argument.op or argument.column for argument in parsed[1:]):
            raise _bad("isin compares with constants only")
        if name == "round" and len(parsed) == 2 and not isinstance(parsed[1].value, int | float):
            raise _bad("the digits that round keeps must be a constant")
        return Expression(operation.gives, op=name, args=parsed)


def _constant(value: object) -> Expression:
    if value is None:
        return Expression("missing")
    if isinstance(value, bool):
        return Expression("boolean", value=value)
    if isinstance(value, int | float):
        if not abs(value) <= 1e300:
            raise _bad(f"the constant {_shown(value)} is not finite")
        return Expression("number", value=value)
    if isinstance(value, str) and len(value) <= MAXIMUM_TEXT:
        return Expression("text", value=value)
    raise _bad(f"{_shown(value)} is not a number, a text of up to {MAXIMUM_TEXT} characters, true, false or null")


def column_name(value: object) -> str:
    """Return the name of a column.

    Raises
    ------
    InvalidInput
        Code ``bad-expression``.
    """
    if isinstance(value, str) and 0 < len(value) <= MAXIMUM_TEXT:
        return value
    raise _bad(f"{_shown(value)} is not the name of a column")


def unknown_column(name: str, columns: Any) -> InvalidInput:
    """Return the error for a column that is not there."""
    shown = ", ".join(list(columns)[:20]) + (" …" if len(columns) > 20 else "")
    return InvalidInput(
        f"There is no column {name[:80]!r}; there are {shown or 'none'}.", code="unknown-column", column=name[:80]
    )


def singling(expression: Expression) -> str | None:
    """Say how a derived column could single rows out of a sum, or None where it cannot.

    Sums of polynomials of degree two are the moments that are released anyway. A comparison inside a value, a division
    by something with a chosen constant in it, or a function such as ``abs`` shifted by one can be made large for one
    row and nothing for all others, so that a sum over many rows tells about that one. Safe are: polynomials up to
    degree two of *atoms*; atoms are columns, and ``log``, ``exp``, ``abs``, ``round`` or quotients of columns with no
    constants in them but 0 and 1.
    """
    found = _degree(expression)
    return found if isinstance(found, str) else None


def _degree(part: Expression) -> int | str:
    """Return the degree in atoms, or a reason."""
    if part.kind != "number" and part.kind != "missing":
        return "it has a condition in it"
    if part.column is not None:
        return 1
    if part.op is None:
        return 0
    degrees = [_degree(argument) for argument in part.args]
    for degree in degrees:
        if isinstance(degree, str):
            return degree
    powers = [degree for degree in degrees if isinstance(degree, int)]
    if part.op in ("add", "sub"):
        return max(powers)
    if part.op == "mul":
        return sum(powers) if sum(powers) <= 2 else "it is a polynomial of a degree above two"
    if part.op == "div" and powers[1] == 0:
        return powers[0]
    if max(powers) == 0:
        return 0
    tuned = any(
        inner.op is None and inner.column is None and inner.value not in (0, 1) and not _digits(part, inner)
        for inner in part.parts()
    )
    return f"it has a constant other than 0 and 1 inside {part.op}" if tuned else 1


def _digits(part: Expression, constant: Expression) -> bool:
    """Whether a constant is how many digits `round` keeps."""
    return part.op == "round" and len(part.args) == 2 and part.args[1] is constant


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _bad(why: str, hint: str = "") -> InvalidInput:
    return InvalidInput(f"The expression is not acceptable: {why}.", code="bad-expression", hint=hint)
