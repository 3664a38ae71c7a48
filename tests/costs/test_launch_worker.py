"""Launching, watching and ending machines: what the data base and the cloud say after every kind of trouble."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pytest

from flaas_jupyter.costs.driver import (
    INSTALLATION_TAG,
    LAUNCH_TAG,
    CloudUnreachable,
    Machine,
    NotOffered,
    PermissionMissing,
    QuotaExceeded,
    Throttled,
)
from flaas_jupyter.costs.launch import plan
from flaas_jupyter.costs.launch.cloud_init import node_of
from flaas_jupyter.costs.launch.reaper import Reaper
from flaas_jupyter.costs.launch.tables import EnrolmentRow, LaunchedMachine
from flaas_jupyter.costs.launch.tokens import digest
from flaas_jupyter.costs.launch.worker import Timing

from .fake_cloud import FakeCloud
from .launch_world import KEY, QUICK, World


@pytest.fixture
def world(tmp_path):
    made = World(f"sqlite:///{tmp_path / 'launch.db'}")
    yield made
    made.database.close()


@pytest.fixture
def cloud():
    return FakeCloud()


@pytest.fixture
def worker(world, cloud):
    return world.worker(cloud.drivers())


def until(worker, world, number, state, most=300):
    """Step until the launch is in `state`."""
    for _ in range(most):
        worker.step(number)
        if world.read(number).state == state:
            return
        time.sleep(0.001)  # pauses between repeated calls are a millisecond here
    raise AssertionError(f"{world.read(number).state}, {world.states(number)}")


def test_from_launch_to_joined_to_ended(world, cloud, worker):
    number = world.launch("north", "south")
    until(worker, world, number, "booting")
    assert sorted(cloud.launched) == ["north", "south"]
    world.register(number, "north", "a" * 64)
    until(worker, world, number, "booting")
    assert world.states(number) == {"north": "registered", "south": "booting"}
    world.register(number, "south", "b" * 64, member=True)
    until(worker, world, number, "joining")
    world.register(number, "north", "a" * 64, member=True)
    until(worker, world, number, "ready")
    world.end(number)
    until(worker, world, number, "ended")
    assert cloud.running() == []
    assert all(row.over and row.ended >= row.started for row in world.read(number).machines)


def test_orders_carry_tags_a_dead_mans_switch_and_a_secret_that_is_stored_nowhere(world, cloud, worker):
    number = world.launch("north", hours=2)
    until(worker, world, number, "booting")
    (order,) = cloud.orders.values()
    launch = world.read(number)
    secret = KEY.enrolment(launch.id, "north", 1)
    assert secret in order.user_data
    assert 120 < order.max_minutes <= 136
    assert order.tags[LAUNCH_TAG] == launch.id
    with world.database.reading() as session:
        assert session.get(EnrolmentRow, digest(secret)) is not None
        machine = session.query(LaunchedMachine).one()
        stored = " ".join(str(value) for value in vars(machine).values())
    assert secret not in stored


@pytest.mark.parametrize("fingerprint", [None, f"sha256:{'ab' * 32}"], ids=["public", "private"])
def test_machines_are_told_the_authority_that_they_pin(world, cloud, fingerprint):
    worker = world.worker(cloud.drivers(), ca_fingerprint=fingerprint)
    until(worker, world, world.launch("north"), "booting")
    (order,) = cloud.orders.values()
    assert node_of(order.user_data).get("ca_fingerprint") == fingerprint


def test_a_cloud_that_throttles_is_asked_again_with_the_same_order(world, cloud, worker):
    number = world.launch("north")
    cloud.fail("launch", Throttled("later", retry_after=0), times=3)
    cloud.fail("lost", CloudUnreachable("no answer"), times=2)
    until(worker, world, number, "booting")
    assert cloud.launched == ["north"]
    assert world.read(number).machines[0].tries == 5
    assert world.read(number).machines[0].problem is None


@pytest.mark.parametrize("error", [NotOffered("none left"), QuotaExceeded("limit"), PermissionMissing("no")])
def test_one_of_five_that_fails_is_shown_and_resumed_and_the_others_go_on(world, cloud, worker, error):
    names = ("a1", "a2", "a3", "a4", "a5")
    number = world.launch(*names)
    cloud.fail("launch", error, node="a3")
    until(worker, world, number, "stuck")
    assert world.states(number) == {name: "failed" if name == "a3" else "booting" for name in names}
    failed = world.read(number).machines[2]
    assert failed.problem["code"] == error.code
    assert failed.over, "nothing was made, so there is nothing to wait for"

    def again(session, launch):
        plan.again(session, launch, plan.latest(launch.machines)[2], datetime.now(UTC))

    world.change(number, again)
    until(worker, world, number, "booting")
    assert len(cloud.running()) == 5
    assert len(cloud.orders) == 6 - 1, "the refused order was never taken"
    world.end(number)
    until(worker, world, number, "ended")
    assert cloud.running() == []


def test_all_that_fail_leave_a_failed_launch(world, cloud, worker):
    number = world.launch("north", "south")
    cloud.fail("launch", QuotaExceeded("limit"), times=2)
    until(worker, world, number, "failed")
    assert cloud.machines == {}


def test_a_machine_of_a_lost_answer_is_found_and_ended(world, cloud):
    worker = world.worker(cloud.drivers(), Timing(**{**vars(QUICK), "most_tries": 1}))
    number = world.launch("north")
    cloud.fail("lost", CloudUnreachable("no answer"))
    until(worker, world, number, "failed")
    assert cloud.launched == ["north"]
    assert cloud.running() == []


def test_what_a_cloud_does_not_show_yet_is_not_taken_for_gone(world, cloud):
    worker = world.worker(cloud.drivers(), Timing(**{**vars(QUICK), "most_tries": 1, "settle": 3600.0}))
    number = world.launch("north")
    cloud.fail("lost", CloudUnreachable("no answer"))
    worker.step(number)
    (token,) = cloud.machines
    cloud.hidden.add(token)
    for _ in range(5):
        worker.step(number)
    assert world.read(number).state == "ending"
    cloud.hidden.clear()
    until(worker, world, number, "failed")
    assert cloud.running() == []


def test_a_machine_that_its_cloud_shows_no_more_is_ended_by_its_id(world, cloud, worker):
    number = world.launch("north")
    until(worker, world, number, "booting")
    (token,) = cloud.machines
    cloud.hidden.add(token)
    world.end(number)
    until(worker, world, number, "ended")
    assert cloud.running() == []


def test_ending_goes_on_until_the_cloud_shows_that_all_is_gone(world, cloud, worker):
    number = world.launch("north", "south")
    until(worker, world, number, "booting")
    world.end(number)
    cloud.fail("terminate", PermissionMissing("no", permission="ec2:TerminateInstances"), node="north", times=3)
    cloud.fail("describe", Throttled("later", retry_after=0), times=2)
    worker.step(number)
    assert world.read(number).state == "ending"
    until(worker, world, number, "ended")
    assert world.read(number).problem is None
    assert cloud.running() == []


def test_what_is_launched_while_its_end_is_asked_for_is_ended(world, cloud):
    class Late(FakeCloud):
        def launch(self, order):
            world.end(number)
            return super().launch(order)

    late = Late()
    worker = world.worker(late.drivers())
    number = world.launch("north")
    until(worker, world, number, "ended")
    assert late.launched == ["north"]
    assert late.running() == []


def test_time_that_is_over_ends_the_launch(world, cloud, worker):
    number = world.launch("north", hours=1)
    until(worker, world, number, "booting")
    world.pass_time(number, hours=2)
    until(worker, world, number, "ended")
    assert cloud.running() == []


def test_a_machine_that_is_taken_away_is_told_and_resumable(world, cloud, worker):
    number = world.launch("north", "south")
    until(worker, world, number, "booting")
    world.register(number, "north", "a" * 64, member=True)
    cloud.take_away("north")
    until(worker, world, number, "stuck")
    assert world.read(number).machines[0].problem["code"] == "machine-ended"
    world.change(number, lambda s, launch: plan.again(s, launch, plan.latest(launch.machines)[0], datetime.now(UTC)))
    until(worker, world, number, "booting")
    assert [row.attempt for row in plan.latest(world.read(number).machines)] == [2, 1]
    world.register(number, "north", "c" * 64, member=True)  # the name is free again
    world.end(number)
    until(worker, world, number, "ended")
    assert cloud.running() == []


def test_a_machine_that_never_registers_is_given_up(world, cloud):
    worker = world.worker(cloud.drivers(), Timing(**{**vars(QUICK), "boot": 0.0}))
    number = world.launch("north")
    until(worker, world, number, "failed")
    assert world.read(number).machines[0].problem["code"] == "boot-timeout"
    assert cloud.running() == []


def test_a_driver_that_breaks_is_a_problem_and_not_the_end_of_the_worker(world, cloud, worker):
    number = world.launch("north")
    cloud.fail("launch", ZeroDivisionError("a bug"))
    cloud.fail("describe", KeyError("another"))
    until(worker, world, number, "booting")
    world.end(number)
    until(worker, world, number, "ended")


def test_workers_of_several_processes_make_no_machine_twice(world, cloud):
    workers = [world.worker(cloud.drivers()) for _ in range(3)]
    number = world.launch(*(f"n{i}" for i in range(6)))
    while world.read(number).state == "launching":
        for worker in workers:
            worker.step(number)
    assert sorted(cloud.launched) == [f"n{i}" for i in range(6)]


def test_a_lease_keeps_others_off_until_it_has_run_out(world, cloud):
    number = world.launch("north")
    world.change(
        number,
        lambda s, launch: (
            setattr(launch, "worker", "other"),
            setattr(launch, "lease_until", datetime.now(UTC) + timedelta(hours=1)),
        ),
    )
    worker = world.worker(cloud.drivers())
    assert not worker.step(number)
    world.change(number, lambda s, launch: setattr(launch, "lease_until", datetime.now(UTC) - timedelta(seconds=1)))
    assert worker.step(number)
    assert cloud.launched == ["north"]


def test_the_reaper_ends_what_nobody_knows_and_never_somebody_elses(world, cloud, worker):
    number = world.launch("north", "south")
    until(worker, world, number, "booting")
    with world.database.reading() as session:
        mine = plan.installation(session)
    tags = {"flaas-project": "credit", LAUNCH_TAG: "lgone", "flaas-node": "x"}
    orphan = Machine("aws", "vm-orphan", "eu-1", "m5.large", "running", "morphan", {**tags, INSTALLATION_TAG: mine})
    foreign = Machine(
        "aws", "vm-foreign", "eu-1", "m5.large", "running", "mforeign", {**tags, INSTALLATION_TAG: "iother"}
    )
    cloud.put(orphan)
    cloud.put(foreign)
    said = []
    reaper = Reaper(world.database, cloud.drivers(), reaped=lambda session, machine: said.append(machine.id))
    swept = reaper.sweep()
    assert [machine.id for machine in swept.ended] == said == ["vm-orphan"]
    assert [machine.id for machine in swept.foreign] == ["vm-foreign"]
    assert {machine.id for machine in cloud.running()} == {"vm-0", "vm-1", "vm-foreign"}
    assert reaper.sweep().ended == []


def test_the_reaper_ends_a_machine_of_a_launch_that_is_over(world, cloud, worker):
    number = world.launch("north")
    until(worker, world, number, "booting")
    (machine,) = cloud.running()
    world.end(number)
    until(worker, world, number, "ended")
    cloud.put(machine)  # back from the dead
    assert [each.id for each in Reaper(world.database, cloud.drivers()).sweep().ended] == [machine.id]
    assert cloud.running() == []


def test_a_machine_that_ends_while_the_reaper_looks_is_no_orphan(world, cloud, worker):
    number = world.launch("north")
    until(worker, world, number, "booting")

    class Slow(FakeCloud):
        def describe(self, installation, regions):
            seen = cloud.describe(installation, regions)
            world.end(number)
            until(worker, world, number, "ended")
            return seen

    swept = Reaper(world.database, Slow().drivers()).sweep()
    assert (swept.ended, swept.problems) == ([], [])
