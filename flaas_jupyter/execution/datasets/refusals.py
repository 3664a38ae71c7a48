"""How data are refused that can be read but not be used as they are: file, row and column are named, never a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import InvalidInput, NotAllowed

_SHOWN = 5
_RAW = "or keep it as it is and register it with --raw: for statistics, and runs with preprocessing."


def empty(shown: str, what: str) -> InvalidInput:
    """Return the refusal of a source without rows, or without columns to learn from."""
    return InvalidInput(f"{shown} holds no data: {what}.", code="empty-data")


def no_header(shown: str) -> InvalidInput:
    """Return the refusal of a table whose first line is a row."""
    return InvalidInput(
        f"{shown} has numbers where the names of its columns should be.",
        code="no-header",
        hint="Write a first line with names, which others are told: values in it would be told as well.",
    )


def too_many(shown: str, features: int, most: int) -> InvalidInput:
    """Return the refusal of a table that is too wide to be told of."""
    return InvalidInput(
        f"{shown} has {features} features; a data set has {most} at most.",
        code="too-many-columns",
        hint="Write them as one array: np.savez(path, x=..., y=...).",
    )


def no_target(shown: str, columns: Sequence[str], target: str | None) -> InvalidInput:
    """Return the refusal of a table whose target is not told, or not there."""
    return InvalidInput(
        f"{shown} needs a target column" + (f" and has none named {target!r}" if target else "") + f"; it has: "
        f"{_listed(columns)}.",
        code="no-target",
        hint="`flaas dataset add NAME FILE --target COLUMN`, in a notebook target='COLUMN'."
        if target
        else "Name the column to predict with --target COLUMN, in a notebook target='COLUMN'. A table without one: "
        "--no-target with --raw (statistics, and runs with preprocessing) or with --id COLUMN (another party has the "
        "label), in a notebook raw=True or id_column='COLUMN'.",
    )


def no_ids(shown: str, columns: Sequence[str], ids: str, target: str | None) -> InvalidInput:
    """Return the refusal of a table without the column of ids."""
    beside = ", beside the target" if ids == target else f"; it has: {_listed(columns)}"
    return InvalidInput(
        f"{shown} has no column {ids!r} to name its rows by{beside}.",
        code="no-id-column",
        hint="`flaas dataset add NAME FILE --target COLUMN --id COLUMN`.",
    )


def bad_id_type(shown: str, column: str, dtype: str) -> InvalidInput:
    """Return the refusal of ids that others may write otherwise."""
    return InvalidInput(
        f"{shown}: the ids in column {column!r} are of type {dtype}; allowed are texts and whole numbers.",
        code="bad-ids",
        hint="Others may write 1.0 as 1: write the column as text, the same way at all parties.",
    )


def missing_ids(shown: str, column: str, count: int, first: int) -> InvalidInput:
    """Return the refusal of rows without an id."""
    return InvalidInput(
        f"{shown}: {count} rows have no id in column {column!r}; the first is row {first + 1}.",
        code="bad-ids",
        hint="Drop those rows, or give them ids.",
    )


def repeated_ids(shown: str, column: str, count: int, rows: int) -> InvalidInput:
    """Return the refusal of ids that do not tell rows apart."""
    return InvalidInput(
        f"{shown}: {count} of {rows} rows have an id in column {column!r} that another row has as well.",
        code="bad-ids",
        hint="Keep one row for each id, or aggregate them.",
    )


def non_numeric(shown: str, column: str, what: str, row: int, role: str) -> InvalidInput:
    """Return the refusal of a column that is no number in row `row`, from 1."""
    return InvalidInput(
        f"{shown}: row {row} of column {column!r} {what}; rows count from 1 after the header.",
        code="non-numeric",
        hint="Labels must be the integers 0 to K-1, the same ones at all nodes: table[column].map({...}); " + _RAW
        if role == "target"
        else "Turn the column into numbers (pandas.get_dummies, .map({...})) or drop it, " + _RAW,
        row=row,
        column=column,
    )


def missing(shown: str, counts: Mapping[str, int], row: int, what: str, *, tables: bool) -> InvalidInput:
    """Return the refusal of missing or infinite values, `counts` of them; the first of the first column in `row`."""
    told = ", ".join(f"{name!r} ({count} rows)" for name, count in list(counts.items())[:_SHOWN])
    more = f" and {len(counts) - _SHOWN} more" if len(counts) > _SHOWN else ""
    hint = "Fill them (pandas: table.fillna(...)) or drop those rows (table.dropna()), and write the file again"
    return InvalidInput(
        f"{shown} has missing or infinite values in {what} {told}{more}; the first is in row {row + 1} of "
        f"{next(iter(counts))!r}.",
        code="missing-values",
        hint=f"{hint}; {_RAW}" if tables else f"{hint}.",
        columns=dict(counts),
    )


def classes_outside(shown: str, target: str, count: int) -> InvalidInput:
    """Return the refusal of labels that are not 0 to K-1."""
    return InvalidInput(
        f"{shown}: target {target!r} has classes outside 0 to {count - 1}.",
        code="bad-classes",
        hint="Recode the labels to 0 to K-1, the same at all nodes. A quantity to predict must be floating point.",
    )


def class_absent(shown: str, target: str, count: int, absent: int) -> InvalidInput:
    """Return the refusal of labels that leave one out."""
    return InvalidInput(
        f"{shown}: target {target!r} has classes up to {count - 1}, but no row of class {absent}.",
        code="bad-classes",
        hint="Recode the labels to 0 to K-1, the same at all nodes; if this node has no such rows, register it "
        "with the number of classes. A quantity to predict must be floating point.",
    )


def needs_preprocessing(name: str) -> NotAllowed:
    """Return the refusal of a run without preprocessing on data that are registered as they came."""
    return NotAllowed(
        f"Data set {name!r} is registered as it came, with texts or missing values: a model cannot take it so.",
        code="needs-preprocessing",
        hint="Train with model.fit(federation, preprocessing=...); federation.analytics works as it is.",
    )


def _listed(columns: Sequence[str]) -> str:
    most = 50
    more = f" and {len(columns) - most} more" if len(columns) > most else ""
    return ", ".join(map(str, columns[:most])) + more
