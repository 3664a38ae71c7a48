"""Whom the approvals ask about people: who is a person, with which key, and which roles they may have now.

The answers come from the identity provider and from `rbac`. Everything is asked at the moment of use and nothing is
kept, so that a role or key that was taken away counts no more from that moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from sqlalchemy.orm import Session


class People(Protocol):
    """What is asked. `scopes` are where the thing lies; none at all means: anywhere."""

    def is_person(self, session: Session, user: str) -> bool:
        """Tell whether `user` is an active human being: no service, no node, not locked or removed."""

    def is_active(self, session: Session, user: str) -> bool:
        """Tell whether `user`, a person or service, may still act."""

    def key_of(self, session: Session, user: str) -> str | None:
        """Return the public key (hex) that the person approves with."""

    def included(self, session: Session, role: str) -> frozenset[str]:
        """Return `role` and all roles that it includes."""

    def authorised(self, session: Session, user: str, role: str, scopes: Sequence[str]) -> bool:
        """Tell whether `user` may have `role` active in one of `scopes` or on the platform."""

    def grants(self, session: Session, user: str) -> Mapping[str, frozenset[str]]:
        """Return what `user` is permitted with all roles that it may have: operation to scopes."""

    def holders(self, session: Session, role: str, scopes: Sequence[str]) -> frozenset[str]:
        """Return the active persons that are `authorised` for `role`."""

    def permitted(self, session: Session, operation: str, scopes: Sequence[str]) -> frozenset[str]:
        """Return the active persons and services that are permitted `operation`."""

    def scopes(self, session: Session) -> Sequence[str]:
        """Return all scopes in which somebody holds a role."""


_in_use: list[People] = []


def use(people: People) -> None:
    """Have all approvals ask `people` from now on."""
    _in_use[:] = [people]


def in_use() -> People:
    """Return whom the approvals ask: what `use` was given, else the installation's own tables."""
    if not _in_use:
        from .registry import Registry

        _in_use.append(Registry())
    return _in_use[0]
