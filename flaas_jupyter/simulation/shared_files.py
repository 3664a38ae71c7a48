"""Files that a simulation and its worker process both map: in memory while there is room, then on the disk.

Containers commonly have 64 MB of ``/dev/shm``, and files can be made larger than that; so room is reserved before
anything is mapped (see `mapped_files`).
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import FlaasError
from ..mapped_files import reserve

MEMORY = Path("/dev/shm")  # noqa: S108

T = TypeVar("T")
_HEADER = 4096
"""Bytes that NumPy's format puts before the values, at most for the types of arrays."""


class SharedFiles:
    """Named files in the first of some folders that has room for them.

    Parameters
    ----------
    folders : sequence of Path
        In the order of preference.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = tuple(folders)

    @classmethod
    def create(cls) -> Self:
        """Make the folders: in memory where the system has such a place, and where temporary files go."""
        memory = [str(MEMORY)] if os.access(MEMORY, os.W_OK) else []
        return cls([Path(tempfile.mkdtemp(prefix="flaas-", dir=place)) for place in (*memory, None)])

    def path(self, name: str) -> Path:
        """Return where a file is; where it would be looked for first if there is none."""
        paths = [folder / name for folder in self.folders]
        return next((path for path in paths if path.exists()), paths[0])

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return a new array of zeros that others can map, with room behind all of it.

        Raises
        ------
        FlaasError
            Code ``simulation-no-room``.
        """

        def reserved(path: Path) -> NDArray[Any]:
            with path.open("wb") as file:
                reserve(file.fileno(), int(np.prod(shape)) * np.dtype(dtype).itemsize)
            return np.memmap(path, dtype=dtype, mode="r+", shape=shape)

        return self._put(name, reserved)

    def save(self, name: str, values: NDArray[Any]) -> None:
        """Write an array in NumPy's format.

        Raises
        ------
        FlaasError
            Code ``simulation-no-room``.
        """

        def saved(path: Path) -> None:
            with path.open("wb") as file:
                reserve(file.fileno(), values.nbytes + _HEADER)
                np.save(file, values, allow_pickle=False)
                file.truncate()

        self._put(name, saved)

    def remove(self) -> None:
        """Remove all of them."""
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)

    def _put(self, name: str, write: Callable[[Path], T]) -> T:
        for folder in self.folders:
            (folder / name).unlink(missing_ok=True)  # what is mapped of the old one stays as it is
        for folder in self.folders:
            try:
                return write(folder / name)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                (folder / name).unlink(missing_ok=True)
        raise FlaasError(
            f"There is no room for the simulation's {name}, neither in memory nor on the disk:"
            f" {', '.join(f'{folder.parent}' for folder in self.folders)}.",
            code="simulation-no-room",
            hint="Make room, or name a folder on a larger disk in the environment variable TMPDIR and start again.",
        )
