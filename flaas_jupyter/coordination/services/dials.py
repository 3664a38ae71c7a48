"""Signals that have a node connect back: where only the other side can open a way, or both must dial at once.

The API passes a signal on and forgets it. It says nothing that the node would not check: who may be connected to
stands in memberships, and where, in records, both signed by others than the API.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from ...communications.directory import CLOCK_TOLERANCE, Record
from ...errors import Conflict, InvalidInput, NotAllowed, NotFound
from .. import events
from ..access import View
from ..mesh_schemas import DialIn
from ..tables import MembershipRow, Node, NodeProject, Project
from . import revocations
from .directory import wrong_domain

PAUSE = 2.0
"""Seconds between signals of one key to one node."""
WINDOW = 60.0
MOST = 240
"""Signals of one key to all nodes in `WINDOW` seconds."""
_REMEMBERED = 100_000


class DialLimits:
    """How often this API process passes signals on.

    Parameters
    ----------
    clock : callable
        Seconds, never going back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._pairs: dict[tuple[str, str], float] = {}
        self._windows: dict[str, tuple[float, int]] = {}

    def count(self, caller: str, target: str) -> None:
        """Count a signal of `caller` to `target`.

        Raises
        ------
        Conflict
            Code ``too-many-dials``, with ``retry_after`` in seconds.
        """
        with self._lock:
            now = self._clock()
            wait = self._pairs.get((caller, target), -PAUSE) + PAUSE - now
            began, count = self._windows.get(caller, (now, 0))
            if now - began >= WINDOW:
                began, count = now, 0
            if count >= MOST:
                wait = max(wait, began + WINDOW - now)
            if wait > 0:
                raise _too_many(wait)
            if len(self._pairs) >= _REMEMBERED:
                self._pairs = {pair: then for pair, then in self._pairs.items() if now - then < PAUSE}
                self._windows = {key: window for key, window in self._windows.items() if now - window[0] < WINDOW}
            self._pairs[caller, target] = now
            self._windows[caller] = (began, count + 1)


def signal(session: Session, view: View, limits: DialLimits, project: Project, body: DialIn) -> None:
    """Tell the node `body.to` that the caller's key would be connected to.

    Raises
    ------
    NotAllowed
        ``key-not-yours``: the key is another organisation's; ``unknown-peer``: it is no member of the project now.
    NotAuthenticated
        Code ``bad-signature``: whoever made the record has not its key.
    InvalidInput
        ``record-missing``: a person has not shown which key is theirs; ``bad-record``, ``record-expired``,
        ``wrong-domain``.
    NotFound
        Code ``unknown-node``: the project has no such node.
    Conflict
        ``node-offline``; ``too-many-dials``.
    """
    caller = _key_of(view, project, body)
    _require_member(session, view, project, caller)
    target = session.scalar(
        select(Node)
        .join(NodeProject, NodeProject.node == Node.id)
        .where(Node.id == body.to, Node.removed.is_(None), NodeProject.project == project.id)
    )
    member = None if target is None else _membership(session, view.now, project, target.id)
    if target is None or target.id == caller or member is None or member["organisation"] != target.organisation:
        raise NotFound(
            f"There is no node {body.to} that could connect back in project {project.id!r}.",
            code="unknown-node",
            hint="It was removed, or its membership is not signed or has ended.",
        )
    limits.count(caller, target.id)
    if not view.online(target):
        raise Conflict(f"Node {target.name} is offline.", code="node-offline", hint="Wait until it is online.")
    record = None if body.record is None else body.record.model_dump()
    events.append(session, "mesh.dial", project=project.id, node=target.id, data={"from": caller, "record": record})


def _key_of(view: View, project: Project, body: DialIn) -> str:
    """Return the key that is to be connected to: a node's own, or that with which a person has signed the record."""
    itself = view.caller.subject if view.caller.kind == "node" else None
    if body.record is None:
        if itself is None:
            raise InvalidInput(
                "A person's key must show that it is yours: the record is missing.",
                code="record-missing",
                hint="Send the key's directory record for this project, signed with the key.",
            )
        return itself
    record = Record.parse(body.record.model_dump())
    if record.domain != project.id:
        raise wrong_domain(f"project {record.domain!r}", f"project {project.id!r}")
    if itself is not None and record.node_id != itself:
        raise wrong_domain(f"node {record.node_id}", f"node {itself}")
    if not record.in_force(view.now.timestamp()):
        raise InvalidInput(
            "The record is out of date.", code="record-expired", hint="Sign a new one; set the clock right."
        )
    return record.node_id


def _require_member(session: Session, view: View, project: Project, key: str) -> None:
    """Check that `key` is a member in force, of the caller's own organisation: others' records prove nothing."""
    member = _membership(session, view.now, project, key)
    if member is None:
        raise NotAllowed(
            f"{key} is no member of project {project.id!r} now.",
            code="unknown-peer",
            hint="Whoever holds the project's domain key signs its membership.",
        )
    if member["organisation"] != view.caller.organisation:
        raise NotAllowed(
            f"{key} is not a key of {view.caller.organisation!r}.",
            code="key-not-yours",
            hint="Use the key that your organisation's membership was signed for.",
        )


def _membership(session: Session, now: datetime, project: Project, key: str) -> dict[str, Any] | None:
    """Return what the domain key has signed of `key`; None if that is not in force now."""
    row = session.get(MembershipRow, (project.id, key))
    if row is None or revocations.is_revoked(session, project.id, key):
        return None
    body: dict[str, Any] = row.document["body"]
    return body if body["not_before"] - CLOCK_TOLERANCE <= now.timestamp() < body["not_after"] else None


def _too_many(wait: float) -> Conflict:
    return Conflict(
        f"Peers were asked to connect back too often; wait {wait:.1f} s.",
        code="too-many-dials",
        hint="Connections that do not come about are not helped by asking more often.",
        retry_after=round(wait, 3),
    )
