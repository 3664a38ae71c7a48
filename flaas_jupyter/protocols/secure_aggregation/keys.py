"""Keys of one round: agreement, derivation and the sealing of shares from one member to another.

X25519 (RFC 7748) agrees, HKDF-SHA256 (RFC 5869) derives, AES-256-GCM seals. Every derived key names its
purpose, its context and the members it stands between, so that no key serves two ends. The context is the round's,
before anybody's keys are known, and the session's afterwards. A sealing key is good for one direction and seals one
message, which is why its nonce may be zero.
"""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ...errors import InvalidInput, NotAuthenticated
from . import shamir

KEY_BYTES = 32
SEALED_BYTES = 2 * shamir.SHARE_BYTES + 16


def agree(private: X25519PrivateKey, public: bytes, owner: str) -> bytes:
    """Return the 32 bytes that `private` shares with the member `owner` of the key `public`.

    Raises
    ------
    InvalidInput
        Code ``secagg-bad-key``: the key is a point of low order, whose agreement is known to everybody.
    """
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise InvalidInput(
            f"Node {owner[:12]} advertised a key that agrees on the same secret with everybody.",
            code="secagg-bad-key",
            hint="Its software is broken or dishonest: leave it out of the round.",
            member=owner,
        ) from error


def public_of(private: bytes) -> bytes:
    """Return the public key of a 32-byte private key."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def pair_mask_key(context: bytes, agreed: bytes, one: str, other: str) -> bytes:
    """Return the key of the mask between two members, the same whichever of them asks."""
    return _derive(agreed, context, "pair", *sorted((one, other)))


def bound_to_votes(key: bytes, votes: bytes) -> bytes:
    """Return the key of a pair's mask in a sum with votes of the digest `votes`.

    Members who were told different votes add masks that do not cancel.
    """
    return HKDF(hashes.SHA256(), KEY_BYTES, None, b"votes|" + votes).derive(key)


def bound_to_shard(key: bytes, plan: bytes, place: int) -> bytes:
    """Return the key of a mask on one shard of a vector that was cut by the plan of the digest `plan`."""
    return HKDF(hashes.SHA256(), KEY_BYTES, None, b"shard|" + plan + place.to_bytes(4, "big")).derive(key)


def self_mask_key(context: bytes, seed: bytes, member: str) -> bytes:
    """Return the key of a member's own mask."""
    return _derive(seed, context, "self", member)


def seed_commitment(context: bytes, seed: bytes, member: str) -> bytes:
    """Return what a member says of its seed beforehand, so that a wrongly rebuilt one is noticed."""
    return _derive(seed, context, "commit", member)


def seal(context: bytes, agreed: bytes, sender: str, recipient: str, key: int, seed: int) -> bytes:
    """Seal a share of the sender's mask key and one of its seed for `recipient`."""
    cipher, nonce, bound = _channel(context, agreed, sender, recipient)
    return cipher.encrypt(nonce, shamir.to_bytes(key) + shamir.to_bytes(seed), bound)


def unseal(context: bytes, agreed: bytes, sender: str, recipient: str, sealed: bytes) -> tuple[int, int]:
    """Return the shares (mask key, seed) that `sender` sealed for `recipient`.

    Raises
    ------
    NotAuthenticated
        Code ``secagg-bad-share``: changed on the way, or made by, for or in something else.
    """
    cipher, nonce, bound = _channel(context, agreed, sender, recipient)
    try:
        plain = cipher.decrypt(nonce, sealed, bound)
        return shamir.from_bytes(plain[: shamir.SHARE_BYTES]), shamir.from_bytes(plain[shamir.SHARE_BYTES :])
    except (InvalidTag, ValueError) as error:
        raise NotAuthenticated(
            f"The share of node {sender[:12]} for {recipient[:12]} is not what it sealed for this round.",
            code="secagg-bad-share",
            hint="It was changed or exchanged on its way; the round cannot go on with it.",
            member=sender,
        ) from error


def _channel(context: bytes, agreed: bytes, sender: str, recipient: str) -> tuple[AESGCM, bytes, bytes]:
    key = _derive(agreed, context, "share", sender, recipient)
    return AESGCM(key), bytes(12), context + bytes.fromhex(sender) + bytes.fromhex(recipient)


def _derive(secret: bytes, context: bytes, purpose: str, *members: str) -> bytes:
    info = b"|".join([context, purpose.encode(), *(bytes.fromhex(member) for member in members)])
    return HKDF(hashes.SHA256(), KEY_BYTES, None, info).derive(secret)
