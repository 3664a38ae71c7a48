"""What a sign-in has granted, in ``FLAAS_HOME``: shared by commands, notebooks and JupyterLab's server.

``credentials.json`` holds it sealed with AES-256-GCM under ``credentials.key`` beside it: a copy of the one file alone,
in a backup or attached to a question, signs nobody in (it is no wall against programs of the same user). The address
is authenticated with it, so that a refresh token cannot be moved to another API.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .home import Home, write_private

CLIENT = "flaas-cli"
_CONTEXT = b"flaas/credentials/2\x00"
_KEY_BYTES, _NONCE_BYTES = 32, 12


@dataclass(frozen=True)
class SignedIn:
    """What a sign-in has granted; no token shows in `repr`.

    Parameters
    ----------
    url : str
        The API that it is good for.
    access, refresh : str
        The tokens.
    expires : float
        When the access token ends, Unix seconds.
    client : str
        The client that they were issued to.
    """

    url: str
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    expires: float
    client: str = CLIENT


def stored(home: Home) -> SignedIn | None:
    """Return the sign-in that is kept in `home`; None if there is none, or only a plain token."""
    try:
        body = json.loads(_file(home).read_bytes())
        url, sealed = body["url"], base64.urlsafe_b64decode(body["sealed"])
        key = _key(home)
        secret = json.loads(AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _CONTEXT + url.encode()))
        return SignedIn(
            url.rstrip("/"),
            str(secret["access_token"]),
            str(secret["refresh_token"]),
            float(secret["expires"]),
            str(body.get("client_id") or CLIENT),
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError, InvalidTag):
        return None


def keep(home: Home, signed_in: SignedIn) -> None:
    """Keep a sign-in, sealed, in place of what was kept."""
    path = home.path / "credentials.key"
    if not path.exists():
        _create_key(home)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    secret = {"access_token": signed_in.access, "refresh_token": signed_in.refresh, "expires": signed_in.expires}
    bound = _CONTEXT + signed_in.url.encode()
    sealed = nonce + AESGCM(_key(home)).encrypt(nonce, json.dumps(secret).encode(), bound)
    body = {
        "version": 2,
        "url": signed_in.url,
        "client_id": signed_in.client,
        "sealed": base64.urlsafe_b64encode(sealed).decode(),
    }
    write_private(_file(home), json.dumps(body).encode())


@contextlib.contextmanager
def locked(home: Home) -> Iterator[None]:
    """Hold the lock of the credentials, against other processes and threads."""
    home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(home.path / "credentials.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _file(home: Home) -> Path:
    return home.path / "credentials.json"


def _key(home: Home) -> bytes:
    key = (home.path / "credentials.key").read_bytes()
    if len(key) != _KEY_BYTES:
        raise ValueError("credentials.key")
    return key


def _create_key(home: Home) -> None:
    """Of several processes that make the key at once one wins, and all use its."""
    home.path.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = home.path / f".credentials.key.{secrets.token_hex(8)}"
    write_private(temporary, secrets.token_bytes(_KEY_BYTES))
    try:
        with contextlib.suppress(FileExistsError):
            os.link(temporary, home.path / "credentials.key")
    finally:
        temporary.unlink(missing_ok=True)
