"""Which columns are trained on, and arrays and tables as columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Table:
    """Columns to train on.

    Parameters
    ----------
    features : list of str
    target : str
    classes : int, optional
        Classes of the target, if that is known.
    """

    features: list[str]
    target: str
    classes: int | None = None


def columns_of(
    schema: Sequence[Mapping[str, Any]], features: Sequence[str] | None = None, target: str | None = None
) -> Table:
    """Return which of a federation's columns are trained on.

    Parameters
    ----------
    schema : sequence of mapping
        An entry for each column: ``name``, ``role`` (feature or target), ``classes`` of a target with labels.
    features : sequence of str, optional
        All features by default.
    target : str, optional
        The target by default.

    Raises
    ------
    InvalidInput
        ``unknown-column``; ``boosting-bad-data``.
    """
    known = {str(entry["name"]): entry for entry in schema}
    own = [name for name, entry in known.items() if entry["role"] == "target"]
    if target is None and not own:
        raise InvalidInput(
            "The federation's data have no target.", code="boosting-bad-data", hint="Name a column: target=..."
        )
    chosen = own[0] if target is None else target
    wanted = features
    if wanted is None:
        wanted = [name for name, entry in known.items() if entry["role"] == "feature" and name != chosen]
    for name in [*wanted, chosen]:
        if name not in known:
            raise InvalidInput(
                f"The federation has no column {name!r}.",
                code="unknown-column",
                hint=f"Its columns are {', '.join(list(known)[:20])}.",
            )
    if not wanted or chosen in wanted or len(set(wanted)) != len(wanted):
        raise InvalidInput(
            f"features must be different columns, at least one, without the target {chosen!r}.",
            code="boosting-bad-data",
        )
    classes = known[chosen].get("classes")
    return Table(list(wanted), chosen, None if classes is None else int(classes))


def condition(rows: Any) -> dict[str, Any] | None:
    """Return a condition on the rows of a federation as JSON values.

    Parameters
    ----------
    rows : Column, dict or None
        A comparison of columns of ``federation.frame()``, or its JSON form.

    Raises
    ------
    InvalidInput
        ``boosting-bad-data``; ``bad-expression``.
    """
    if rows is None:
        return None
    from ..protocols.analytics import expressions

    given = rows if isinstance(rows, dict) else getattr(rows, "expression", None)
    if given is None:
        raise InvalidInput(
            f"rows must be a condition, not {type(rows).__name__}.",
            code="boosting-bad-data",
            hint='For example frame = federation.frame(); fit(federation, rows=frame["age"] > 30).',
        )
    found = given if isinstance(given, expressions.Expression) else expressions.parse(given)
    return found.to_dict()


def as_columns(X: Any) -> tuple[list[str], dict[str, Floats]]:
    """Return the names and the columns of a table or a two-dimensional array, as float64.

    Raises
    ------
    InvalidInput
        ``boosting-bad-data``.
    """
    if hasattr(X, "toarray"):
        raise InvalidInput(
            "Sparse data was passed, but dense data is required.", code="boosting-bad-data", hint="Use X.toarray()."
        )
    try:
        values = np.asarray(X.to_numpy(dtype=np.float64, na_value=np.nan) if hasattr(X, "columns") else X)
        if values.dtype.kind == "c":
            raise InvalidInput("Complex data not supported.", code="boosting-bad-data")
        values = values.astype(np.float64)
    except (TypeError, ValueError) as error:
        if isinstance(error, InvalidInput):
            raise
        raise InvalidInput(
            f"The features are not numbers through and through: {error}.",
            code="boosting-bad-data",
            hint="Encode categories as numbers first, e.g. pandas.get_dummies.",
        ) from error
    if values.ndim != 2:
        raise InvalidInput(
            f"Expected 2D array, got {values.ndim}D array instead. Reshape your data: features need rows and columns.",
            code="boosting-bad-data",
        )
    if 0 in values.shape:
        missing = "0 sample(s)" if values.shape[0] == 0 else "0 feature(s)"
        raise InvalidInput(
            f"Found array with {missing} (shape={values.shape}) while a minimum of 1 is required.",
            code="boosting-bad-data",
        )
    if np.isinf(values).any():
        raise InvalidInput("Input X contains infinity.", code="boosting-bad-data", hint="NaN are missing values.")
    names = (
        [str(name) for name in X.columns]
        if hasattr(X, "columns")
        else [f"x[{number}]" for number in range(values.shape[1])]
    )
    if len(set(names)) != len(names):
        raise InvalidInput("Two columns have the same name.", code="boosting-bad-data")
    by_column = np.ascontiguousarray(values.T)
    return names, dict(zip(names, by_column, strict=True))


def one_row_each(y: Any, rows: int) -> NDArray[Any]:
    """Return a target as an array of shape (rows,).

    Raises
    ------
    InvalidInput
        ``boosting-bad-data``.
    """
    values = np.asarray(y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim != 1:
        raise InvalidInput(f"y should be a 1d array, got an array of shape {values.shape}.", code="boosting-bad-data")
    if len(values) != rows:
        raise InvalidInput(
            f"Found input variables with inconsistent numbers of samples: {rows} and {len(values)}.",
            code="boosting-bad-data",
        )
    return values
