"""The data sets of a node, kept in ``datasets.json`` in its `FLAAS_HOME`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import Conflict, FlaasError, InvalidInput, NotFound
from ...home import write_private
from .. import dataset_name
from ..policy import policy_of
from . import lineage, mapped
from .dataset import IN_MEMORY, Dataset, ids_of, looked_at, rows_of, source_of
from .registration import Registration
from .store import Store

if TYPE_CHECKING:
    from ...training.preprocessing.mapping import ColumnMap
    from .schema import DatasetSchema

log = logging.getLogger(__name__)

VERSION = 1


class DatasetRegistry:
    """The data sets of the node in `home`, kept in ``datasets.json`` there.

    Parameters
    ----------
    home : Path
        `FLAAS_HOME`.
    in_memory : int
        Bytes of a data set that are held in memory; see `Dataset`.
    """

    def __init__(self, home: Path, *, in_memory: int | None = None) -> None:
        self._home = home
        self._in_memory = _memory() if in_memory is None else in_memory
        self._file = home / "datasets.json"
        self._store = Store(home)
        self._known: dict[str, Dataset] = {}
        self._entries: tuple[str, dict[str, Registration]] = ("", {})

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
        query: str | None = None,
        format: str | None = None,
        secret: str | None = None,
        raw: bool = False,
        schema: DatasetSchema | None = None,
        by_operator: bool = True,
        copied: bool = False,
    ) -> Dataset:
        """Register data after reading and checking all of them.

        Parameters
        ----------
        name : str
            Letters, digits, ``.``, ``_``, ``-``; the same on all nodes that train on it together.
        path : Path or str
            A file or folder, or the URL of data somewhere else; see `sources.open_source`.
        target : str, optional
            The column to predict; tables only, and needed for them unless they have ids or are raw.
        projects : sequence of str
            Projects it is offered to; without any, all that the policy lets in.
        operations : sequence of str
            What it may be used for.
        classes : int, optional
            Number of classes of an integer target, where this node may not have rows of each.
        id_column : str, optional
            The column that names whom a row is about, texts or whole numbers; it is no feature. Tables only. With it
            the data set may be used in vertical runs, as a party that need not have a target.
        query, format, secret : str, optional
            See `sources.open_source`.
        raw : bool
            Keep texts and missing values: for statistics, and for runs with preprocessing only.
        schema : DatasetSchema, optional
            What is declared of the columns. Those that are sensitive or ids are no features; a label is the target.
        by_operator : bool
            Whether the node's operator has chosen the place.
        copied : bool
            Whether the file is the registry's own; see `add_rows`.

        Raises
        ------
        Conflict
            ``dataset-exists``; ``no-room``: on the disk.
        InvalidInput
            ``bad-dataset-name``; ``unknown-data-format``; ``unreadable-data``; ``no-target``; ``duplicate-columns``;
            ``unnamed-column``; ``no-header``; ``too-many-columns``; ``non-numeric``; ``missing-values``;
            ``empty-data``; ``bad-classes``; ``bad-ids``; ``no-id-column``; ``too-few-rows`` (the policy's minimum);
            and those of `sources.open_source`.
        NotAllowed
            Those of `sources.open_source`.
        """
        self.require_name(name)
        if target is None and schema is not None:
            target = next(iter(schema.with_role("label")), None)
        if id_column is not None:
            operations = tuple(dict.fromkeys((*operations, "vertical")))
        asked = Registration(
            name, str(path), target, tuple(projects), tuple(operations), classes, 0, [], [], 0, 0, id_column,
            query, format, secret, raw, [] if schema is None else schema.to_list(), copied=copied,
        )  # fmt: skip
        source = source_of(asked, self._home, by_operator=by_operator)
        if schema is not None:
            schema.require_in(source.schema().names)
        entry = looked_at(replace(asked, path=source.url), source, self._store, self._in_memory)
        try:
            if id_column is not None:
                ids_of(rows_of(source, self._store, entry.version, [id_column]), entry)
            self._require_rows(entry)
            with self._changing() as entries:
                self._require_new(name)
                entries[name] = entry
        finally:
            self._sweep()
        lineage.note_version(self._home, name, entry.version, entry.rows)
        return self.get(name)

    def add_rows(self, name: str, rows: Any, **options: Any) -> Dataset:
        """Register an object of a notebook: it is written to ``data/`` of the node's home, which keeps the copy.

        Parameters
        ----------
        name : str
        rows : DataFrame, dict of arrays, (x, y) or Arrow table
            See `sources.frame.table_of`.
        **options
            As `add`.

        Raises
        ------
        FlaasError
            As `add`.
        """
        from ..sources.frame import table_of, write

        self.require_name(name)
        folder = self._home / "data"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = folder / f"{name}-{secrets.token_hex(4)}.parquet"
        try:
            write(table_of(rows), path)
            return self.add(name, path, copied=True, **options)
        except BaseException:
            path.unlink(missing_ok=True)
            raise

    def list(self) -> list[Dataset]:
        """Return all data sets, by name; files are not read."""
        return [self._dataset(entry) for _, entry in sorted(self._read_file().items())]

    def get(self, name: str) -> Dataset:
        """Return one data set.

        Raises
        ------
        NotFound
            Code ``unknown-dataset``; the message, which is for the owner, lists those there are.
        """
        entries = self._read_file()
        if name not in entries:
            raise NotFound(
                f"This node has no data set {name!r}; it has: {', '.join(sorted(entries)) or 'none'}.",
                code="unknown-dataset",
                hint="`flaas dataset add NAME FILE --target COLUMN` registers one.",
            )
        return self._dataset(entries[name])

    def get_for_peer(self, name: str) -> Dataset:
        """Return one data set that somebody else has named, who is not told what other ones there are.

        Raises
        ------
        NotFound
            Code ``unknown-dataset``.
        """
        entry = self.entry(name)
        if entry is None:
            raise dataset_name.unknown(name)
        return self._dataset(entry)

    def remove(self, name: str) -> None:
        """Forget a data set, and what was derived from it; its file is not touched, unless it is the registry's copy.

        Raises
        ------
        NotFound
            Code ``unknown-dataset``.
        """
        gone = self.get(name).registration
        with self._changing() as entries:
            entries.pop(name, None)
        self._known.pop(name, None)
        if gone.copied:
            Path(gone.path).unlink(missing_ok=True)
        self._sweep()

    def adopt(self, name: str, part: Mapping[str, ColumnMap]) -> Dataset:
        """Have a data set read under common names from now on; with an empty `part` as it is again.

        Parameters
        ----------
        name : str
        part : mapping of str to ColumnMap
            This node's part of a mapping.

        Raises
        ------
        NotFound
            Code ``unknown-dataset``.
        InvalidInput
            ``recipe-does-not-fit``, ``duplicate-columns``, ``bad-mapping``; and those of `add`.
        """
        entry = self.get(name).registration
        own = mapped.under_own_names(entry) if entry.mapping else entry
        asked = mapped.under_common_names(own, part) if part else own
        made = looked_at(asked, source_of(asked, self._home), self._store, self._in_memory)
        self._require_rows(made)
        with self._changing() as entries:
            entries[name] = made
        self._sweep()
        lineage.note_version(self._home, name, made.version, made.rows)
        return self.get(name)

    def make_ready(self) -> None:
        """Make what runs would wait for, of data sets that are larger than memory; what cannot be made is logged."""
        for dataset in self.list():
            try:
                dataset.make_ready()
            except FlaasError as error:
                log.warning("data set %s: %s", dataset.name, error)

    def entry(self, name: str) -> Registration | None:
        """Return what is registered under a name now; None if nothing is."""
        return self._read_file().get(name)

    def found(self, registration: Registration) -> None:
        """Keep what was found when rows had changed, unless the data set is another one by now."""
        with self._changing() as entries:
            known = entries.get(registration.name)
            if known is not None and known.offered == registration.offered:
                entries[registration.name] = registration
        self._sweep()

    def state(self) -> str:
        """Return a text that changes when data sets are added, removed or have changed, by whatever process."""
        try:
            about = self._file.stat()
        except FileNotFoundError:
            return ""
        return f"{about.st_ino}-{about.st_size}-{about.st_mtime_ns}"

    def require_name(self, name: str) -> None:
        """Refuse a name that no data set can have (``bad-dataset-name``) or that one has (``dataset-exists``)."""
        if not dataset_name.is_name(name):
            raise InvalidInput(
                f"{name[:80]!r} cannot name a data set: allowed are letters, digits, '.', '_' and '-', 64 at most.",
                code="bad-dataset-name",
            )
        self._require_new(name)

    def _require_new(self, name: str) -> None:
        entries = self._read_file()
        if name in entries:
            raise Conflict(
                f"There is a data set {name!r} already, {entries[name].path}.",
                code="dataset-exists",
                hint=f"`flaas dataset remove {name}` first, or choose another name.",
            )

    def _require_rows(self, entry: Registration) -> None:
        least = policy_of(self._home).for_dataset(entry.name).minimum_rows
        if entry.rows < least:
            raise InvalidInput(
                f"{entry.path} has {entry.rows} rows; this node's policy wants {least} at least.",
                code="too-few-rows",
                hint="Register more rows, or change minimum_rows in node.toml.",
            )

    def _dataset(self, entry: Registration) -> Dataset:
        """The one object for an entry, so that runs share what it has in memory."""
        known = self._known.get(entry.name)
        if known is None or known.registration.offered != entry.offered:
            known = Dataset(entry, self._home, self, self._in_memory)
            self._known[entry.name] = known
        return known

    def _sweep(self) -> None:
        self._store.keep_only({entry.version for entry in self._read_file().values()})

    @contextlib.contextmanager
    def _changing(self) -> Iterator[dict[str, Registration]]:
        """Change entries while no other process does."""
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self._home / "datasets.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            entries = self._read_file()
            before = dict(entries)
            yield entries
            if entries != before:
                self._write_file(entries)
        finally:
            os.close(handle)

    def _read_file(self) -> dict[str, Registration]:
        state = self.state()
        if state != self._entries[0]:
            self._entries = state, self._parsed()
        return dict(self._entries[1])

    def _parsed(self) -> dict[str, Registration]:
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


def _memory() -> int:
    """Return `FLAAS_IN_MEMORY`, bytes of a data set that are held in memory, else `IN_MEMORY`."""
    told = os.environ.get("FLAAS_IN_MEMORY", "")
    if told and not told.isdecimal():
        raise InvalidInput(f"FLAAS_IN_MEMORY is {told[:40]!r}; it must be a number of bytes.", code="bad-setting")
    return int(told) if told else IN_MEMORY
