"""What sender and node tell each other at the end, sealed under the file key: ``salt (16) | AES-256-GCM``.

The key is HKDF-SHA256 of the file key with that salt and ``info`` = ``flaas/upload/1 finish`` or
``flaas/upload/1 receipt``; the nonce is twelve zero bytes (a key is used once); the associated data are the seal's
digest.

* *finish*: the `Root` (32), then nothing, or other details than those of the envelope, as JSON.
* *receipt*: JSON.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.exceptions import InvalidTag

from ...errors import NotAuthenticated
from .chunks import SALT_BYTES, FileKey
from .envelope import LARGEST, Details
from .header import bad

_FINISH, _RECEIPT = b"flaas/upload/1 finish", b"flaas/upload/1 receipt"
_NONCE = bytes(12)
_ROOT_BYTES = 32


@dataclass(frozen=True)
class Finish:
    """What all chunks together are; with `details` if the file is to be registered otherwise than was said first."""

    root: bytes
    details: Details | None = None


@dataclass(frozen=True)
class Receipt:
    """What has become of a file at the node.

    Parameters
    ----------
    state : str
        ``"registered"`` or ``"rejected"``.
    sha256 : str
        Of the whole file, in hex: what ``sha256sum`` prints.
    size : int
        Bytes.
    dataset : str
        What it is registered as.
    rows : int, optional
        How many it has, where it is registered.
    problem : dict, optional
        Why it was rejected: ``code``, ``message``, ``hint``.
    """

    state: str
    sha256: str
    size: int
    dataset: str
    rows: int | None = None
    problem: dict[str, Any] | None = None


def seal_finish(seal: bytes, key: FileKey, finish: Finish, *, salt: bytes = b"") -> bytes:
    """Return the sealed note; `salt` is for test vectors only."""
    details = b"" if finish.details is None else finish.details.to_json()
    return _seal(seal, key, _FINISH, finish.root + details, salt)


def open_finish(seal: bytes, key: FileKey, sealed: bytes) -> Finish:
    """Return what the sender has said.

    Raises
    ------
    NotAuthenticated
        Code ``upload-unreadable``.
    InvalidInput
        Code ``bad-upload``.
    """
    opened = _open(seal, key, _FINISH, sealed)
    if len(opened) < _ROOT_BYTES:
        raise bad("its finish holds no root")
    root, details = opened[:_ROOT_BYTES], opened[_ROOT_BYTES:]
    return Finish(root, Details.from_json(details) if details else None)


def seal_receipt(seal: bytes, key: FileKey, receipt: Receipt, *, salt: bytes = b"") -> bytes:
    """Return the sealed note; `salt` is for test vectors only."""
    body = {"v": 1, **asdict(receipt)}
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return _seal(seal, key, _RECEIPT, text, salt)


def open_receipt(seal: bytes, key: FileKey, sealed: bytes) -> Receipt:
    """Return what the node has said; see `open_finish` for errors."""
    try:
        body = json.loads(_open(seal, key, _RECEIPT, sealed))
        if body.pop("v") != 1:
            raise ValueError("version")
        return Receipt(**body)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise bad("its receipt is not of version 1") from error


def _seal(seal: bytes, key: FileKey, purpose: bytes, text: bytes, salt: bytes) -> bytes:
    salt = salt or secrets.token_bytes(SALT_BYTES)
    return salt + key.cipher(salt, purpose).encrypt(_NONCE, text, seal)


def _open(seal: bytes, key: FileKey, purpose: bytes, sealed: bytes) -> bytes:
    if not isinstance(sealed, bytes) or not SALT_BYTES + 16 < len(sealed) <= LARGEST:
        raise bad("a sealed note is too short or too long")
    try:
        return key.cipher(sealed[:SALT_BYTES], purpose).decrypt(_NONCE, sealed[SALT_BYTES:], seal)
    except InvalidTag as error:
        raise NotAuthenticated(
            "What was sealed for the end of the upload was changed on its way, or is of another upload.",
            code="upload-unreadable",
            hint="Finish the upload again.",
        ) from error
