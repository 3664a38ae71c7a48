"""What the identity provider tells the audit log: sign-ins and their ends, refused passwords, accepted invitations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy.orm import Session

from ...governance import audit


def note(
    session: Session,
    *,
    actor: str,
    operation: str,
    object: str,
    organisation: str | None,
    outcome: Literal["done", "refused"],
    details: Mapping[str, Any],
) -> None:
    """Append an entry, in the transaction of the change (`IdentityProvider`, ``audit``)."""
    audit.append(
        session,
        actor=actor,
        actor_kind="user",
        operation=operation,
        object=object,
        organisation=organisation,
        project=None,
        outcome=outcome,
        details=dict(details),
    )
