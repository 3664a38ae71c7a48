"""What may be sent about a domain's signed documents, and is answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from .schemas import (
    Cosigned,
    CosignedDocument,
    Key,
    PlainObject,
    Signature,
    Signed,
    SignedDocument,
    _In,
    _Out,
    _Resource,
)

DomainDocument = SignedDocument | CosignedDocument
"""Signed by a domain key that one person holds, or by several holders."""
DomainAnswer = Signed | Cosigned

Kind = Literal["memberships", "revocations", "networks"]


class RotationSignatures(_In):
    """Signatures of the old and of the new key."""

    old: Signature
    new: Signature


class RotationStatement(_In):
    """That a node goes over to a new key; checked where it is verified."""

    body: PlainObject
    signatures: RotationSignatures


class Rotation(_Resource):
    """A node's way to a new key."""

    node: Key
    new: Key
    statement: RotationStatement
    created: AwareDatetime
    completed: AwareDatetime | None


class PendingIn(_In):
    """A document with the signatures of some holders of the domain key."""

    kind: Kind
    document: CosignedDocument


class Pending(_Resource):
    """A document and how many holders must still sign it; none: it was taken in, and waits no more."""

    id: Key
    kind: Kind
    document: CosignedDocument
    missing: Annotated[int, Field(ge=0, le=16)]
    created_by: str | None
    created: AwareDatetime | None


class _PendingList(_Out):
    pending: list[Pending]


class PendingList(_Resource):
    """All that waits for signatures in a project."""

    embedded: _PendingList = Field(alias="_embedded")
