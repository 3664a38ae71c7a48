"""Files on web servers: ``https://data.example/loans.csv``.

A file is fetched once and kept, for as long as the source is used, in ``FLAAS_HOME/fetched``, 0600; whether it has
changed is asked with HEAD (ETag, else time and size). Servers are those of `hosts`; every redirect is checked anew, at
most five, to https alone, and credentials go to the host that was named and to no other. A secret is sent as a bearer
token, or is ``username`` and ``password``, ``header`` and ``value``, or ``query`` (a signed address's parameters).
``SSL_CERT_FILE`` names private authorities. Proxies are not used: one would resolve names by itself.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import os
import secrets
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin, urlsplit, urlunsplit

import httpcore
import httpx

from ...errors import InvalidInput, NotAllowed, Unreachable
from ..formats.data_file import DataFile
from ..formats.listing import Listing
from ..formats.refusals import unreadable
from .choosing import chosen_reader, refuse_query
from .file_source import FileSource
from .hosts import CheckedNetwork, require_allowed_if_literal
from .opening import Request
from .secrets import Secret
from .source import Source

MAXIMUM_BYTES = 256 << 30
_SPARE_BYTES = 1 << 30
_REDIRECTS = 5
_SAFE = "/%:@!$&'()*+,;=~-._[]"
_MOVED = (301, 302, 303, 307, 308)
_TIMEOUTS = {"connect": 15.0, "read": 60.0, "write": 60.0, "pool": 60.0}
_LOOK = 64 << 20  # bytes between two looks at the disk
_YOUNG = 60.0  # seconds in which a new copy may not have its lock yet


def open_at(request: Request) -> Source:
    """Return the source of an ``https://`` address; see `open_source`."""
    refuse_query(request)
    url = _canonical(request.url)
    name = urlsplit(url).path.rpartition("/")[2]
    try:
        reader = chosen_reader(request, url, lambda: [name], folder=False)
    except InvalidInput:
        require_allowed_if_literal(urlsplit(url).hostname or "", request.policy.data_hosts)
        raise
    remote = _Remote(url, request.home, tuple(request.policy.data_hosts), Secret.of(request))
    # Formats go by the end of a name; the copy has the one of the original, or that of the named format.
    end = next((end for end in reader.suffixes if name.lower().endswith(end)), reader.suffixes[0])
    copy = _Copy(remote, end)
    return FetchedSource("https", url, copy.listing, reader, stamp_now=copy.stamp)


@dataclass
class FetchedSource(FileSource):
    """Files that are fetched before they are read; the stamp is the server's.

    Parameters
    ----------
    stamp_now : callable
        Asks the server.
    """

    stamp_now: Any = field(default=None, repr=False)

    def stamp(self) -> str:
        """See `Source.stamp`."""
        stamp: str = self.stamp_now()
        return stamp


def _canonical(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme.lower() != "https" or not parts.hostname:
        raise InvalidInput("Write https://HOST/FOLDER/FILE.csv.", code="bad-source")
    if any(ord(sign) <= 32 or ord(sign) == 127 for sign in url):
        raise InvalidInput("An address has no blanks or line breaks in it.", code="bad-source")
    try:
        host = parts.hostname if parts.hostname.isascii() else parts.hostname.encode("idna").decode()
    except UnicodeError as error:
        raise InvalidInput("The host of the address cannot be one.", code="bad-source") from error
    host = f"[{host}]" if ":" in host else host
    netloc = host if parts.port in (None, 443) else f"{host}:{parts.port}"
    return urlunsplit(("https", netloc, quote(parts.path or "/", _SAFE), quote(parts.query, _SAFE + "?"), ""))


@dataclass
class _Remote:
    """The file as it is on the server."""

    url: str
    home: Path
    listed: tuple[str, ...]
    secret: Secret | None

    def stamp(self) -> str | None:
        """Return what the server tells of the file's state; None if it tells nothing."""
        with self._answered("HEAD") as (response, headers):
            return _stamp(headers) if response.status == 200 else None

    @contextlib.contextmanager
    def body(self) -> Iterator[tuple[Iterator[bytes], dict[str, str]]]:
        """Give the file's bytes, as they are on the server, and the headers of the answer."""
        with self._answered("GET") as (response, headers):
            yield response.iter_stream(), headers

    @contextlib.contextmanager
    def _answered(self, method: str) -> Iterator[tuple[Any, dict[str, str]]]:
        network = CheckedNetwork(self.listed)
        context = httpx.create_ssl_context()
        with httpcore.ConnectionPool(ssl_context=context, network_backend=network) as pool:
            url = self.url
            for _ in range(_REDIRECTS + 1):
                with self._sent(pool, method, url) as response:
                    headers = {
                        key.decode("latin-1").lower(): value.decode("latin-1") for key, value in response.headers
                    }
                    if response.status not in _MOVED or "location" not in headers:
                        self._require_success(method, response.status, headers)
                        yield response, headers
                        return
                    url = self._moved(url, headers["location"])
        raise unreadable(self.url, f"its server redirects more than {_REDIRECTS} times")

    @contextlib.contextmanager
    def _sent(self, pool: httpcore.ConnectionPool, method: str, url: str) -> Iterator[Any]:
        headers: dict[bytes | str, bytes | str] = {}
        credentials, asked = self._credentials(url)
        # Bytes as they are: a compressed transfer would be expanded without limits of ours.
        headers |= {"accept-encoding": "identity", "user-agent": "flaas"}
        headers.update(credentials.items())
        try:
            with pool.stream(method, asked, headers=headers, extensions={"timeout": _TIMEOUTS}) as response:
                yield response
        except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
            certificate = "CERTIFICATE" in str(error).upper()
            raise Unreachable(
                f"{urlsplit(url).hostname} "
                + ("has no certificate that this machine trusts." if certificate else "does not answer, or stopped."),
                code="source-unreachable",
                hint="Name the authority's certificate in SSL_CERT_FILE."
                if certificate
                else "Check the address and the network; proxies are not used.",
            ) from error

    def _credentials(self, url: str) -> tuple[dict[str, str], str]:
        """Return headers and address with the secret in them, if this is the host that it is for."""
        if self.secret is None or urlsplit(url)[:2] != urlsplit(self.url)[:2]:
            return {}, url
        known = self.secret.document()
        if known is None:
            return {"authorization": f"Bearer {_header_value(self.secret, self.secret.value)}"}, url
        if "query" in known:
            parts = urlsplit(url)
            query = "&".join(part for part in (parts.query, known["query"].lstrip("?")) if part)
            return {}, urlunsplit((*parts[:3], query, ""))
        if "header" in known:
            name, value = self.secret.fields("header", "value").values()
            return {_header_value(self.secret, name): _header_value(self.secret, value)}, url
        if "token" in known:
            return {"authorization": f"Bearer {_header_value(self.secret, known['token'])}"}, url
        user, password = self.secret.fields("username", "password").values()
        return {"authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}, url

    def _moved(self, url: str, location: str) -> str:
        try:
            parts = urlsplit(urljoin(url, location))
            _ = parts.port
        except ValueError as error:
            raise unreadable(self.url, "its server redirects to what is no address") from error
        if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc or not parts.netloc.isascii():
            raise NotAllowed(
                f"The server of {self.url} redirects to an address that is not https://.",
                code="policy-data-hosts",
                hint="Name the address of the file itself.",
            )
        return urlunsplit((*parts[:2], quote(parts.path, _SAFE), quote(parts.query, _SAFE + "?"), ""))

    def _require_success(self, method: str, status: int, headers: dict[str, str]) -> None:
        if status in (401, 403, 407):
            raise NotAllowed(
                f"The server does not let this node read {self.url} (status {status}).",
                code="source-access-denied",
                hint="Keep what opens it with `flaas secret set NAME` and name it with --secret NAME.",
            )
        if status in (404, 410):
            raise unreadable(self.url, f"there is no such file (status {status})")
        if (status >= 500 and status != 501) or status == 429:
            raise Unreachable(f"The server of {self.url} answers with {status}.", code="source-unreachable")
        if status != 200 and (method, status) not in (("HEAD", 405), ("HEAD", 501)):
            raise unreadable(self.url, f"its server answers with status {status}")
        encoding = headers.get("content-encoding", "").lower()
        stored = encoding in ("gzip", "x-gzip") and urlsplit(self.url).path.lower().endswith(".gz")
        if encoding not in ("", "identity") and not stored:
            raise unreadable(self.url, "its server compresses it on the way though asked not to")


def _header_value(secret: Secret, value: str) -> str:
    if not value.isascii() or not value.isprintable():
        raise InvalidInput(f"Secret {secret.name!r} cannot be sent as a header.", code="bad-secret")
    return value.strip()


def _stamp(headers: dict[str, str]) -> str | None:
    if headers.get("etag"):
        return headers["etag"]
    modified = headers.get("last-modified")
    return f"{headers.get('content-length', '')}-{modified}" if modified else None


class _Copy:
    """The file as it was fetched, for as long as somebody reads it."""

    def __init__(self, remote: _Remote, end: str) -> None:
        self._remote, self._end = remote, end
        self._held: _Held | None = None

    def stamp(self) -> str:
        """Return the state of the file at the server; a copy of another state is forgotten."""
        told = self._remote.stamp()
        if self._held is not None and (told is None or told != self._held.stamp):
            self._held = None
        return told if told is not None else self._fetched().stamp

    def listing(self) -> Listing:
        """Return the fetched file; it is fetched when it is first asked for."""
        from pyarrow.fs import LocalFileSystem

        held = self._fetched()
        path = str(held.path)
        return Listing((DataFile(self._remote.url, path, held.path.stat().st_size, LocalFileSystem()),), (held.stamp,))

    def _fetched(self) -> _Held:
        if self._held is None:
            folder = self._remote.home / "fetched"
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _sweep(folder)
            held = _Held(folder / f"{secrets.token_hex(16)}{self._end}")
            held.stamp = self._fetch_into(held, folder)
            self._held = held
        return self._held

    def _fetch_into(self, held: _Held, folder: Path) -> str:
        digest = hashlib.sha256()
        with self._remote.body() as (chunks, headers), os.fdopen(os.dup(held.handle), "wb") as file:
            length = int(headers["content-length"]) if headers.get("content-length", "").isdigit() else None
            _require_room(self._remote.url, folder, length or 0)
            size = 0
            for chunk in chunks:
                if (size + len(chunk)) // _LOOK > size // _LOOK:
                    _require_room(self._remote.url, folder, size)
                size += len(chunk)
                digest.update(chunk)
                file.write(chunk)
            if length is not None and size != length:
                raise Unreachable(f"The transfer of {self._remote.url} ended early.", code="source-unreachable")
        return _stamp(headers) or digest.hexdigest()


class _Held:
    """A file that is removed when nobody needs it any more; its lock says that somebody does."""

    def __init__(self, path: Path) -> None:
        self.path, self.stamp = path, ""
        self.handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self.handle, fcntl.LOCK_SH)
        weakref.finalize(self, _discard, self.handle, path)


def _require_room(url: str, folder: Path, size: int) -> None:
    if size > MAXIMUM_BYTES:
        raise InvalidInput(
            f"{url} has more than {MAXIMUM_BYTES >> 30} GiB, the most that is fetched.",
            code="source-too-large",
            hint="Copy it to this machine and register the copy.",
        )
    about = os.statvfs(folder)
    if about.f_bavail * about.f_frsize < _SPARE_BYTES:
        raise InvalidInput(
            f"There is no room in {folder} for {url}.", code="no-room", hint="Make room, or move FLAAS_HOME."
        )


def _discard(handle: int, path: Path) -> None:
    path.unlink(missing_ok=True)
    os.close(handle)


def _sweep(folder: Path) -> None:
    """Remove copies whose process has ended without doing so: nobody holds their lock."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime < _YOUNG:
                continue
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(handle)
