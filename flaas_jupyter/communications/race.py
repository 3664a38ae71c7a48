"""Try several ways at once, each a little after the one before it, and take the first that works (RFC 8305)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def first_of(
    attempts: Sequence[Callable[[], Coroutine[Any, Any, T]]],
    *,
    stagger: float,
    discard: Callable[[T], None],
    fails: tuple[type[Exception], ...],
) -> T:
    """Return what the first attempt brings that succeeds; the others are ended.

    Parameters
    ----------
    attempts : sequence of coroutine functions
        The one that is liked best first; at least one.
    stagger : float
        Seconds after which the next begins, or as soon as one has failed.
    discard : callable
        Takes what a later one brings that nobody needs any more.
    fails : tuple of exception types
        With which an attempt may end. Once all have, the first one's is raised.
    """

    def put_away(late: asyncio.Task[T]) -> None:
        if not late.cancelled() and late.exception() is None:
            discard(late.result())

    waiting = list(attempts)
    running: set[asyncio.Task[T]] = set()
    failures: dict[int, Exception] = {}
    order: dict[asyncio.Task[T], int] = {}
    try:
        while waiting or running:
            if waiting:
                task = asyncio.create_task(waiting.pop(0)())
                order[task] = len(order)
                running.add(task)
            done, running = await asyncio.wait(
                running, timeout=stagger if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            won = [task for task in done if task.exception() is None]
            defects = [error for task in done if (error := task.exception()) and not isinstance(error, fails)]
            for task in won[0 if defects else 1 :]:
                discard(task.result())
            if defects:
                raise defects[0]
            if won:
                return won[0].result()
            failures |= {order[task]: error for task in done if isinstance(error := task.exception(), fails)}
        raise failures[min(failures)]
    finally:
        # Not awaited: whoever is cancelled meanwhile would lose what was won.
        for task in running:
            task.add_done_callback(put_away)
            task.cancel()
