"""The audit log: who did what to what, append-only and hash-chained, with signed checkpoints that nodes keep.

`append` writes an entry in the transaction of the change itself. The hash of an entry is ``SHA-256(0x00 || prev ||
body)``: it chains it to the one before, and is at the same time its leaf in a Merkle tree (RFC 9162). So a checkpoint
holds a root, and two of them can be proven to be of one growing log without anybody showing the entries between.

`merkle` and `statements` need no data base; a node, which has none, uses only these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .details import opaque

if TYPE_CHECKING:
    from .entries import append, append_command
    from .tables import AuditEntry

__all__ = ["AuditEntry", "append", "append_command", "opaque"]


def __getattr__(name: str) -> Any:
    """Import what needs SQLAlchemy only where it is used."""
    if name in ("append", "append_command"):
        from . import entries

        return getattr(entries, name)
    if name == "AuditEntry":
        from .tables import AuditEntry

        return AuditEntry
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
