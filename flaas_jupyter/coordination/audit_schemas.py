"""What is answered about the audit log."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .schemas import _Out, _Resource

Outcome = Literal["done", "asked", "refused"]
Format = Literal["jsonl", "csv"]


class AuditEntry(_Out):
    """Who did what to what; `hash` chains it to the entry before."""

    sequence: int
    time: str
    actor: str
    actor_kind: str
    operation: str
    object: str
    organisation: str | None
    project: str | None
    outcome: str
    details: dict[str, Any]
    hash: str


class _Entries(_Out):
    entries: list[AuditEntry]


class AuditEntries(_Resource):
    """A page of the audit log, newest first."""

    embedded: _Entries = Field(alias="_embedded")


class CheckpointBody(_Out):
    """So many entries there were, the last with this hash, all of them with this Merkle root."""

    sequence: int
    hash: str
    root: str
    time: int
    key: str


class SignedCheckpoint(_Out):
    """A checkpoint, signed by the key that it names."""

    body: CheckpointBody
    signature: str


class SuccessionBody(_Out):
    """Which key follows which, and after which entry."""

    previous: str
    key: str
    sequence: int
    time: int


class SignedSuccession(_Out):
    """A succession of keys, signed by the previous one."""

    body: SuccessionBody
    signature: str


class _Checkpoints(_Out):
    checkpoints: list[SignedCheckpoint]


class Checkpoints(_Resource):
    """Signed checkpoints in order, the newest of all, the first key, and how keys followed each other."""

    key: str | None
    successions: list[SignedSuccession]
    newest: SignedCheckpoint | None
    embedded: _Checkpoints = Field(alias="_embedded")


class Proof(_Resource):
    """A Merkle consistency proof (RFC 9162, section 2.1.4) between two numbers of entries."""

    first: int = Field(alias="from")
    second: int = Field(alias="to")
    proof: list[str]
