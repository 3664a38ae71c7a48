"""Who is online: a node is, while it holds its event stream open.

The stream's end marks it offline at once. Should the process that held the stream die, nobody marks anything: so
being online also takes having been seen lately, which the process notes for all its streams with every heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, and_, select
from sqlalchemy.orm import Session

from . import events
from .database import Database
from .settings import Settings
from .streams import Subscription
from .tables import Node, NodeProject

logger = logging.getLogger(__name__)


def is_online(node: Node, now: datetime, settings: Settings) -> bool:
    """Tell whether `node` is online at `now`."""
    return (
        node.online
        and node.removed is None
        and node.last_seen is not None
        and now - node.last_seen <= timedelta(seconds=settings.online_window)
    )


def online(now: datetime, settings: Settings) -> ColumnElement[bool]:
    """Return `is_online` as a condition of a query."""
    return and_(
        Node.online,
        Node.removed.is_(None),
        Node.last_seen >= now - timedelta(seconds=settings.online_window),
    )


def say(session: Session, node: Node, type: str) -> None:
    """Write event `type` about `node` in each of its projects."""
    projects = select(NodeProject.project).where(NodeProject.node == node.id).order_by(NodeProject.project)
    for project in session.scalars(projects):
        events.append(session, type, project=project, node=node.id)


class Presence:
    """The streams that nodes hold at this process.

    Parameters
    ----------
    database : Database
        Where it is noted who is online.
    settings : Settings
        Heartbeat and window.
    came_online : callable
        Told, in the writing session, of a node that is online now.
    """

    def __init__(self, database: Database, settings: Settings, came_online: Callable[[Session, Node], None]) -> None:
        self._database = database
        self._settings = settings
        self._came_online = came_online
        self._held: dict[str, tuple[str, Subscription]] = {}

    async def hold(self, node_id: str, subscription: Subscription) -> tuple[str, int]:
        """Take note that `node_id` now holds a stream, which takes the place of an older one.

        Returns
        -------
        (str, int)
            The stream's name, for `release`, and the number of the newest event.
        """
        stream = secrets.token_hex(8)
        newest = await self._database.run(self._connected, node_id, stream)
        older = [name for name, (holder, _) in self._held.items() if holder == node_id]
        self._held[stream] = (node_id, subscription)
        for name in older:
            self._held.pop(name)[1].close()
        return stream, newest

    def forget(self, stream: str) -> None:
        """Note the stream no more; the node is offline when it has not come back by the end of the window."""
        self._held.pop(stream, None)

    async def release(self, stream: str) -> None:
        """Take note that the node has let go of the stream: it is offline, unless it holds a newer one."""
        self.forget(stream)
        await self._database.run(self._disconnected, stream)

    async def beat(self) -> None:
        """Note for ever that the nodes are still there; streams that count no more are closed."""
        while True:
            await asyncio.sleep(self._settings.heartbeat)
            held = list(self._held)
            if not held:
                continue
            try:
                alive = await self._database.run(self._seen, held)
            except Exception:
                logger.exception("the heartbeat of %d streams could not be noted", len(held))
                continue
            for stream in set(held) - alive:
                if stream in self._held:
                    self._held.pop(stream)[1].close()

    def sweep(self, session: Session, now: datetime) -> None:
        """Mark those offline that nobody has seen for longer than the window."""
        before = now - timedelta(seconds=self._settings.online_window)
        for node in session.scalars(select(Node).where(Node.online, Node.last_seen < before)):
            node.online = False
            say(session, node, "node.offline")

    def has_stale(self, session: Session, now: datetime) -> bool:
        """Tell whether `sweep` has anything to do."""
        before = now - timedelta(seconds=self._settings.online_window)
        return session.scalar(select(Node.id).where(Node.online, Node.last_seen < before).limit(1)) is not None

    def _connected(self, node_id: str, stream: str) -> int:
        with self._database.writing() as session:
            node = session.get_one(Node, node_id)
            node.stream = stream
            self._bring_online(session, node)
            return events.newest(session)

    def _disconnected(self, stream: str) -> None:
        with self._database.writing() as session:
            node = session.scalar(select(Node).where(Node.stream == stream))
            if node is None:
                return
            node.stream, node.last_seen = None, datetime.now(UTC)
            if node.online:
                node.online = False
                say(session, node, "node.offline")

    def _seen(self, streams: Iterable[str]) -> set[str]:
        """Note that the holders of `streams` are there; return the streams that still count."""
        with self._database.writing() as session:
            nodes = session.scalars(select(Node).where(Node.stream.in_(streams), Node.removed.is_(None))).all()
            for node in nodes:
                self._bring_online(session, node)
            return {node.stream for node in nodes if node.stream is not None}

    def _bring_online(self, session: Session, node: Node) -> None:
        now = datetime.now(UTC)
        already = is_online(node, now, self._settings)
        node.online, node.last_seen = True, now
        session.flush()
        if not already:
            say(session, node, "node.online")
            self._came_online(session, node)
