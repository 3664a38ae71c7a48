"""Tables of the identity provider.

Of every secret that somebody else holds only a hash is here; of persons, no text in the clear: names and e-mail
addresses are sealed, and an address is found by a keyed index.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from ..confidentiality import INSTALLATION, person, sealed_columns
from ..tables import Base


class SigningKey(Base):
    """A key that tokens are signed with: ``next``, ``active`` or ``retired``; the private half is sealed."""

    __tablename__ = "identity_keys"

    kid: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    public: Mapped[str]
    sealed: Mapped[str]
    created: Mapped[datetime]
    published: Mapped[datetime]
    activated: Mapped[datetime | None]
    drop_after: Mapped[datetime | None]


class Person(Base):
    """A person or service; `id` is its user name in the tables of roles."""

    __tablename__ = "persons"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id"), index=True)
    state: Mapped[str]
    login: Mapped[str | None] = mapped_column(unique=True)
    name: Mapped[str | None]
    email: Mapped[str | None]
    password: Mapped[str | None]
    password_changed: Mapped[datetime | None]
    approval_key: Mapped[str | None] = mapped_column(unique=True)
    approval_key_changed: Mapped[datetime | None]
    created: Mapped[datetime]


class Invitation(Base):
    """An invitation that was not used yet; only the SHA-256 of its secret."""

    __tablename__ = "invitations"

    digest: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("persons.id", ondelete="CASCADE"), index=True)
    by: Mapped[str]
    created: Mapped[datetime]
    expires: Mapped[datetime]


class Attempts(Base):
    """How often somebody has failed, by account or by address (both keyed hashes), and when the next try is heard."""

    __tablename__ = "identity_attempts"

    key: Mapped[str] = mapped_column(primary_key=True)
    count: Mapped[int]
    since: Mapped[datetime]
    retry_at: Mapped[datetime]


class BrowserSignIn(Base):
    """Somebody who has just given the password in a browser, and what the consent is about; ends with the answer."""

    __tablename__ = "identity_browser_sign_ins"

    digest: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("persons.id", ondelete="CASCADE"))
    purpose: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    authenticated: Mapped[datetime]
    expires: Mapped[datetime] = mapped_column(index=True)


class SignIn(Base):
    """A sign-in at one client: a family of refresh tokens and the session of roles that they act in."""

    __tablename__ = "sign_ins"

    id: Mapped[str] = mapped_column(primary_key=True)
    person: Mapped[str] = mapped_column(ForeignKey("persons.id", ondelete="CASCADE"), index=True)
    client: Mapped[str]
    session: Mapped[str] = mapped_column(unique=True)
    scope: Mapped[str]
    authenticated: Mapped[datetime]
    used: Mapped[datetime]
    expires: Mapped[datetime] = mapped_column(index=True)
    ended: Mapped[datetime | None]
    reason: Mapped[str | None]


class RefreshToken(Base):
    """A refresh token: the SHA-256 of it, and when it was used; a used one is kept to notice that it was copied."""

    __tablename__ = "refresh_tokens"

    digest: Mapped[str] = mapped_column(primary_key=True)
    sign_in: Mapped[str] = mapped_column(ForeignKey("sign_ins.id", ondelete="CASCADE"), index=True)
    created: Mapped[datetime]
    expires: Mapped[datetime]
    used: Mapped[datetime | None]


class AuthorizationCode(Base):
    """A code that a browser carries back to its client (RFC 6749, section 4.1)."""

    __tablename__ = "authorization_codes"

    digest: Mapped[str] = mapped_column(primary_key=True)
    client: Mapped[str]
    redirect_uri: Mapped[str]
    challenge: Mapped[str]
    nonce: Mapped[str | None]
    scope: Mapped[str]
    person: Mapped[str] = mapped_column(ForeignKey("persons.id", ondelete="CASCADE"))
    authenticated: Mapped[datetime]
    expires: Mapped[datetime] = mapped_column(index=True)
    used: Mapped[datetime | None]
    sign_in: Mapped[str | None]


class DeviceCode(Base):
    """A device that waits for somebody to sign in elsewhere (RFC 8628)."""

    __tablename__ = "device_codes"

    digest: Mapped[str] = mapped_column(primary_key=True)
    user_code: Mapped[str] = mapped_column(unique=True)
    client: Mapped[str]
    scope: Mapped[str]
    state: Mapped[str]
    interval: Mapped[int]
    created: Mapped[datetime]
    expires: Mapped[datetime] = mapped_column(index=True)
    polled: Mapped[datetime | None]
    person: Mapped[str | None] = mapped_column(ForeignKey("persons.id", ondelete="CASCADE"))
    authenticated: Mapped[datetime | None]


sealed_columns.declare(
    SigningKey, "sealed", purpose=lambda row: f"identity_keys.sealed/{row.kid}", owner=lambda row: INSTALLATION
)
sealed_columns.declare(Person, "name", purpose=lambda row: "persons.name", owner=lambda row: person(row.id))
sealed_columns.declare(Person, "email", purpose=lambda row: "persons.email", owner=lambda row: person(row.id))
