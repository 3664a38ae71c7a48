"""Events to whoever asks: in pages, or as a stream."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from ...errors import FlaasError, InvalidInput
from ...governance.identity.callers import user_caller
from ...governance.isolation import SYSTEM
from .. import events, hal
from ..access import View
from ..calls import Call
from ..streams import EventStream, show

_LARGEST = (1 << 63) - 1
_LOOKS = 3
"""How many keep-alives a stream goes on before it is looked again whether its caller may still see it."""

After = Annotated[int | None, Query(ge=0, le=_LARGEST, description="Number of the last event known.")]

_ServerSentEvent = {
    "type": "object",
    "required": ["id", "event", "data"],
    "properties": {
        "id": {"type": "string"},
        "event": {"type": "string"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/Event"},
        },
    },
}

EventsAnswer: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"itemSchema": _ServerSentEvent}}}
}
"""As OpenAPI 3.2 and FastAPI describe a stream: by each of its events."""


async def answer_events(
    call: Call,
    scope_of: Callable[[Session, View], events.Scope],
    limit: int,
    cursor: str | None,
    after: int | None,
) -> Response:
    """Answer with the events of a scope, as the caller accepts them.

    Parameters
    ----------
    call : Call
        Who asks.
    scope_of : callable
        Returns whose events, or raises if the caller may not see them.
    limit, cursor, after
        Which page; a stream takes ``Last-Event-ID``, else `after`, else begins now.
    """
    if not wants_stream(call):
        return await call.hosted.database.run(_page, call, scope_of, limit, cursor, after)
    given = resume_after(call, after)

    def prepare() -> tuple[events.Scope, int]:
        with call.reading() as session:
            return scope_of(session, call.view), events.newest(session)

    scope, newest = await call.hosted.database.run(prepare)
    log = call.hosted.log
    subscription = log.subscribe(scope)
    # A number from beyond the end (another data base's) would make the stream silent for long.
    begin = newest if given is None else min(given, newest)
    chunks = _while_permitted(call, scope_of, log.follow(subscription, begin, call.hosted.settings.keepalive))
    return EventStream(chunks, ended=lambda: log.unsubscribe(subscription))


async def _while_permitted(
    call: Call, scope_of: Callable[[Session, View], events.Scope], chunks: AsyncIterator[bytes]
) -> AsyncIterator[bytes]:
    """Yield `chunks` until a look, every few keep-alives, shows that the caller may not see these events any more."""
    clock, every = asyncio.get_running_loop().time, _LOOKS * call.hosted.settings.keepalive
    again = clock() + every

    def look() -> None:
        view, caller = call.view, call.view.caller
        with call.hosted.database.reading(SYSTEM) as session:
            if caller.session is not None:
                caller = user_caller(session, caller.subject, caller.organisation, caller.session)
                view = dataclasses.replace(view, caller=caller)
            scope_of(session, view)

    async for chunk in chunks:
        if clock() >= again:
            try:
                await call.hosted.database.run(look)
            except FlaasError:
                return
            again = clock() + every
        yield chunk


def wants_stream(call: Call) -> bool:
    """Tell whether the caller accepts a stream of events."""
    return "text/event-stream" in call.request.headers.get("Accept", "")


def resume_after(call: Call, after: int | None) -> int | None:
    """Return the number of the last event that the caller knows, if it says.

    Raises
    ------
    InvalidInput
        ``Last-Event-ID`` is no number.
    """
    given = call.request.headers.get("Last-Event-ID", "").strip()
    if not given:
        return after
    if not (given.isascii() and given.isdigit() and int(given) <= _LARGEST):
        raise InvalidInput(
            f"Last-Event-ID is {given[:40]!r}, not the number of an event.",
            hint="Send the `id` of the last event, or leave it out to begin now.",
        )
    return int(given)


def _page(
    call: Call,
    scope_of: Callable[[Session, View], events.Scope],
    limit: int,
    cursor: str | None,
    after: int | None,
) -> Response:
    page = call.page(limit, cursor)
    begin = page.after(int)
    with call.reading() as session:
        found = events.read(
            session, begin if begin is not None else after or 0, scope_of(session, call.view), page.limit + 1
        )
        return page.answer("events", found, _entry, lambda event: event.id)


def _entry(event: events.Event) -> hal.Resource:
    return show(event)
