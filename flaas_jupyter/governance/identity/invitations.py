"""Invitations: how somebody gets an account. A secret of 256 bits, used once, of which only the hash is kept.

Whoever invites never knows the password; whoever accepts chooses it. A new invitation is also how a lost password or
approval key is replaced: accepting it ends what the old ones gave.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ...errors import NotAuthenticated
from .. import scopes
from ..confidentiality import Vault
from ..permissions import GOVERNANCE_ADMIN
from ..rbac import core
from . import persons
from .passwords import Passwords, require_good
from .sealing import default_vault, digest, new_secret
from .tables import Invitation, Person

LIFETIME = timedelta(days=7)
PREFIX = "flaas-invitation-"
FIRST, FIRST_ORGANISATION = "administrator", "platform"
"""The first administrator and its organisation."""


def invite(
    session: Session,
    *,
    user: str,
    organisation: str,
    kind: Literal["person", "service"] = "person",
    name: str | None = None,
    email: str | None = None,
    by: str,
    now: datetime | None = None,
    vault: Vault | None = None,
) -> str:
    """Add a person, or find the one with this id, and return the secret of a new invitation; older ones end.

    Parameters
    ----------
    session : Session
        A writing session.
    user, organisation, kind, name, email : str
        See `persons.add`; of a user that there is only `user` counts.
    by : str
        Who invites.
    now : datetime, optional
        The present.
    vault : Vault, optional
        By default the installation's.

    Returns
    -------
    str
        To be shown once and handed over; it is valid for 7 days.
    """
    now, vault = now or datetime.now(UTC), vault or default_vault()
    row = session.get(Person, user)
    if row is None:
        row = persons.add(
            session, user=user, organisation=organisation, kind=kind, name=name, email=email, now=now, vault=vault
        )
    else:
        persons.find(session, user)
    session.execute(delete(Invitation).where(Invitation.person == user))
    secret = PREFIX + new_secret()
    session.add(Invitation(digest=digest(secret), person=user, by=by, created=now, expires=now + LIFETIME))
    session.flush()
    return secret


def check(session: Session, secret: str, password: str, now: datetime, vault: Vault | None = None) -> Person:
    """Return who is invited by `secret`, if `password` may be their password; nothing is changed.

    Raises
    ------
    NotAuthenticated
        Code ``bad-invitation``: not known, used or expired.
    InvalidInput
        Code ``weak-password``.
    """
    person = _open(session, secret, now)[1]
    known = persons.told(session, person, vault)
    require_good(password, tuple(text for text in (person.id, person.organisation, *known) if text))
    return person


def accept(
    session: Session,
    secret: str,
    password: str,
    key: tuple[str, str] | None = None,
    *,
    hashed: str | None = None,
    now: datetime | None = None,
    vault: Vault | None = None,
    passwords: Passwords | None = None,
) -> Person:
    """Use an invitation: set the password, forget the approval key that there was, and activate the account.

    Parameters
    ----------
    session : Session
        A writing session.
    secret, password : str
        The invitation, and the password that is chosen.
    key : (str, str), optional
        Approval key and proof, see `persons.set_approval_key`.
    hashed : str, optional
        Hash of `password`, made before so that the data base is not kept waiting for it.
    now : datetime, optional
        The present.
    vault : Vault, optional
        By default the installation's.
    passwords : Passwords, optional
        Hashes the password if `hashed` is not given.

    Raises
    ------
    NotAuthenticated, InvalidInput
        See `check`.
    """
    now = now or datetime.now(UTC)
    check(session, secret, password, now, vault)
    invitation, person = _open(session, secret, now)
    session.delete(invitation)
    person.password = hashed or (passwords or Passwords()).hash(password)
    person.password_changed = now
    person.approval_key = person.approval_key_changed = None
    if person.state == persons.INVITED:
        person.state = persons.ACTIVE
    persons.reset_lock_out(session, person, vault)
    if key is not None:
        persons.set_approval_key(session, person, key[0], key[1], None, now)
    session.flush()
    return person


def first_invitation(session: Session, vault: Vault | None = None, now: datetime | None = None) -> str | None:
    """Return the invitation of the first administrator, if nobody has an account and none is open; else None.

    The organisation `FIRST_ORGANISATION` and the built-in roles must be there.
    """
    now = now or datetime.now(UTC)
    others = session.scalar(select(Person.id).where(Person.id != FIRST).limit(1))
    administrator = session.get(Person, FIRST)
    if others is not None or (administrator is not None and administrator.state != persons.INVITED):
        return None
    open_one = select(Invitation.digest).where(Invitation.person == FIRST, Invitation.expires > now)
    if session.scalar(open_one) is not None:
        return None
    if administrator is None:
        core.add_user(session, FIRST)
        core.assign_user(session, FIRST, GOVERNANCE_ADMIN, scopes.PLATFORM)
    return invite(session, user=FIRST, organisation=FIRST_ORGANISATION, by=FIRST, now=now, vault=vault)


def _open(session: Session, secret: str, now: datetime) -> tuple[Invitation, Person]:
    row = session.get(Invitation, digest(secret.strip()))
    if row is None or row.expires <= now:
        raise NotAuthenticated(
            "The invitation is not known; it may have been used, replaced or have expired.",
            code="bad-invitation",
            hint="Ask whoever invited you for a new one.",
        )
    return row, persons.find(session, row.person)
