"""Who is signed in: one URL and its tokens, in memory and in ``FLAAS_HOME/credentials.json`` (mode 0600).

The file is shared on purpose: signing in with the panel signs in notebooks and the ``flaas`` command, and
signing in or out with the command shows in the panel, since the file is read again whenever it changes. A
token from the environment is taken out of `os.environ`, so that notebooks do not print it with their
environment; they read the file as everybody does. That is tidiness, not a wall: kernels run as the same
user and can read what the user can. What a sign-in by code has granted is sealed in the file (`sealed`); a
token that was pasted is there as it is, as the ``flaas`` command writes it.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from .problems import Problem
from .sealed import seal, unseal

_LOCAL_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class Credentials:
    """Where the coordination API is and the token it knows the caller by; no token shows in `repr`.

    `refresh` and `expires` (seconds since 1970) are there if the session can be renewed, by the client `client`.
    """

    url: str
    token: str | None = None
    refresh: str | None = None
    expires: float | None = None
    client: str = ""

    def __repr__(self) -> str:
        return f"Credentials(url={self.url!r}, token={'set' if self.token else None})"


class Session:
    """The signed-in session of this server's user.

    Parameters
    ----------
    home : Path
        `FLAAS_HOME`.
    default_url : str
        The API to offer while nothing else is known.
    log : logging.Logger
        Receives what goes wrong with the file; never a token.
    """

    def __init__(self, home: Path, default_url: str, log: logging.Logger) -> None:
        self._home = home
        self._log = log
        self._credentials = Credentials(default_url.rstrip("/"))
        self._seen: tuple[int, int] | None = None
        self._ended: Problem | None = None
        self._follow_file()

    def __repr__(self) -> str:
        return f"Session({str(self._home)!r}, {self._credentials!r})"

    @property
    def credentials(self) -> Credentials:
        """The credentials in force now."""
        self._follow_file()
        return self._credentials

    @property
    def ended(self) -> Problem | None:
        """Why the last session is over, if nobody has ended it here and none has begun since."""
        return self._ended

    @property
    def node(self) -> str | None:
        """Name of the node that this machine's user runs with the same `FLAAS_HOME`, if any."""
        name = _read_object(self._home / "node.json").get("name")
        return name if isinstance(name, str) else None

    def take_environment(self, environ: MutableMapping[str, str]) -> None:
        """Take `FLAAS_URL` and `FLAAS_TOKEN` out of `environ`; they go before what the file says."""
        url, token = environ.pop("FLAAS_URL", "").rstrip("/"), environ.pop("FLAAS_TOKEN", "")
        if token:
            self.sign_in(Credentials(url or self.credentials.url, token))
        elif url and url != self.credentials.url:
            # A stored token goes only to the API that it was stored for.
            self._credentials = Credentials(url)

    def sign_in(self, credentials: Credentials) -> None:
        """Keep `credentials` in memory and, for notebooks and the command, in the file."""
        self._credentials, self._ended = credentials, None
        try:
            _write_private(self._file, json.dumps(self._at_rest(credentials)).encode())
        except (OSError, ValueError) as error:
            self._log.warning("Signed in for the panel only: %s cannot be written (%s).", self._file, error)
        self._seen = self._stamp()

    def sign_out(self) -> None:
        """Forget the token, here and in the file; the URL stays to sign in again."""
        self._credentials, self._ended = Credentials(self._credentials.url), None
        self._file.unlink(missing_ok=True)
        self._seen = None

    def end(self, why: Problem) -> None:
        """Forget a session that the API has ended, and remember `why`."""
        self.sign_out()
        self._ended = why

    @property
    def _file(self) -> Path:
        return self._home / "credentials.json"

    def _stamp(self) -> tuple[int, int] | None:
        try:
            stat = self._file.stat()
        except OSError:
            return None
        return stat.st_ino, stat.st_mtime_ns

    def _follow_file(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        credentials = self._stored()
        if credentials is not None:
            self._credentials, self._ended = credentials, None
        else:
            if stamp is not None:
                self._log.warning("%s holds no credentials; remove it and sign in again.", self._file)
            self._credentials = Credentials(self._credentials.url)

    def _at_rest(self, credentials: Credentials) -> dict[str, Any]:
        if credentials.refresh is None:
            return {"url": credentials.url, "token": credentials.token}
        secret = {
            "access_token": credentials.token,
            "refresh_token": credentials.refresh,
            "expires": credentials.expires,
        }
        return {
            "version": 2,
            "url": credentials.url,
            "client_id": credentials.client,
            "sealed": seal(self._home, credentials.url, secret),
        }

    def _stored(self) -> Credentials | None:
        stored = _read_object(self._file)
        url, token, sealed = stored.get("url"), stored.get("token"), stored.get("sealed")
        if not isinstance(url, str) or not url:
            return None
        if not isinstance(sealed, str):
            return Credentials(url.rstrip("/"), token) if isinstance(token, str) and token else None
        secret = unseal(self._home, url, sealed) or {}
        token, refresh, expires = secret.get("access_token"), secret.get("refresh_token"), secret.get("expires")
        if not isinstance(token, str) or not isinstance(refresh, str) or not isinstance(expires, int | float):
            return None
        return Credentials(url.rstrip("/"), token, refresh, float(expires), str(stored.get("client_id", "")))


def check_url(url: str, *, allow_plain_http: bool) -> str:
    """Return `url` in the form in which it is kept, or raise the problem with it.

    Raises
    ------
    Problem
        ``bad-url``: not the address of an HTTP server. ``plain-http``: the token would cross a network
        unencrypted.
    """
    url = url.strip().rstrip("/")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or parts.query or parts.fragment or parts.username:
        raise Problem(
            422,
            "bad-url",
            "Not the address of a coordination API",
            f"{url[:200]!r} is not the address of a coordination API.",
            hint="Give it as https://host or https://host:port.",
            kind="InvalidInput",
        )
    if parts.scheme == "http" and host not in _LOCAL_HOSTS and not allow_plain_http:
        raise Problem(
            422,
            "plain-http",
            "The token would travel unencrypted",
            f"{url!r} is plain HTTP and not on this machine.",
            hint="Use https://, or have the server's administrator set FlaasServer.allow_plain_http.",
            kind="InvalidInput",
        )
    return url


def _read_object(path: Path) -> dict[str, Any]:
    """Return the JSON object in `path`; an empty one if there is none."""
    try:
        body = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return body if isinstance(body, dict) else {}


def _write_private(path: Path, data: bytes) -> None:
    """Replace `path` by `data` atomically, readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp gives 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
