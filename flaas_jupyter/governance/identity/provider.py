"""The identity provider of one API process: what all of its parts share."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

from sqlalchemy import delete
from sqlalchemy.orm import Session

from ..confidentiality import Vault
from . import attempts, keys
from .attempts import Limits, RecentWaits
from .clients import BUILT_IN, Client
from .keys import KeyRing, Signer
from .passwords import Passwords
from .sealing import default_vault, login_index
from .tables import AuthorizationCode, BrowserSignIn, DeviceCode, Invitation, RefreshToken, SignIn

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lifetimes:
    """How long what is valid.

    Parameters
    ----------
    access : int
        Seconds of an access token; 300 to 600.
    code, browser, device : timedelta
        Of an authorization code, of the time between password and consent, and of a device code.
    idle, absolute : timedelta
        A sign-in ends when its refresh token was not used for so long, and in any case after so long.
    interval : int
        Seconds between two polls of a device.
    """

    access: int = 300
    code: timedelta = timedelta(seconds=60)
    browser: timedelta = timedelta(minutes=10)
    device: timedelta = timedelta(minutes=10)
    idle: timedelta = timedelta(days=7)
    absolute: timedelta = timedelta(days=30)
    interval: int = 5


class AuditHook(Protocol):
    """Writes what happened into the audit log, in the caller's transaction."""

    def __call__(
        self,
        session: Session,
        *,
        actor: str,
        operation: str,
        object: str,
        organisation: str | None,
        outcome: Literal["done", "refused"],
        details: Mapping[str, Any],
    ) -> None:
        """Append one entry: ids and digests only."""


def _unwritten(session: Session, **entry: Any) -> None:
    """Without an audit log, the process's own log has it."""
    logger.info("%(operation)s by %(actor)s on %(object)s: %(outcome)s", entry)


class IdentityProvider:
    """Settings, keys and hashing of one API process.

    Parameters
    ----------
    load_keys : callable
        Returns the published keys from the data base (`keys.jwk_set` in a reading session).
    vault : Vault, optional
        By default the installation's.
    passwords : Passwords, optional
        Hashes passwords.
    lifetimes : Lifetimes, optional
        How long what is valid.
    limits : Limits, optional
        How many attempts are heard.
    clients : mapping, optional
        By default those that are built in.
    clock : callable
        Unix seconds.
    audit : AuditHook, optional
        Is told of sign-ins, sign-outs and stolen tokens.
    """

    def __init__(
        self,
        load_keys: Callable[[], Mapping[str, list[dict[str, str]]]],
        *,
        vault: Vault | None = None,
        passwords: Passwords | None = None,
        lifetimes: Lifetimes | None = None,
        limits: Limits | None = None,
        clients: Mapping[str, Client] = BUILT_IN,
        clock: Callable[[], float] = lambda: datetime.now(UTC).timestamp(),
        audit: AuditHook | None = None,
    ) -> None:
        self.vault = vault or default_vault()
        self.passwords = passwords or Passwords()
        self.lifetimes = lifetimes or Lifetimes()
        self.limits = limits or Limits()
        self.clients = clients
        self.clock = clock
        self.audit: AuditHook = audit or _unwritten
        self.waits = RecentWaits()
        self.signer = Signer(self.vault)
        self.keys = KeyRing(load_keys)

    def now(self) -> datetime:
        """Return the present."""
        return datetime.fromtimestamp(self.clock(), UTC)

    def prepare(self, session: Session) -> None:
        """Make the signing keys and the key of indices if they are missing; `session` is a writing one."""
        login_index(session, self.vault, "")
        keys.ensure(session, self.vault, self.now())

    def prune(self, session: Session) -> None:
        """Remove what has expired; `session` is a writing one. Ended sign-ins are kept for a day to be told of."""
        now = self.now()
        for table in (AuthorizationCode, BrowserSignIn, DeviceCode):
            session.execute(delete(table).where(table.expires < now - timedelta(hours=1)))
        session.execute(delete(Invitation).where(Invitation.expires < now))
        over = (SignIn.expires < now) | (SignIn.ended < now - timedelta(days=1))
        gone = SignIn.__table__.select().with_only_columns(SignIn.id).where(over)
        session.execute(delete(RefreshToken).where(RefreshToken.sign_in.in_(gone)))
        session.execute(delete(SignIn).where(over))
        attempts.prune(session, now)


def issuer_of(audience: str) -> str:
    """Return the issuer of an API whose origin is `audience` (``scheme://host:port``): without a default port."""
    for scheme, port in (("https://", ":443"), ("http://", ":80")):
        if audience.startswith(scheme) and audience.endswith(port):
            return audience.removesuffix(port)
    return audience
