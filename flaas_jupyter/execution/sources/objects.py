"""What the three clouds' object stores share: addresses, listings, stamps, and what their errors mean."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from ...errors import FlaasError, InvalidInput, NotAllowed, Unreachable
from ..formats import suffixes
from ..formats.data_file import DataFile
from ..formats.listing import Listing
from ..formats.refusals import unreadable
from .choosing import chosen_reader, refuse_query
from .file_source import FileSource
from .opening import Request
from .source import Source

_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,220}[A-Za-z0-9]")
_SIGNS = re.compile(r"[*?\[]")
# Of so many files the store is asked for the ETag of each; beyond, sizes and times of its listing have to do.
_ASKED = 8


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


_QUOTED = re.compile(r"'[^']*'")  # names of buckets and objects, which may be anything
_DENIED = _any(
    *("ACCESS_DENIED", "AccessDenied", "INVALID_ACCESS_KEY", "SIGNATURE_DOES_NOT_MATCH", "UNRECOGNIZED_CLIENT"),
    *("Forbidden", r"\b40[13]\b", "PERMISSION_DENIED", "UNAUTHENTICATED", "AuthorizationFailure", "credential"),
    *("AuthenticationFailed", "AuthorizationPermissionMismatch", "AuthenticationInfo", "AuthorizationResourceType"),
)
_GONE = _any(
    "NO_SUCH_BUCKET", "NoSuchBucket", "RESOURCE_NOT_FOUND", "NO_SUCH_KEY", "Not_?Found", r"\b404\b", "not found"
)
_AWAY = _any(
    *("NETWORK_CONNECTION", "curlCode", "could ?n[o']t (connect|resolve)", "connection", "time(d )?-?out"),
    *("UNAVAILABLE", "SLOW_DOWN", "DEADLINE", r"\b50[0234]\b", "SSL", "certificate", "resolve host"),
)


@dataclass(frozen=True)
class Place:
    """Where objects lie: ``scheme://bucket/key``.

    Parameters
    ----------
    scheme, bucket, key : str
        The key may be a pattern, a prefix (a "folder"), or an object's own.
    account : str
        Whose bucket it is, where that is part of the address.
    """

    scheme: str
    bucket: str
    key: str
    account: str = ""

    @property
    def url(self) -> str:
        """The canonical address."""
        return f"{self.scheme}://{self.bucket}{'@' if self.account else ''}{self.account}/{self.key}"

    @property
    def path(self) -> str:
        """What a `pyarrow.fs.FileSystem` of the store calls it."""
        return f"{self.bucket}/{self.key}".rstrip("/")


def place_of(url: str, scheme: str) -> Place:
    """Return what an address names.

    Raises
    ------
    InvalidInput
        Code ``bad-source``.
    """
    # Signs of patterns and '#' may be in keys: only the bucket is read as a URL's authority.
    bucket, _, key = url.partition("://")[2].partition("/")
    return Place(scheme, bucket_name(bucket, scheme), object_key(key))


def bucket_name(bucket: str, scheme: str) -> str:
    """Return the name of a bucket or container if it can be one, code ``bad-source`` otherwise."""
    if not _BUCKET.fullmatch(bucket):
        raise InvalidInput(
            f"{bucket[:80]!r} cannot name a bucket: write {scheme}://BUCKET/FOLDER/FILE.parquet.", code="bad-source"
        )
    return bucket


def object_key(key: str) -> str:
    """Return a key as the store knows it, code ``bad-source`` if it climbs out of its bucket."""
    if "?" in key and "=" in key:
        raise InvalidInput(
            "Addresses of buckets have no parameters.", code="bad-source", hint="Write the bucket and the key alone."
        )
    key = key.strip("/")
    if ".." in key.split("/") or "\0" in key:
        raise InvalidInput("A key has no '..' in it.", code="bad-source", hint="Write the whole key.")
    return key


def source_of(request: Request, place: Place, connect: Callable[[], Any]) -> Source:
    """Return the source of a place in a store, whose `pyarrow.fs.FileSystem` is made when it is first needed."""
    refuse_query(request)
    store = _Store(place, connect)
    single = PurePosixPath(place.key).name.lower().endswith(suffixes()) and not _SIGNS.search(place.key)
    if request.format is None and not single:
        reader = _LateReader(partial(_folder_reader, request, store))
        return FileSource(place.scheme, place.url, lambda: store.listing(reader.suffixes), reader)
    chosen = chosen_reader(request, place.url, lambda: [place.key], folder=request.format is not None)
    return FileSource(place.scheme, place.url, lambda: store.listing(chosen.suffixes), chosen)


def _folder_reader(request: Request, store: _Store) -> Any:
    return chosen_reader(request, store.place.url, lambda: store.paths(suffixes()), folder=True)


class _LateReader:
    """A `Reader` that is chosen when the store is first asked: opening a source asks nobody."""

    def __init__(self, choose: Callable[[], Any]) -> None:
        self._choose = choose
        self._chosen: Any = None

    @property
    def _reader(self) -> Any:
        self._chosen = self._chosen or self._choose()
        return self._chosen

    @property
    def suffixes(self) -> tuple[str, ...]:
        """See `Reader.suffixes`."""
        ends: tuple[str, ...] = self._reader.suffixes
        return ends

    def schema(self, listing: Listing) -> Any:
        """See `Reader.schema`."""
        return self._reader.schema(listing)

    def batches(self, listing: Listing, schema: Any, columns: Any, rows: int) -> Any:
        """See `Reader.batches`."""
        return self._reader.batches(listing, schema, columns, rows)


class _Store:
    def __init__(self, place: Place, connect: Callable[[], Any]) -> None:
        self.place = place
        self._connect = connect
        self._made: Any = None

    @property
    def _filesystem(self) -> Any:
        if self._made is None:
            try:
                self._made = self._connect()
            except OSError as error:
                raise refused(self.place.url, error) from error
        return self._made

    def paths(self, ends: tuple[str, ...]) -> list[str]:
        """Return the paths of the objects of the place with one of these ends."""
        return [entry.path for entry in self._entries(ends)[0]]

    def listing(self, ends: tuple[str, ...]) -> Listing:
        """Return the objects of the place with one of these ends."""
        found, root = self._entries(ends)
        files = tuple(
            DataFile(f"{self.place.scheme}://{entry.path}", entry.path, entry.size, self._filesystem, refused)
            for entry in found
        )
        stamps = self._tags(files) if len(files) <= _ASKED else tuple(_told(entry) for entry in found)
        inside = [PurePosixPath(entry.path).relative_to(root).parts for entry in found] if root else []
        return Listing(files, stamps, root, tuple(sorted({parts[0] for parts in inside if len(parts) > 1})))

    def _entries(self, ends: tuple[str, ...]) -> tuple[list[Any], str]:
        try:
            found, root = self._found(ends)
        except OSError as error:
            raise refused(self.place.url, error) from error
        if not found:
            raise unreadable(self.place.url, f"there is no object in it that ends in {', '.join(ends)}")
        return sorted(found, key=lambda entry: entry.path), root

    def _found(self, ends: tuple[str, ...]) -> tuple[list[Any], str]:
        from pyarrow.fs import FileSelector, FileType

        place = self.place
        if not _SIGNS.search(place.key):
            about = self._filesystem.get_file_info(place.path)
            if about.type == FileType.File:
                return [about], ""
            if about.type == FileType.NotFound:
                raise unreadable(place.url, "there is no such object")
            root, matches = place.path, None
        else:
            fixed = list(itertools.takewhile(lambda part: not _SIGNS.search(part), place.path.split("/")))
            root, matches = "/".join(fixed), _pattern(place.path)
        entries = self._filesystem.get_file_info(FileSelector(root, recursive=True, allow_not_found=True))
        found = [
            entry
            for entry in entries
            if entry.type == FileType.File
            and entry.path.lower().endswith(ends)
            and not PurePosixPath(entry.path).name.startswith((".", "_"))
            and (matches is None or matches.fullmatch(entry.path))
        ]
        return found, root if matches is None else ""

    def _tags(self, files: tuple[DataFile, ...]) -> tuple[str, ...]:
        stamps = []
        for file in files:
            with file.stream() as stream:
                told = {_text(key).lower(): _text(value) for key, value in (stream.metadata() or {}).items()}
            tag = told.get("etag") or told.get("generation") or told.get("last-modified") or ""
            stamps.append(f"{file.size}-{tag.strip(chr(34))}")
        return tuple(stamps)


def _told(entry: Any) -> str:
    return f"{entry.size}-{entry.mtime_ns}"


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _pattern(path: str) -> re.Pattern[str]:
    """Return what a pattern matches: ``*`` and ``?`` within a folder, ``**`` over folders, ``[…]`` one sign."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", path)
    meant = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return re.compile(
        "".join(
            meant.get(part)
            or (f"[{'^' if part[1] in '!^' else ''}{re.escape(part[1:-1].lstrip('!^')).replace(chr(92) + '-', '-')}]")
            if part[:1] in ("*", "?", "[")
            else re.escape(part)
            for part in parts
        )
    )


def refused(shown: str, error: OSError) -> FlaasError:
    """Return what an error of a store means to whoever wants the data; the store's own words stay here."""
    text = _QUOTED.sub("", str(error))
    if _GONE.search(text):
        return unreadable(shown, "there is no such bucket or object")
    if _DENIED.search(text):
        return NotAllowed(
            f"The store does not let this node read {shown}.",
            code="source-access-denied",
            hint="Set up the cloud's own credentials on this machine, or keep them with `flaas secret set NAME` and "
            "name them with --secret NAME; they must allow to list and to read.",
        )
    if _AWAY.search(text):
        return Unreachable(
            f"The store of {shown} does not answer.",
            code="source-unreachable",
            hint="Check the network, and the endpoint if it is a private cloud.",
        )
    return unreadable(shown, error)


@dataclass(frozen=True)
class Endpoint:
    """A store of one's own: a private cloud, or a server for tests.

    Parameters
    ----------
    scheme : str
        ``"https"``; ``"http"`` on this machine alone.
    authority : str
        Host and port.
    path : str
        What stands after them.
    """

    scheme: str
    authority: str
    path: str = ""


def endpoint(*variables: str, environment: Mapping[str, str] | None = None) -> Endpoint | None:
    """Return the endpoint that the first set of `variables` of the environment names.

    Raises
    ------
    InvalidInput
        Code ``bad-endpoint``: no URL, or without encryption to another machine.
    """
    environment = os.environ if environment is None else environment
    for variable in variables:
        value = environment.get(variable)
        if value:
            parts = urlsplit(value if "://" in value else f"http://{value}")
            local = parts.hostname in ("localhost", "127.0.0.1", "::1")
            if parts.scheme not in ("http", "https") or not parts.hostname or "@" in parts.netloc:
                raise InvalidInput(f"{variable} is not the URL of a store.", code="bad-endpoint")
            if parts.scheme == "http" and not local:
                raise InvalidInput(
                    f"{variable} names a store that is spoken to without encryption.",
                    code="bad-endpoint",
                    hint="Use its https:// address.",
                )
            return Endpoint(parts.scheme, parts.netloc, unquote(parts.path).strip("/"))
    return None
