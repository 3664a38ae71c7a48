"""The files of a source as they were at one moment."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from .data_file import DataFile


@dataclass(frozen=True)
class Listing:
    """The files of a source as they were at one moment.

    Parameters
    ----------
    files : tuple of DataFile
        In order of their paths.
    stamps : tuple of str
        What tells, for each, whether it has changed: size and time, or ETag.
    root : str
        The folder that they were found in, as their paths have it; empty for a single file or a pattern.
    folders : tuple of str
        Names of the folders directly in `root`, also empty ones, where the place tells.
    """

    files: tuple[DataFile, ...]
    stamps: tuple[str, ...]
    root: str = ""
    folders: tuple[str, ...] = ()

    def stamp(self) -> str:
        """Return the stamp of all of them: that of a single file as it is, of several a digest."""
        if not self.root and len(self.files) == 1:
            return self.stamps[0]
        told = [f"{file.path}\t{stamp}" for file, stamp in zip(self.files, self.stamps, strict=True)]
        return hashlib.sha256("\n".join((*told, *self.folders)).encode("utf-8", "surrogatepass")).hexdigest()
