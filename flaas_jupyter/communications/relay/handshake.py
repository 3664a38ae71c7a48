"""Who is connecting: the node signs a fresh challenge with the key that is its id.

What is signed is a BLAKE3 derivation of the challenge under a fixed label, so that no relay can use the handshake to
get another text signed. The shorter handshake that binds to the TLS session is not offered: it fails wherever a
proxy or the nodes' own TLS shim stands between, and saves one round trip.
"""

from __future__ import annotations

import secrets

from blake3 import blake3
from cryptography.exceptions import InvalidSignature

from ...errors import NotAuthenticated
from ..identity import public_key
from .frames import KEY_BYTES, Kind

CHALLENGE_BYTES = 16
LABEL = "iroh-relay handshake v1 challenge signature"

_SIGNATURE_BYTES = 64
_ANSWER_BYTES = 1 + KEY_BYTES + 1 + _SIGNATURE_BYTES


def new_challenge() -> bytes:
    """Return 16 fresh random bytes."""
    return secrets.token_bytes(CHALLENGE_BYTES)


def to_sign(challenge: bytes) -> bytes:
    """Return the 32 bytes that a node signs for `challenge`."""
    return blake3(challenge, derive_key_context=LABEL).digest()


def authenticate(challenge: bytes, answer: bytes) -> bytes:
    """Return the 32-byte key that answered `challenge`.

    Raises
    ------
    NotAuthenticated
        Code ``bad-handshake``: not an answer at all; ``bad-signature``: not made for this challenge by this key.
    """
    if len(answer) != _ANSWER_BYTES or answer[0] != Kind.AUTHENTICATION or answer[1 + KEY_BYTES] != _SIGNATURE_BYTES:
        raise NotAuthenticated("The handshake was not answered as iroh's relay protocol asks.", code="bad-handshake")
    key, signature = answer[1 : 1 + KEY_BYTES], answer[-_SIGNATURE_BYTES:]
    try:
        public_key(key).verify(signature, to_sign(challenge))
    except (InvalidSignature, ValueError) as error:
        raise NotAuthenticated("The challenge was not signed by the key named.", code="bad-signature") from error
    return key
