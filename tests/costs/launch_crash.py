"""A worker in a process of its own that kills itself (SIGKILL) at a given step, against a cloud in another process."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.managers import BaseManager
from typing import Any

from .fake_cloud import FakeCloud
from .launch_world import World

MOST_STEPS = 500


class CloudServer(BaseManager):
    """Serves one `FakeCloud` over a socket."""


CloudServer.register("cloud", FakeCloud)


class Steps:
    """Counts what could be interrupted, and dies at step number `last`; steps are noted for the report."""

    def __init__(self, last: int | None) -> None:
        self.last = last
        self.count = 0

    def take(self) -> None:
        self.count += 1
        if self.count == self.last:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingStore:
    """A data base whose user may die before and after each commit."""

    def __init__(self, database: Any, steps: Steps) -> None:
        self._database, self._steps = database, steps

    def reading(self) -> Any:
        return self._database.reading()

    @contextlib.contextmanager
    def writing(self) -> Iterator[Any]:
        with self._database.writing() as session:
            yield session
            session.flush()
            self._steps.take()
        self._steps.take()


class DyingDriver:
    """A driver whose user may die before and after each call."""

    def __init__(self, cloud: Any, steps: Steps) -> None:
        self._cloud, self._steps = cloud, steps

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self._steps.take()
            answer = getattr(self._cloud, name)(*args)
            self._steps.take()
            return answer

        return call


def work(url: str, address: Any, authkey: bytes, cloud_token: Any, number: int, goal: str, last: int | None) -> None:
    """Step launch `number` until it is in state `goal`, then exit with 0; die at step `last`."""
    from multiprocessing import current_process

    current_process().authkey = authkey
    steps = Steps(last)
    world = World(url, found=False)
    driver = DyingDriver(cloud_token, steps)
    worker = world.worker(lambda *place: driver, store=DyingStore(world.database, steps))
    for _ in range(MOST_STEPS):
        worker.step(number)
        if world.read(number).state == goal:
            os._exit(0)
        time.sleep(0.005)
    os._exit(3)
