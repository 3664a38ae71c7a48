"""Launches: asked for by people within a budget, enrolled into by their machines, told to whoever may see them."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, cast
from urllib.parse import urlsplit

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...costs import accounts, providers
from ...costs.billing import budgets
from ...costs.billing.summary import Daily
from ...costs.driver import INSTALLATION_TAG, LAUNCH_TAG, CloudDriver, Machine, Market
from ...costs.launch import plan, states, usage
from ...costs.launch.plan import Asked, PriceOf, Wanted
from ...costs.launch.tables import EnrolmentRow, LaunchedMachine, LaunchRow
from ...costs.launch.tokens import digest
from ...costs.launch.worker import Drivers, Facts, NodeFact
from ...errors import Conflict, InvalidInput, NotAllowed, NotAuthenticated, NotFound
from .. import events, hal
from ..access import View
from ..database import Database
from ..launch_schemas import EnrolmentIn, LaunchIn, LaunchNodeIn
from ..presence import is_online
from ..schemas import NodeIn
from ..settings import Settings
from ..tables import Assignment, MembershipRow, Node, Project, Run
from . import nodes, recommendations
from .estimate import estimate

_OWN_MACHINE = ("127.0.0.1", "::1", "localhost")

BudgetLeft = Callable[[Session, str, str], float | None]
"""Session, organisation, project: USD that are left; None without a budget."""


# ---- asking ---------------------------------------------------------------------------------------------------------


def create(
    session: Session,
    view: View,
    project: Project,
    body: LaunchIn,
    *,
    url: str,
    price_of: PriceOf,
    budget_left: BudgetLeft,
) -> LaunchRow:
    """Write a launch within the budget; its worker does the rest.

    Raises
    ------
    Conflict
        ``price-unknown``, ``price-changed``, ``over-budget``; ``domain-key-changed``; ``node-exists``.
    InvalidInput
        ``duplicate-nodes``, ``unknown-provider``, ``account-needed``, ``bad-tag``, ``bad-source``,
        ``public-url-needed``.
    NotAllowed
        ``local-not-permitted``.
    NotFound
        ``unknown-account``.
    """
    organisation = view.require_for_own(project.id)
    if not url:
        raise InvalidInput(
            "Nobody knows where machines would find this API: the request's Host header is none.",
            hint="Its operator gives the address in FLAAS_PUBLIC_URL.",
        )
    if body.domain_key is not None and body.domain_key != project.domain_key:
        raise Conflict(
            f"The domain key of {project.id!r} is {project.domain_key} here, not {body.domain_key}.",
            code="domain-key-changed",
            hint="Ask the project's administrator over another channel before you launch.",
        )
    _require_names(session, organisation, [node.name for node in body.nodes])
    wanted = [_wanted(session, view, node) for node in body.nodes]
    _require_reachable(url, {node.provider for node in body.nodes})
    asked = Asked(
        project=project.id,
        organisation=organisation,
        created_by=view.caller.subject,
        hours=body.hours,
        url=url,
        accepted_usd=body.accepted_usd,
        nodes=wanted,
        title=body.title,
        template=body.template,
        rounds=body.rounds,
        budget_usd=body.budget_usd,
    )
    left = budget_left(session, organisation, project.id)
    if left is not None:
        left -= float(committed(session, organisation, project.id, view.now))
    launch = plan.create(session, asked, plan.require_affordable(asked, price_of, left), view.now)
    say(session, launch)
    return launch


def committed(session: Session, organisation: str, project: str, now: datetime) -> Decimal:
    """Return what the open launches of a project may still cost, beyond what they have."""
    query = select(LaunchRow).where(
        LaunchRow.organisation == organisation, LaunchRow.project == project, LaunchRow.state.not_in(states.OVER)
    )
    rest = (Decimal(str(row.accepted_usd)) - usage.spent(row.machines, now) for row in session.scalars(query))
    return sum((max(amount, Decimal(0)) for amount in rest), Decimal(0))


def find(session: Session, view: View, launch_id: str) -> LaunchRow:
    """Return the launch; `NotFound` (code ``unknown-launch``) if it is not the caller's organisation's."""
    launch = session.scalar(select(LaunchRow).where(LaunchRow.id == launch_id))
    if launch is None or not view.owns(launch.organisation, launch.project):
        raise NotFound(
            f"There is no launch {launch_id[:80]!r} for you.",
            code="unknown-launch",
            hint="List the launches of the project.",
        )
    return launch


def terminate(session: Session, launch: LaunchRow) -> None:
    """Have everything of a launch ended; once more changes nothing."""
    if launch.state in states.OVER or launch.ending:
        return
    launch.ending = True
    launch.state = plan.state_of(launch)
    say(session, launch)


def resume(session: Session, launch: LaunchRow, now: datetime, price_of: PriceOf) -> None:
    """Try the failed nodes of a launch again.

    Raises
    ------
    Conflict
        ``launch-not-stuck``, ``price-changed``.
    """
    failed = [row for row in plan.latest(launch.machines) if row.state == states.FAILED]
    if launch.ending or launch.state != states.STUCK or now >= launch.ends_at:
        raise Conflict(
            f"Launch {launch.id} is {launch.state}; only one that is stuck can be resumed.",
            code="launch-not-stuck",
            hint="Launch anew.",
        )
    for row in failed:
        present = price_of(row.provider, row.region, row.instance_type, row.market, launch.organisation)
        if row.provider not in plan.OWN and (present is None or Decimal(str(present)) > row.price):
            raise Conflict(
                f"{row.instance_type} in {row.region} costs {present} USD per hour now; {row.price} were accepted.",
                code="price-changed",
                hint="End this launch, and launch anew from a new recommendation.",
                accepted_usd=float(row.price),
                present_usd=present,
                node=row.node,
            )
    for row in failed:
        plan.again(session, launch, row, now)
    launch.state = plan.state_of(launch)
    say(session, launch)


def show(view: View, launch: LaunchRow) -> hal.Resource:
    """Return a launch as it is answered."""
    href = f"/v1/launches/{launch.id}"
    writes = view.may_for("launch:write", launch.organisation, launch.project)
    body = {
        "id": launch.id,
        "project": launch.project,
        "organisation": launch.organisation,
        "title": launch.title,
        "template": launch.template,
        "state": launch.state,
        "created": hal.instant(launch.created),
        "created_by": launch.created_by,
        "hours": launch.hours,
        "ends_at": hal.instant(launch.ends_at),
        "accepted_usd": launch.accepted_usd,
        "spent_usd": _usd(launch.machines, view.now),
        "rounds": launch.rounds,
        "run": launch.run,
        "round": launch.round,
        "problem": launch.problem,
        "nodes": [
            {
                "name": row.node,
                "provider": row.provider,
                "account": row.account,
                "region": row.region,
                "instance_type": row.instance_type,
                "market": row.market,
                "usd_hour": float(row.usd_hour),
                "state": row.state,
                "machine": row.machine,
                "node_id": row.node_id,
                "started": hal.instant(row.started),
                "ended": hal.instant(row.ended),
                "spent_usd": _usd([each for each in launch.machines if each.node == row.node], view.now),
                "attempts": row.attempt,
                "problem": row.problem,
            }
            for row in plan.latest(launch.machines)
        ],
    }
    open_still = launch.state not in states.OVER and not launch.ending
    stuck = open_still and launch.state == states.STUCK and view.now < launch.ends_at
    return hal.resource(
        body,
        href,
        project=hal.link(f"/v1/projects/{launch.project}"),
        run=hal.link(f"/v1/runs/{launch.run}") if launch.run else None,
        terminate=hal.link(f"{href}/terminate", "POST") if writes and open_still else None,
        resume=hal.link(f"{href}/resume", "POST") if writes and stuck else None,
    )


def say(session: Session, launch: LaunchRow) -> None:
    """Write the event that tells of a launch's state."""
    data = {"launch": launch.id, "state": launch.state}
    events.append(session, "launch.changed", project=launch.project, data=data)


# ---- enrolling ------------------------------------------------------------------------------------------------------


def enrol(session: Session, settings: Settings, body: EnrolmentIn) -> tuple[LaunchRow, Node, bool]:
    """Swap a single-use secret for a registration; the same key again gets the same answer.

    Raises
    ------
    NotAuthenticated
        ``bad-enrolment``: not known, or for another node; ``enrolment-expired``; ``bad-signature``.
    NotAllowed
        ``enrolment-used``: by another key, or the node was removed since.
    Conflict
        ``launch-over``, ``node-exists``.
    """
    wanted = digest(body.secret)
    row = session.get(EnrolmentRow, wanted)
    if row is None or not hmac.compare_digest(row.digest, wanted) or row.node != body.name:
        raise NotAuthenticated(
            "This enrolment secret is not known.",
            code="bad-enrolment",
            hint="An invitation may still wait for approval, or was taken back: ask who invited. "
            "A launch makes a secret for each machine.",
        )
    now = datetime.now(UTC)
    launch = session.get_one(LaunchRow, row.launch)
    machine = session.get_one(LaunchedMachine, (row.launch, row.node, row.attempt))
    if now >= row.expires:
        raise NotAuthenticated("The enrolment secret has expired.", code="enrolment-expired", hint="Launch anew.")
    if row.used_by is not None and row.used_by != body.id:
        raise NotAllowed(
            "The enrolment secret was used by another key.",
            code="enrolment-used",
            hint="If that was not your machine, end the launch at once.",
        )
    if launch.ending or machine.over or machine.state in (states.ENDING, states.ENDED, states.FAILED):
        raise Conflict(
            f"The machine {row.node} of launch {launch.id} is to end.", code="launch-over", hint="Launch anew."
        )
    if row.used_by is not None and session.get_one(Node, row.used_by).removed is not None:
        raise NotAllowed(
            f"Node {row.used_by} was removed after it had used this enrolment secret.",
            code="enrolment-used",
            hint="Launch anew.",
        )
    registration = NodeIn(id=body.id, name=body.name, projects=[launch.project], version=body.version, proof=body.proof)
    node, new = nodes.register(session, launch.organisation, registration)
    # Writers take turns, so that of two keys at the same time the second finds it used.
    row.used_by, row.used = node.id, row.used or now
    if machine.node_id != node.id:
        machine.node_id = node.id
        session.flush()
        say(session, launch)
    return launch, node, new


# ---- what the worker asks and tells ---------------------------------------------------------------------------------


class NodesAndRuns:
    """The worker's view of nodes and runs; see `flaas_jupyter.costs.launch.worker.Surroundings`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def facts(self, session: Session, launch: LaunchRow) -> Facts:
        """Return what is known of the launch's nodes, and the newest run that they are in."""
        ids = [row.node_id for row in launch.machines if row.node_id is not None]
        if not ids:
            return Facts()
        now = datetime.now(UTC)
        members = set(
            session.scalars(
                select(MembershipRow.node).where(MembershipRow.project == launch.project, MembershipRow.node.in_(ids))
            )
        )
        parts = (
            select(Run, Assignment.node)
            .join(Assignment, Assignment.run == Run.number)
            .where(Assignment.node.in_(ids), Run.project == launch.project, Assignment.state == "accepted")
            .order_by(Run.number)
        )
        training: set[str] = set()
        newest: Run | None = None
        for run, node_id in session.execute(parts):
            newest = run
            if run.state in ("running", "finishing"):
                training.add(node_id)
        known = session.scalars(select(Node).where(Node.id.in_(ids)))
        return Facts(
            {
                node.id: NodeFact(
                    member=node.id in members,
                    online=is_online(node, now, self._settings),
                    training=node.id in training,
                    removed=node.removed is not None,
                )
                for node in known
            },
            run=newest.id if newest is not None else None,
            round=newest.round if newest is not None else None,
        )

    def domain_key(self, session: Session, project: str) -> str:
        """Return the public domain key of `project`."""
        return session.get_one(Project, project).domain_key

    def changed(self, session: Session, launch: LaunchRow) -> None:
        """Write the launch's event."""
        say(session, launch)

    def gone(self, session: Session, launch: LaunchRow, row: LaunchedMachine) -> None:
        """Take the machine's node out of everything but the history of its runs; its key is lost with the machine."""
        node = session.get(Node, row.node_id) if row.node_id is not None else None
        if node is not None and node.removed is None:
            nodes.remove(session, node)


def reaped(session: Session, machine: Machine) -> None:
    """Write the event of an orphan that was ended, if its project is known."""
    project = session.get(Project, machine.tags.get("flaas-project", ""))
    if project is not None:
        data = {
            "machine": machine.id,
            "provider": machine.provider,
            "region": machine.region,
            "launch": machine.tags.get(LAUNCH_TAG, ""),
            "installation": machine.tags.get(INSTALLATION_TAG, ""),
        }
        events.append(session, "launch.orphan", project=project.id, data=data)


def drivers_of(database: Database, settings: Settings) -> Drivers:
    """Return what opens the driver of an organisation's account, or of this machine."""

    def driver(organisation: str, provider: str, account: str | None) -> CloudDriver:
        if provider == "local":
            from ...costs.providers.local import LocalDriver

            return LocalDriver({}, folder=settings.local_folder)
        if account is None:
            raise _account_needed(provider)
        with database.reading() as session:
            return accounts.open_driver(session, organisation, account)

    return driver


def catalog_price(session: Session, prices: recommendations.Prices) -> PriceOf:
    """Return the prices that organisations pay, from the catalog."""

    def price(provider: str, region: str, instance_type: str, market: str, organisation: str) -> float | None:
        return recommendations.price_of(
            session, prices, organisation, provider, region, instance_type, cast(Market, market)
        )

    return price


def daily_of(prices: recommendations.Prices) -> Daily:
    """Return the live estimate with traffic at the prices that are known when it is asked; see `estimate`."""

    def daily(session: Session, organisation: str | None, start: date, end: date) -> list[dict[str, Any]]:
        return estimate(prices.catalog().egress)(session, organisation, start, end)

    return daily


def budget_left_by(daily: Daily) -> BudgetLeft:
    """Return what tells how much is left of a budget, counted by `daily` or by the bill, whichever is more."""

    def left(session: Session, organisation: str, project: str) -> float | None:
        if budgets.find(session, organisation, project) is None:
            return None
        stands = budgets.standing(session, organisation, project, daily, datetime.now(UTC).date())
        return None if stands.budget_usd is None else stands.budget_usd - float(stands.spent_usd)

    return left


# ---- checks ---------------------------------------------------------------------------------------------------------


def _wanted(session: Session, view: View, node: LaunchNodeIn) -> Wanted:
    if node.provider not in providers.names():
        raise InvalidInput(
            f"There is no driver for {node.provider!r}; there is: {', '.join(providers.names())}.",
            code="unknown-provider",
        )
    if node.provider == "local":
        if view.settings.local_folder is None:
            raise NotAllowed(
                "This API launches nothing on its own machine.",
                code="local-not-permitted",
                hint="Its operator permits it by naming a folder in FLAAS_LOCAL_MACHINES.",
            )
    else:
        if node.account is None:
            raise _account_needed(node.provider)
        account = accounts.find(session, view.caller.organisation, node.account)
        if account.provider != node.provider:
            raise InvalidInput(
                f"The account {node.account} is one of {account.provider}, not of {node.provider}.",
                code="account-needed",
                hint="Choose an account of that provider.",
            )
    return Wanted(
        name=node.name,
        provider=node.provider,
        region=node.region,
        instance_type=node.instance_type,
        usd_hour=node.usd_hour,
        account=node.account if node.provider != "local" else None,
        market=node.market,
        disk_gib=node.disk_gib,
        dataset=node.dataset.model_dump() if node.dataset is not None else None,
    )


def _require_reachable(url: str, wanted: Iterable[str]) -> None:
    """Refuse to pay for machines that could never find this API: a loopback address means another machine there."""
    clouds = sorted(name for name in wanted if name in providers.CLOUDS and providers.endpoint(name).base is None)
    if clouds and urlsplit(url).hostname in _OWN_MACHINE:
        raise InvalidInput(
            f"Machines at {', '.join(clouds)} could not find this API: {url} is an address of its own machine.",
            code="public-url-needed",
            hint="Its operator sets FLAAS_PUBLIC_URL to the address that others reach it at.",
        )


def _require_names(session: Session, organisation: str, names: Sequence[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InvalidInput(
            f"Two nodes are named {twice[0]!r}.", code="duplicate-nodes", hint="Give each node a name of its own."
        )
    registered = select(Node.name).where(
        Node.organisation == organisation, Node.name.in_(names), Node.removed.is_(None)
    )
    launched = (
        select(LaunchedMachine.node)
        .join(LaunchRow, LaunchRow.number == LaunchedMachine.launch)
        .where(
            LaunchRow.organisation == organisation,
            LaunchRow.state.not_in(states.OVER),
            LaunchedMachine.node.in_(names),
        )
    )
    taken = sorted({*session.scalars(registered), *session.scalars(launched)})
    if taken:
        raise Conflict(
            f"Your organisation has a node {taken[0]!r} already.",
            code="node-exists",
            hint="Choose another name, or end the launch that it belongs to.",
        )


def _account_needed(provider: str) -> InvalidInput:
    return InvalidInput(
        f"Launching at {provider} takes a cloud account.",
        code="account-needed",
        hint="Enter one with `flaas costs account add`.",
    )


def _usd(machines: Sequence[LaunchedMachine], now: datetime) -> float:
    return float(round(usage.spent(machines, now), 6))
