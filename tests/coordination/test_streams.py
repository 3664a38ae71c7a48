"""The stream's own ends: of what the network decides, the order within one turn of the event loop."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.events import Event, Scope
from flaas_jupyter.coordination.streams import _BACKLOG, EventLog, EventStream


def event(number: int, project: str = "credit") -> Event:
    return Event(number, "run.round", datetime.now(UTC), project, "run", None, {"number": number})


class Connection:
    """A connection as the server shows it to the application."""

    def __init__(self) -> None:
        self.cut: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.connected = asyncio.Event()
        self.sent: list[bytes] = []

    async def receive(self):
        await self.cut
        return {"type": "http.disconnect"}

    async def send(self, message) -> None:
        self.sent.append(message.get("body", b""))
        if b"connected" in self.sent[-1]:
            self.connected.set()


async def follow(database_url: str, during, keepalive: float = 60.0) -> tuple[bool, list[bytes]]:
    """Answer with a stream, do `during` once it waits for events; return whether it was left, and what was sent."""
    database = Database(database_url)
    log, connection, left = EventLog(database, 60), Connection(), []

    async def note() -> None:
        left.append(True)

    subscription = log.subscribe(Scope(project="credit"))
    stream = EventStream(log.follow(subscription, 1 << 40, keepalive), left=note)
    answering = asyncio.create_task(stream({"type": "http"}, connection.receive, connection.send))
    await connection.connected.wait()
    while not subscription._queue._getters:  # the stream has read what it missed, and waits
        await asyncio.sleep(0)
    during(subscription, connection)
    async with asyncio.timeout(10):
        await answering
    database.close()
    return bool(left), connection.sent


def test_a_disconnection_that_comes_with_an_event_is_one_all_the_same(database_url):
    def both(subscription, connection) -> None:
        connection.cut.set_result(None)
        subscription.offer(event((1 << 40) + 1))

    assert asyncio.run(follow(database_url, both))[0]


def test_an_event_that_comes_with_a_disconnection_changes_nothing_either(database_url):
    def both(subscription, connection) -> None:
        subscription.offer(event((1 << 40) + 1))
        connection.cut.set_result(None)

    assert asyncio.run(follow(database_url, both))[0]


def test_an_end_of_this_sides_making_is_no_disconnection(database_url):
    def close(subscription, connection) -> None:
        subscription.close()

    left, sent = asyncio.run(follow(database_url, close))
    assert (left, sent[-1]) == (False, b"")


def test_a_follower_that_is_too_slow_is_cut_off_and_may_resume(database_url):
    def flood(subscription, connection) -> None:
        for number in range(_BACKLOG + 5):
            subscription.offer(event((1 << 40) + 1 + number))

    left, sent = asyncio.run(follow(database_url, flood))
    assert not left
    assert len(sent) == 2 + _BACKLOG + 1, "the head, a comment, the backlog, the end"


def test_what_others_are_told_is_not_handed_over(database_url):
    def offer(subscription, connection) -> None:
        subscription.offer(event((1 << 40) + 1, project="other"))
        subscription.close()

    _, sent = asyncio.run(follow(database_url, offer))
    assert not any(b"run.round" in chunk for chunk in sent)
