"""From what was asked for to rows: prices, budget, tokens, orders. Nothing here talks to a cloud."""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, Literal, cast

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...errors import Conflict, InvalidInput
from ..driver import MachineOrder
from . import cloud_init, states
from .tables import EnrolmentRow, Installation, LaunchedMachine, LaunchRow
from .tokens import SecretKey, digest, machine_token

OWN: Final = ("local", "ssh")
"""Providers whose machines are there anyway: they cost nothing but what one says they do."""
GRACE_MINUTES: Final = 15
"""How long after its end a machine may take to be ended by the API, before it ends by itself."""

_TAG = re.compile(r"[a-z][a-z0-9-]{0,62}")
_CENT = Decimal("0.005")

PriceOf = Callable[[str, str, str, str, str], float | None]
"""Provider, region, instance type, market, organisation: USD per hour as it is known; None if it is not."""


@dataclass(frozen=True)
class Wanted:
    """One node as it was asked for; `usd_hour` is what the person saw."""

    name: str
    provider: str
    region: str
    instance_type: str
    usd_hour: float
    account: str | None = None
    market: Literal["on_demand", "spot"] = "on_demand"
    disk_gib: int = 30
    dataset: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Asked:
    """A launch as it was asked for; `url` is where its nodes find the API."""

    project: str
    organisation: str
    created_by: str
    hours: float
    url: str
    accepted_usd: float
    nodes: Sequence[Wanted]
    title: str | None = None
    template: str | None = None
    rounds: int | None = None
    budget_usd: float | None = None


def installation(session: Session) -> str:
    """Return the id of this installation; a writing session makes it the first time."""
    row = session.get(Installation, 1)
    if row is None:
        row = Installation(number=1, id="i" + secrets.token_hex(10))
        session.add(row)
        session.flush()
    return row.id


def require_affordable(asked: Asked, price_of: PriceOf, left_usd: float | None) -> list[Decimal]:
    """Check prices and budget; return the price of each node, in USD per hour.

    Parameters
    ----------
    asked : Asked
        What was asked for, with the prices that the person saw.
    price_of : callable
        The prices that are known now.
    left_usd : float, optional
        What is left of the project's budget; None without one.

    Raises
    ------
    Conflict
        ``price-unknown``; ``price-changed``: dearer than what was accepted, both figures are told; ``over-budget``.
    """
    prices = [_price(node, asked.organisation, price_of) for node in asked.nodes]
    total = sum((price * Decimal(str(asked.hours)) for price in prices), Decimal(0))
    accepted = Decimal(str(asked.accepted_usd))
    if total > accepted + _CENT:
        raise Conflict(
            f"The machines cost {total:.2f} USD for {asked.hours:g} hours; {accepted:.2f} USD were accepted.",
            code="price-changed",
            hint="Ask for the recommendation again, and accept its total.",
            accepted_usd=asked.accepted_usd,
            present_usd=float(total),
        )
    planned = max(total, accepted)
    for limit, budget, whose in (
        (asked.budget_usd, "launch", "this launch"),
        (left_usd, "project", f"project {asked.project!r}"),
    ):
        if limit is not None and planned > Decimal(str(limit)) + _CENT:
            raise Conflict(
                f"The launch costs {planned:.2f} USD; {max(limit, 0):.2f} USD are left of the budget of {whose}.",
                code="over-budget",
                hint="Choose cheaper machines or fewer hours, or have the budget raised.",
                planned_usd=float(planned),
                left_usd=limit,
                budget=budget,
            )
    return prices


def create(session: Session, asked: Asked, prices: Sequence[Decimal], now: datetime) -> LaunchRow:
    """Write the launch and a first attempt at each node; its worker does the rest.

    Raises
    ------
    InvalidInput
        ``bad-tag``: the project's id cannot mark machines; ``bad-source``: a cloud's machine cannot get at the data.
    """
    if not _TAG.fullmatch(asked.project):
        raise InvalidInput(
            f"The project's id {asked.project!r} cannot be a tag in every cloud.",
            code="bad-tag",
            hint="Launch for a project whose id starts with a letter.",
        )
    for node in asked.nodes:
        _require_source(node)
    launch = LaunchRow(
        id="l" + secrets.token_hex(8),
        project=asked.project,
        organisation=asked.organisation,
        title=asked.title,
        template=asked.template,
        rounds=asked.rounds,
        hours=asked.hours,
        accepted_usd=asked.accepted_usd,
        state=states.LAUNCHING,
        created=now,
        created_by=asked.created_by,
        ends_at=now + timedelta(hours=asked.hours),
        url=asked.url,
        machines=[],
    )
    session.add(launch)
    session.flush()
    identity = installation(session)
    for position, (node, price) in enumerate(zip(asked.nodes, prices, strict=True)):
        launch.machines.append(
            LaunchedMachine(
                launch=launch.number,
                node=node.name,
                attempt=1,
                position=position,
                token=machine_token(identity, launch.id, node.name, 1),
                provider=node.provider,
                account=node.account,
                region=node.region,
                instance_type=node.instance_type,
                market=node.market,
                usd_hour=str(price),
                disk_gib=node.disk_gib,
                dataset=dict(node.dataset) if node.dataset is not None else None,
                state=states.PLANNED,
                planned=now,
            )
        )
    session.flush()
    return launch


def again(session: Session, launch: LaunchRow, failed: LaunchedMachine, now: datetime) -> LaunchedMachine:
    """Write another attempt at the node of `failed`, with a token of its own."""
    attempt = failed.attempt + 1
    row = LaunchedMachine(
        launch=launch.number,
        node=failed.node,
        attempt=attempt,
        position=failed.position,
        token=machine_token(installation(session), launch.id, failed.node, attempt),
        provider=failed.provider,
        account=failed.account,
        region=failed.region,
        instance_type=failed.instance_type,
        market=failed.market,
        usd_hour=failed.usd_hour,
        disk_gib=failed.disk_gib,
        dataset=failed.dataset,
        state=states.PLANNED,
        planned=now,
    )
    launch.machines.append(row)
    session.flush()
    return row


@dataclass(frozen=True)
class Booting:
    """What all machines of an installation boot with.

    Parameters
    ----------
    software : Software
        What is installed.
    listen : tuple of str
        Where a node's mesh listens; nothing leaves it to what holds for its API (`MeshSettings.load`).
    ca_fingerprint : str, optional
        What nodes pin for the API, see `flaas_jupyter.communications.trust`.
    """

    software: cloud_init.Software
    listen: tuple[str, ...] = ()
    ca_fingerprint: str | None = None


def intend(
    session: Session,
    launch: LaunchRow,
    row: LaunchedMachine,
    *,
    booting: Booting,
    domain_key: str,
    key: SecretKey,
    now: datetime,
) -> None:
    """Make all that a launch of `row` needs, to be committed before its cloud is asked.

    Raises
    ------
    InvalidInput
        The order cannot be made: ``user-data-too-large``, ``bad-tag``.
    """
    left = max((launch.ends_at - now) / timedelta(minutes=1), 0)
    row.max_minutes = math.ceil(left) + GRACE_MINUTES
    node = {
        "url": launch.url,
        "secret": cloud_init.SECRET_PLACE,
        "organisation": launch.organisation,
        "project": launch.project,
        "domain_key": domain_key,
        "name": row.node,
        "datasets": [row.dataset] if row.dataset is not None else [],
        "listen": list(booting.listen),
        "end_by": launch.ends_at.astimezone(UTC).isoformat(timespec="seconds"),
    }
    if booting.ca_fingerprint is not None:
        node["ca_fingerprint"] = booting.ca_fingerprint
    row.user_data = cloud_init.build(node, booting.software, row.max_minutes)
    secret = key.enrolment(launch.id, row.node, row.attempt)
    order(launch, row, installation(session), key)  # an order that no cloud could take is refused before it is stored
    session.merge(
        EnrolmentRow(
            digest=digest(secret), launch=launch.number, node=row.node, attempt=row.attempt, expires=launch.ends_at
        )
    )
    row.state = states.LAUNCHING


def order(launch: LaunchRow, row: LaunchedMachine, installation_id: str, key: SecretKey) -> MachineOrder:
    """Return the order of `row`; the same every time."""
    assert row.user_data is not None
    assert row.max_minutes is not None
    secret = key.enrolment(launch.id, row.node, row.attempt)
    return MachineOrder(
        token=row.token,
        installation=installation_id,
        project=launch.project,
        launch=launch.id,
        node=row.node,
        region=row.region,
        instance_type=row.instance_type,
        user_data=cloud_init.with_secret(row.user_data, secret),
        max_minutes=row.max_minutes,
        market=cast(Literal["on_demand", "spot"], row.market),
        disk_gib=row.disk_gib,
    )


def latest(machines: Sequence[LaunchedMachine]) -> list[LaunchedMachine]:
    """Return the last attempt at each node, in the order of the launch."""
    by_node: dict[str, LaunchedMachine] = {}
    for row in sorted(machines, key=lambda row: (row.position, row.attempt)):
        by_node[row.node] = row
    return list(by_node.values())


def state_of(launch: LaunchRow) -> str:
    """Return the state that follows from the launch's machines."""
    counted = latest(launch.machines)
    shown = [(row.state, row.over) for row in counted]
    # An earlier attempt of which something may be left keeps a launch from being over, and shows nowhere else.
    shown += [(states.ENDED, False) for row in launch.machines if row not in counted and not row.over]
    return states.of_launch(shown, ending=launch.ending)


def open_launches(session: Session) -> list[int]:
    """Return the numbers of the launches of which something may be left."""
    query = select(LaunchRow.number).where(LaunchRow.state.not_in(states.OVER)).order_by(LaunchRow.number)
    return list(session.scalars(query))


def _price(node: Wanted, organisation: str, price_of: PriceOf) -> Decimal:
    seen = Decimal(str(node.usd_hour))
    if node.provider in OWN:
        return seen
    known = price_of(node.provider, node.region, node.instance_type, node.market, organisation)
    if known is None:
        raise Conflict(
            f"There is no price for {node.instance_type} ({node.market}) in {node.region} at {node.provider}.",
            code="price-unknown",
            hint="Choose a machine from the recommendation, or have the prices fetched anew.",
        )
    present = Decimal(str(known))
    if present > seen:
        raise Conflict(
            f"{node.instance_type} in {node.region} costs {present} USD per hour now; {seen} were accepted.",
            code="price-changed",
            hint="Ask for the recommendation again, and accept its total.",
            accepted_usd=float(seen),
            present_usd=float(present),
            node=node.name,
        )
    return present


def _require_source(node: Wanted) -> None:
    source = str(node.dataset["source"]) if node.dataset is not None else ""
    if "://" in source and not source.startswith("https://"):
        raise InvalidInput(
            f"The data set of {node.name} cannot be fetched from {source[:80]!r}.",
            code="bad-source",
            hint="Give an https:// address.",
        )
    if source and node.provider not in OWN and not source.startswith("https://"):
        raise InvalidInput(
            f"A new machine at {node.provider} has no file {source[:80]!r}.",
            code="bad-source",
            hint="Give an https:// address that it can fetch the data from.",
        )
