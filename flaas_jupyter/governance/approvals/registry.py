"""What the installation's own tables know about people: persons of the identity provider, roles of `rbac`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import CTE, Select, select
from sqlalchemy.orm import Session

from .. import scopes
from ..identity.tables import Person
from ..permissions import split
from ..rbac.closure import Hierarchy, downward, upward
from ..rbac.tables import Assignment, Grant, Role

_ACTIVE, _PERSON = "active", "person"


class Registry:
    """`people.People` over the tables of `identity` and `rbac`."""

    def is_person(self, session: Session, user: str) -> bool:
        """Tell whether `user` is an active human being."""
        return self._state(session, user, _PERSON) == _ACTIVE

    def is_active(self, session: Session, user: str) -> bool:
        """Tell whether `user`, a person or service, may still act."""
        return self._state(session, user) == _ACTIVE

    def key_of(self, session: Session, user: str) -> str | None:
        """Return the public key (hex) that the person approves with."""
        return session.scalar(select(Person.approval_key).where(Person.id == user))

    def included(self, session: Session, role: str) -> frozenset[str]:
        """Return `role` and all roles that it includes."""
        return frozenset(Hierarchy.of(session).juniors(role))

    def authorised(self, session: Session, user: str, role: str, scopes: Sequence[str]) -> bool:
        """Tell whether `user` may have `role` active in one of `scopes` or on the platform."""
        held = downward(_within(select(Assignment.role).where(Assignment.user == user), scopes))
        return session.scalar(select(held.c.role).where(held.c.role == role)) is not None

    def grants(self, session: Session, user: str) -> Mapping[str, frozenset[str]]:
        """Return what `user` is permitted with all roles that it may have: operation to scopes."""
        held = downward(select(Assignment.role, Assignment.scope).where(Assignment.user == user))
        query = select(Grant.object, Grant.operation, held.c.scope).join_from(held, Grant, Grant.role == held.c.role)
        found: dict[str, set[str]] = {}
        for resource, verb, scope in session.execute(query):
            found.setdefault(f"{resource}:{verb}", set()).add(scope)
        return {operation: frozenset(where) for operation, where in found.items()}

    def holders(self, session: Session, role: str, scopes: Sequence[str]) -> frozenset[str]:
        """Return the active persons that are authorised for `role`."""
        seniors = upward(select(Role.name.label("role")).where(Role.name == role))
        return self._having(session, seniors, scopes, Person.kind == _PERSON)

    def permitted(self, session: Session, operation: str, scopes: Sequence[str]) -> frozenset[str]:
        """Return the active persons and services that are permitted `operation`."""
        verb, resource = split(operation)
        seniors = upward(select(Grant.role).where(Grant.operation == verb, Grant.object == resource))
        return self._having(session, seniors, scopes)

    def scopes(self, session: Session) -> Sequence[str]:
        """Return all scopes in which somebody holds a role."""
        return sorted(session.scalars(select(Assignment.scope).distinct()))

    @staticmethod
    def _state(session: Session, user: str, kind: str | None = None) -> str | None:
        query = select(Person.state).where(Person.id == user)
        return session.scalar(query if kind is None else query.where(Person.kind == kind))

    @staticmethod
    def _having(session: Session, roles: CTE, where: Sequence[str], *conditions: Any) -> frozenset[str]:
        query = _within(select(Assignment.user).where(Assignment.role.in_(select(roles.c.role))), where)
        query = query.join(Person, Person.id == Assignment.user).where(Person.state == _ACTIVE, *conditions)
        return frozenset(session.scalars(query))


def _within(query: Select[Any], where: Sequence[str]) -> Select[Any]:
    return query.where(Assignment.scope.in_([scopes.PLATFORM, *where])) if where else query
