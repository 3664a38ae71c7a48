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
            won: list[T] = []
            for task in done:
                error = task.exception()
                if error is None:
                    won.append(task.result())
                elif isinstance(error, fails):
                    failures[order[task]] = error
                else:
                    raise error
            if won:
                for late in won[1:]:
                    discard(late)
                return won[0]
        raise failures[min(failures)]
    finally:
        for task in running:
            task.cancel()
        for outcome in await asyncio.gather(*running, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                discard(outcome)
