"""The key of a domain: one administrator's, or several of which so many must sign.

Nodes pin a domain by 64 hex digits. These are an Ed25519 public key, whose holder signs alone, or the SHA-256 of a
*holders document*, ``{"v": 1, "keys": [...], "threshold": t}``. What several holders sign carries that document, so
that nothing but the pinned value is needed to check it::

    {"body": {...}, "signature": hex}
    {"body": {...}, "holders": {...}, "signatures": {key: hex, ...}}

Each signature is by one key over the same bytes: context and canonical body. With fewer than `t` of them a document is
pending, and worth nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Conflict, InvalidInput, NotAllowed, NotAuthenticated
from .identity import Body, Identity, canonical, open_document, require_node_id, sign_document, verify
from .signed_fields import Fields

HOLDERS = "flaas/holders/1"
MOST_HOLDERS = 16
_SEVERAL = {"body", "holders", "signatures"}


@dataclass(frozen=True)
class Holders:
    """The keys of a domain that has several, and how many of them must sign.

    Parameters
    ----------
    keys : tuple of str
        Public keys (64 hex digits each), sorted; 2 to 16.
    threshold : int
        From 1 to the number of keys.

    Raises
    ------
    InvalidInput
        Code ``bad-holders``.
    """

    keys: tuple[str, ...]
    threshold: int

    def __post_init__(self) -> None:
        for key in self.keys:
            require_node_id(key)
        if not 2 <= len(self.keys) <= MOST_HOLDERS or list(self.keys) != sorted(set(self.keys)):
            raise InvalidInput(
                f"A domain of several holders has 2 to {MOST_HOLDERS} different keys; these are {len(self.keys)}.",
                code="bad-holders",
                hint="Name each holder's key once. A single holder needs no holders document.",
            )
        if not 1 <= self.threshold <= len(self.keys):
            raise InvalidInput(
                f"{self.threshold} of {len(self.keys)} holders cannot sign.",
                code="bad-holders",
                hint=f"Give a threshold from 1 to {len(self.keys)}.",
            )

    @classmethod
    def of(cls, keys: Sequence[str], threshold: int) -> Holders:
        """Return the holders with `keys`, in whatever order they are named."""
        return cls(tuple(sorted(keys)), threshold)

    @classmethod
    def parse(cls, document: object) -> Holders:
        """Read a holders document; `InvalidInput` (code ``bad-holders``) if it is none."""
        if not isinstance(document, dict):
            raise InvalidInput("The holders are an object with keys and threshold.", code="bad-holders")
        fields = Fields(document, "holders", {"keys", "threshold"})
        return cls(fields.texts("keys", MOST_HOLDERS), fields.integer("threshold"))

    @property
    def document(self) -> Body:
        """The holders document."""
        return {"v": 1, "keys": list(self.keys), "threshold": self.threshold}

    @property
    def domain_key(self) -> str:
        """What nodes pin: SHA-256 over ``flaas/holders/1``, a zero byte and the canonical document."""
        return hashlib.sha256(HOLDERS.encode() + b"\x00" + canonical(self.document)).hexdigest()


@dataclass(frozen=True)
class Holder:
    """One of several holders of a domain key, with the own private key."""

    identity: Identity
    holders: Holders


DomainKey = Identity | Holder
"""What an administrator signs for a domain with."""


def pinned(key: DomainKey) -> str:
    """Return the domain key that nodes pin, 64 hex digits."""
    return key.holders.domain_key if isinstance(key, Holder) else key.node_id


def sign_domain_document(key: DomainKey, context: str, body: Body) -> dict[str, Any]:
    """Return `body` signed by this one holder: complete where one is enough, else pending."""
    if isinstance(key, Identity):
        return sign_document(key, context, body)
    return cosign({"body": body, "holders": key.holders.document, "signatures": {}}, context, key.identity)


def cosign(document: dict[str, Any], context: str, identity: Identity) -> dict[str, Any]:
    """Return a document of several holders with the signature of one more of them.

    Raises
    ------
    InvalidInput
        ``bad-document``, ``bad-holders``.
    NotAuthenticated
        Code ``bad-signature``: a signature that it carries is false.
    NotAllowed
        Code ``not-a-holder``: `identity` is none of the holders.
    Conflict
        Code ``signed-already``.
    """
    body, holders, signatures = _parts(document, context)
    if identity.node_id not in holders.keys:
        raise NotAllowed(
            f"{identity.node_id} is no holder of the domain key {holders.domain_key}.",
            code="not-a-holder",
            hint="Sign where one of the holders' keys is.",
        )
    if identity.node_id in signatures:
        raise Conflict(
            f"{identity.node_id} has signed it already.", code="signed-already", hint="Another holder must sign."
        )
    signature = identity.sign(context, canonical(body)).hex()
    ordered = dict(sorted({**signatures, identity.node_id: signature}.items()))
    return {"body": body, "holders": holders.document, "signatures": ordered}


def merge(first: dict[str, Any], second: dict[str, Any], context: str) -> dict[str, Any]:
    """Return one document with the signatures of both; `InvalidInput` (``bad-document``) if their bodies differ."""
    body, holders, signatures = _parts(first, context)
    other_body, other_holders, others = _parts(second, context)
    if (canonical(body), holders) != (canonical(other_body), other_holders):
        raise InvalidInput("The two documents are not signatures of the same.", code="bad-document")
    return {"body": body, "holders": holders.document, "signatures": dict(sorted({**signatures, **others}.items()))}


def open_domain_document(document: object, context: str, domain_key: str) -> Body:
    """Return the body of a document that enough holders of `domain_key` have signed for `context`.

    Parameters
    ----------
    document : object
        As it was received.
    context : str
        What it must have been signed for.
    domain_key : str
        The pinned 64 hex digits.

    Raises
    ------
    InvalidInput
        ``bad-document``, ``bad-holders``: it has not the form of a signed document.
    NotAuthenticated
        ``bad-signature``: the domain key did not sign it, or one of the signatures is false; ``signatures-missing``:
        too few holders have signed as yet.
    """
    missing = signatures_missing(document, context, domain_key)
    assert isinstance(document, dict)
    if missing:
        raise NotAuthenticated(
            f"{missing} more of the domain key's holders must sign it.",
            code="signatures-missing",
            hint="Another holder signs it with `flaas domain cosign`.",
            missing=missing,
        )
    body: Body = document["body"]
    return body


def signatures_missing(document: object, context: str, domain_key: str) -> int:
    """Return how many holders must still sign a document of which every signature is true.

    Raises
    ------
    InvalidInput, NotAuthenticated
        As `open_domain_document`, but for too few signatures.
    """
    if not isinstance(document, dict) or set(document) != _SEVERAL:
        open_document(document, context, domain_key)
        return 0
    named = Holders.parse(document["holders"]).domain_key
    if named != domain_key:  # before a signature costs anything: anybody can sign as holders of a key of their own
        raise NotAuthenticated(
            f"Its holders are those of {named}, not of {domain_key}.",
            code="bad-signature",
            hint="It was signed for another domain, or by others than the domain's administrators; do not use it.",
        )
    _, holders, signatures = _parts(document, context)
    if not signatures:
        raise NotAuthenticated("No holder has signed it.", code="bad-signature", hint="Do not use it.")
    return max(0, holders.threshold - len(signatures))


def _parts(document: object, context: str) -> tuple[Body, Holders, dict[str, str]]:
    """Return body, holders and signatures, each of them verified to be a holder's."""
    if not isinstance(document, dict) or set(document) != _SEVERAL:
        raise InvalidInput("It is not a document that several holders sign.", code="bad-document")
    body, signatures = document["body"], document["signatures"]
    if not isinstance(body, dict) or not isinstance(signatures, dict) or len(signatures) > MOST_HOLDERS:
        raise InvalidInput("The body is an object, and the signatures are one a holder.", code="bad-document")
    holders, payload = Holders.parse(document["holders"]), canonical(body)
    for key, signature in signatures.items():
        if key not in holders.keys:
            raise NotAuthenticated(f"{str(key)[:64]} is none of its holders.", code="bad-signature")
        try:
            raw = bytes.fromhex(signature)
        except (TypeError, ValueError) as error:
            raise InvalidInput("A signature is not hex digits.", code="bad-document") from error
        verify(key, context, payload, raw)
    return body, holders, signatures
