"""Room behind files that are mapped into memory: writing to a page that nothing is behind ends the process (SIGBUS)."""

from __future__ import annotations

import os


def reserve(descriptor: int, size: int) -> None:
    """Make an open file `size` bytes long and have room for all of it; macOS has no call for the second.

    Raises
    ------
    OSError
        The disk, or the memory that the file lies in, has no room.
    """
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
    else:
        os.truncate(descriptor, size)
