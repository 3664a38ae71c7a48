"""kill -9 at every step of a launch, and of its end: no orphan, no double launch, on both data bases."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Iterator

import pytest

from .launch_crash import CloudServer, work
from .launch_world import World

NODES = ("north", "south")


@pytest.fixture(scope="module")
def processes():
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    return context


@pytest.fixture(scope="module")
def cloud_server(processes) -> Iterator[CloudServer]:
    server = CloudServer(ctx=processes)
    server.start()
    yield server
    server.shutdown()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)])
def new_url(request, tmp_path):
    """Return makers of fresh data bases of one kind."""
    if request.param == "sqlite":
        return lambda number: f"sqlite:///{tmp_path / f'{number}.db'}"
    cluster = request.getfixturevalue("cluster")
    return lambda number: cluster.url(cluster.create())


def run(processes, url, cloud, number, goal, last=None) -> int | None:
    """Run a worker's process; return its exit code."""
    process = processes.Process(
        target=work, args=(url, None, bytes(multiprocessing.current_process().authkey), cloud, number, goal, last)
    )
    process.start()
    process.join(60)
    assert process.exitcode is not None, "the worker hangs"
    return process.exitcode


def restarted(world, cloud, number, goal) -> None:
    """Work on as a process does that has just been started: with what the data base says, and nothing else."""
    worker = world.worker(lambda *place: cloud)
    for _ in range(500):
        worker.step(number)
        if world.read(number).state == goal:
            return
        time.sleep(0.005)  # the lease of the one that was killed runs out
    raise AssertionError(f"{world.read(number).state} is not {goal}: {world.states(number)}")


def running(cloud) -> list[str]:
    return sorted(machine.tags["flaas-node"] for machine in cloud.running())


@pytest.mark.long
@pytest.mark.timeout(900)  # a process for each step
def test_a_process_killed_at_any_step_leaves_no_orphan_and_makes_no_machine_twice(processes, cloud_server, new_url):
    world = World(new_url("world"))
    url = world.database._url.render_as_string(hide_password=False)
    cloud = cloud_server.cloud()
    killed = {"booting": 0, "ended": 0}
    try:
        for goal in killed:
            for step in range(1, 200):
                names = [f"{name}-{goal}-{step}" for name in NODES]
                number = world.launch(*names, region=f"eu-{goal}-{step}")
                if goal == "ended":
                    restarted(world, cloud, number, "booting")
                    world.end(number)
                died = run(processes, url, cloud, number, goal, last=step)
                assert died in (0, -signal.SIGKILL)
                killed[goal] += died != 0
                restarted(world, cloud, number, goal) if died else None
                if goal == "booting":
                    assert running(cloud) == names, f"killed at step {step}"
                    world.end(number)
                    restarted(world, cloud, number, "ended")
                assert running(cloud) == [], f"killed at step {step}"
                if died == 0:
                    break  # it got through: there are no more steps
        launched = cloud.launches()
        assert len(launched) == len(set(launched)) == 2 * (killed["booting"] + killed["ended"] + 2)
        assert killed["booting"] >= 12, killed
        assert killed["ended"] >= 8, killed
    finally:
        world.database.close()
