"""Cloud accounts of organisations: credentials sealed at rest, tried out before they are kept, never shown again."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, select
from sqlalchemy.orm import Mapped, Session, mapped_column

from ..errors import Conflict, InvalidInput, NotFound
from ..governance.tables import Base
from . import providers
from .driver import CloudDriver, Identity, PermissionMissing
from .overlays import PriceOverlay
from .secrets import Keyring

FIRST_FETCH_DAYS = 35
REREAD_DAYS = 5
"""Bills change for some days after they were first told, so each fetch reads these again."""
LONGEST_FETCH_DAYS = 400
_PAUSE = {"aws": timedelta(hours=6)}
"""Cost Explorer charges 0.01 USD a request (https://aws.amazon.com/aws-cost-management/aws-cost-explorer/pricing/)."""

_AGAIN = timedelta(hours=1)
"""After so long a fetch that failed is tried again by itself."""

_MOST_OVERLAYS = 100


class CloudAccount(Base):
    """An account at a cloud. One that was removed stays, without its credentials, as the source of what it billed."""

    __tablename__ = "cloud_accounts"

    id: Mapped[str] = mapped_column(primary_key=True)
    organisation: Mapped[str] = mapped_column(ForeignKey("organisations.id", ondelete="CASCADE"), index=True)
    provider: Mapped[str]
    title: Mapped[str]
    sealed: Mapped[str]
    identity: Mapped[dict[str, Any]]
    permissions: Mapped[list[Any]]
    overlays: Mapped[list[Any]]
    created: Mapped[datetime]
    checked: Mapped[datetime]
    removed: Mapped[datetime | None]
    fetch_state: Mapped[str] = mapped_column(default="never")
    fetch_at: Mapped[datetime | None]
    fetch_from: Mapped[date | None]
    fetch_to: Mapped[date | None]
    fetch_rows: Mapped[int] = mapped_column(BigInteger, default=0)
    fetch_problem: Mapped[dict[str, Any] | None]
    fetch_owner: Mapped[str | None]
    fetch_beat: Mapped[datetime | None]
    complete_until: Mapped[date | None]


def check(provider: str, credentials: Mapping[str, str]) -> Identity:
    """Sign in, and return whom the cloud takes the credentials for.

    Raises
    ------
    NotFound, InvalidInput
        Codes ``unknown-provider`` and ``bad-credentials``.
    CredentialsRefused, CloudUnreachable, Throttled
        From the cloud.
    PermissionMissing
        Neither costs nor prices nor launching would work; it names what is missing for each.
    """
    identity = providers.connect(provider, credentials).whoami()
    tried = list(dict.fromkeys(each.needed_for for each in identity.permissions))
    if tried and all(identity.missing(purpose) for purpose in tried):
        missing = {purpose: list(identity.missing(purpose)) for purpose in tried}
        told = "; ".join(f"for {purpose}: {', '.join(names)}" for purpose, names in missing.items())
        first = next(iter(missing.values()))[0]
        raise PermissionMissing(
            f"{identity.principal} may do nothing that is needed. Missing {told}.",
            hint="Give it the permissions of at least one purpose; docs/costs.md has a policy for each cloud.",
            permission=first,
            missing=missing,
        )
    return identity


def add(
    session: Session,
    keyring: Keyring,
    organisation: str,
    provider: str,
    title: str,
    credentials: Mapping[str, str],
    identity: Identity,
) -> CloudAccount:
    """Keep an account that `check` has tried out.

    Raises
    ------
    Conflict
        Code ``account-exists``: the organisation has entered this account of the provider already.
    """
    for other in listed(session, organisation):
        if other.provider == provider and other.identity["account"] == identity.account:
            raise Conflict(
                f"{identity.account} is entered already, as {other.title!r}.",
                code="account-exists",
                hint="Its bill would count twice. Remove the other one first to change credentials.",
                account=other.id,
            )
    now = datetime.now(UTC)
    account_id = secrets.token_hex(8)
    account = CloudAccount(
        id=account_id,
        organisation=organisation,
        provider=provider,
        title=title,
        sealed=keyring.seal(credentials, organisation, account_id),
        identity={},
        permissions=[],
        overlays=[],
        created=now,
        checked=now,
        fetch_state="never",
        fetch_rows=0,
    )
    _note(account, identity, now)
    session.add(account)
    session.flush()
    return account


def listed(session: Session, organisation: str | None) -> Sequence[CloudAccount]:
    """Return the accounts of an organisation, of all with None, oldest first."""
    query = select(CloudAccount).where(CloudAccount.removed.is_(None))
    if organisation is not None:
        query = query.where(CloudAccount.organisation == organisation)
    return session.scalars(query.order_by(CloudAccount.created, CloudAccount.id)).all()


def find(session: Session, organisation: str | None, account_id: str) -> CloudAccount:
    """Return an account of `organisation`, of any with None; `NotFound` (code ``unknown-account``) if it has none."""
    account = session.get(CloudAccount, account_id)
    if account is None or account.removed is not None or organisation not in (None, account.organisation):
        raise NotFound(
            f"There is no cloud account {account_id[:80]!r} for you.",
            code="unknown-account",
            hint="List them with `flaas costs account list`.",
        )
    return account


def credentials(account: CloudAccount, keyring: Keyring | None = None) -> dict[str, str]:
    """Return what the account signs in with; see `Keyring.open` for what can go wrong."""
    return (keyring or Keyring.load()).open(account.sealed, account.organisation, account.id)


def open_driver(
    session: Session, organisation: str | None, account_id: str, keyring: Keyring | None = None
) -> CloudDriver:
    """Return the driver of an account, signed in with its credentials.

    Raises
    ------
    NotFound
        Code ``unknown-account``.
    Conflict
        Code ``credentials-unreadable``.
    """
    account = find(session, organisation, account_id)
    return providers.connect(account.provider, credentials(account, keyring))


def note_check(account: CloudAccount, identity: Identity) -> None:
    """Keep what a new `check` has found.

    Raises
    ------
    Conflict
        Code ``account-changed``: the credentials sign in to another account by now.
    """
    if account.identity["account"] != identity.account:
        raise Conflict(
            f"The credentials of {account.title!r} sign in to {identity.account} by now, not to "
            f"{account.identity['account']}.",
            code="account-changed",
            hint="Remove the account and enter it again: the two bills must not be mixed.",
        )
    _note(account, identity, datetime.now(UTC))


def remove(account: CloudAccount) -> None:
    """Wipe an account's credentials, and show it no more; what it has billed stays."""
    account.sealed = ""
    account.removed = datetime.now(UTC)
    account.overlays = []
    account.fetch_owner = None
    if account.fetch_state == "running":
        account.fetch_state = "failed"


def set_overlays(account: CloudAccount, wanted: Sequence[Mapping[str, Any]]) -> None:
    """Keep the account's percentages off list prices.

    Raises
    ------
    InvalidInput
        Code ``bad-overlay``.
    """
    if len(wanted) > _MOST_OVERLAYS:
        raise InvalidInput(f"{len(wanted)} overlays; at most {_MOST_OVERLAYS} are kept.", code="bad-overlay")
    kept = []
    for each in wanted:
        overlay = PriceOverlay(
            account.provider, each["percent"], each.get("family_prefix") or None, each.get("region") or None
        )
        kept.append({"percent": overlay.percent, "family_prefix": overlay.family_prefix, "region": overlay.region})
    account.overlays = kept


def overlays(session: Session, organisation: str | None) -> list[PriceOverlay]:
    """Return the percentages of all accounts of an organisation."""
    return [
        PriceOverlay(account.provider, each["percent"], each["family_prefix"], each["region"])
        for account in listed(session, organisation)
        for each in account.overlays
    ]


# ---- fetching the bill ----------------------------------------------------------------------------------------------


def next_fetch(account: CloudAccount) -> datetime | None:
    """Return before when a fetch would cost again; None if it may be fetched at any time."""
    pause = _PAUSE.get(account.provider)
    if pause is None or account.fetch_at is None or account.fetch_state != "done":
        return None
    return account.fetch_at + pause


def is_due(account: CloudAccount, now: datetime, every: timedelta) -> bool:
    """Tell whether the bill of an account is to be fetched by itself.

    It is `every` so long after the fetch before, though not before that would cost again (`next_fetch`), and an hour
    after one that failed. An account whose costs may not be read, as far as it was tried, is left alone.

    Parameters
    ----------
    account : CloudAccount
    now : datetime
    every : timedelta
        0 for never.
    """
    if not every or account.removed is not None or account.fetch_state == "running" or not _tells_costs(account):
        return False
    if account.fetch_at is None:
        return True
    pause = min(_AGAIN, every) if account.fetch_state == "failed" else every
    return now >= max(account.fetch_at + pause, next_fetch(account) or account.fetch_at)


def _tells_costs(account: CloudAccount) -> bool:
    needed = [each["granted"] for each in account.permissions if each["needed_for"] == "costs"]
    return account.complete_until is not None or (bool(needed) and all(needed))


def ask_for_bill(
    account: CloudAccount, start: date | None, end: date | None, *, force: bool = False, now: datetime | None = None
) -> bool:
    """Have the bill from `start` to before `end` fetched in the background; tell whether anything is to be done.

    Nothing is if it is being fetched already, or, without `force`, was fetched less than six hours ago from a cloud
    that charges for each request.

    Raises
    ------
    InvalidInput
        Code ``bad-window``.
    """
    now = now or datetime.now(UTC)
    if account.fetch_state == "running":
        return False
    free = next_fetch(account)
    if free is not None and now < free and not force:
        return False
    today = now.date()
    end = end or today + timedelta(days=1)
    start = start or _default_start(account, today)
    if not start < end or (end - start).days > LONGEST_FETCH_DAYS or start.year < 2000 or end > today + timedelta(366):
        raise InvalidInput(
            f"From {start} to {end} is no window of a bill.",
            code="bad-window",
            hint=f"Give from before to, at most {LONGEST_FETCH_DAYS} days.",
        )
    account.fetch_state = "running"
    account.fetch_from, account.fetch_to = start, end
    account.fetch_owner = account.fetch_beat = account.fetch_problem = None
    return True


def _default_start(account: CloudAccount, today: date) -> date:
    first = today - timedelta(days=FIRST_FETCH_DAYS)
    if account.complete_until is None:
        return first
    return max(first, account.complete_until - timedelta(days=REREAD_DAYS))


def _note(account: CloudAccount, identity: Identity, now: datetime) -> None:
    account.identity = {
        "account": identity.account,
        "principal": identity.principal,
        "currency": identity.currency,
    }
    account.permissions = [
        {"permission": each.permission, "granted": each.granted, "needed_for": each.needed_for}
        for each in identity.permissions
    ]
    account.checked = now
