"""A file that a format reads, wherever it lies: on this machine, in a bucket, fetched from a server."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ...errors import FlaasError
from .refusals import unreadable

_BUFFER = 1 << 18


@dataclass(frozen=True)
class DataFile:
    """One file of a source.

    Parameters
    ----------
    shown : str
        How messages and the operator call it: a path or URL, without credentials.
    path : str
        Where `filesystem` finds it.
    size : int
        Bytes.
    filesystem : pyarrow.fs.FileSystem
        Where it lies.
    explain : callable
        Makes a refusal of what is shown and an error of `filesystem`.
    """

    shown: str
    path: str
    size: int
    filesystem: Any = field(repr=False)
    explain: Callable[[str, OSError], FlaasError] = field(default=unreadable, repr=False)

    def refused(self, error: BaseException, hint: str = "") -> FlaasError:
        """Return the refusal of a file that could not be read; the place's own where it failed."""
        if isinstance(error, OSError):
            return self.explain(self.shown, error)
        return unreadable(self.shown, error, hint)

    def stream(self) -> Any:
        """Open it for reading from beginning to end; a `pyarrow.NativeFile`.

        Raises
        ------
        InvalidInput
            Code ``unreadable-data``.
        """
        # The name may end in .gz, and limits on what it expands to are ours: no decompression here.
        return self._opened(lambda: self.filesystem.open_input_stream(self.path, compression=None))

    def random(self) -> Any:
        """Open it for reading anywhere; a `pyarrow.NativeFile`.

        Raises
        ------
        InvalidInput
            Code ``unreadable-data``.
        """
        return self._opened(lambda: self.filesystem.open_input_file(self.path))

    def seekable(self) -> io.BufferedReader:
        """Open it as Python has files: stores do not like to be asked for what is at the very end.

        Raises
        ------
        InvalidInput
            Code ``unreadable-data``.
        """
        return io.BufferedReader(_Anywhere(self.random()), _BUFFER)

    def _opened(self, opener: Callable[[], Any]) -> Any:
        try:
            return opener()
        except OSError as error:
            raise self.refused(error) from error


class _Anywhere(io.RawIOBase):
    """A file of which each read names its place."""

    def __init__(self, file: Any) -> None:
        self._file, self._size, self._place = file, file.size(), 0

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be read from anywhere."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, which may be the end."""
        self._place = max(0, offset + (0, self._place, self._size)[whence])
        return self._place

    def tell(self) -> int:
        """Where it is."""
        return self._place

    def readinto(self, buffer: Any) -> int:
        """Read on from where it is."""
        length = min(len(buffer), max(0, self._size - self._place))
        data = self._file.read_at(length, self._place) if length else b""
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file, too."""
        if not self.closed:
            self._file.close()
        super().close()
