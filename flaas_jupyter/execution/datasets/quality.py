"""What is wrong with the values of a data set: a report for its owner, that stays at the node.

It tells how many rows and which come first, never what is in them: rows count from 1, after a header. Looked for are
missing values, columns with one value, values outside the declared range or categories, numbers among texts, values far
from the others, and rows that are there twice. A few columns are in memory at a time.

A number is far from the others if its modified z-score, 0.6745 |x - median| / MAD, is above 3.5 (Iglewicz and Hoaglin,
"How to Detect and Handle Outliers", 1993).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...column_kinds import column_kind
from ...training.preprocessing.values import missing_of
from .kinds import values_of
from .schema import ColumnSchema

if TYPE_CHECKING:
    import pyarrow

    from .dataset import Dataset

FAR = 3.5
_SCALE = 0.6745
_VALUES = 1 << 25
"""Values that are read at a time, of as many columns as that are: a text file is read as a whole for each of them."""
_DIFFERENT = 10
"""Values of a column from which it is a quantity, that can be far from others."""
WORDS = {
    "missing": "has no value in {rows} rows",
    "constant": "has the same value in all rows",
    "type": "is declared as {detail}",
    "range": "is outside its declared range in {rows} rows",
    "categories": "has {detail} in {rows} rows",
    "mixed": "has numbers and texts: {detail} in {rows} rows",
    "outliers": "is far from its other values in {rows} rows",
    "duplicates": "{rows} rows are there more than once",
    "spaces": "has spaces at the ends of {rows} values",
}
"""Kinds of findings, and what is said of them."""


@dataclass(frozen=True)
class Finding:
    """One thing that may be wrong.

    Parameters
    ----------
    column : str or None
        None of whole rows.
    kind : str
        A key of `WORDS`.
    rows : int
        How many.
    share : float
        Of all rows, 0 to 1.
    first : int or None
        The first of them, from 1.
    detail : str
        More, in words.
    """

    column: str | None
    kind: str
    rows: int
    share: float
    first: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        text = WORDS[self.kind].format(rows=self.rows, detail=self.detail)
        text = text.replace(" 1 rows", " 1 row")
        where = "" if self.first is None else f"; the first is row {self.first}"
        return f"{self.column}: {text}{where}" if self.column is not None else f"{text}{where}"


@dataclass(frozen=True)
class Quality:
    """The report.

    Parameters
    ----------
    dataset : str
    rows : int
    columns : int
    findings : tuple of Finding
    """

    dataset: str
    rows: int
    columns: int
    findings: tuple[Finding, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return asdict(self)

    @property
    def table(self) -> Any:
        """One row per finding, as a DataFrame."""
        import pandas as pd

        columns = ["column", "kind", "rows", "share", "first", "detail"]
        return pd.DataFrame([asdict(finding) for finding in self.findings], columns=columns)

    def __str__(self) -> str:
        lines = [f"{self.dataset}: {self.rows} rows, {self.columns} columns"]
        lines += [f"  {finding}" for finding in self.findings] or ["  nothing was found"]
        return "\n".join(lines)


def report(dataset: Dataset) -> Quality:
    """Look through all columns of a data set, ids and sensitive ones too.

    Raises
    ------
    FlaasError
        As `Dataset.batches`.
    """
    first = next(iter(dataset.batches()), None)
    names = [] if first is None else list(first.schema.names)
    declared = dataset.schema
    findings: list[Finding] = []
    rows = 0
    together = max(1, min(len(names), _VALUES // max(dataset.registration.rows, 1)))
    for start in range(0, len(names), together):
        for name, values in _columns(dataset.batches(names[start : start + together])):
            rows = len(values)
            findings += of_column(name, values, declared.get(name))
    repeated = _repeated(dataset.batches())
    if repeated.any():
        findings.append(_finding(None, "duplicates", repeated))
    return Quality(dataset.name, rows, len(names), tuple(findings))


def of_column(name: str, values: NDArray[Any], declared: ColumnSchema) -> list[Finding]:
    """Return what is found in one column.

    Parameters
    ----------
    name : str
    values : ndarray of shape (rows,) or (rows, …)
        Texts are objects, None where missing.
    declared : ColumnSchema
    """
    if values.ndim > 1:
        bad = (
            ~np.isfinite(values.reshape(len(values), -1)).all(axis=1) if values.dtype.kind == "f" else np.zeros(0, bool)
        )
        return [_finding(name, "missing", bad)] if bad.any() else []
    missing = missing_of(values)
    if values.dtype.kind == "O":
        missing = missing | np.fromiter((value == "" for value in values.tolist()), bool, len(values))
    found = [_finding(name, "missing", missing)] if missing.any() else []
    present = values[~missing]
    at = np.flatnonzero(~missing)
    if not present.size:
        return found
    texts = present.dtype.kind in "OU"
    different = set(present.tolist()) if texts else np.unique(present)
    if len(different) == 1 and len(values) > 1:
        found.append(Finding(name, "constant", len(present), len(present) / len(values)))
    wanted = declared.dtype
    found_as = "text" if texts else "date" if present.dtype.kind == "M" else "number"
    if wanted is not None and column_kind(wanted) != found_as:
        found.append(Finding(name, "type", len(present), 1.0, detail=f"{wanted}, and is something else"))
    every = np.zeros(len(values), bool)

    def rows_of(bad: NDArray[np.bool_]) -> NDArray[np.bool_]:
        rows = every.copy()
        rows[at[bad]] = True
        return rows

    if texts:
        found += _of_texts(name, present.tolist(), rows_of)
    elif present.dtype.kind in "biuf":
        found += _of_numbers(name, present.astype(np.float64), declared, rows_of)
    if declared.categories is not None and present.dtype.kind != "M":
        found += _categories(name, present, declared.categories, rows_of)
    return found


def _of_texts(name: str, present: list[Any], rows_of: Any) -> list[Finding]:
    found = []
    numeric = np.fromiter((_is_number(text) for text in present), bool, len(present))
    if numeric.any() and not numeric.all():
        few = numeric if numeric.sum() <= len(present) / 2 else ~numeric
        what = "numbers" if few is numeric else "texts"
        found.append(_finding(name, "mixed", rows_of(few), detail=what))
    spaces = np.fromiter((isinstance(text, str) and text != text.strip() for text in present), bool, len(present))
    if spaces.any():
        found.append(_finding(name, "spaces", rows_of(spaces)))
    return found


def _of_numbers(name: str, present: NDArray[np.float64], declared: ColumnSchema, rows_of: Any) -> list[Finding]:
    found = []
    if declared.range is not None:
        outside = (present < declared.range[0]) | (present > declared.range[1])
        if outside.any():
            found.append(_finding(name, "range", rows_of(outside)))
    if declared.role != "id" and declared.categories is None and len(np.unique(present)) > _DIFFERENT:
        finite = np.isfinite(present)
        middle = float(np.median(present[finite]))
        spread = float(np.median(np.abs(present[finite] - middle)))
        if spread > 0:
            far = _SCALE * np.abs(present - middle) / spread > FAR
            if far.any():
                found.append(_finding(name, "outliers", rows_of(far)))
    return found


def _categories(name: str, present: NDArray[Any], categories: Iterable[Any], rows_of: Any) -> list[Finding]:
    known = {value if isinstance(value, str) else float(value) for value in categories}
    listed = [value if isinstance(value, str) else float(value) for value in present.tolist()]
    unknown = np.fromiter((value not in known for value in listed), bool, len(listed))
    if not unknown.any():
        return []
    count = len({value for value, strange in zip(listed, unknown.tolist(), strict=True) if strange})
    detail = f"{count} categories that are not declared" if count > 1 else "a category that is not declared"
    return [_finding(name, "categories", rows_of(unknown), detail=detail)]


def _finding(name: str | None, kind: str, rows: NDArray[np.bool_], detail: str = "") -> Finding:
    count = int(rows.sum())
    return Finding(name, kind, count, count / len(rows), int(np.argmax(rows)) + 1, detail)


def _columns(batches: Iterable[pyarrow.RecordBatch]) -> Iterator[tuple[str, NDArray[Any]]]:
    listed = list(batches)
    for place, name in enumerate(listed[0].schema.names if listed else ()):
        yield name, np.concatenate([values_of(batch.column(place)) for batch in listed])


def _repeated(batches: Iterable[pyarrow.RecordBatch]) -> NDArray[np.bool_]:
    """Return which rows equal an earlier one, by 64-bit digests of all their values."""
    import pandas as pd

    parts = []
    for batch in batches:
        columns = [values_of(batch.column(place)) for place in range(batch.num_columns)]
        flat = [column if column.ndim == 1 else _digests(column.reshape(len(column), -1)) for column in columns]
        table = pd.DataFrame(dict(enumerate(flat)))
        parts.append(pd.util.hash_pandas_object(table, index=False).to_numpy())
    digests = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    _, first, where = np.unique(digests, return_index=True, return_inverse=True)
    return np.asarray(first[where] != np.arange(len(digests)), bool)


def _digests(rows: NDArray[Any]) -> NDArray[np.uint64]:
    import hashlib

    raw = np.ascontiguousarray(rows)
    listed = [hashlib.blake2b(row.tobytes(), digest_size=8).digest() for row in raw]
    return np.frombuffer(b"".join(listed), np.uint64)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
