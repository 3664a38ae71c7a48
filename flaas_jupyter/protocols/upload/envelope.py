"""The envelope: file key and details, for the node's eyes only.

``encapsulated key (32) | ciphertext`` of HPKE, single shot (RFC 9180, section 6.1), with ``info`` =
``flaas/upload/1 0x00 header`` and empty associated data. Its plaintext is the file key (32) followed by the details as
JSON, padded with spaces to a multiple of 256 bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from ...errors import NotAuthenticated
from .chunks import KEY_BYTES, FileKey
from .header import Header, bad

INFO = b"flaas/upload/1\x00"
LARGEST = 1 << 20
"""Bytes of an envelope."""
_PAD = 256
_LONGEST_NAME = 255
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


@dataclass(frozen=True)
class Details:
    """How the node is to register the file.

    Parameters
    ----------
    name : str
        The file's own name; the node takes its format from the suffix, and nothing else.
    target, id_column : str, optional
        As of `DatasetRegistry.add`.
    classes : int, optional
        As of `DatasetRegistry.add`.
    raw : bool
        Whether it is a raw table, with texts or missing values.
    schema : list of dict, optional
        What its columns are declared to be.
    """

    name: str
    target: str | None = None
    id_column: str | None = None
    classes: int | None = None
    raw: bool = False
    schema: tuple[dict[str, Any], ...] | None = None

    def to_json(self) -> bytes:
        """Return it as JSON, padded."""
        body = {"v": 1, **asdict(self), "schema": None if self.schema is None else list(self.schema)}
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
        return text + b" " * (-(len(text) + KEY_BYTES) % _PAD)

    @classmethod
    def from_json(cls, raw: bytes) -> Details:
        """Read it.

        Raises
        ------
        InvalidInput
            Code ``bad-upload``; the message names the field, never its value.
        """
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise bad("its details are not JSON") from error
        if not isinstance(body, dict) or body.pop("v", None) != 1 or not set(body) <= set(_FIELDS):
            raise bad("its details are not of version 1")
        for name, fits in _FIELDS.items():
            if not fits(body.get(name, False if name == "raw" else None)):
                raise bad(f"its {name} has not the type that it should have")
        schema = body.get("schema")
        return cls(**{**body, "schema": None if schema is None else tuple(schema)})


def _is_text(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME


_FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "name": _is_text,
    "target": lambda value: value is None or _is_text(value),
    "id_column": lambda value: value is None or _is_text(value),
    "classes": lambda value: value is None or (type(value) is int and 0 < value < 1 << 31),
    "raw": lambda value: type(value) is bool,
    "schema": lambda value: (
        value is None or (isinstance(value, list) and all(isinstance(each, dict) for each in value))
    ),
}


def seal_envelope(header: Header, upload_key: bytes, key: FileKey, details: Details) -> bytes:
    """Return the envelope for the node whose upload key (32 bytes, public) is `upload_key`."""
    public = X25519PublicKey.from_public_bytes(upload_key)
    return _SUITE.encrypt(key.raw + details.to_json(), public, info=INFO + header.pack())


def open_envelope(header: Header, private: X25519PrivateKey, envelope: bytes) -> tuple[FileKey, Details]:
    """Return file key and details.

    Raises
    ------
    NotAuthenticated
        Code ``upload-unreadable``: it was sealed for another key, or for another header.
    InvalidInput
        Code ``bad-upload``.
    """
    if not isinstance(envelope, bytes) or len(envelope) > LARGEST:
        raise bad(f"its envelope has more than {LARGEST} bytes")
    try:
        opened = _SUITE.decrypt(envelope, private, info=INFO + header.pack())
    except (InvalidTag, ValueError) as error:
        raise NotAuthenticated(
            f"Upload {header.upload} was not sealed for this node's present key, or was changed on its way.",
            code="upload-unreadable",
            hint="Load the node's key again, compare its fingerprint with the node's owner, and choose the file anew.",
        ) from error
    if len(opened) <= KEY_BYTES:
        raise bad("its envelope holds no details")
    return FileKey(opened[:KEY_BYTES]), Details.from_json(opened[KEY_BYTES:])


def seal_digest(header: Header, envelope: bytes) -> bytes:
    """Return the SHA-256 (32 bytes) of header and envelope, which everything sealed under the file key is bound to."""
    return hashlib.sha256(header.pack() + envelope).digest()
