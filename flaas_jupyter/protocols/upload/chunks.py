"""Chunks: ``salt (16) | AES-256-GCM``, each under a key of its own.

The key is HKDF-SHA256 of the file key with that salt and ``info`` = ``flaas/upload/1 chunk``; the nonce is
``seven zero bytes | index (uint32, big-endian) | 1 if it is the last, else 0``; the associated data are the seal's
digest (`seal_digest`).
"""

from __future__ import annotations

import hashlib
import secrets
import struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ...errors import InvalidInput, NotAuthenticated
from .header import Header

KEY_BYTES = 32
SALT_BYTES = 16
CHUNK_OVERHEAD = SALT_BYTES + 16
"""Bytes that a sealed chunk has more than the piece of the file: salt and tag."""
_CHUNK = b"flaas/upload/1 chunk"
_NONCE = struct.Struct(">7xI?")


class FileKey:
    """The key of one file; it does not show in `repr`.

    Parameters
    ----------
    raw : bytes
        32 bytes; drawn if left out.
    """

    __slots__ = ("raw",)

    def __init__(self, raw: bytes | None = None) -> None:
        self.raw = secrets.token_bytes(KEY_BYTES) if raw is None else raw
        if len(self.raw) != KEY_BYTES:
            raise ValueError(f"A file key has {KEY_BYTES} bytes, not {len(self.raw)}.")

    def __repr__(self) -> str:
        return "FileKey()"

    def cipher(self, salt: bytes, purpose: bytes) -> AESGCM:
        """Return the cipher for what is sealed once under `salt` for `purpose`."""
        return AESGCM(HKDF(SHA256(), KEY_BYTES, salt, purpose).derive(self.raw))


class Root:
    """The SHA-256 over the SHA-256 of every chunk in order: what a file is, known chunk by chunk."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, chunk_digest: bytes) -> None:
        """Take in the SHA-256 (32 bytes) of the next chunk."""
        self._digest.update(chunk_digest)

    def digest(self) -> bytes:
        """Return 32 bytes."""
        return self._digest.digest()


def seal_chunk(header: Header, seal: bytes, key: FileKey, index: int, piece: bytes, *, salt: bytes = b"") -> bytes:
    """Return the sealed chunk.

    Parameters
    ----------
    header : Header
    seal : bytes
        `seal_digest` of header and envelope.
    key : FileKey
    index : int
        From 0.
    piece : bytes
        What the file has there.
    salt : bytes
        For test vectors only; drawn anew otherwise. With one salt for two pieces, both could be read.

    Raises
    ------
    InvalidInput
        ``no-such-chunk``; ``chunk-length``: the piece has another length than the chunk.
    """
    _require_length(header, index, len(piece))
    salt = salt or secrets.token_bytes(SALT_BYTES)
    return salt + key.cipher(salt, _CHUNK).encrypt(_nonce(header, index), piece, seal)


def open_chunk(header: Header, seal: bytes, key: FileKey, index: int, sealed: bytes | memoryview) -> bytes:
    """Return the piece of the file that chunk `index` is.

    Raises
    ------
    InvalidInput
        ``no-such-chunk``; ``chunk-length``: it was cut, or belongs elsewhere.
    NotAuthenticated
        Code ``chunk-refused``: it was changed, or sealed as another chunk or for another upload.
    """
    _require_length(header, index, len(sealed) - CHUNK_OVERHEAD)
    salt, text = bytes(sealed[:SALT_BYTES]), sealed[SALT_BYTES:]
    try:
        return key.cipher(salt, _CHUNK).decrypt(_nonce(header, index), text, seal)
    except InvalidTag as error:
        raise NotAuthenticated(
            f"Chunk {index} of upload {header.upload} is not as it was sealed, or is another chunk.",
            code="chunk-refused",
            hint="It is sent again. If it happens again, something on the way changes what it carries.",
        ) from error


def _nonce(header: Header, index: int) -> bytes:
    return _NONCE.pack(index, index == header.chunks - 1)


def _require_length(header: Header, index: int, length: int) -> None:
    expected = header.length_of(index)
    if length != expected:
        raise InvalidInput(
            f"Chunk {index} of upload {header.upload} has {length} bytes; it should have {expected}.",
            code="chunk-length",
            hint="It was cut on its way, or is another chunk. It is sent again.",
        )
