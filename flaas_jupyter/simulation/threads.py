"""Threads that train clients side by side, each on a core of its own."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def one_core_each(workers: int) -> ThreadPoolExecutor:
    """Return `workers` threads; where they are as many as there are cores, each is bound to one.

    A round lasts milliseconds, and the scheduler takes longer to see that it has put two threads on one core.
    """
    places = itertools.count()

    def bind() -> None:
        if hasattr(os, "sched_setaffinity") and workers == len(own):
            os.sched_setaffinity(0, {own[next(places) % len(own)]})

    own = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return ThreadPoolExecutor(workers, thread_name_prefix="clients", initializer=bind)
