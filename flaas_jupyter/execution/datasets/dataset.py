"""One registered data set: what others are told of it, and its rows for whoever may compute with them here."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput, NotAllowed, NotFound
from ...training.arrays import Arrays
from ..columns import Columns
from ..policy import policy_of
from ..sources import Source, open_source
from . import lineage, mapped, refusals
from .arrays import MemorySink, Recipe, blocks_of, columns_needed, columns_of, gather
from .columns_on_disk import ColumnsOnDisk, places_of
from .examination import examine, holds_arrays, rows_at_once
from .kinds import values_of
from .registration import Registration
from .store import Store, key_of

if TYPE_CHECKING:
    import pyarrow as pa

    from .schema import DatasetSchema

IN_MEMORY = 256 << 20
"""Bytes of one data set that are held in memory; what is larger is read from disk where it is needed."""
STAMP_SECONDS = 30.0
"""How long a place that is far away is believed not to have changed."""
_COLUMNAR = (".parquet", ".pq", ".arrow", ".feather", ".ipc")
_TEXTS = ("string", "str", "text", "utf8", "large_string", "object")
_SHOWN = 5


class Entries(Protocol):
    """The registry as a data set of it sees it."""

    def entry(self, name: str) -> Registration | None:
        """Return what is registered under a name now."""
        ...

    def found(self, registration: Registration) -> None:
        """Keep what was found when the rows had changed."""
        ...


def source_of(registration: Registration, home: Path, *, by_operator: bool = True) -> Source:
    """Return where the rows of a data set come from, under common names where its owner has adopted a mapping.

    See `open_source` for what it raises.
    """
    part = mapped.read(registration.mapping)
    source = open_source(
        registration.path,
        home=home,
        query=registration.query,
        format=registration.format,
        secret=registration.secret,
        texts=_texts(registration, part),
        by_operator=by_operator,
    )
    return mapped.MappedSource(source, part) if part else source


def _texts(registration: Registration, part: mapped.Part) -> tuple[str, ...]:
    """Return the columns of the source that are texts, whatever they look like: the ids, and those declared so."""
    ids = registration.id_column
    of_ids = () if ids is None else (part[ids].source if ids in part else ids,)
    declared = registration.own_schema if registration.mapping else registration.schema
    texts = (str(entry["name"]) for entry in declared if str(entry.get("dtype") or "").lower() in _TEXTS)
    return tuple(dict.fromkeys((*of_ids, *texts)))


def looked_at(draft: Registration, source: Source, store: Store, in_memory: int = IN_MEMORY) -> Registration:
    """Return a registration with what is found in the rows now, all of which are read and checked.

    Raises
    ------
    FlaasError
        As `DatasetRegistry.add`.
    """
    stamp = source.stamp()
    size, modified_ns = _file_state(source)
    schema = source.schema()
    asked: dict[str, Any] = {
        "target": draft.target,
        "id_column": draft.id_column,
        "classes": draft.classes,
        "raw": draft.raw,
        "hidden": [entry["name"] for entry in draft.schema if entry.get("role") in ("sensitive", "id")],
    }
    if _keeps_columns(source, in_memory):
        with store.keeping_columns(schema) as writer:
            found = examine(source, tee=writer.write, **asked)
            writer.keep(found.version)
    else:
        found = examine(source, **asked)
    return replace(
        draft,
        rows=found.rows,
        features=found.features,
        targets=found.targets,
        size=size,
        modified_ns=modified_ns,
        arrays=holds_arrays(source.url, schema),
        columns=found.columns,
        version=found.version,
        stamp=stamp,
        volume=found.size,
    )


class Dataset:
    """One registered data set; `DatasetRegistry` makes it.

    Parameters
    ----------
    registration : Registration
    home : Path
        `FLAAS_HOME`.
    in_memory : int
        Bytes that are held in memory; what is larger is mapped from the node's store.
    entries : Entries
        The registry that it is in.
    """

    def __init__(self, registration: Registration, home: Path, entries: Entries, in_memory: int = IN_MEMORY) -> None:
        self.registration = registration
        self._home, self._in_memory, self._entries = home, in_memory, entries
        self._store = Store(home)
        self._source: Source | None = None
        self._believed_until = 0.0
        self._arrays: dict[tuple[str, str], Arrays] = {}
        self._ids: tuple[str, NDArray[np.str_]] | None = None
        self._columns: Columns | None = None
        self._lock = threading.Lock()  # of what is known of the source
        self._loading = threading.Lock()  # making arrays may take minutes: descriptions do not wait for it

    @property
    def name(self) -> str:
        """The name that it is offered under."""
        return self.registration.name

    @property
    def version(self) -> str:
        """Content hash of its rows as they are now, 64 hexadecimal digits; see `contents`.

        Raises
        ------
        FlaasError
            As `description`.
        """
        return self._current().version

    @property
    def lineage(self) -> list[dict[str, Any]]:
        """Which runs have used which of its versions, oldest first."""
        return lineage.lineage_of(self._home, self.name)

    @property
    def schema(self) -> DatasetSchema:
        """What its owner has declared of the columns."""
        from .schema import DatasetSchema

        return DatasetSchema.from_list(self.registration.schema)

    def to_dict(self) -> dict[str, Any]:
        """Return the registration as JSON values, for the operator: it includes the file's path."""
        return asdict(self.registration)

    @property
    def target_names(self) -> str | None:
        """What is predicted, as tables for the owner have it; None if nothing is."""
        registration = self.registration
        return registration.target or ", ".join(str(entry["name"]) for entry in registration.targets) or None

    def description(self) -> dict[str, Any]:
        """Return what others may be told (docs/rest.md): names, types, counts.

        With no projects registered it is offered to every project that the policy lets in. Several targets are listed
        under ``targets``; ``target`` is the first, None where there is none. ``id_column`` is there if rows have ids,
        ``schema`` if the owner has declared something of columns; `exploring.offered` takes out what is not told.

        Raises
        ------
        InvalidInput
            The file has changed and is not acceptable any more; see `load`.
        """
        registration = self._current()
        projects = registration.projects or policy_of(self._home).for_dataset(self.name).projects
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
        if registration.schema:
            description["schema"] = registration.schema
        return description

    def load(self, operation: str = "train", recipe: Recipe | None = None) -> Arrays:
        """Return the data, read once and kept until they change.

        What takes more than `IN_MEMORY` is written to the node's store once for each version, and mapped from there.

        Parameters
        ----------
        operation : str
            What for.
        recipe : Recipe, optional
            Preprocessing that was fitted; needed for data that are registered raw.

        Raises
        ------
        NotAllowed
            ``policy-operation``: not registered for `operation`; ``needs-preprocessing``: registered raw.
        InvalidInput
            ``unreadable-data`` and the other codes of `DatasetRegistry.add`; ``schema-changed``: the file has other
            columns than when it was registered.
        Conflict
            ``no-room``: on the disk.
        """
        self._require_operation(operation)
        with self._loading:
            return self._loaded(self._current(), recipe)

    def make_ready(self) -> None:
        """Make what a run without preprocessing would wait for, if it is large.

        Raises
        ------
        FlaasError
            As `load`.
        """
        now = self._current()
        # In memory it takes seconds, and is made when it is wanted.
        if not now.raw and "train" in now.operations and now.volume > self._in_memory:
            self.load()

    def columns(self, operation: str = "analytics") -> Columns:
        """Return the columns by name in the types that the file has; kept until it changes.

        Whole numbers with missing values are float64 with NaN, texts are objects with None. Of data sets that are
        larger than `IN_MEMORY` each column is read when it is asked for. A data set that is registered for training is
        open to statistics where the policy is.

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
                self._columns = self._make_columns()
            return self._columns

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order, as they are in the source, a few megabytes at a time.

        Parameters
        ----------
        columns : sequence of str, optional
            Columns of the source; all by default.

        Raises
        ------
        FlaasError
            As `load`.
        """
        return self._rows(self._current(), columns)

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
        with self._loading:
            now = self._current()
            arrays = self._loaded(now, None)
            if self._ids is None or self._ids[0] != now.version:
                self._ids = now.version, ids_of(self._rows(now, [self.registration.id_column]), now)
            return arrays, self._ids[1]

    def note_use(self, run: Mapping[str, Any], recipe: Recipe | None = None) -> None:
        """Write into the lineage that a run takes the rows as they are now."""
        now = self.registration
        digest = None if recipe is None else recipe.digest
        lineage.note_use(self._home, self.name, now.version, now.rows, run=dict(run), recipe=digest)

    # ---- rows -------------------------------------------------------------------------------------------------------

    def _loaded(self, now: Registration, recipe: Recipe | None) -> Arrays:
        if now.raw and recipe is None:
            raise refusals.needs_preprocessing(self.name)
        needed = columns_needed(now, recipe)
        key = key_of(
            columns=needed, target=now.target, targets=now.targets, recipe=None if recipe is None else recipe.digest
        )
        known = self._arrays.get((now.version, key)) or self._store.arrays(now.version, key)
        if known is None:
            blocks = blocks_of(self._rows(now, needed), now, recipe)
            first = next(blocks, None)
            if first is None or not first.rows:
                raise _changed(now)
            every = chain([first], blocks)
            try:
                if _bytes_per_row(first) * now.rows <= self._in_memory:
                    known = gather(every, lambda _: MemorySink(now.rows))
                else:
                    known = self._store.keep_arrays(now.version, key, lambda make: gather(map(_narrow, every), make))
            except ValueError as error:
                raise _changed(now) from error
            if known.rows != now.rows:
                raise _changed(now)
        name = now.version, key
        self._arrays = {**{other: arrays for other, arrays in self._arrays.items() if other != name}, name: known}
        while len(self._arrays) > 2:  # one run ends while the next begins
            self._arrays.pop(next(iter(self._arrays)))
        return known

    def _make_columns(self) -> Columns:
        now = self.registration
        entries = [*now.features, *now.targets]
        sources = [*now.feature_columns, *now.target_columns]
        if now.volume <= self._in_memory:
            read = columns_of(self._rows(now, sources), sources)
            return Columns({str(e["name"]): read[column] for e, column in zip(entries, sources, strict=True)})
        read_one = partial(self._read_column, now.version)
        return ColumnsOnDisk(places_of(entries, sources), read_one, now.rows, self._in_memory)

    def _read_column(self, version: str, column: str, place: int | None) -> NDArray[Any]:
        now = self._current()
        if now.version != version:
            raise _changed(now)
        parts = []
        for batch in self._rows(now, [column]):
            values = values_of(batch.column(0))
            parts.append(values if place is None else values.reshape(len(values), -1)[:, place].copy())
        return np.concatenate(parts)

    def _rows(self, now: Registration, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
        """Yield the rows of the version that is registered, or raise."""
        yield from rows_of(self._opened(), self._store, now.version, columns)
        if self._store.columns(now.version) is None and self._opened().stamp() != now.stamp:
            raise _changed(now)

    # ---- is it as it was --------------------------------------------------------------------------------------------

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

    def _opened(self) -> Source:
        if self._source is None:
            source = source_of(self.registration, self._home)
            if source.url != self.registration.path:
                raise InvalidInput(
                    f"{self.registration.path} leads to another place than when it was registered as {self.name!r}.",
                    code="moved-data",
                    hint="Find out who put a link there. If it is meant, remove the data set and add it again.",
                )
            self._source = source
        return self._source

    def _refresh(self) -> None:
        """Look at the rows again if they are not those that were registered."""
        known = self.registration
        self._require_registered(known)
        source = self._opened()
        if known.version and source.kind != "file" and time.monotonic() < self._believed_until:
            return
        if not (known.version and source.stamp() == known.stamp):
            self._take_up(known, source)
        self._believed_until = time.monotonic() + STAMP_SECONDS

    def _require_registered(self, known: Registration) -> None:
        """Refuse whoever still holds a data set that its owner has removed, or registered otherwise."""
        entry = self._entries.entry(self.name)
        if entry is None:
            raise NotFound(
                f"This node has no data set {self.name!r} any more.",
                code="unknown-dataset",
                hint="Its operator has removed it. Start again with another.",
            )
        if entry.offered != known.offered:
            raise InvalidInput(
                f"Data set {self.name!r} was registered anew, with other columns or for other uses.",
                code="schema-changed",
                hint="Ask, or start the run, again: it is held against the data set as it is now.",
            )

    def _take_up(self, known: Registration, source: Source) -> None:
        now = looked_at(known, source, self._store, self._in_memory)
        if (now.features, now.targets) != (known.features, known.targets):
            raise InvalidInput(
                f"{known.path} has changed since it was registered as {known.name!r}: {_difference(known, now)}.",
                code="schema-changed",
                hint=f"Restore the file, or `flaas dataset remove {known.name}` and add it again.",
            )
        if now.version != known.version:
            self._arrays, self._ids, self._columns = {}, None, None
            lineage.note_version(self._home, self.name, now.version, now.rows)
        self.registration = now
        self._entries.found(now)


def rows_of(source: Source, store: Store, version: str, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a version, from where its columns are kept if they are, else from the source."""
    kept = store.columns(version)
    return source.batches(columns, rows_at_once(source.schema())) if kept is None else _kept_rows(kept, columns)


def ids_of(batches: Iterator[pa.RecordBatch], registration: Registration) -> NDArray[np.str_]:
    """Return the ids of all rows as texts.

    Raises
    ------
    InvalidInput
        Code ``bad-ids``: two rows have the same.
    """
    assert registration.id_column is not None  # asked before
    read = columns_of(batches, [registration.id_column])[registration.id_column]
    ids: NDArray[np.str_] = read.astype(np.str_)
    repeated = len(ids) - len(np.unique(ids))
    if repeated:
        raise refusals.repeated_ids(registration.path, registration.id_column, repeated, len(ids))
    return ids


def _bytes_per_row(block: Arrays) -> int:
    arrays = [*block.inputs.values(), *block.targets.values()]
    return sum(array.dtype.itemsize * int(np.prod(array.shape[1:])) for array in arrays)


def _narrow(block: Arrays) -> Arrays:
    """Keep on disk what models take: single precision."""

    def narrow(values: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(over="ignore"):  # what exceeds it is found when it is held against the model
            return values.astype(np.float32) if values.dtype == np.float64 else values

    return replace(block, inputs={name: narrow(values) for name, values in block.inputs.items()})


def _kept_rows(path: Path, columns: Sequence[str] | None) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as mapped, pa.ipc.open_file(mapped) as reader:
        for index in range(reader.num_record_batches):
            batch = reader.get_batch(index)
            yield batch if columns is None else batch.select(list(columns))


def _keeps_columns(source: Source, in_memory: int) -> bool:
    """Tell whether columns are worth keeping: where reading one again costs a journey, or reading all of them."""
    if source.kind != "file":
        return True
    path = Path(source.url)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else []
    row_wise = [file for file in files if not file.name.lower().endswith(_COLUMNAR)]
    return sum(file.stat().st_size * (4 if file.suffix == ".gz" else 1) for file in row_wise) > in_memory


def _file_state(source: Source) -> tuple[int, int]:
    path = Path(source.url)
    if source.kind != "file" or not path.is_file():
        return 0, 0
    state = path.stat()
    return state.st_size, state.st_mtime_ns


def _changed(registration: Registration) -> InvalidInput:
    return InvalidInput(
        f"{registration.path} has changed while it was read.",
        code="changed-while-read",
        hint="Try again when nobody writes to it.",
    )


def _difference(known: Registration, now: Registration) -> str:
    before = {entry["name"]: entry for entry in [*known.features, *known.targets]}
    after = {entry["name"]: entry for entry in [*now.features, *now.targets]}
    parts = []
    for words, names in (
        ("missing", before.keys() - after.keys()),
        ("new", after.keys() - before.keys()),
        ("of another type", {name for name in before.keys() & after.keys() if before[name] != after[name]}),
    ):
        if names:
            parts.append(f"{words}: {', '.join(sorted(names)[:_SHOWN])}")
    return "; ".join(parts) or "the columns are in another order"
