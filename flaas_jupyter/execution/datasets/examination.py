"""One look at all rows of a source, a few batches in memory at a time: what it has, whether it is acceptable, its hash.

Reading goes on while the batches before are hashed and checked, column by column in a few threads, so that looking at
a file takes little longer than reading it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from ...errors import InvalidInput
from . import refusals
from .contents import ColumnHash, version_of
from .kinds import dtype_name, is_number, is_tensor, is_text, is_whole, shape_of, values_of

if TYPE_CHECKING:
    from ..sources import Source

BATCH_BYTES = 32 << 20
"""How much of a source is in memory at a time, about; a few times that while it is converted."""
_ROWS = 65_536
_FEATURES = 20_000  # as many as the coordination API takes
_THREADS = min(4, os.cpu_count() or 1)
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Examined:
    """What was found.

    Parameters
    ----------
    version : str
        Content hash; see `contents`.
    rows : int
    size : int
        Bytes that the columns take as NumPy arrays.
    features, targets : list of dict
        As descriptions have them (docs/rest.md).
    columns : list of str
        What the features, and after them the targets, are called in the source.
    """

    version: str
    rows: int
    size: int
    features: list[dict[str, Any]]
    targets: list[dict[str, Any]]
    columns: list[str]


def rows_at_once(schema: pa.Schema) -> int:
    """Return how many rows of a table are taken at a time, so that they stay within `BATCH_BYTES`."""
    row = sum(_width(field.type) for field in schema)
    return int(min(_ROWS, max(16, BATCH_BYTES // max(row, 1))))


def examine(
    source: Source,
    *,
    target: str | None,
    id_column: str | None,
    classes: int | None,
    raw: bool = False,
    hidden: Iterable[str] = (),
    tee: Callable[[pa.RecordBatch], None] | None = None,
) -> Examined:
    """Read all rows once; see `DatasetRegistry.add` for what is acceptable.

    Parameters
    ----------
    source : Source
    target, id_column : str, optional
        Columns of a table.
    classes : int, optional
        Number of classes of the target.
    raw : bool
        Whether texts and missing values are acceptable.
    hidden : iterable of str
        Columns that are no features.
    tee : callable, optional
        Is given each batch as well.

    Raises
    ------
    InvalidInput
        ``empty-data``, ``no-id-column``, ``bad-ids``, ``no-target``, ``non-numeric``, ``missing-values``,
        ``bad-classes``; and what reading the source raises.
    """
    schema = source.schema()
    shown = source.url
    roles = _roles(shown, schema, target, id_column, set(hidden), raw)
    if id_column is not None and not _may_be_id(schema.field(id_column).type):
        raise refusals.bad_id_type(shown, id_column, dtype_name(schema.field(id_column).type))
    features = sum(role == "feature" for role in roles.values())
    if features > _FEATURES:
        raise refusals.too_many(shown, features, _FEATURES)
    if not raw:
        _require_numbers(source, schema, roles)
    scans = [_Scan(field.name, field.type, roles.get(field.name, "other"), raw) for field in schema]
    rows = 0
    pending: list[Any] = []
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="examine") as pool:
        for batch in source.batches(rows=rows_at_once(schema)):
            _await(pending)
            groups = [range(i, len(scans), _THREADS) for i in range(min(_THREADS, len(scans)))]
            pending = [pool.submit(_take, scans, group, batch, rows) for group in groups]
            rows += batch.num_rows
            if tee is not None:
                tee(batch)
        _await(pending)
    return _judge(shown, schema, scans, roles, rows, classes, raw)


def _take(scans: Sequence[_Scan], group: Iterable[int], batch: pa.RecordBatch, row: int) -> None:
    for index in group:
        scans[index].take(batch.column(index), row)


def _await(pending: Iterable[Any]) -> None:
    for future in pending:
        future.result()


class _Scan:
    """What is found in one column."""

    def __init__(self, name: str, kind: Any, role: str, raw: bool) -> None:
        self.name, self.kind, self.role = name, kind, role
        self.hash = ColumnHash(kind)
        self.size = 0
        self.missing, self.first = 0, -1
        self.labels: NDArray[Any] | None = np.empty(0, np.int64) if role == "target" and is_number(kind) else None
        self._number = is_number(kind)
        # Tables are trained on as float32; arrays keep their own type.
        self._limit = np.inf if is_tensor(kind) or role == "target" else _LARGEST
        self._raw = raw

    def take(self, array: Any, row: int) -> None:
        """Take the next rows, the first of which is row `row` from 0."""
        values = values_of(array) if self._number else None
        self.hash.update(array, values)
        if values is None:
            self.size += array.nbytes + (64 if is_text(self.kind) else 8) * len(array)
            if array.null_count or self.role == "id":
                self._look_for(_blank(array) if self.role == "id" else _nulls(array), row)
            return
        self.size += values.nbytes
        if self.role == "id":
            self._look_for(_nulls(array), row)
        elif values.dtype.kind == "f" and len(values):
            low, high = float(values.min()), float(values.max())
            if not (-self._limit <= low and high <= self._limit and np.isfinite(high) and np.isfinite(low)):
                self._look_for(self._lacking(values), row)
        if self.labels is not None:
            self._take_labels(values)

    def _lacking(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        if self._raw:
            return np.asarray(np.isnan(values).reshape(len(values), -1).any(axis=1))
        with np.errstate(invalid="ignore"):
            fine = np.isfinite(values) & (np.abs(values) <= self._limit)
        return np.asarray(~fine.reshape(len(values), -1).all(axis=1))

    def _look_for(self, lacking: NDArray[np.bool_], row: int) -> None:
        count = int(lacking.sum())
        if count and self.missing == 0:
            self.first = row + int(np.argmax(lacking))
        self.missing += count

    def _take_labels(self, values: NDArray[Any]) -> None:
        """Keep the labels there are: whole numbers, truth values, and 0.0 and 1.0; a quantity has none."""
        values = values.reshape(-1)
        if values.dtype.kind == "f":
            values = values[~np.isnan(values)]
            if not is_whole(self.kind) and not np.isin(values, (0.0, 1.0)).all():
                self.labels = None
                return
        assert self.labels is not None  # asked before
        found = np.unique(values)
        self.labels = np.union1d(self.labels, found.astype(np.int64 if found.dtype.kind != "u" else found.dtype))


def _roles(
    shown: str, schema: pa.Schema, target: str | None, ids: str | None, hidden: set[str], raw: bool
) -> dict[str, str]:
    """Return what each column is: ``"id"``, ``"target"``, ``"feature"`` or ``"hidden"``."""
    names = list(schema.names)
    if len(names) == 0:
        raise refusals.empty(shown, "no columns")
    if holds_arrays(shown, schema):
        return _array_roles(shown, names, target, ids)
    if _are_values(names):
        raise refusals.no_header(shown)
    if ids is not None and (ids not in names or ids == target):
        raise refusals.no_ids(shown, names, ids, target)
    rest = [name for name in names if name != ids]
    if (target is None and ids is None and not raw) or (target is not None and target not in names):
        raise refusals.no_target(shown, rest, target)
    features = [name for name in rest if name != target and name not in hidden]
    if not features:
        raise refusals.empty(shown, "no columns beside the target" if target else "no columns beside the ids")
    roles = dict.fromkeys(names, "hidden") | dict.fromkeys(features, "feature")
    if ids is not None:
        roles[ids] = "id"
    if target is not None:
        roles[target] = "target"
    return roles


def _array_roles(shown: str, names: Sequence[str], target: str | None, ids: str | None) -> dict[str, str]:
    if ids is not None:
        raise InvalidInput(
            f"{shown} holds arrays; rows have ids in tables only.",
            code="no-id-column",
            hint="Write it as CSV or Parquet.",
        )
    if target is not None:
        raise InvalidInput(
            f"{shown} holds arrays; their targets are those named y or y_<name>. It takes no target column.",
            code="no-target",
            hint="A table of arrays: flaas.datasets.register(name, dict(numpy.load(path)), target='COLUMN').",
        )
    strange = [name for name in names if not _array_name(name)]
    for letter in "xy":
        group = [name for name in names if name[:1] == letter]
        if not group or strange or (letter in group and len(group) > 1):
            raise InvalidInput(
                f"{shown} must hold {letter}, or {letter}_<name> for each; it holds: "
                f"{', '.join(sorted(names)) or 'nothing'}.",
                code="no-target" if letter == "y" and not group else "unreadable-data",
                hint="np.savez(path, x=..., y=...)",
            )
    return {name: "feature" if name[0] == "x" else "target" for name in names}


def _are_values(names: Sequence[str]) -> bool:
    """Tell whether what stands for names is a row of numbers: told to others, they would be somebody's."""
    try:
        numbers = [float(name) for name in names]
    except ValueError:
        return False
    return not any(numbers == [float(i) for i in range(start, start + len(numbers))] for start in (0, 1))


def _array_name(name: str) -> bool:
    return name[:1] in ("x", "y") and name[1:2] in ("", "_")


def holds_arrays(shown: str, schema: pa.Schema) -> bool:
    """Tell whether columns are arrays by name (``x``, ``y``, ``x_<name>`` …) rather than those of a table."""
    tensors = any(is_tensor(field.type) for field in schema) and all(_array_name(name) for name in schema.names)
    return tensors or shown.lower().endswith(".npz")


def _require_numbers(source: Source, schema: pa.Schema, roles: Mapping[str, str]) -> None:
    """Refuse a column that is not numbers through and through, naming the first row of it that is none."""
    arrays = holds_arrays(source.url, schema)
    for field in schema:
        role = roles[field.name]
        if role in ("hidden", "id") or (is_number(field.type) and (arrays or not is_tensor(field.type))):
            continue
        if is_tensor(field.type) or not is_text(field.type):
            raise refusals.non_numeric(source.url, field.name, f"is of type {dtype_name(field.type)}", 1, role)
        row = _first_no_number(source, field.name)
        what = f"is of type {dtype_name(field.type)}" if row is None else "is not a number"
        raise refusals.non_numeric(source.url, field.name, what, row or 1, role)


def _first_no_number(source: Source, column: str) -> int | None:
    """Return the first row, from 1, whose text is not a number; None if all are."""
    row = 0
    for batch in source.batches([column], _ROWS):
        for text in batch.column(0).to_pylist():
            row += 1
            try:
                float(text or 0)
            except ValueError:
                return row
    return None


def _judge(
    shown: str,
    schema: pa.Schema,
    scans: Sequence[_Scan],
    roles: Mapping[str, str],
    rows: int,
    classes: int | None,
    raw: bool,
) -> Examined:
    if rows == 0:
        raise refusals.empty(shown, f"0 rows and {len(schema)} columns")
    for scan in scans:
        if scan.role == "id" and scan.missing:
            raise refusals.missing_ids(shown, scan.name, scan.missing, scan.first)
    arrays = holds_arrays(shown, schema)
    lacking = [scan for scan in scans if scan.role in ("feature", "target") and scan.missing]
    if lacking and not raw:
        what = "array" if arrays else "column"
        raise refusals.missing(
            shown, {scan.name: scan.missing for scan in lacking}, lacking[0].first, what, tables=what == "column"
        )
    chosen = {
        role: sorted(
            ((_shown_name(scan.name, arrays, letter), scan) for scan in scans if roles[scan.name] == role),
            key=lambda pair: pair[0] if arrays else "",  # tables stay in order
        )
        for role, letter in (("feature", "x"), ("target", "y"))
    }
    features = [
        {"name": name, "dtype": dtype_name(scan.kind), "shape": shape_of(scan.kind)} for name, scan in chosen["feature"]
    ]
    targets = [_target(shown, name, scan, classes, raw) for name, scan in chosen["target"]]
    columns = [scan.name for role in ("feature", "target") for _, scan in chosen[role]]
    version = version_of(schema, [scan.hash for scan in scans], rows)
    return Examined(version, rows, sum(scan.size for scan in scans), features, targets, columns)


def _shown_name(name: str, arrays: bool, letter: str) -> str:
    """``x_image`` is called ``image``, the only ``x`` is called ``x``."""
    return name.removeprefix(f"{letter}_") if arrays else name


def _target(shown: str, name: str, scan: _Scan, classes: int | None, raw: bool) -> dict[str, Any]:
    """Return the description of a target: whole numbers and texts are classes, others a regression."""
    described: dict[str, Any] = {"name": name, "dtype": dtype_name(scan.kind), "kind": "regression", "classes": None}
    if scan.labels is None:
        return described if is_number(scan.kind) else described | {"kind": "multiclass", "classes": classes}
    present = scan.labels
    if len(present) == 0:
        return described | {"kind": "multiclass", "classes": classes}
    count = classes if classes is not None else max(int(present[-1]) + 1, 2)
    outside = present[0] < 0 or present[-1] >= count
    absent = classes is None and len(present) < count and count > 2
    if raw and (outside or absent):  # they are recoded by a recipe
        return described | {"kind": "multiclass", "classes": classes}
    if outside:
        raise refusals.classes_outside(shown, name, count)
    if absent:
        gap = int(np.setdiff1d(np.arange(min(count, len(present) + 1)), present)[0])
        raise refusals.class_absent(shown, name, count, gap)
    return described | {"kind": "binary" if count == 2 else "multiclass", "classes": count}


def _may_be_id(kind: Any) -> bool:
    return is_text(kind) or pa.types.is_integer(kind)


def _blank(array: Any) -> NDArray[np.bool_]:
    blank = pc.equal(pc.utf8_trim_whitespace(array), "").fill_null(True) if is_text(array.type) else array.is_null()
    return np.asarray(blank.to_numpy(zero_copy_only=False))


def _nulls(array: Any) -> NDArray[np.bool_]:
    return np.asarray(array.is_null().to_numpy(zero_copy_only=False))


def _width(kind: Any) -> int:
    if is_tensor(kind):
        return int(np.prod(kind.shape)) * max(1, int(kind.value_type.bit_width) // 8)
    try:
        return max(1, int(kind.bit_width) // 8)
    except ValueError:  # texts, and what else has no width
        return 32
