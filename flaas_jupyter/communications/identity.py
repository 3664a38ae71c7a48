"""A node's identity is one Ed25519 key pair: what it signs with is also what the mesh dials it by.

The 32-byte seed is made on the node and never leaves it; the public key, as 64 hex digits, is the node id.
Every signature is over ``context || 0x00 || payload``, so that one made for one purpose is worth nothing for
another. Signed documents are canonical JSON, ``{"body": {...}, "signature": hex}``. Requests to the
coordination API carry a JWT (RFC 7519) made for that one request; its algorithm is "Ed25519" of RFC 9864.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from joserfc import jwt
from joserfc.jwk import OKPKey

from ..errors import FlaasError, InvalidInput, NotAllowed, NotAuthenticated

SEED_BYTES = 32
TOKEN_SECONDS = 60
RECORD, MEMBER, REGISTER, SECAGG = "flaas/record/1", "flaas/member/1", "flaas/register/1", "flaas/secagg/1"
REVOKE, ROTATE = "flaas/revoke/1", "flaas/rotate/1"

Body = dict[str, Any]

_SMALL_ORDER = frozenset(
    bytes.fromhex(point)
    for point in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)
"""The points of order 8 and less, without their sign, as in libsodium: anybody can make up signatures of such a key."""

_RESTORE = "Restore the key file from a backup, or remove it to make a new identity and register that."


class Identity:
    """An Ed25519 key pair; nothing private shows in `repr`, and it cannot be pickled.

    Parameters
    ----------
    seed : bytes
        The 32 bytes of RFC 8032's private key.
    """

    __slots__ = ("_key", "node_id")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise InvalidInput(
                f"A node key has {SEED_BYTES} bytes, not {len(seed)}.",
                code="bad-key",
                hint=_RESTORE,
            )
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.node_id: str = self._key.public_key().public_bytes_raw().hex()

    def __repr__(self) -> str:
        return f"Identity(node_id={self.node_id!r})"

    @classmethod
    def generate(cls) -> Identity:
        """Make a new identity from the system's random source."""
        return cls(secrets.token_bytes(SEED_BYTES))

    @classmethod
    def load_or_create(cls, path: Path) -> Identity:
        """Read the seed in `path`, or make one there, readable by its owner alone.

        Of several processes that start at once on a fresh folder one makes the key, and all read the same.

        Raises
        ------
        InvalidInput
            The file is not a key (``bad-key``), or cannot be read or made (``key-unreadable``).
        NotAllowed
            Others than its owner may read or change the file (``key-exposed``).
        """
        return cls(seed_in(path))

    @property
    def seed(self) -> bytes:
        """The private seed; give it to nothing but this process's own mesh carrier."""
        return self._key.private_bytes_raw()

    def sign(self, context: str, payload: bytes) -> bytes:
        """Sign `payload` for the one purpose that `context` names; return 64 bytes."""
        return self._key.sign(_framed(context, payload))


def seed_in(path: Path) -> bytes:
    """Return the 32 secret bytes in `path`, made there if it is missing; see `Identity.load_or_create`."""
    try:
        if not path.exists():
            _create_seed(path)
        return _read_seed(path)
    except FlaasError:  # some of them are OSErrors
        raise
    except OSError as error:
        raise InvalidInput(
            f"The node key {path} cannot be used: {error.strerror}.",
            code="key-unreadable",
            hint="Check that the folder exists, is writable and belongs to the user that runs the node.",
        ) from error


def verify(node_id: str, context: str, payload: bytes, signature: bytes) -> None:
    """Check that `node_id` signed `payload` for `context`.

    Raises
    ------
    NotAuthenticated
        Code ``bad-signature``: the key is malformed, or did not sign this payload for this context.
    """
    try:
        public_key(bytes.fromhex(require_node_id(node_id))).verify(signature, _framed(context, payload))
    except (InvalidSignature, ValueError) as error:
        raise NotAuthenticated(
            f"A {context} signature does not belong to {str(node_id)[:64]!r}.",
            code="bad-signature",
            hint="The document was changed on its way or signed with another key; do not use it.",
        ) from error


def public_key(raw: bytes) -> Ed25519PublicKey:
    """Return the key that `raw` (32 bytes) stands for.

    Raises
    ------
    ValueError
        It is no key, or one whose signatures prove nothing (a point of small order; RFC 8032, section 5.1.7, leaves
        that check to us).
    """
    if raw[:-1] + bytes([raw[-1] & 0x7F]) in _SMALL_ORDER:
        raise ValueError("a point of small order is nobody's key")
    return Ed25519PublicKey.from_public_bytes(raw)


def require_node_id(value: object) -> str:
    """Return `value` if it is 64 lower-case hex digits.

    Raises
    ------
    InvalidInput
        Code ``bad-node-id``.
    """
    if isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef"):
        return value
    raise InvalidInput(
        f"{str(value)[:80]!r} is not a node id.",
        code="bad-node-id",
        hint="A node id is 64 lower-case hex digits.",
    )


def canonical(body: Body) -> bytes:
    """Return the one byte string that is signed for `body`: sorted keys, no spaces, UTF-8, no NaN.

    Raises
    ------
    InvalidInput
        Code ``bad-document``: `body` holds something that JSON cannot say.
    """
    try:
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
        return text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"It cannot be written as JSON: {error}.", code="bad-document") from error


def sign_document(identity: Identity, context: str, body: Body) -> Body:
    """Return ``{"body": body, "signature": hex}`` signed by `identity` for `context`."""
    return {"body": body, "signature": identity.sign(context, canonical(body)).hex()}


def open_document(document: object, context: str, node_id: str) -> Body:
    """Return the body of a signed document.

    Raises
    ------
    InvalidInput
        Code ``bad-document``: it has not the form of a signed document.
    NotAuthenticated
        Code ``bad-signature``: `node_id` did not sign it for `context`.
    """
    if not isinstance(document, dict) or set(document) != {"body", "signature"}:
        raise InvalidInput("A signed document has a body and a signature, no more.", code="bad-document")
    body, signature = document["body"], document["signature"]
    if not isinstance(body, dict) or not isinstance(signature, str):
        raise InvalidInput("The body is an object and the signature is hex digits.", code="bad-document")
    try:
        raw = bytes.fromhex(signature)
    except ValueError as error:
        raise InvalidInput("The signature is not hex digits.", code="bad-document") from error
    verify(node_id, context, canonical(body), raw)
    return body


def origin(url: str) -> str:
    """Return ``scheme://host:port`` of `url`, always with its port: the audience of a request token.

    Raises
    ------
    InvalidInput
        Code ``bad-url``.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError) as error:
        raise _bad_url(url) from error
    if not parts.hostname:
        raise _bad_url(url)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}:{port}"


def request_token(identity: Identity, method: str, url: str) -> str:
    """Return the JWT that proves to the coordination API who makes this one request.

    It names the method and the path, lives 60 s and has a fresh id, so that one that leaks is of little use.
    """
    now = int(time.time())
    claims = {
        "iss": identity.node_id,
        "sub": identity.node_id,
        "aud": origin(url),
        "htm": method.upper(),
        "htu": urlsplit(url).path or "/",
        "iat": now,
        "exp": now + TOKEN_SECONDS,
        "jti": secrets.token_urlsafe(16),
    }
    header = {"alg": "Ed25519", "kid": identity.node_id}
    return jwt.encode(header, claims, OKPKey.import_key(identity._key), algorithms=["Ed25519"])


def _framed(context: str, payload: bytes) -> bytes:
    if "\x00" in context:
        raise InvalidInput("A signature context cannot hold a zero byte.", code="bad-context")
    return context.encode() + b"\x00" + payload


def _bad_url(url: str) -> InvalidInput:
    return InvalidInput(
        f"{url!r} is not the URL of an API.",
        code="bad-url",
        hint="Give http(s)://host[:port].",
    )


def _create_seed(path: Path) -> None:
    """Make the file whole or not at all: a temporary one, then a hard link, which never overwrites."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SEED_BYTES).hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return  # another process was quicker; its key counts
    finally:
        temporary.unlink(missing_ok=True)


def _read_seed(path: Path) -> bytes:
    """Return the seed in `path`, which holds 64 hex digits or 32 raw bytes."""
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        content = file.read(4 * SEED_BYTES)
    if stat.S_IMODE(mode) & 0o077:
        raise NotAllowed(
            f"The node key {path} can be read or changed by others (mode {stat.S_IMODE(mode):04o}).",
            code="key-exposed",
            hint=f"Run `chmod 600 {path}`; if others may have read it, register a new identity instead.",
        )
    if len(content) == SEED_BYTES:
        return content
    try:
        return bytes.fromhex(content.decode("ascii"))
    except ValueError as error:
        raise InvalidInput(
            f"{path} is not a node key: it has neither {2 * SEED_BYTES} hex digits nor {SEED_BYTES} bytes.",
            code="bad-key",
            hint=_RESTORE,
        ) from error
