"""What happened, in one sequence: written with the change itself, read by whoever follows a project, run or node.

An event's number is its place in the order of commits (see `database`), so that "everything after n" is exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, literal_column, select
from sqlalchemy.orm import Session

from .tables import Assignment, EventRow, NodeProject, Run

TYPES = frozenset(
    {
        "node.registered",
        "node.online",
        "node.offline",
        "node.removed",
        "node.quarantined",
        "node.released",
        "mesh.dial",
        "directory.changed",
        "dataset.described",
        "dataset.removed",
        "run.created",
        "run.state",
        "run.participant",
        "run.aggregator",
        "run.round",
        "run.report",
        "query.created",
        "query.closed",
        "upload.opened",
        "upload.closed",
        "model.changed",
        "approval.changed",
        "launch.changed",
        "launch.orphan",
    }
)
_TOLD_TO_NODES = ("directory.changed", "node.removed", "node.quarantined", "node.released", "model.changed")
"""What nodes of a project are told beside what happens in their own runs."""
_TOLD_TO_ITS_NODE = ("upload.closed", "mesh.dial")
_TOLD_TO_NOBODY_ELSE = ("mesh.dial",)
"""Signals between two nodes: who connects to whom is nobody's business, and they are soon forgotten (`forget`)."""
SIGNAL_LIFETIME = timedelta(seconds=60)


@dataclass(frozen=True)
class Event:
    """One event, as it is told.

    Parameters
    ----------
    id : int
        Its number.
    type : str
        One of `TYPES`.
    time : datetime
        When it was written.
    project : str
        Where it happened.
    run, node : str, optional
        What it is about.
    data : dict
        JSON values.
    concerns : frozenset of str
        Ids of the nodes that are told.
    """

    id: int
    type: str
    time: datetime
    project: str
    run: str | None
    node: str | None
    data: dict[str, Any]
    concerns: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Scope:
    """Whose events are followed: one of a project's, a run's, or a node's."""

    project: str | None = None
    run: str | None = None
    node: str | None = None

    def __contains__(self, event: Event) -> bool:
        """Tell whether `event` is followed."""
        if self.node is not None:
            return self.node in event.concerns
        if self.run is not None:
            return event.run == self.run
        return event.project == self.project and event.type not in _TOLD_TO_NOBODY_ELSE


def append(
    session: Session,
    type: str,
    *,
    project: str,
    run: str | None = None,
    node: str | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Write an event into `session`, a writing one; followers are woken when it is committed."""
    assert type in TYPES, type
    session.add(EventRow(type=type, time=datetime.now(UTC), project=project, run=run, node=node, data=data or {}))
    # Numbered now, so that numbers follow the order of calls and not that of the session's flush.
    session.flush()
    session.info["events"] = True


def newest(session: Session) -> int:
    """Return the number of the last event, 0 if there is none."""
    return session.scalar(select(func.max(EventRow.id))) or 0


def read(session: Session, after: int, scope: Scope | None = None, limit: int = 500) -> list[Event]:
    """Return up to `limit` events after number `after`, in order; of `scope`, or all.

    A scope of one node narrows to its projects and itself only: test each event with ``in scope``.
    """
    query = select(EventRow).where(EventRow.id > after).order_by(EventRow.id).limit(limit)
    if scope is not None and scope.node is not None:
        theirs = select(NodeProject.project).where(NodeProject.node == scope.node)
        query = query.where(EventRow.project.in_(theirs) | (EventRow.node == scope.node))
    elif scope is not None and scope.run is not None:
        query = query.where(EventRow.run == scope.run)
    elif scope is not None:
        query = query.where(EventRow.project == scope.project, EventRow.type.not_in(_TOLD_TO_NOBODY_ELSE))
    rows = session.scalars(query).all()
    return _with_concerned(session, rows)


def forget(session: Session, now: datetime) -> None:
    """Remove the signals between nodes that nobody waits for any more."""
    signals = EventRow.type == literal_column("'mesh.dial'")  # as the index on them says it
    session.execute(delete(EventRow).where(signals, EventRow.time < now - SIGNAL_LIFETIME))


def _with_concerned(session: Session, rows: Sequence[EventRow]) -> list[Event]:
    runs = {row.run for row in rows if row.run is not None}
    projects = {row.project for row in rows if row.type in _TOLD_TO_NODES}
    participants: dict[str, set[str]] = defaultdict(set)
    members: dict[str, set[str]] = defaultdict(set)
    if runs:
        pairs = select(Run.id, Assignment.node).join(Assignment, Assignment.run == Run.number)
        for run, node in session.execute(pairs.where(Run.id.in_(runs))):
            participants[run].add(node)
    if projects:
        links = select(NodeProject.project, NodeProject.node).where(NodeProject.project.in_(projects))
        for project, node in session.execute(links):
            members[project].add(node)

    def concerned(row: EventRow) -> set[str]:
        if row.run is not None:
            return participants[row.run]
        if row.type in _TOLD_TO_ITS_NODE and row.node:
            return {row.node}
        if row.type not in _TOLD_TO_NODES:
            return set()
        return members[row.project] | ({row.node} if row.node else set())

    return [
        Event(
            id=row.id,
            type=row.type,
            time=row.time,
            project=row.project,
            run=row.run,
            node=row.node,
            data=row.data,
            concerns=frozenset(concerned(row)),
        )
        for row in rows
    ]
