"""People, services and their tokens: what may be sent, and what is answered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from .schemas import Name, Slug, _In, _Out, _Resource

UserId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
RoleName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
ScopeText = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x20\x7f]+$")]
Mail = Annotated[str, StringConstraints(max_length=254, pattern=r"^[^@\s\x00-\x1f]+@[^@\s\x00-\x1f]+$")]


class RoleHeld(_In):
    """A role, and where it is held: ``platform``, ``organisation:<id>``, ``project:<id>`` or ``node:<id>``."""

    role: RoleName
    scope: ScopeText


class UserIn(_In):
    """A new person or service; a person gets an invitation, a service a token."""

    id: UserId | None = None
    kind: Literal["person", "service"] = "person"
    organisation: Slug
    name: Name | None = None
    email: Mail | None = None
    roles: Annotated[list[RoleHeld], Field(max_length=20)] = Field(default_factory=list)
    expires_in: Annotated[float, Field(gt=0, lt=1e9)] | None = None


class User(_Resource):
    """A person or service. `invitation` or `token` is there once, when it is made."""

    id: str
    kind: Literal["person", "service"]
    organisation: str
    name: str | None
    email: str | None
    state: str
    roles: list[RoleHeld]
    has_key: bool
    approvals: list[str] | None = None
    invitation: str | None = None
    token: str | None = None


class _Users(_Out):
    users: list[User]


class Users(_Resource):
    """A page of people and services."""

    embedded: _Users = Field(alias="_embedded")


class TokenIn(_In):
    """A token for oneself: of all of one's roles as far as they go together, or of those that are named."""

    note: Name = "token"
    roles: Annotated[list[RoleName | RoleHeld], Field(min_length=1, max_length=20)] | None = None
    expires_in: Annotated[float, Field(gt=0, lt=1e9)] | None = None


class Token(_Resource):
    """A token; `token` itself is there once, when it is made."""

    id: str
    user: str
    organisation: str
    note: str
    roles: list[RoleHeld]
    created: AwareDatetime
    expires: AwareDatetime | None
    token: str | None = None


class _Tokens(_Out):
    tokens: list[Token]


class Tokens(_Resource):
    """A page of tokens."""

    embedded: _Tokens = Field(alias="_embedded")
