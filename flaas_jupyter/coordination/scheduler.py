"""What moves a run forward without anybody asking: gathering its nodes, electing its aggregator, running out of time.

`advance` looks at one run and does all that is due. It is level-triggered: it is called when something has changed
(a node came online, an answer arrived) and when time has passed, and calling it once more does nothing. So nothing
is lost when the process is killed, and several processes may do it on one data base.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import Select, delete, func, select
from sqlalchemy.orm import Session

from ..errors import Aborted, FlaasError
from . import idempotency, states
from .database import Database
from .presence import Presence, is_online, online
from .services import datasets, vertical
from .settings import Settings
from .states import State
from .tables import Assignment, Node, NodeProject, Run, SeenRequest

logger = logging.getLogger(__name__)

_PURGE_SECONDS = 600.0


class Scheduler:
    """Advances runs.

    Parameters
    ----------
    database : Database
        Where they are.
    settings : Settings
        How long to wait for what.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._awake_since = self._ticked = self._purged = self._heard = datetime.now(UTC)
        self._reached_since = datetime.min.replace(tzinfo=UTC)

    def heard(self) -> None:
        """Take note that somebody who is signed in has asked something: this process can be reached."""
        self._heard = datetime.now(UTC)

    async def run(self, presence: Presence) -> None:
        """Look at deadlines for ever."""
        while True:
            try:
                await self._database.run(self.tick, presence)
            except Exception:
                logger.exception("deadlines could not be looked at")
            await asyncio.sleep(self._settings.tick)

    def tick(self, presence: Presence) -> None:
        """Look at all deadlines once."""
        now = datetime.now(UTC)
        # A process that has slept (a laptop, a stopped container) has missed what its nodes did meanwhile.
        if now - self._ticked > timedelta(seconds=self._settings.tick + self._settings.online_window / 2):
            self._awake_since = now
        self._ticked = now
        with self._database.reading() as session:
            stale = presence.has_stale(session, now)
            quiet = now - self._heard > timedelta(seconds=self._settings.online_window)
            alone = quiet and session.scalar(select(Node.id).where(online(now, self._settings)).limit(1)) is None
            waiting = session.scalars(select(Run.number).where(Run.state.in_(states.OPEN))).all()
        if alone:
            # Nobody at all: it may well be this API that is cut off, and nodes have each other to go on with.
            self._reached_since = now
        if stale and now >= self._awake_since + timedelta(seconds=self._settings.heartbeat):
            with self._database.writing() as session:
                presence.sweep(session, now)
        for number in waiting:
            with self._database.writing() as session:
                self.advance(session, session.get_one(Run, number))
        if now - self._purged > timedelta(seconds=_PURGE_SECONDS):
            self._purged = now
            with self._database.writing() as session:
                session.execute(delete(SeenRequest).where(SeenRequest.expires < now - timedelta(minutes=5)))
                idempotency.purge(session)

    def node_came_online(self, session: Session, node: Node) -> None:
        """Advance what may have waited for `node`."""
        projects = select(NodeProject.project).where(NodeProject.node == node.id)
        self._advance_all(session, select(Run).where(Run.project.in_(projects), Run.state.in_(states.OPEN)))

    def project_changed(self, session: Session, project: str) -> None:
        """Advance what may have waited for a data set of `project`."""
        self._advance_all(session, select(Run).where(Run.project == project, Run.state == State.QUEUED))

    def advance(self, session: Session, run: Run) -> None:
        """Do all that is due for `run`, in the writing session `session`."""
        now = datetime.now(UTC)
        if run.state == State.PAUSED:
            return  # no time passes for it
        if run.state == State.QUEUED:
            self._gather(session, run, now)
        elif run.state in states.OPEN and run.term == 0:
            self._elect_first(session, run, now)
        elif run.state in states.OPEN:
            self._keep_led(session, run, now)

    def resumed(self, session: Session, run: Run) -> None:
        """Let the time of a run go on that was paused: what it waits for, it waits for anew."""
        run.resumed = datetime.now(UTC)
        if run.gather_until is not None and run.term == 0:
            run.gather_until = run.resumed + timedelta(seconds=self._settings.gather_timeout)
        self.advance(session, run)

    def _advance_all(self, session: Session, query: Select[Run]) -> None:
        for run in session.scalars(query.order_by(Run.number)).all():
            self.advance(session, run)

    def _gather(self, session: Session, run: Run, now: datetime) -> None:
        """Invite the nodes that hold the data set, as soon as enough of them are online."""
        present = [
            holding
            for holding in _holdings(session, run)
            if holding.node.quarantined is None and is_online(holding.node, now, self._settings)
        ]
        if len(present) < run.needed:
            return
        try:
            if not vertical.is_vertical(run):  # its parties bring different columns
                datasets.require_same_schema(run.dataset, present)
        except FlaasError as error:  # described anew since the run was created
            states.fail(session, run, error)
            return
        states.move(session, run, State.GATHERING, states.Actor.API)
        run.gather_until = now + timedelta(seconds=self._settings.gather_timeout)
        for holding in present:
            states.invite(session, run, holding.node.id, holding.dataset.rows)

    def _elect_first(self, session: Session, run: Run, now: datetime) -> None:
        """Elect an aggregator once every invited node has answered, or the time for it is over."""
        assert run.gather_until is not None
        open_answers = any(participant.state == states.INVITED for participant in run.participants)
        hopeless = vertical.is_vertical(run) and vertical.left(run) is not None  # it needs all
        if open_answers and now < run.gather_until and not hopeless:
            return
        accepted = _accepted(run)
        if len(accepted) < run.needed:
            states.fail(session, run, _too_few(run, len(accepted)))
            return
        if vertical.is_vertical(run):
            accepted = vertical.candidates(run, accepted)
        given_up = max(run.gather_until, self._counted) + self._patience
        if not self._elect(session, run, accepted, now) and now >= given_up:
            states.fail(session, run, _nobody_leads(run, self._settings.patience))

    def _keep_led(self, session: Session, run: Run, now: datetime) -> None:
        """Replace an aggregator that has been offline for too long, or is in quarantine.

        One whose own data or model failed goes on leading: that takes none, and it knows why others failed.
        """
        reason = vertical.left(run) if vertical.is_vertical(run) else None
        if reason is not None:
            states.fail(session, run, reason)
            return
        leader = _leader(run)
        barred = run.created if leader is None else leader.member.quarantined
        if leader is None or barred is not None:
            gone_for = now - (barred or run.created)
        else:
            gone_for = self._absence(leader.member, now)
        if barred is None and gone_for <= timedelta(seconds=self._settings.aggregator_timeout):
            return
        # The label cannot be led by another: a vertical run waits for its own, and then ends.
        others = [
            participant
            for participant in ([] if vertical.is_vertical(run) else _accepted(run))
            if participant.node != run.aggregator
        ]
        if self._elect(session, run, others, now):
            return
        since_resumed = gone_for if run.resumed is None else now - run.resumed
        if min(gone_for, since_resumed) > self._patience:
            states.fail(session, run, _nobody_leads(run, self._settings.patience))

    def _absence(self, node: Node, now: datetime) -> timedelta:
        """How long `node` has been offline, as far as this process can judge."""
        if is_online(node, now, self._settings) or node.last_seen is None:
            return timedelta(0)
        return now - max(node.last_seen, self._counted)

    @property
    def _counted(self) -> datetime:
        """From when on this process counts who is away: it was asleep or cut off before, or has just started."""
        return max(self._awake_since, self._reached_since) + timedelta(seconds=self._settings.start_grace)

    def _elect(self, session: Session, run: Run, candidates: Iterable[Assignment], now: datetime) -> bool:
        """Appoint the best of the `candidates` that are online; False if none is."""
        present = [participant.node for participant in candidates if is_online(participant.member, now, self._settings)]
        if not present:
            return False
        leading = dict(
            session.execute(
                select(Run.aggregator, func.count())
                .where(Run.aggregator.in_(present), Run.state.in_(states.OPEN))
                .group_by(Run.aggregator)
            ).all()
        )
        states.appoint(session, run, min(present, key=lambda node: (leading.get(node, 0), _lot(run.id, node))))
        return True

    @property
    def _patience(self) -> timedelta:
        return timedelta(seconds=self._settings.patience)


def waiting_for(run: Run, session: Session, now: datetime, settings: Settings) -> str | None:
    """Say in words what an open run waits for, if it does."""
    if run.state == State.QUEUED:
        holdings = _holdings(session, run)
        barred = [holding.node.name for holding in holdings if holding.node.quarantined is not None]
        free = [holding for holding in holdings if holding.node.quarantined is None]
        online = [holding.node.name for holding in free if is_online(holding.node, now, settings)]
        away = [holding.node.name for holding in free if holding.node.name not in online]
        what = "parties" if vertical.is_vertical(run) else f"nodes with data set {run.dataset!r}"
        told = f"{run.needed} {what} online; {len(online)} are"
        told += f" ({', '.join(online)})" if online else ""
        told += f", offline: {', '.join(away)}" if away else ""
        return told + (f", in quarantine: {', '.join(barred)}." if barred else ".")
    if run.state == State.PAUSED:
        return f"somebody to resume it. {(run.reason or {}).get('message', '')}".strip()
    if run.state == State.GATHERING and run.term == 0:
        silent = sorted(p.member.name for p in run.participants if p.state == states.INVITED)
        return f"the answers of {', '.join(silent)}." if silent else "an accepted node to come online."
    if run.state in states.OPEN:
        leader = _leader(run)
        if leader is None or not is_online(leader.member, now, settings):
            name = run.aggregator if leader is None else leader.member.name
            if vertical.is_vertical(run):
                return f"its label holder {name}, which is offline."
            return f"its aggregator {name}, which is offline, or for another in its place."
        if run.state == State.GATHERING:
            return f"its aggregator {leader.member.name} to find enough participants."
    return None


def _holdings(session: Session, run: Run) -> list[datasets.Holding]:
    """Return who may take part in `run`, with what."""
    if vertical.is_vertical(run):
        return vertical.holdings(session, run)
    return datasets.holdings(session, run.project, run.dataset)


def _accepted(run: Run) -> list[Assignment]:
    return [participant for participant in run.participants if participant.state == states.ACCEPTED]


def _leader(run: Run) -> Assignment | None:
    """Return the aggregator's part in the run; None if it has none, which only other hands than ours can write."""
    return next((participant for participant in run.participants if participant.node == run.aggregator), None)


def _lot(run_id: str, node_id: str) -> str:
    """Draw lots that nobody can influence and everybody can check."""
    return hashlib.sha256(f"{run_id}|{node_id}".encode()).hexdigest()


def _too_few(run: Run, accepted: int) -> Aborted:
    told = []
    participants = sorted(run.participants, key=lambda participant: participant.member.name)
    for participant in participants:
        name = participant.member.name
        if participant.state == states.INVITED:
            told.append(f"{name} did not answer")
        elif participant.state != states.ACCEPTED:
            why = (participant.reason or {}).get("message", "no reason given")
            told.append(f"{name} {participant.state}: {why}")
    return Aborted(
        f"Run {run.id} needs {run.needed} participants and {accepted} accepted. {'; '.join(told)}",
        code="too-few-nodes",
        hint="See each node's reason; its owner decides by the node's policy (node.toml).",
        needed=run.needed,
        accepted=accepted,
        refusals=[
            {"node": participant.node, "name": participant.member.name, "reason": participant.reason}
            for participant in participants
            if participant.state != states.ACCEPTED
        ],
    )


def _nobody_leads(run: Run, patience: float) -> Aborted:
    if vertical.is_vertical(run):
        return Aborted(
            f"Run {run.id} has lost the node that holds its label, and it was not back within {patience:g} s.",
            code="party-lost",
            hint="Check that node and start a new run.",
        )
    return Aborted(
        f"Run {run.id} has lost its aggregator, and no other participant was online within {patience:g} s.",
        code="aggregator-lost",
        hint="Check the nodes and start a new run; the notebook keeps the weights of the last round it saw.",
    )
