"""Which columns hold sealed fields: one register, so that they can be sealed anew and are not forgotten.

The package that has a table with a sealed column declares it beside the table:

>>> sealed_columns.declare(Person, "email", purpose=lambda row: "persons.email", owner=lambda row: person(row.id))
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ..tables import Base
from .vault import Vault


@dataclass(frozen=True)
class SealedColumn:
    """A column whose texts the vault has sealed; None and empty texts are left alone."""

    model: type[Base]
    name: str
    purpose: Callable[[Any], str]
    owner: Callable[[Any], str]

    def __str__(self) -> str:
        return f"{self.model.__tablename__}.{self.name}"


_DECLARED: dict[str, SealedColumn] = {}


def declare(
    model: type[Base], name: str, *, purpose: Callable[[Any], str], owner: Callable[[Any], str]
) -> SealedColumn:
    """Declare a sealed column; purpose and owner are what `Vault.seal` was given for a row."""
    column = SealedColumn(model, name, purpose, owner)
    _DECLARED[str(column)] = column
    return column


def declared() -> list[SealedColumn]:
    """Return all sealed columns that are known."""
    return list(_DECLARED.values())


def reseal(session: Session, vault: Vault, owner: str) -> int:
    """Seal all fields of `owner` with its present data key, delete its older keys, and return how many fields it were.

    Raises
    ------
    Conflict
        Code ``field-unreadable``: a field was changed past the API; nothing is deleted.
    """
    changed = 0
    for column in declared():
        for row in session.scalars(select(column.model)):
            sealed = getattr(row, column.name)
            if not sealed or column.owner(row) != owner or vault.is_present(session, owner, sealed):
                continue
            setattr(row, column.name, vault.reseal(session, column.purpose(row), owner, sealed))
            changed += 1
    session.flush()
    vault.retire(session, owner)
    return changed
