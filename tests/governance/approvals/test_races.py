"""Executed exactly once, whatever happens at the same moment or in the middle."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flaas_jupyter.errors import Conflict
from flaas_jupyter.governance import approvals

from .world import PROJECT, World, mark

TESTS = Path(__file__).parents[2]


def at_once(*acts):
    """Do all `acts`, each in a thread, none before all are ready; return what each returned or raised."""
    barrier = threading.Barrier(len(acts))

    def act(what):
        barrier.wait(20)
        try:
            return what()
        except Conflict as error:
            return error

    with ThreadPoolExecutor(len(acts)) as pool:
        return list(pool.map(act, acts))


def test_two_last_approvals_at_once_execute_once(world):
    for number in range(5):
        request = world.ask(body={"model": number})
        states = at_once(*[lambda who=who, request=request: world.decide(request, who) for who in ("ann", "owen")])
        assert sorted(states) == ["executed", "pending"]
    assert sorted(body["model"] for _, body in world.marks) == [0, 1, 2, 3, 4]


def test_ten_at_once_execute_once(world):
    names = [f"approver-{number}" for number in range(9)]
    for name in names:
        world.people.add(name, ("approver", PROJECT))
    request = world.ask()
    world.decide(request, "owen")
    results = at_once(*[lambda who=who: world.decide(request, who) for who in names], world.execute_due)
    assert results.count("executed") == 1
    refusals = [result for result in results if isinstance(result, Conflict)]
    assert {error.code for error in refusals} == {"approval-closed"}
    assert len(refusals) == 8
    assert len(world.marks) == 1


def test_an_approval_and_a_denial_at_once_do_not_both_win(world):
    for number in range(5):
        request = world.ask(body={"model": number})
        world.decide(request, "owen")
        results = at_once(
            lambda request=request: world.decide(request, "ann"),
            lambda request=request: world.decide(request, "bob", "deny"),
        )
        ended = [result for result in results if isinstance(result, str)]
        assert ended in (["executed"], ["denied"])
        assert world.look(request).state == ended[0]
        assert bool([mark for mark in world.marks if mark[0] == request]) == (ended == ["executed"])


def test_several_processes_looking_for_what_is_due_execute_once(world):
    request = world.ask()
    world.tamper("UPDATE approval_requests SET cooling = 60")
    world.decide(request, "ann")
    world.decide(request, "owen")
    world.later(minutes=1)
    results = at_once(*[world.execute_due] * 6)
    assert sorted(results) == [[]] * 5 + [["executed"]]
    assert len(world.marks) == 1


def test_a_writer_that_does_not_wait_for_its_turn_executes_nothing_twice(world):
    """Sessions without the writers' lock: the row itself keeps the second one back."""
    request = world.ask()
    world.decide(request, "owen")
    engine = world.database._writers

    def decide(who: str) -> str:
        said = world.signed(request, who)
        with Session(engine, expire_on_commit=False) as session:
            found = approvals.decide(session, request, world.people.caller(who), *said, world.now)
            session.commit()
            return found.state

    results = at_once(lambda: decide("ann"), lambda: decide("bob"), lambda: decide("pam"))
    assert results.count("executed") == 1
    assert len(world.marks) == 1


def test_the_same_asked_for_twice_at_once_is_one_request(world):
    first, second = at_once(world.ask, world.ask)
    assert first == second


_KILLED = """
import os, signal, sys
from governance.approvals.world import World, mark, marking
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.governance import approvals

def killed(context, body):
    mark(context, body)
    context.session.flush()
    os.kill(os.getpid(), signal.SIGKILL)

with marking():
    world = World(Database(sys.argv[1]))
    approvals.register("model.release", killed)
    world.decide(sys.argv[2], "owen")
"""


def test_a_process_killed_in_the_middle_has_done_nothing_and_the_next_does_it_once(world, database_url):
    request = world.ask()
    world.decide(request, "ann")
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    command = [sys.executable, "-c", _KILLED, database_url, request]
    died = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    assert world.look(request).state == "pending"
    assert world.missing(request)["taken"] == [["ann"], []]
    assert world.marks == []
    assert world.decide(request, "owen") == "executed"
    assert len(world.marks) == 1


def test_what_an_executor_asks_for_itself_is_in_the_same_transaction(world):
    """An executor that submits and fails leaves no request behind."""

    def asks(context, body):
        approvals.submit(
            context.session,
            "project.remove",
            scope=PROJECT,
            requester=context.requester,
            body={},
            now=context.now,
        )
        return mark(context, {**body, "fail": True})

    approvals.register("model.release", asks)
    world.people.add("dora", ("developer", PROJECT), ("org-admin", PROJECT))
    request = world.ask()
    world.decide(request, "ann")
    assert world.decide(request, "owen") == "failed"
    with world.database.reading() as session:
        assert session.scalar(text("SELECT count(*) FROM approval_requests")) == 1


def test_a_data_base_that_forbids_a_second_pending_copy(world: World):
    """The unique index is the last wall where the look-up before it was raced."""
    request = world.ask()
    row = world.look(request)
    copy = {column.name: getattr(row, column.name) for column in row.__table__.columns} | {"id": "another"}
    with world.database.writing() as session, pytest.raises(IntegrityError):
        session.execute(row.__table__.insert().values(**copy))
