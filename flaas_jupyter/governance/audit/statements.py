"""What the server signs about its audit log: checkpoints, and which key signs them.

A checkpoint says "at this time the log had so many entries, the last of which had this hash, and all of them this
Merkle root". It is a canonical JSON document like all that is signed here (`communications.identity`), by an Ed25519
key that does nothing else; the key's public half is its id. When the key is rotated, the old one signs which key
follows it and after which entry: whoever trusts the first key can follow to the present one, and nothing that a retired
key signs beyond that entry is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ...communications.identity import Body, Identity, open_document, require_node_id, sign_document
from ...errors import InvalidInput, NotAuthenticated

CHECKPOINT, SUCCESSION = "flaas/audit-checkpoint/1", "flaas/audit-key/1"
_LARGEST = 1 << 62


@dataclass(frozen=True)
class Checkpoint:
    """What the log was at a time.

    Parameters
    ----------
    sequence : int
        Number of the last entry, and so of all entries.
    hash : str
        Of the last entry, 64 hex digits.
    root : str
        Merkle root over the hashes of all entries, 64 hex digits.
    time : int
        Unix seconds.
    key : str
        Public half of the key that signs it, 64 hex digits.
    """

    sequence: int
    hash: str
    root: str
    time: int
    key: str

    def sign(self, signer: Identity) -> Body:
        """Return the signed document; `signer` must be `key`."""
        if signer.node_id != self.key:
            raise ValueError("a checkpoint is signed by the key that it names")
        return sign_document(signer, CHECKPOINT, asdict(self))

    @classmethod
    def open(cls, document: object) -> Checkpoint:
        """Read a signed document. This proves that the key which it names has signed it, not whose that key is.

        Raises
        ------
        InvalidInput
            Code ``bad-document``.
        NotAuthenticated
            Code ``bad-signature``.
        """
        body = _body(document, {"sequence", "hash", "root", "time", "key"}, "checkpoint")
        for digest in ("hash", "root", "key"):
            require_node_id(body[digest])
        _require_counts(body, "sequence", "time")
        if body["sequence"] == 0:
            raise InvalidInput("A checkpoint of no entry says nothing.", code="bad-document")
        return cls(**open_document(document, CHECKPOINT, body["key"]))

    def same_log(self, other: Checkpoint) -> bool:
        """Tell whether both say the same of the same number of entries."""
        return (self.sequence, self.hash, self.root) == (other.sequence, other.hash, other.root)


@dataclass(frozen=True)
class Succession:
    """Which key follows which.

    Parameters
    ----------
    previous : str
        The key that signs this.
    key : str
        The one that signs from now on.
    sequence : int
        Entry after which `previous` signs no checkpoint any more.
    time : int
        Unix seconds.
    """

    previous: str
    key: str
    sequence: int
    time: int

    def sign(self, signer: Identity) -> Body:
        """Return the signed document; `signer` must be `previous`."""
        if signer.node_id != self.previous:
            raise ValueError("the previous key announces the next one")
        return sign_document(signer, SUCCESSION, asdict(self))

    @classmethod
    def open(cls, document: object) -> Succession:
        """Read a signed document; see `Checkpoint.open`."""
        body = _body(document, {"previous", "key", "sequence", "time"}, "succession of keys")
        for digest in ("previous", "key"):
            require_node_id(body[digest])
        _require_counts(body, "sequence", "time")
        return cls(**open_document(document, SUCCESSION, body["previous"]))


class Trust:
    """The keys that are believed: a pinned one, and those that follow it.

    Parameters
    ----------
    pinned : str
        The first key, 64 hex digits.
    successions : sequence of dict
        Signed documents, in order; see `follow`.
    """

    def __init__(self, pinned: str, successions: Sequence[object] = ()) -> None:
        self.pinned = require_node_id(pinned)
        self.documents: list[object] = []
        self._until: dict[str, int] = {}
        self.newest = self.pinned
        self.follow(successions)

    def follow(self, successions: Sequence[object]) -> bool:
        """Believe the keys that the newest one names as its successors; tell whether there were any.

        Those that were believed already, and those of other keys, change nothing: a key is followed once.
        """
        before = self.newest
        for document in successions:
            announced = Succession.open(document)
            if announced.previous == self.newest and announced.key not in self._until and announced.key != self.newest:
                self._until[announced.previous] = announced.sequence
                self.newest = announced.key
                self.documents.append(document)
        return self.newest != before

    def open(self, document: object) -> Checkpoint:
        """Read a checkpoint that a believed key has signed while it was the one that signs.

        Raises
        ------
        InvalidInput
            Code ``bad-document``.
        NotAuthenticated
            ``bad-signature``; ``audit-key-unknown``: another key has signed it, or a retired one after its time.
        """
        checkpoint = Checkpoint.open(document)
        until = self._until.get(checkpoint.key)
        if checkpoint.key != self.newest and until is None:
            raise _unknown_key(checkpoint, "which is not one of the keys of this log")
        if until is not None and checkpoint.sequence > until:
            raise _unknown_key(checkpoint, f"which was retired after entry {until}")
        return checkpoint


def _unknown_key(checkpoint: Checkpoint, why: str) -> NotAuthenticated:
    return NotAuthenticated(
        f"Checkpoint {checkpoint.sequence} is signed by the key {checkpoint.key[:16]}…, {why}.",
        code="audit-key-unknown",
        hint="A key of the log is announced by the one before it; do not use this checkpoint.",
    )


def _body(document: object, fields: set[str], what: str) -> dict[str, Any]:
    body = document.get("body") if isinstance(document, dict) else None
    if not isinstance(body, dict) or set(body) != fields:
        raise InvalidInput(f"A {what} has {', '.join(sorted(fields))}, no more and no less.", code="bad-document")
    return body


def _require_counts(body: dict[str, Any], *names: str) -> None:
    for name in names:
        if type(body[name]) is not int or not 0 <= body[name] < _LARGEST:
            raise InvalidInput(f"{name} is {str(body[name])[:40]!r}, no count.", code="bad-document")
