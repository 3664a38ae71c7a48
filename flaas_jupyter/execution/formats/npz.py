"""Arrays of NumPy in an npz file: a column for each array, one row for each entry of the first axis.

An npz file is a zip archive of npy files. Nothing of it is unpacked to disk and nothing unpickled: headers are read and
held against the sizes that the archive states, and rows are read from all arrays side by side.
"""

from __future__ import annotations

import contextlib
import math
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import pyarrow as pa

from ...errors import InvalidInput
from . import tensors
from .canonical import require_names
from .data_file import DataFile
from .limits import LIMITS
from .refusals import unreadable

_HEADER = 10_000
_ARRAYS = 1_000
_AXES = 32
_BYTES = 64 << 20
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class _Member:
    name: str
    entry: zipfile.ZipInfo
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool

    @property
    def by_columns(self) -> bool:
        return self.fortran and len(self.shape) > 1

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize


class Npz:
    """The format; see the module."""

    name = "npz"
    suffixes = (".npz",)

    def schema(self, file: DataFile, texts: Sequence[str]) -> Any:
        """See `Format.schema`."""
        with file.seekable() as opened, _archive(file, opened) as archive:
            members = _members(file, archive)
        return pa.schema([pa.field(member.name, _kind(file, member)) for member in members])

    def batches(self, file: DataFile, schema: Any, columns: Sequence[str], rows: int) -> Iterator[Any]:
        """See `Format.batches`."""
        wanted = pa.schema([schema.field(name) for name in columns])
        with contextlib.ExitStack() as stack:
            archive = stack.enter_context(_archive(file, stack.enter_context(file.seekable())))
            members = {member.name: member for member in _members(file, archive)}
            chosen = [members[name] for name in columns]
            if not chosen:
                return
            streams = [_rows_of(file, stack, member) for member in chosen]
            count = len_of(chosen[0])
            step = max(1, min(rows, _BYTES // max(1, sum(member.row_bytes for member in chosen))))
            for start in range(0, count, step):
                size = min(step, count - start)
                taken = [stream.take(size) for stream in streams]
                try:
                    arrays = [_arrow(rows_taken) for rows_taken in taken]
                    yield pa.RecordBatch.from_arrays(
                        [array.cast(field.type) for array, field in zip(arrays, wanted, strict=True)], schema=wanted
                    )
                except pa.ArrowException as error:
                    raise unreadable(file.shown, error) from error


def len_of(member: _Member) -> int:
    """Return the number of rows of an array."""
    return member.shape[0]


class _Rows:
    """The rows of one array, read one after the other."""

    def __init__(self, file: DataFile, member: _Member, stream: IO[bytes]) -> None:
        self._file, self._member, self._stream = file, member, stream
        self._whole: Any = None
        self._place = 0

    def take(self, count: int) -> Any:
        """Return the next `count` rows."""
        member = self._member
        if member.by_columns:
            if self._whole is None:
                flat = np.frombuffer(self._read(member.shape[0] * member.row_bytes), member.dtype)
                self._whole = flat.reshape(member.shape[::-1]).T
            self._place += count
            return self._whole[self._place - count : self._place]
        data = self._read(count * member.row_bytes)
        return np.frombuffer(data, member.dtype).reshape(count, *member.shape[1:])

    def _read(self, size: int) -> bytes:
        try:
            data = self._stream.read(size)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            raise unreadable(self._file.shown, error) from error
        if len(data) != size:
            raise unreadable(self._file.shown, f"array {self._member.name!r} ends early")
        return data


def _rows_of(file: DataFile, stack: contextlib.ExitStack, member: _Member) -> _Rows:
    # A handle of its own: streams of one archive take turns with a lock and a seek each otherwise.
    archive = stack.enter_context(_archive(file, stack.enter_context(file.seekable())))
    stream = stack.enter_context(archive.open(member.entry))
    _header(file, member.name, stream)
    return _Rows(file, member, stream)


def _kind(file: DataFile, member: _Member) -> Any:
    try:
        return pa.string() if member.dtype.kind == "U" else tensors.tensor_type(member.dtype, member.shape[1:])
    except pa.ArrowException as error:
        raise _of_type(file, member) from error


def _of_type(file: DataFile, member: _Member) -> InvalidInput:
    return unreadable(
        file.shown,
        f"array {member.name!r} is of type {member.dtype} and shape {member.shape}; allowed are numbers and truth "
        "values, a row for each entry of the first axis",
    )


def _arrow(array: Any) -> Any:
    if array.dtype.byteorder not in "=|" and array.dtype.kind != "U":
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype.kind == "U":
        return pa.array(array.tolist(), pa.string())
    return tensors.from_numpy(array)


def _archive(file: DataFile, opened: Any) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(opened)
    except OSError as error:
        raise file.refused(error) from error
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise unreadable(file.shown, "it is no npz file, or a damaged one", "np.savez(path, x=..., y=...)") from error


def _members(file: DataFile, archive: zipfile.ZipFile) -> list[_Member]:
    entries = archive.infolist()
    if len(entries) > _ARRAYS:
        raise unreadable(file.shown, f"it holds {len(entries)} arrays; allowed are {_ARRAYS}")
    LIMITS.check(file.shown, file.size, sum(entry.file_size for entry in entries))
    members = [_member(file, archive, entry) for entry in entries]
    require_names(file.shown, [member.name for member in members])
    if not members:
        raise InvalidInput(f"{file.shown} holds no arrays.", code="empty-data")
    if len({len_of(member) for member in members}) > 1:
        lengths = ", ".join(f"{member.name} {len_of(member)}" for member in members)
        raise unreadable(file.shown, f"its arrays have different numbers of rows ({lengths})")
    LIMITS.check_row(file.shown, sum(member.row_bytes for member in members))
    # Their rows lie all over them: they are in memory as a whole while they are read.
    whole = sum(len_of(member) * member.row_bytes for member in members if member.by_columns)
    LIMITS.check_row(file.shown, whole, "what is in Fortran order")
    return members


def _member(file: DataFile, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> _Member:
    name = entry.filename.removesuffix(".npy")
    if not entry.filename.endswith(".npy") or "/" in name or "\\" in name:
        raise unreadable(file.shown, "it holds something that is no array of NumPy", "np.savez(path, x=..., y=...)")
    if entry.flag_bits & 1 or entry.compress_type not in _METHODS:
        raise unreadable(file.shown, f"array {name!r} is encrypted, or compressed in an unusual way")
    LIMITS.check(file.shown, max(entry.compress_size, 1), entry.file_size)
    try:
        with archive.open(entry) as stream:
            shape, fortran, dtype = _header(file, name, stream)
            length = entry.file_size - stream.tell()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
        raise unreadable(file.shown, error) from error
    member = _Member(name, entry, shape, dtype, fortran)
    texts = dtype.kind == "U" and len(shape) == 1
    if not 0 < len(shape) <= _AXES or not (texts or dtype.kind in "biufM") or (dtype.kind == "M" and len(shape) > 1):
        raise _of_type(file, member)
    if member.row_bytes == 0:
        raise unreadable(
            file.shown,
            f"array {name!r} of type {dtype} and shape {shape} has rows with nothing in them",
            "Leave it out.",
        )
    if member.shape[0] * member.row_bytes != length:
        raise unreadable(file.shown, f"array {name!r} has not as many bytes as its shape says")
    return member


def _header(file: DataFile, name: str, stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream, max_header_size=_HEADER)
    except (ValueError, TypeError, SyntaxError, EOFError, OSError, zlib.error, zipfile.BadZipFile) as error:
        raise unreadable(file.shown, f"array {name!r} has no header of NumPy's") from error
    if dtype.hasobject:
        raise unreadable(file.shown, f"array {name!r} holds Python objects", "Convert it: array.astype(float).")
    if any(size < 0 for size in shape):
        raise unreadable(file.shown, f"array {name!r} has a shape that there is not")
    return tuple(shape), fortran, dtype


FORMAT = Npz()
