"""Persons and services: invited, active, locked or removed; who they are is sealed, and found by a keyed index.

A person's id is its user name in the tables of roles, and what audit entries name; it says nothing about the person.
One signs in with the id or the e-mail address.
"""

from __future__ import annotations

import hmac
import re
from datetime import datetime
from typing import Literal

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from ...communications.identity import canonical, require_node_id, verify
from ...errors import Conflict, InvalidInput, NotAuthenticated, NotFound
from ..confidentiality import Vault
from ..confidentiality import person as owner_of
from . import attempts
from .sealing import default_vault, login_index
from .tables import Invitation, Person

APPROVER = "flaas/approver/1"
"""Context of the signature by which somebody proves to have the private half of an approval key."""
INVITED, ACTIVE, LOCKED, REMOVED = "invited", "active", "locked", "removed"
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_EMAIL = re.compile(r"[^@\s]{1,64}@[^@\s]{1,190}")


def add(
    session: Session,
    *,
    user: str,
    organisation: str,
    kind: Literal["person", "service"],
    name: str | None = None,
    email: str | None = None,
    now: datetime,
    vault: Vault | None = None,
) -> Person:
    """Add a person or service; a person is `invited` until it accepts, a service is active and cannot sign in.

    Raises
    ------
    InvalidInput
        Codes ``bad-user`` and ``bad-email``.
    Conflict
        Codes ``user-exists`` and ``email-exists``.
    """
    vault = vault or default_vault()
    if not _ID.fullmatch(user):
        raise InvalidInput(
            f"{user[:80]!r} cannot be the id of a user.",
            code="bad-user",
            hint="Give 1 to 64 lower-case letters, digits, '.', '_' or '-'. It stays in the audit log for ever: take "
            "no name or address.",
        )
    if session.get(Person, user) is not None:
        raise Conflict(f"There is a user {user!r} already.", code="user-exists", hint="Take another id.")
    row = Person(
        id=user,
        kind=kind,
        organisation=organisation,
        state=INVITED if kind == "person" else ACTIVE,
        login=None,
        name=None if name is None else vault.seal(session, "persons.name", owner_of(user), name),
        email=None,
        password=None,
        password_changed=None,
        approval_key=None,
        approval_key_changed=None,
        created=now,
    )
    if email is not None:
        _set_email(session, vault, row, email)
    session.add(row)
    session.flush()
    return row


def find(session: Session, user: str) -> Person:
    """Return the person; `NotFound` (code ``unknown-user``) if there is none."""
    row = session.get(Person, user)
    if row is None or row.state == REMOVED:
        raise NotFound(f"There is no user {user[:80]!r}.", code="unknown-user", hint="List the users.")
    return row


def by_login(session: Session, vault: Vault, login: str) -> Person | None:
    """Return whom a login name (id or e-mail address) belongs to."""
    index = login_index(session, vault, login)
    found = session.scalars(select(Person).where(Person.login == index)).first()
    return found or session.get(Person, login.strip()[:64])


def told(session: Session, row: Person, vault: Vault | None = None) -> tuple[str | None, str | None]:
    """Return name and e-mail address in the clear, for those who may see them."""
    vault, owner = vault or default_vault(), owner_of(row.id)
    name = None if row.name is None else vault.open(session, "persons.name", owner, row.name)
    email = None if row.email is None else vault.open(session, "persons.email", owner, row.email)
    return name, email


def lock(session: Session, row: Person, *, locked: bool) -> None:
    """Keep a person from signing in, or let it back; its sign-ins are refused from now on."""
    if row.state == REMOVED:
        raise NotFound(f"There is no user {row.id!r}.", code="unknown-user", hint="List the users.")
    if locked:
        row.state = LOCKED
    elif row.state == LOCKED:
        row.state = ACTIVE if row.password is not None or row.kind == "service" else INVITED
    session.flush()


def remove(session: Session, row: Person) -> None:
    """Remove a person: the id stays, for what refers to it; name, address, password, key and invitations go."""
    row.state = REMOVED
    row.name = row.email = row.login = row.password = row.approval_key = None
    session.execute(delete(Invitation).where(Invitation.person == row.id))
    session.flush()


def reset_lock_out(session: Session, row: Person, vault: Vault | None = None) -> None:
    """Have the account answer at once again after failed sign-ins; an administrator's decision."""
    attempts.forget(session, account_key(session, vault or default_vault(), row.id))
    if row.login is not None:
        attempts.forget(session, f"account:{row.login}")


def account_key(session: Session, vault: Vault, login: str) -> str:
    """Return what attempts at a login name are counted by, whether or not there is such an account."""
    return f"account:{login_index(session, vault, login)}"


def set_approval_key(session: Session, row: Person, key: str, proof: str, previous: str | None, now: datetime) -> None:
    """Keep the public half of the key that a person's approvals are signed with.

    Parameters
    ----------
    session : Session
        A writing session.
    row : Person
        Whose key it is.
    key : str
        Ed25519 public key, 64 hex digits.
    proof : str
        Signature, in hex digits, by `key` over ``canonical({"subject", "key"})`` for the context `APPROVER`.
    previous : str, optional
        The same signed by the key that is to be replaced.
    now : datetime
        The present.

    Raises
    ------
    NotAuthenticated
        Code ``bad-signature``.
    Conflict
        Codes ``key-in-force``: the old key's signature is missing; ``key-taken``: it is somebody else's.
    """
    document = canonical({"subject": row.id, "key": require_node_id(key)})
    verify(key, APPROVER, document, _signature(proof))
    if row.approval_key is not None and hmac.compare_digest(row.approval_key, key):
        return
    if row.approval_key is not None:
        if previous is None:
            raise Conflict(
                f"{row.id} has an approval key, and it did not sign for the new one.",
                code="key-in-force",
                hint="Sign with the old key too; if it is lost, an administrator's new invitation forgets it.",
            )
        verify(row.approval_key, APPROVER, document, _signature(previous))
    taken = session.scalar(select(Person.id).where(Person.approval_key == key))
    if taken is not None:
        raise Conflict(
            "The approval key is somebody else's.", code="key-taken", hint="Everybody makes a key of their own."
        )
    row.approval_key, row.approval_key_changed = key, now
    session.flush()


def _signature(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise NotAuthenticated(
            "The signature is not hex digits.", code="bad-signature", hint="Give 128 hex digits."
        ) from error


def _set_email(session: Session, vault: Vault, row: Person, email: str) -> None:
    if not _EMAIL.fullmatch(email.strip()) or not email.isprintable():
        raise InvalidInput("The e-mail address is none.", code="bad-email", hint="Give name@domain, or leave it out.")
    row.login = login_index(session, vault, email)
    if session.scalar(select(Person.id).where(Person.login == row.login)) is not None:
        raise Conflict(
            "Another user has this e-mail address.", code="email-exists", hint="One address, one user: take another."
        )
    row.email = vault.seal(session, "persons.email", owner_of(row.id), email.strip())
