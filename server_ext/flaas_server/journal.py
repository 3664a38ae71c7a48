"""A journal of one JSON document a line that somebody else appends to: read from any line on, without reading it all.

`Journal` remembers where each line starts, and at each look reads on from where it stopped. A last line without its
line feed is being written and does not count yet. When the file was replaced, or cut back and written anew (a
simulation that is resumed), it is read anew and `Page.journal` differs, so that readers start over.
"""

from __future__ import annotations

import os
import stat
import threading
from array import array
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class Page:
    """Some lines of a journal.

    Attributes
    ----------
    lines : list of bytes
        Whole lines.
    after : int
        Number of the last of them, counted from 1: what to go on after.
    total : int
        Lines that there are.
    journal : str
        Changes when what was read before no longer stands.
    """

    lines: list[bytes]
    after: int
    total: int
    journal: str


def open_regular(path: Path) -> int:
    """Open the regular file `path` for reading, and nothing that poses as one: no link, no pipe."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileNotFoundError(f"{path} is not a regular file.")
    return handle


class Journal:
    """The lines of one file; its methods may be called from any thread.

    Parameters
    ----------
    path : Path
        The file; it need not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._inode: int | None = None
        self._turn = 0
        self._starts = array("Q")
        self._end = 0
        self._last = b""

    def page(self, after: int, limit: int, most_bytes: int) -> Page:
        """Return up to `limit` lines that follow line `after`, and one at least if there is one.

        Parameters
        ----------
        after : int
            Lines that the reader has; the first line is line 1.
        limit : int
            Most lines.
        most_bytes : int
            Lines are added until they have this many bytes.
        """
        with self._lock:
            try:
                handle = open_regular(self._path)
            except OSError:
                self._forget(None)
                return Page([], 0, 0, self._name)
            try:
                self._follow(handle)
                total = len(self._starts)
                first = last = min(after, total)
                while last < total and last - first < limit and (first == last or self._size(first, last) < most_bytes):
                    last += 1
                text = _read(handle, self._starts[first], self._size(first, last)) if last > first else b""
                return Page(text.split(b"\n")[:-1], last, total, self._name)
            finally:
                os.close(handle)

    @property
    def _name(self) -> str:
        return f"{self._inode or 0:x}-{self._turn}"

    def _size(self, first: int, last: int) -> int:
        """Bytes of the lines from index `first` up to, not including, `last`."""
        end = self._starts[last] if last < len(self._starts) else self._end
        return end - self._starts[first]

    def _follow(self, handle: int) -> None:
        status = os.fstat(handle)
        if status.st_ino != self._inode or status.st_size < self._end or not self._stands(handle):
            self._forget(status.st_ino)
        position, start = self._end, self._end
        tail = b""
        while chunk := _read(handle, position, _CHUNK):
            found = 0
            while (feed := chunk.find(b"\n", found)) >= 0:
                self._starts.append(start)
                self._last = tail + chunk[found : feed + 1]
                tail = b""
                found = feed + 1
                start = position + found
            tail += chunk[found:]
            position += len(chunk)
        self._end = start

    def _stands(self, handle: int) -> bool:
        """Whether the last line that was read is still where it was."""
        return _read(handle, self._end - len(self._last), len(self._last)) == self._last

    def _forget(self, inode: int | None) -> None:
        if self._starts:
            self._turn += 1
        self._inode = inode
        self._starts = array("Q")
        self._end = 0
        self._last = b""


def _read(handle: int, start: int, size: int) -> bytes:
    """Read `size` bytes from `start` on, fewer at the file's end."""
    parts = []
    while size > 0 and (part := os.pread(handle, size, start)):
        parts.append(part)
        start += len(part)
        size -= len(part)
    return b"".join(parts)
