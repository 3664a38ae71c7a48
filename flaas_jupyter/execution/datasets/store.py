"""What a node derives from its data sets and keeps on disk, by version: `FLAAS_HOME/store/<version>/`.

``columns.arrow``
    All columns as they came, of a source that is far away or can only be read from beginning to end.
``<digest>/``
    Arrays that models are trained on, one ``.npy`` each, row after row, so that they can be mapped into memory: what
    does not fit there is paged in where it is needed. The digest names what they were made for: target, columns,
    preprocessing.

Everything is made in a folder of its own and put in place whole; a version that no data set has any more is removed.
Files that a run has mapped stay readable to it until it ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Conflict
from ...home import write_private
from ...training.arrays import Arrays

if TYPE_CHECKING:
    import pyarrow

COLUMNS = "columns.arrow"
_ABOUT = "arrays.json"
_SPARE = 256 << 20
"""Bytes of the disk that are left alone."""


class Store:
    """The store of the node in `home`.

    Parameters
    ----------
    home : Path
        `FLAAS_HOME`.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home / "store"

    # ---- columns ----------------------------------------------------------------------------------------------------

    def columns(self, version: str) -> Path | None:
        """Return the file of a version's columns, if it is kept."""
        path = self.folder / version / COLUMNS
        return path if path.exists() else None

    @contextlib.contextmanager
    def keeping_columns(self, schema: pyarrow.Schema) -> Iterator[ColumnsWriter]:
        """Write columns as they are read; `ColumnsWriter.keep` puts the file in place, otherwise it is removed.

        Raises
        ------
        Conflict
            Code ``no-room``.
        """
        with self._building() as folder:
            writer = ColumnsWriter(self, folder / COLUMNS, schema)
            try:
                yield writer
            finally:
                writer.close()

    # ---- arrays -----------------------------------------------------------------------------------------------------

    def arrays(self, version: str, key: str) -> Arrays | None:
        """Return arrays that are kept, mapped into memory; None if there are none."""
        folder = self.folder / version / key
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            inputs, targets = (
                {name: np.load(folder / file, mmap_mode="r", allow_pickle=False) for name, file in about[group].items()}
                for group in ("inputs", "targets")
            )
            return Arrays(str(about["name"]), inputs, targets, tuple(about["columns"]), streamed=True)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):  # damaged: made again
            shutil.rmtree(folder, ignore_errors=True)
            return None

    def keep_arrays(self, version: str, key: str, make: Callable[[Callable[[str], FileSink]], Arrays]) -> Arrays:
        """Keep arrays that `make` writes to sinks, and return them as `arrays` does.

        Parameters
        ----------
        version : str
        key : str
            As of `key_of`.
        make : callable
            Given a maker of sinks by name, writes all rows and returns the arrays.

        Raises
        ------
        Conflict
            Code ``no-room``.
        """
        with self._building() as folder:
            sinks: dict[str, FileSink] = {}

            def sink(name: str) -> FileSink:
                file = folder / f"{len(sinks)}.npy"
                return sinks.setdefault(name, FileSink(file, self._require_room))

            arrays = make(sink)
            about = {
                "name": arrays.name,
                "columns": list(arrays.columns),
                "inputs": {name: sinks[f"x_{name}" if name else "x"].path.name for name in arrays.inputs},
                "targets": {name: sinks[f"y_{name}" if name else "y"].path.name for name in arrays.targets},
            }
            write_private(folder / _ABOUT, json.dumps(about).encode())
            _put(folder, self.folder / version / key)
        kept = self.arrays(version, key)
        assert kept is not None  # put there just now
        return kept

    # ---- keeping house ----------------------------------------------------------------------------------------------

    def keep_only(self, versions: Collection[str]) -> None:
        """Remove what belongs to no version of these."""
        if self.folder.is_dir():
            for entry in self.folder.iterdir():
                if entry.name not in versions and not entry.name.startswith("."):
                    shutil.rmtree(entry, ignore_errors=True)

    @contextlib.contextmanager
    def _building(self) -> Iterator[Path]:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._remove_abandoned()
        folder = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{os.getpid()}-"))
        try:
            yield folder
        except OSError as error:
            if error.errno in (28, 122):  # no space, quota
                raise _no_room(self.folder) from error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _remove_abandoned(self) -> None:
        """Remove what processes have left behind that are no more."""
        for entry in self.folder.glob(".*-*"):
            with contextlib.suppress(ValueError, PermissionError):
                try:
                    os.kill(int(entry.name[1:].partition("-")[0]), 0)
                except ProcessLookupError:
                    shutil.rmtree(entry, ignore_errors=True)

    def _require_room(self, size: int) -> None:
        if shutil.disk_usage(self.folder).free < size + _SPARE:
            raise _no_room(self.folder)


class ColumnsWriter:
    """Writes batches to a file of columns.

    Parameters
    ----------
    store : Store
    path : Path
        Of the file while it is written.
    schema : pyarrow.Schema
    """

    def __init__(self, store: Store, path: Path, schema: pyarrow.Schema) -> None:
        import pyarrow as pa

        self._store, self._path = store, path
        self._file: Any = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._writer = pa.ipc.new_file(self._file, schema)

    def write(self, batch: pyarrow.RecordBatch) -> None:
        """Take the next rows."""
        self._store._require_room(batch.nbytes)
        self._writer.write_batch(batch)

    def keep(self, version: str) -> None:
        """Put the file in place as the columns of `version`."""
        self.close()
        target = self._store.folder / version
        target.mkdir(exist_ok=True, mode=0o700)
        self._path.replace(target / COLUMNS)

    def close(self) -> None:
        """Write what is pending."""
        if not self._file.closed:
            self._writer.close()
            self._file.close()


class FileSink:
    """Rows of one array as a ``.npy`` file; a `Sink`.

    Parameters
    ----------
    path : Path
    require_room : callable of int
        Raises if the disk has no room for so many bytes.
    """

    def __init__(self, path: Path, require_room: Callable[[int], None]) -> None:
        self.path, self._require_room = path, require_room
        self._file: Any = None
        self._rows = 0
        self._like: NDArray[Any] | None = None

    def write(self, block: NDArray[Any]) -> None:
        """See `Sink`."""
        self._require_room(block.nbytes)
        if self._file is None:
            self._file = os.fdopen(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
            self._like = block[:0]
            self._write_header()
        assert self._like is not None  # with the file
        if block.dtype != self._like.dtype or block.shape[1:] != self._like.shape[1:]:
            raise ValueError(f"rows of {block.dtype} {block.shape[1:]} came after rows of {self._like.dtype}")
        self._file.write(np.ascontiguousarray(block).data)
        self._rows += len(block)

    def close(self) -> NDArray[Any]:
        """See `Sink`."""
        if self._file is None:
            raise ValueError("no rows came")
        self._file.seek(0)
        self._write_header()  # of the same length, with the number of rows that there are
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        mapped: NDArray[Any] = np.load(self.path, mmap_mode="r", allow_pickle=False)
        return mapped

    def _write_header(self) -> None:
        assert self._like is not None  # with the file
        shape = (self._rows or 10**18, *self._like.shape[1:])
        # NumPy pads headers so that the number of rows may grow in place.
        np.lib.format.write_array_header_1_0(
            self._file, {"descr": self._like.dtype.str, "fortran_order": False, "shape": shape}
        )


def key_of(**what: Any) -> str:
    """Return the name of arrays that are made so, from JSON values."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:32]


def _put(folder: Path, target: Path) -> None:
    target.parent.mkdir(exist_ok=True, mode=0o700)
    try:
        folder.rename(target)
    except OSError:
        if not target.exists():
            raise
        # Another process was quicker; its arrays are the same.
    else:
        folder.mkdir()  # for whoever removes what was built here


def _no_room(folder: Path) -> Conflict:
    return Conflict(
        f"The disk of {folder} has no room for the data.",
        code="no-room",
        hint="Remove data sets that are not needed (`flaas dataset remove`), or make room on the disk.",
    )
