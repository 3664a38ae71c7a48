"""What an upload is, in 65 bytes that everything else of it is bound to.

``FLAU`` ``0x01`` | upload id (16) | node id (32) | size (uint64) | chunk size (uint32); numbers are big-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from ...errors import InvalidInput

MAGIC = b"FLAU\x01"
SMALLEST_CHUNK, LARGEST_CHUNK = 4 << 10, 8 << 20
"""Bytes of plaintext."""
_LAYOUT = struct.Struct(">5s16s32sQI")
_MOST_CHUNKS = 1 << 16
LENGTH = _LAYOUT.size


@dataclass(frozen=True)
class Header:
    """What an upload is.

    Parameters
    ----------
    upload : str
        Its id: 32 lower-case hex digits, drawn by the sender.
    node : str
        Whom it is for: 64 lower-case hex digits.
    size : int
        Bytes of the file, from 1 on.
    chunk_size : int
        Bytes of every chunk but the last, which may have fewer; 4 KiB to 8 MiB, and such that there are 65,536 at most.

    Raises
    ------
    InvalidInput
        Code ``bad-upload``.
    """

    upload: str
    node: str
    size: int
    chunk_size: int

    def __post_init__(self) -> None:
        _require_hex("upload", self.upload, 16)
        _require_hex("node", self.node, 32)
        if type(self.size) is not int or not 0 < self.size < 1 << 63:
            raise bad(f"its size is {str(self.size)[:40]}, not a number of bytes from 1 on")
        if type(self.chunk_size) is not int or not SMALLEST_CHUNK <= self.chunk_size <= LARGEST_CHUNK:
            raise bad(
                f"its chunks have {str(self.chunk_size)[:40]} bytes; allowed are {SMALLEST_CHUNK} to {LARGEST_CHUNK}"
            )
        if self.chunks > _MOST_CHUNKS:
            raise bad(f"it has {self.chunks} chunks, more than {_MOST_CHUNKS}; make them larger")

    @property
    def chunks(self) -> int:
        """Number of chunks, at least 1."""
        return -(-self.size // self.chunk_size)

    def length_of(self, index: int) -> int:
        """Return how many bytes of the file chunk `index` has.

        Raises
        ------
        InvalidInput
            Code ``no-such-chunk``.
        """
        if type(index) is not int or not 0 <= index < self.chunks:
            raise InvalidInput(
                f"Upload {self.upload} has chunks 0 to {self.chunks - 1}, and no chunk {str(index)[:40]}.",
                code="no-such-chunk",
                hint="Cut the file by the size and chunk size that the upload was opened with.",
            )
        return min(self.chunk_size, self.size - index * self.chunk_size)

    def pack(self) -> bytes:
        """Return the 65 bytes."""
        upload, node = bytes.fromhex(self.upload), bytes.fromhex(self.node)
        return _LAYOUT.pack(MAGIC, upload, node, self.size, self.chunk_size)

    @classmethod
    def unpack(cls, raw: bytes) -> Header:
        """Read the 65 bytes.

        Raises
        ------
        InvalidInput
            Code ``bad-upload``.
        """
        if not isinstance(raw, bytes) or len(raw) != LENGTH:
            raise bad(f"its header has not {LENGTH} bytes")
        magic, upload, node, size, chunk_size = _LAYOUT.unpack(raw)
        if magic != MAGIC:
            raise bad("its header is not one of version 1")
        return cls(upload.hex(), node.hex(), size, chunk_size)


def bad(why: str) -> InvalidInput:
    """Return the error of an upload that is none."""
    return InvalidInput(
        f"The upload cannot be used: {why}.",
        code="bad-upload",
        hint="Reload JupyterLab, and have the same version of flaas_jupyter there and at the node.",
    )


def _require_hex(name: str, value: object, length: int) -> None:
    if not (isinstance(value, str) and len(value) == 2 * length and set(value) <= set("0123456789abcdef")):
        raise bad(f"its {name} is not {2 * length} lower-case hex digits")
