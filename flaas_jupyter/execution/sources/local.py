"""Files on this machine: ``/data/loans.csv``, ``file:///data/loans``, ``/data/part-*.parquet``."""

from __future__ import annotations

import itertools
import os
import stat
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ...errors import InvalidInput
from ..formats import suffixes
from ..formats.data_file import DataFile
from ..formats.listing import Listing
from ..formats.refusals import unreadable
from .addresses import scheme_of
from .choosing import chosen_reader, refuse_query
from .file_source import FileSource
from .folders import AllowedFolders
from .opening import Request
from .source import Source

_GLOB = "*?["
_LONG = 200


def list_local(path: Path, allowed: AllowedFolders, ends: tuple[str, ...]) -> Listing:
    """Return the files that a path stands for: itself, or those of a folder or pattern with one of `ends`.

    Parameters
    ----------
    path : Path
        Absolute; a pattern of `glob` if it has ``*``, ``?`` or ``[`` and no file has that very name.
    allowed : AllowedFolders
        Where it may lead to.
    ends : tuple of str
        Ends of names of parts.

    Raises
    ------
    InvalidInput
        Code ``unreadable-data``.
    NotAllowed
        Codes ``policy-data-folders``, ``link-out-of-folder``.
    """
    from pyarrow.fs import LocalFileSystem

    filesystem = LocalFileSystem()
    files, stamps = [], []
    for entry in _found(path, allowed, ends):
        about = _about(entry)
        files.append(DataFile(str(entry), str(entry), about.st_size, filesystem))
        stamps.append(f"{about.st_size}-{about.st_mtime_ns}")
    if is_pattern(path) or not path.is_dir():
        return Listing(tuple(files), tuple(stamps))
    folders = sorted(entry.name for entry in path.iterdir() if entry.is_dir() and not _hidden(entry.name))
    return Listing(tuple(files), tuple(stamps), str(path), tuple(folders))


def is_pattern(path: Path) -> bool:
    """Tell whether a path stands for several files by a pattern."""
    return any(sign in str(path) for sign in _GLOB) and not path.exists()


def _found(path: Path, allowed: AllowedFolders, ends: tuple[str, ...]) -> list[Path]:
    if is_pattern(path):
        fixed = Path(*itertools.takewhile(lambda part: not any(sign in part for sign in _GLOB), path.parts))
        root = allowed.checked(fixed)
        inside = AllowedFolders((root,), allowed.home)
        entries = sorted(root.glob(str(path.relative_to(fixed))))
    elif path.is_dir():
        inside = AllowedFolders((allowed.checked(path),), allowed.home)
        # os.walk does not follow links to folders
        entries = sorted(Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    else:
        real = allowed.checked(path)
        if real != path:
            raise unreadable(path, "a link has taken its place")
        return [real]
    found = [
        inside.checked(entry) for entry in entries if entry.name.lower().endswith(ends) and not _hidden(entry.name)
    ]
    if not found:
        raise unreadable(path, f"there is no file in it that ends in {', '.join(ends)}")
    return found


def _hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _about(path: Path) -> os.stat_result:
    try:
        about = path.stat()
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(about.st_mode):
        raise unreadable(path, "it is no file")
    return about


def open_at(request: Request) -> Source:
    """Return the source of a path; see `open_source`."""
    refuse_query(request)
    if request.secret is not None:
        raise InvalidInput(
            "A secret is for places elsewhere; files of this machine are read as the user that the node runs as.",
            code="bad-source",
            hint="Leave the secret out.",
        )
    path = _path(request.url)
    allowed = AllowedFolders.of(request.home, request.policy.data_folders, by_operator=request.by_operator)
    if not is_pattern(path):
        path = allowed.checked(path)
    folder = not is_pattern(path) and path.is_dir()
    several = folder or is_pattern(path)
    reader = chosen_reader(
        request,
        str(path),
        lambda: [file.path for file in list_local(path, allowed, suffixes()).files] if several else [path.name],
        folder=folder,
    )
    return FileSource("file", str(path), partial(list_local, path, allowed, reader.suffixes), reader)


def _path(url: str) -> Path:
    """Absolute path of a path or a ``file://`` URL; links in it are still there."""
    if scheme_of(url):
        parts = urlsplit(url)
        if parts.netloc not in ("", "localhost") or parts.query or parts.fragment:
            raise InvalidInput(
                "A file:// address is file:///folder/name, of this machine.",
                code="bad-source",
                hint="Write the path alone.",
            )
        url = unquote(parts.path)
        if ".." in Path(url).parts:
            raise InvalidInput("A file:// address has no '..' in it.", code="bad-source", hint="Write the whole path.")
    if "\0" in url:
        raise InvalidInput("A path has no zero byte in it.", code="bad-source")
    if not url.strip():
        raise InvalidInput("The path is empty.", code="bad-source", hint="Name a file or folder; '.' is this folder.")
    try:
        path = Path.cwd() / Path(url).expanduser()
    except RuntimeError as error:
        raise unreadable(url[:_LONG], "there is no such user") from error
    try:
        path.exists()
    except OSError as error:  # too long, above all
        raise unreadable(f"{str(path)[:_LONG]}…", error) from error
    return path
