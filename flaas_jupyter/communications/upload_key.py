"""A node's upload key: the X25519 key pair that files for it are sealed with, and how it is believed.

The private half is in ``FLAAS_HOME/upload.key`` and never leaves the node. The statement is signed by the node's
identity, for the context `UPLOAD_KEY`; that the identity is a node of the project is what its membership says, which
the domain key has signed. The coordination API passes both on and can make neither.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from ..errors import InvalidInput, NotAllowed
from .directory import CLOCK_TOLERANCE
from .identity import Identity, open_document, require_node_id, seed_in, sign_document

UPLOAD_KEY = "flaas/upload-key/1"
STATEMENT_SECONDS = 7 * 86400
_NAMES = {"v", "node", "key", "created", "expires"}
_YEAR_10000 = 253402300800


class UploadKey:
    """The key pair; nothing private shows in `repr`.

    Parameters
    ----------
    private : X25519PrivateKey
    """

    __slots__ = ("private", "public")

    def __init__(self, private: X25519PrivateKey) -> None:
        self.private = private
        self.public: str = private.public_key().public_bytes_raw().hex()

    def __repr__(self) -> str:
        return f"UploadKey(public={self.public!r})"

    @classmethod
    def load_or_create(cls, path: Path) -> UploadKey:
        """Read the key in `path`, or make one there, readable by its owner alone.

        Raises
        ------
        InvalidInput
            ``bad-key`` or ``key-unreadable``.
        NotAllowed
            Code ``key-exposed``: others may read or change the file.
        """
        return cls(X25519PrivateKey.from_private_bytes(seed_in(path)))

    def state(self, identity: Identity, now: float) -> dict[str, Any]:
        """Return the statement that this is the upload key of `identity`, good for a week from `now` (Unix seconds)."""
        body = {
            "v": 1,
            "node": identity.node_id,
            "key": self.public,
            "created": int(now),
            "expires": int(now) + STATEMENT_SECONDS,
        }
        return sign_document(identity, UPLOAD_KEY, body)


@dataclass(frozen=True)
class UploadKeyStatement:
    """A statement whose signature was verified.

    Parameters
    ----------
    node : str
        Whose key it is, and who has signed.
    key : str
        The public half, 64 hex digits.
    created, expires : int
        Unix seconds; at most a week apart.
    """

    node: str
    key: str
    created: int
    expires: int

    @classmethod
    def parse(cls, document: object) -> UploadKeyStatement:
        """Verify a statement and return it; expiry is judged when it is used.

        Raises
        ------
        InvalidInput
            Code ``bad-upload-key`` or ``bad-document``.
        NotAuthenticated
            Code ``bad-signature``.
        """
        body = document.get("body") if isinstance(document, dict) else None
        if not isinstance(body, dict) or set(body) != _NAMES or body["v"] != 1:
            raise _bad("it is not a statement of version 1")
        open_document(document, UPLOAD_KEY, require_node_id(body["node"]))
        key, created, expires = body["key"], body["created"], body["expires"]
        if not isinstance(key, str) or len(key) != 64 or not set(key) <= set("0123456789abcdef"):
            raise _bad("its key is not 64 lower-case hex digits")
        if not all(type(moment) is int and 0 <= moment < _YEAR_10000 for moment in (created, expires)):
            raise _bad("its times are not Unix seconds")
        if not 0 < expires - created <= STATEMENT_SECONDS:
            raise _bad(f"it is to be in force for longer than {STATEMENT_SECONDS} s, or not at all")
        return cls(body["node"], key, created, expires)

    def require_in_force(self, now: float) -> None:
        """Check that the key may be used at `now` (Unix seconds), clocks being up to 60 s apart.

        Raises
        ------
        NotAllowed
            Code ``upload-key-expired``.
        """
        if not self.created - CLOCK_TOLERANCE <= now < self.expires + CLOCK_TOLERANCE:
            raise NotAllowed(
                f"The upload key of {self.node[:12]} is good from {self.created} to {self.expires} (Unix seconds); "
                f"this machine's clock says {int(now)}.",
                code="upload-key-expired",
                hint="The node states its key anew when it is online. Correct this machine's clock if it is wrong.",
            )

    @property
    def fingerprint(self) -> str:
        """Eight groups of four hex digits for people to compare, see `fingerprint`."""
        return fingerprint(self.node, self.key)


def fingerprint(node: str, key: str) -> str:
    """Return what people compare: the first 128 bits of SHA-256 over context, node id and key, in groups.

    Examples
    --------
    >>> fingerprint("00" * 32, "11" * 32)
    '3531 6dd8 6a8e 734d 5575 c374 9ec2 c640'
    """
    digest = hashlib.sha256(UPLOAD_KEY.encode() + b"\x00" + bytes.fromhex(node) + bytes.fromhex(key)).hexdigest()
    return " ".join(digest[start : start + 4] for start in range(0, 32, 4))


def _bad(why: str) -> InvalidInput:
    return InvalidInput(
        f"The statement of an upload key cannot be used: {why}.",
        code="bad-upload-key",
        hint="The node states its key anew when it starts, with the same version of flaas_jupyter on both sides.",
    )
