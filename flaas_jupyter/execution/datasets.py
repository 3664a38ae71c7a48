"""The data sets of a node: files that its operator registers and that never leave it.

What others are told is a description: names of columns, types, and the number of rows. Files are CSV, Parquet (one
table, one target column, for vertical models a column of ids) or npz (arrays ``x`` and ``y``, or ``x_<name>`` and
``y_<name>`` for models with several inputs or outputs). Preparing data is the operator's business, with pandas or
whatever they like; a file is registered when it is numbers through and through, and is checked again whenever it has
changed. Messages go to the operator's screen or log and name file, row and column, never a value.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import Conflict, InvalidInput, NotAllowed, NotFound
from ..home import write_private
from ..training.arrays import Arrays, canonical_target
from .columns import Columns
from .policy import Policy

if TYPE_CHECKING:
    import pandas as pd

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TABLES = (".csv", ".csv.gz", ".parquet", ".pq")
_SHOWN = 5
VERSION = 1


@dataclass(frozen=True)
class Registration:
    """What the registry keeps of one data set."""

    name: str
    path: str
    target: str | None
    projects: tuple[str, ...]
    operations: tuple[str, ...]
    classes: int | None
    rows: int
    features: list[dict[str, Any]]
    targets: list[dict[str, Any]]
    size: int
    modified_ns: int
    id_column: str | None = None


class Dataset:
    """One registered data set; `DatasetRegistry` makes it."""

    def __init__(self, registration: Registration, home: Path) -> None:
        self.registration = registration
        self._home = home
        self._arrays: Arrays | None = None
        self._ids: NDArray[np.str_] | None = None
        self._columns: Columns | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The name that it is offered under."""
        return self.registration.name

    def to_dict(self) -> dict[str, Any]:
        """Return the registration as JSON values, for the operator: it includes the file's path."""
        return asdict(self.registration)

    def description(self) -> dict[str, Any]:
        """Return what others are told (docs/rest.md): names, types, counts.

        With no projects registered it is offered to every project that the policy lets in. Several targets are listed
        under ``targets``; ``target`` is the first, None where there is none. ``id_column`` is there if rows have ids.

        Raises
        ------
        InvalidInput
            The file has changed and is not acceptable any more; see `load`.
        """
        registration = self._current()
        projects = registration.projects or _policy(self._home).for_dataset(self.name).projects
        description: dict[str, Any] = {
            "name": self.name,
            "projects": list(projects),
            "rows": registration.rows,
            "features": registration.features,
            "target": registration.targets[0] if registration.targets else None,
        }
        if registration.id_column is not None:
            description["id_column"] = registration.id_column
        if len(registration.targets) > 1:
            description["targets"] = registration.targets
        return description

    def load(self, operation: str = "train") -> Arrays:
        """Return the data, read once and kept until the file changes.

        Raises
        ------
        NotAllowed
            Code ``policy-operation``: not registered for `operation`.
        InvalidInput
            ``unreadable-data`` and the other codes of `DatasetRegistry.add`; ``schema-changed``: the file has other
            columns than when it was registered.
        """
        self._require_operation(operation)
        with self._lock:
            self._refresh()
            return self._loaded()

    def columns(self, operation: str = "analytics") -> Columns:
        """Return the columns by name in the types that the file has, read once and kept until the file changes.

        A data set that is registered for training is open to statistics where the policy is.

        Raises
        ------
        FlaasError
            As `load`.
        """
        if "train" not in self.registration.operations:
            self._require_operation(operation)
        with self._lock:
            self._refresh()
            if self._columns is None:
                self._columns = _read_columns(self.registration)
            return self._columns

    def load_with_ids(self, operation: str = "vertical") -> tuple[Arrays, NDArray[np.str_]]:
        """Return the data and the id of each row, both of the same state of the file.

        Returns
        -------
        arrays : Arrays
            As of `load`; its targets are empty where the data set has none.
        ids : ndarray of shape (n,), texts
            As they stand in the file; whole numbers as their decimal digits.

        Raises
        ------
        NotAllowed
            Code ``policy-operation``.
        InvalidInput
            ``no-id-column``; and as `load`.
        """
        self._require_operation(operation)
        if self.registration.id_column is None:
            raise InvalidInput(
                f"Data set {self.name!r} has no column of ids.",
                code="no-id-column",
                hint=f"`flaas dataset remove {self.name}` and add it again with --id COLUMN.",
            )
        with self._lock:
            self._refresh()
            arrays = self._loaded()
            if self._ids is None:
                self._ids = _read_ids(self.registration)
            if len(self._ids) != arrays.rows:
                raise _unreadable(Path(self.registration.path), "it changed while it was read")
            return arrays, self._ids

    def _loaded(self) -> Arrays:
        if self._arrays is None:
            self._arrays = _read(self.registration)[0]
        return self._arrays

    def _require_operation(self, operation: str) -> None:
        if operation not in self.registration.operations:
            raise NotAllowed(
                f"Data set {self.name!r} is not registered for {operation!r}, only for "
                f"{', '.join(self.registration.operations) or 'nothing'}.",
                code="policy-operation",
                hint="Its operator decides with `flaas dataset add`.",
            )

    def _current(self) -> Registration:
        with self._lock:
            self._refresh()
            return self.registration

    def _refresh(self) -> None:
        """Read the file again if it is not the one that was registered."""
        known = self.registration
        size, modified_ns = _stamp(Path(known.path))
        if (size, modified_ns) == (known.size, known.modified_ns):
            return
        arrays, schema = _read(known)
        if (schema["features"], schema["targets"]) != (known.features, known.targets):
            raise InvalidInput(
                f"{known.path} has changed since it was registered as {known.name!r}: {_difference(known, schema)}.",
                code="schema-changed",
                hint=f"Restore the file, or `flaas dataset remove {known.name}` and add it again.",
            )
        self._arrays, self._ids, self._columns = arrays, None, None
        self.registration = replace(known, rows=arrays.rows, size=size, modified_ns=modified_ns)


class DatasetRegistry:
    """The data sets of the node in `home`, kept in ``datasets.json`` there.

    Parameters
    ----------
    home : Path
        `FLAAS_HOME`.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._file = home / "datasets.json"
        self._known: dict[str, Dataset] = {}

    def add(
        self,
        name: str,
        path: Path | str,
        target: str | None = None,
        projects: Sequence[str] = (),
        operations: Sequence[str] = ("train",),
        *,
        classes: int | None = None,
        id_column: str | None = None,
    ) -> Dataset:
        """Register a file after reading and checking all of it.

        Parameters
        ----------
        name : str
            Letters, digits, ``.``, ``_``, ``-``; the same on all nodes that train on it together.
        path : Path
            CSV, Parquet or npz.
        target : str, optional
            The column to predict; tables only, and needed for them unless they have ids.
        projects : sequence of str
            Projects it is offered to; without any, all that the policy lets in.
        operations : sequence of str
            What it may be used for.
        classes : int, optional
            Number of classes of an integer target, where this node may not have rows of each.
        id_column : str, optional
            The column that names whom a row is about, texts or whole numbers; it is no feature. Tables only. With it
            the data set may be used in vertical runs, as a party that need not have a target.

        Raises
        ------
        Conflict
            Code ``dataset-exists``.
        InvalidInput
            ``bad-dataset-name``; ``unknown-data-format``; ``unreadable-data``; ``no-target``; ``duplicate-columns``;
            ``unnamed-column``; ``non-numeric``; ``missing-values``; ``empty-data``; ``bad-classes``; ``bad-ids``;
            ``no-id-column``; ``too-few-rows`` (the policy's minimum).
        """
        if not _NAME.fullmatch(name):
            raise InvalidInput(
                f"{name[:80]!r} cannot name a data set: allowed are letters, digits, '.', '_' and '-', 64 at most.",
                code="bad-dataset-name",
            )
        entries = self._read_file()
        if name in entries:
            raise Conflict(
                f"There is a data set {name!r} already, {entries[name].path}.",
                code="dataset-exists",
                hint=f"`flaas dataset remove {name}` first, or choose another name.",
            )
        if id_column is not None:
            operations = tuple(dict.fromkeys((*operations, "vertical")))
        absolute = Path(path).expanduser().resolve()
        size, modified_ns = _stamp(absolute)
        draft = Registration(
            name, str(absolute), target, tuple(projects), tuple(operations), classes, 0, [], [], size, modified_ns,
            id_column,
        )  # fmt: skip
        arrays, schema = _read(draft)
        if id_column is not None:
            _read_ids(draft)
        least = _policy(self._home).for_dataset(name).minimum_rows
        if arrays.rows < least:
            raise InvalidInput(
                f"{absolute} has {arrays.rows} rows; this node's policy wants {least} at least.",
                code="too-few-rows",
                hint="Register more rows, or change minimum_rows in node.toml.",
            )
        entries[name] = replace(draft, rows=arrays.rows, **schema)
        self._write_file(entries)
        return self.get(name)

    def list(self) -> list[Dataset]:
        """Return all data sets, by name; files are not read."""
        return [self._dataset(entry) for _, entry in sorted(self._read_file().items())]

    def get(self, name: str) -> Dataset:
        """Return one data set.

        Raises
        ------
        NotFound
            Code ``unknown-dataset``; the message lists those there are.
        """
        entries = self._read_file()
        if name not in entries:
            raise NotFound(
                f"This node has no data set {name!r}; it has: {', '.join(sorted(entries)) or 'none'}.",
                code="unknown-dataset",
                hint="`flaas dataset add NAME FILE --target COLUMN` registers one.",
            )
        return self._dataset(entries[name])

    def remove(self, name: str) -> None:
        """Forget a data set; its file is not touched.

        Raises
        ------
        NotFound
            Code ``unknown-dataset``.
        """
        self.get(name)
        entries = self._read_file()
        del entries[name]
        self._known.pop(name, None)
        self._write_file(entries)

    def _dataset(self, entry: Registration) -> Dataset:
        """The one object for an entry, so that runs share what it has in memory."""
        known = self._known.get(entry.name)
        identity = (entry.path, entry.target, entry.projects, entry.operations, entry.classes, entry.id_column)
        if known is not None:
            r = known.registration
            if (r.path, r.target, r.projects, r.operations, r.classes, r.id_column) == identity:
                return known
        self._known[entry.name] = Dataset(entry, self._home)
        return self._known[entry.name]

    def _read_file(self) -> dict[str, Registration]:
        if not self._file.exists():
            return {}
        try:
            document = json.loads(self._file.read_text(encoding="utf-8"))
            if document["version"] != VERSION:
                raise ValueError(f"version {document['version']!r}, not {VERSION}")
            entries = [
                Registration(
                    **{
                        **entry,
                        "projects": tuple(entry["projects"]),
                        "operations": tuple(entry["operations"]),
                    }
                )
                for entry in document["datasets"]
            ]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InvalidInput(
                f"{self._file} cannot be read as the list of data sets ({error}).",
                code="bad-registry",
                hint="Remove it and add the data sets again; their files are not in it.",
            ) from error
        return {entry.name: entry for entry in entries}

    def _write_file(self, entries: dict[str, Registration]) -> None:
        document = {"version": VERSION, "datasets": [asdict(entry) for entry in entries.values()]}
        write_private(self._file, json.dumps(document, indent=1).encode())


# ---- reading --------------------------------------------------------------------------------------------------------


def _policy(home: Path) -> Policy:
    path = home / "node.toml"
    return Policy.load(path) if path.exists() else Policy(minimum_rows=1)


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    return found.st_size, found.st_mtime_ns


def _read(registration: Registration) -> tuple[Arrays, dict[str, Any]]:
    """Read and check a file; return its arrays and its schema (``features``, ``targets``)."""
    path, lower = Path(registration.path), registration.path.lower()
    if registration.id_column is not None and lower.endswith(".npz"):
        raise InvalidInput(
            f"{path} is an npz file; rows have ids in tables only.",
            code="no-id-column",
            hint="Write it as CSV or Parquet.",
        )
    if lower.endswith(_TABLES):
        return _read_table(path, registration)
    if lower.endswith(".npz"):
        return _read_npz(path, registration)
    raise InvalidInput(
        f"{path} is of no known kind; there are {', '.join(_TABLES)} and .npz.",
        code="unknown-data-format",
        hint="Write it with pandas (DataFrame.to_parquet) or numpy (np.savez).",
    )


def _read_table(path: Path, registration: Registration) -> tuple[Arrays, dict[str, Any]]:
    table = _load_table(path, registration.id_column)
    target, ids = registration.target, registration.id_column
    if ids is not None:
        _require_ids(path, table, ids, target)
        table = table.drop(columns=ids)
    if target is None and ids is not None:
        return _read_features(path, table, registration.name)
    if target is None or target not in table.columns:
        raise InvalidInput(
            f"{path} needs a target column" + (f" and has none named {target!r}" if target else "") + f"; it has: "
            f"{', '.join(map(str, table.columns))}.",
            code="no-target",
            hint="Name the column to predict: `flaas dataset add NAME FILE --target COLUMN`.",
        )
    if len(table) == 0 or len(table.columns) < 2:
        raise _empty(path, f"{len(table)} rows and {len(table.columns)} columns, one of them the target")
    _require_numbers(path, table, target)
    features = [str(column) for column in table.columns if column != target]
    x = table[features].to_numpy(dtype="float32", na_value=np.nan)
    values = table[target]
    y = values.to_numpy(dtype="float64", na_value=np.nan) if values.dtype.kind == "f" else values.to_numpy()
    finite = {name: np.isfinite(x[:, i]) for i, name in enumerate(features)} | {target: np.isfinite(y)}
    _require_finite(path, finite, "column")
    y, described = _target(path, target, y, registration.classes)
    schema = {
        "features": [{"name": name, "dtype": str(table[name].dtype).lower(), "shape": []} for name in features],
        "targets": [described],
    }
    return Arrays(registration.name, {"": x}, {"": y}, tuple(features)), schema


def _read_columns(registration: Registration) -> Columns:
    path = Path(registration.path)
    if path.name.lower().endswith(_TABLES):
        table = _load_table(path, registration.id_column)
        listed = [str(entry["name"]) for entry in (*registration.features, *registration.targets)]
        return Columns({name: _plain(table[name].to_numpy(na_value=np.nan)) for name in listed})
    arrays = _read(registration)[0]
    groups = {name or "x": array for name, array in arrays.inputs.items()}
    return Columns(groups | {name or "y": array for name, array in arrays.targets.items()})


def _plain(values: NDArray[Any]) -> NDArray[Any]:
    """Return integers, truth values and floats as they are; what pandas has as objects as float64."""
    return values if values.dtype.kind in "biuf" else values.astype("float64")


def _read_features(path: Path, table: pd.DataFrame, name: str) -> tuple[Arrays, dict[str, Any]]:
    """Read a table of features alone, as a party of vertical runs has it."""
    if len(table) == 0 or len(table.columns) == 0:
        raise _empty(path, f"{len(table)} rows and {len(table.columns)} columns beside the ids")
    _require_numbers(path, table, None)
    features = [str(column) for column in table.columns]
    x = table.to_numpy(dtype="float32", na_value=np.nan)
    _require_finite(path, {feature: np.isfinite(x[:, i]) for i, feature in enumerate(features)}, "column")
    schema = {
        "features": [
            {"name": feature, "dtype": str(table[feature].dtype).lower(), "shape": []} for feature in features
        ],
        "targets": [],
    }
    return Arrays(name, {"": x}, {}, tuple(features)), schema


def _require_ids(path: Path, table: pd.DataFrame, ids: str, target: str | None) -> None:
    import pandas as pd

    if ids not in table.columns or ids == target:
        raise InvalidInput(
            f"{path} has no column {ids!r} to name its rows by"
            + (", beside the target" if ids == target else f"; it has: {', '.join(map(str, table.columns))}")
            + ".",
            code="no-id-column",
            hint="`flaas dataset add NAME FILE --target COLUMN --id COLUMN`.",
        )
    column = table[ids]
    whole = pd.api.types.is_integer_dtype(column.dtype)
    if not whole and not pd.api.types.is_string_dtype(column.dtype) and column.dtype != object:
        raise InvalidInput(
            f"{path}: the ids in column {ids!r} are of type {column.dtype}; allowed are texts and whole numbers.",
            code="bad-ids",
            hint="Others may write 1.0 as 1: write the column as text, the same way at all parties.",
        )
    missing = column.isna() if whole else column.isna() | (column.astype(str).str.strip() == "")
    if missing.any():
        raise InvalidInput(
            f"{path}: {int(missing.sum())} rows have no id in column {ids!r}; the first is row "
            f"{int(np.argmax(missing.to_numpy())) + 1}.",
            code="bad-ids",
            hint="Drop those rows, or give them ids.",
        )


def _read_ids(registration: Registration) -> NDArray[np.str_]:
    """Read the ids of a table, which were checked with it, as texts."""
    path = Path(registration.path)
    assert registration.id_column is not None
    table = _load_table(path, registration.id_column, only=True)
    _require_ids(path, table, registration.id_column, None)
    ids = table[registration.id_column].astype(str).to_numpy(dtype=np.str_)
    repeated = len(ids) - len(np.unique(ids))
    if repeated:
        raise InvalidInput(
            f"{path}: {repeated} of {len(ids)} rows have an id in column {registration.id_column!r} that another row "
            "has as well.",
            code="bad-ids",
            hint="Keep one row for each id, or aggregate them.",
        )
    return ids


def _load_table(path: Path, ids: str | None = None, *, only: bool = False) -> pd.DataFrame:
    """Read a table; a column `ids` as texts where the file leaves it open (007 is not 7), and no other if `only`."""
    import pandas as pd
    import pyarrow

    try:
        if path.name.lower().endswith((".parquet", ".pq")):
            table = pd.read_parquet(path, columns=[ids] if only and ids is not None else None)
            names = [str(name) for name in table.columns]
        else:
            names = _header(path)
            texts = {ids: "string"} if ids is not None and ids in names else None
            table = pd.read_csv(path, encoding="utf-8-sig", dtype=texts, usecols=[ids] if only and texts else None)
    except pd.errors.EmptyDataError as error:
        raise _empty(path, "no columns") from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not UTF-8 text (byte {error.start})") from error
    except (OSError, EOFError, ValueError, csv.Error, pyarrow.ArrowException) as error:
        # Parsers name lines and counts; a ParserError is a ValueError.
        raise _unreadable(path, str(error)) from error
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise InvalidInput(
            f"{path} has columns of the same name: {', '.join(duplicates[:_SHOWN])}.", code="duplicate-columns"
        )
    unnamed = [number for number, name in enumerate(names, start=1) if not name.strip()]
    if unnamed:
        raise InvalidInput(
            f"Column {unnamed[0]} of {path} has no name.",
            code="unnamed-column",
            hint="If it is a table's index, write the file without: DataFrame.to_csv(path, index=False).",
        )
    return table


def _header(path: Path) -> list[str]:
    opened: Any = gzip.open if path.name.lower().endswith(".gz") else open
    with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file), [])


def _require_numbers(path: Path, table: pd.DataFrame, target: str | None) -> None:
    import pandas as pd

    for name in table.columns:
        column = table[name]
        if pd.api.types.is_bool_dtype(column.dtype) or column.dtype.kind in "iuf":
            continue
        bad = pd.to_numeric(column.astype("object"), errors="coerce").isna() & column.notna()
        row = int(np.argmax(bad.to_numpy())) + 1 if bad.any() else 1
        what = "is not a number" if bad.any() else f"is of type {column.dtype}"
        raise InvalidInput(
            f"{path}: row {row} of column {str(name)!r} {what}; rows count from 1 after the header.",
            code="non-numeric",
            hint="Labels must be the integers 0 to K-1, the same ones at all nodes: table[column].map({...})."
            if name == target
            else "Turn the column into numbers (pandas.get_dummies, .map({...})) or drop it.",
            row=row,
            column=str(name),
        )


def _read_npz(path: Path, registration: Registration) -> tuple[Arrays, dict[str, Any]]:
    if registration.target is not None:
        raise InvalidInput(
            f"{path} is an npz file, whose targets are its arrays y or y_<name>; it takes no target column.",
            code="no-target",
        )
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise _unreadable(path, str(error)) from error
    inputs = {name[2:]: array for name, array in arrays.items() if name == "x" or name.startswith("x_")}
    targets = {name[2:]: array for name, array in arrays.items() if name == "y" or name.startswith("y_")}
    strange = sorted(name for name in arrays if name[:1] not in "xy" or name[1:2] not in ("", "_"))
    for group, letter in ((inputs, "x"), (targets, "y")):
        if not group or strange or ("" in group and len(group) > 1):
            raise InvalidInput(
                f"{path} must hold {letter}, or {letter}_<name> for each; it holds: "
                f"{', '.join(sorted(arrays)) or 'nothing'}.",
                code="no-target" if letter == "y" and not group else "unreadable-data",
                hint="np.savez(path, x=..., y=...)",
            )
    _check_arrays(path, arrays)
    prepared, described = {}, []
    for name, array in sorted(targets.items()):
        prepared[name], entry = _target(path, name or "y", array, registration.classes)
        described.append(entry)
    schema = {
        "features": [
            {"name": name or "x", "dtype": str(array.dtype), "shape": list(array.shape[1:])}
            for name, array in sorted(inputs.items())
        ],
        "targets": described,
    }
    return Arrays(registration.name, inputs, prepared), schema


def _check_arrays(path: Path, arrays: dict[str, NDArray[Any]]) -> None:
    for name, array in arrays.items():
        if array.ndim == 0 or array.size == 0:
            raise _empty(path, f"array {name!r} of shape {array.shape}")
        if array.dtype.kind not in "biuf":
            labels = name.startswith("y")
            raise InvalidInput(
                f"{path}: array {name!r} is of dtype {array.dtype}, not numbers.",
                code="non-numeric",
                hint="Labels must be the integers 0 to K-1, the same ones at all nodes." if labels else "",
                column=name,
            )
    rows = {name: len(array) for name, array in arrays.items()}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} {count}" for name, count in rows.items())
        raise InvalidInput(f"{path}: the arrays differ in their number of rows: {counts}.", code="unreadable-data")
    finite = {
        name: np.isfinite(array).reshape(len(array), -1).all(axis=1)
        for name, array in arrays.items()
        if array.dtype.kind == "f"
    }
    _require_finite(path, finite, "array")


def _require_finite(path: Path, finite: dict[str, NDArray[np.bool_]], what: str) -> None:
    missing = {name: int((~fine).sum()) for name, fine in finite.items() if not fine.all()}
    if missing:
        shown = ", ".join(f"{name!r} ({count} rows)" for name, count in list(missing.items())[:_SHOWN])
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        first = next(iter(missing))
        raise InvalidInput(
            f"{path} has missing or infinite values in {what} {shown}{more}; the first is in row "
            f"{int(np.argmin(finite[first])) + 1} of {first!r}.",
            code="missing-values",
            hint="Fill them (pandas: table.fillna(...)) or drop those rows (table.dropna()), and write the file again.",
            columns=missing,
        )


def _target(path: Path, name: str, values: NDArray[Any], classes: int | None) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return the target as Keras wants it and its description: whole numbers are classes, others a regression."""
    described: dict[str, Any] = {"name": name, "dtype": str(values.dtype), "kind": "regression", "classes": None}
    values = canonical_target(values)
    if values.dtype.kind == "f":
        return values, described
    present = np.unique(values)
    count = classes if classes is not None else max(int(present[-1]) + 1, 2)
    described |= {"kind": "binary" if count == 2 else "multiclass", "classes": count}
    if present[0] < 0 or present[-1] >= count:
        raise InvalidInput(
            f"{path}: target {name!r} has classes outside 0 to {count - 1}.",
            code="bad-classes",
            hint="Recode the labels to 0 to K-1, the same at all nodes. A quantity to predict must be floating point.",
        )
    if classes is None and len(present) < count and count > 2:
        absent = int(np.setdiff1d(np.arange(min(count, len(present) + 1)), present)[0])
        raise InvalidInput(
            f"{path}: target {name!r} has classes up to {count - 1}, but no row of class {absent}.",
            code="bad-classes",
            hint="Recode the labels to 0 to K-1, the same at all nodes; if this node has no such rows, register it "
            "with the number of classes. A quantity to predict must be floating point.",
        )
    return values, described


def _difference(known: Registration, schema: dict[str, Any]) -> str:
    before = {entry["name"]: entry for entry in [*known.features, *known.targets]}
    now = {entry["name"]: entry for entry in [*schema["features"], *schema["targets"]]}
    parts = []
    for words, names in (
        ("missing", before.keys() - now.keys()),
        ("new", now.keys() - before.keys()),
        ("of another type", {name for name in before.keys() & now.keys() if before[name] != now[name]}),
    ):
        if names:
            parts.append(f"{words}: {', '.join(sorted(names)[:_SHOWN])}")
    return "; ".join(parts) or "the columns are in another order"


def _unreadable(path: Path, why: str) -> InvalidInput:
    return InvalidInput(
        f"{path} cannot be read: {' '.join(why.split())[:300]}.",
        code="unreadable-data",
        hint="Data files are CSV in UTF-8, Parquet, or npz without pickled objects.",
    )


def _empty(path: Path, what: str) -> InvalidInput:
    return InvalidInput(f"{path} holds no data: {what}.", code="empty-data")
