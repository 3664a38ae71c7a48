"""Tokens at rest: AES-256-GCM under a key of this installation's own, and a lock for who renews them.

The key lies beside what it seals, in a file of its own: a copy of ``credentials.json`` alone, in a backup or attached
to a question, signs nobody in. It is no wall against programs of the same user. The format is shared with the `flaas`
command: ``{"version": 2, "url", "client_id", "sealed"}``, where ``sealed`` is base64url of nonce and ciphertext, and
the address is authenticated with it, so that a refresh token cannot be moved to another API.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_CONTEXT = b"flaas/credentials/2\x00"
_KEY_BYTES, _NONCE_BYTES = 32, 12


def seal(home: Path, url: str, secret: dict[str, Any]) -> str:
    """Return `secret` sealed for `url`; makes the key if there is none."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    text = AESGCM(_key(home, create=True)).encrypt(nonce, json.dumps(secret).encode(), _CONTEXT + url.encode())
    return base64.urlsafe_b64encode(nonce + text).decode()


def unseal(home: Path, url: str, sealed: str) -> dict[str, Any] | None:
    """Return what was sealed for `url`; None if it was not, or the key is another one."""
    try:
        raw = base64.urlsafe_b64decode(sealed.encode())
        key = _key(home, create=False)
        body = json.loads(AESGCM(key).decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _CONTEXT + url.encode()))
    except (InvalidTag, OSError, ValueError):
        return None
    return body if isinstance(body, dict) else None


@contextlib.contextmanager
def locked(home: Path) -> Iterator[None]:
    """Hold the lock of the credentials; blocks, so not for the event loop's own thread."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(home / "credentials.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def create_private(path: Path, data: bytes) -> None:
    """Make `path` with `data` whole, readable by its owner alone, unless it is there: of several who try one wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp gives 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def _key(home: Path, *, create: bool) -> bytes:
    path = home / "credentials.key"
    if create and not path.exists():
        create_private(path, secrets.token_bytes(_KEY_BYTES))
    key = path.read_bytes()
    if len(key) != _KEY_BYTES:
        raise ValueError(f"{path} is not a key of {_KEY_BYTES} bytes")
    return key
