"""Somebody gives a login name and a password: limits first, the hash outside of any transaction, then the account."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy.orm import Session

from . import attempts, persons
from .oauth_errors import OAuthError
from .provider import IdentityProvider
from .sealing import login_index, normal_login
from .tables import Person


class Database(Protocol):
    """What is needed of the data base."""

    def reading(self) -> AbstractContextManager[Session]:
        """Open a session on one snapshot."""

    def writing(self) -> AbstractContextManager[Session]:
        """Open a session alone with the data base."""


class WrongPassword(OAuthError):
    """Login name and password do not belong together; which of the two is wrong is not told."""

    def __init__(self) -> None:
        super().__init__("access_denied", "The login name or the password is wrong.", status=403)


def authenticate(provider: IdentityProvider, database: Database, login: str, password: str, address: str) -> str:
    """Return the id of the person that `login` and `password` belong to.

    Limits are looked at before anything is hashed, so that thousands of attempts cost no processor time; an attempt is
    counted as failed before it is made, so that making many at once gains nothing. Unknown accounts take as long as
    known ones, and make one wait alike.

    Parameters
    ----------
    provider : IdentityProvider
        Settings and hashing.
    database : Database
        Where accounts and attempts are.
    login, password : str
        As they were typed.
    address : str
        The caller's IP address.

    Raises
    ------
    WrongPassword
        They do not belong together, or the account is not active.
    OAuthError
        429: one has to wait.
    """
    login = login[:320]
    names = (f"address:{attempts.address_key(address)}", f"account:{normal_login(login)}")
    provider.waits.require_over(names, provider.now())
    with database.reading() as session:
        account = persons.account_key(session, provider.vault, login)
        source = address_key(provider, session, address)
        for name, key in zip(names, (source, account), strict=True):
            until = attempts.waiting(session, key, provider.now())
            if until is not None:
                provider.waits.note(name, until)
        provider.waits.require_over(names, provider.now())
    with database.writing() as session:
        now = provider.now()
        attempts.require_heard(session, (source, account), now)
        attempts.count_address(session, source, now, provider.limits)
        attempts.count_account(session, account, now, provider.limits)
        person = persons.by_login(session, provider.vault, login)
        kept, state = (person.password, person.state) if person is not None else (None, None)
        user = person.id if person is not None else None
    right = provider.passwords.matches(kept, password)
    if not right or state != persons.ACTIVE or user is None or kept is None:
        _note_refusal(provider, database, user)
        raise WrongPassword
    renewed = provider.passwords.hash(password) if provider.passwords.outdated(kept) else None
    with database.writing() as session:
        attempts.forget(session, account)
        if renewed is not None:
            row = session.get_one(Person, user)
            if row.password == kept:
                row.password = renewed
    return user


def require_address_heard(provider: IdentityProvider, session: Session, address: str) -> None:
    """Count an attempt that costs something from `address`; `OAuthError` 429 if it has to wait."""
    source, now = address_key(provider, session, address), provider.now()
    attempts.require_heard(session, (source,), now)
    attempts.count_address(session, source, now, provider.limits)


def address_key(provider: IdentityProvider, session: Session, address: str) -> str:
    """Return what an address is counted by; a keyed hash, as it is personal data."""
    return f"address:{login_index(session, provider.vault, attempts.address_key(address))}"


def _note_refusal(provider: IdentityProvider, database: Database, user: str | None) -> None:
    if user is None:  # whatever was typed as a name is not written down: it may be a password
        return
    with database.writing() as session:
        person = session.get_one(Person, user)
        provider.audit(
            session,
            actor=user,
            operation="session:open",
            object=f"user/{user}",
            organisation=person.organisation,
            outcome="refused",
            details={},
        )
