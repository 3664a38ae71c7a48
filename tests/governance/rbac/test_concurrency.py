"""Several threads and processes on one data base."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flaas_jupyter.governance.rbac import Rbac, RbacError

USERS = [f"user-{number}" for number in range(6)]

ASSIGN = """
import sys
from flaas_jupyter.governance.rbac import Rbac, RbacError
url, role, *users = sys.argv[1:]
with Rbac(url) as rbac:
    print("ready", flush=True)
    sys.stdin.readline()
    for user in users:
        try:
            rbac.assign_user(user, role)
            print(user, "done")
        except RbacError as error:
            print(user, error.code)
"""

CREATE = """
import sys
from flaas_jupyter.governance.rbac import Rbac
print("ready", flush=True)
sys.stdin.readline()
with Rbac(sys.argv[1]) as rbac:
    rbac.add_user(sys.argv[2])
"""


def prepare(rbac: Rbac) -> None:
    for role in ("buyer", "payer"):
        rbac.add_role(role)
    rbac.create_ssd_set("money", ["buyer", "payer"], 2)
    for user in USERS:
        rbac.add_user(user)


def together(script: str, *arguments: list[str]) -> list[list[str]]:
    """Run `script` in a process for each list of arguments; all begin at the same moment. Return their lines."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, *each], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for each in arguments
    ]
    for process in running:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=60)[0].splitlines() for process in running]
    assert [process.returncode for process in running] == [0] * len(running)
    return said


def test_of_two_processes_that_assign_roles_which_exclude_each_other_one_wins(rbac: Rbac, url: str):
    prepare(rbac)
    outcomes = together(ASSIGN, [url, "buyer", *USERS], [url, "payer", *USERS])
    for user, one, other in zip(USERS, *outcomes, strict=True):
        assert sorted((one, other)) == sorted((f"{user} done", f"{user} ssd-violated"))
        assert len(rbac.assigned_roles(user)) == 1


@pytest.mark.parametrize("shared", [True, False], ids=["one-object", "an-object-each"])
def test_of_two_threads_that_assign_roles_which_exclude_each_other_one_wins(
    rbac: Rbac, connect: Callable[[], Rbac], shared: bool
):
    prepare(rbac)
    barrier = threading.Barrier(2)
    lost: list[str] = []

    def assign(mine: Rbac, role: str) -> set[str]:
        won = set()
        for user in USERS:
            barrier.wait(20)
            try:
                mine.assign_user(user, role)
            except RbacError as error:
                lost.append(error.code)
            else:
                won.add(user)
        return won

    with ThreadPoolExecutor(2) as threads:
        working = [threads.submit(assign, rbac if shared else connect(), role) for role in ("buyer", "payer")]
        buyers, payers = (each.result(60) for each in working)
    assert buyers | payers == set(USERS)
    assert not buyers & payers
    assert lost == ["ssd-violated"] * len(USERS)


def test_processes_that_find_no_tables_create_them_together(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'new.db'}"
    names = [f"user-{number}" for number in range(4)]
    together(CREATE, *([url, name] for name in names))
    with Rbac(url) as rbac:
        for name in names:
            assert rbac.assigned_roles(name) == set()


def test_what_another_connection_revokes_is_refused_at_once(rbac: Rbac, connect: Callable[[], Rbac]):
    other = connect()
    rbac.add_user("anna")
    rbac.add_role("doctor")
    rbac.grant_permission("read", "record", "doctor")
    rbac.assign_user("anna", "doctor")
    session = rbac.create_session("anna", ["doctor"])
    for _ in range(3):
        assert rbac.check_access(session, "read", "record")
        assert other.check_access(session, "read", "record")
        other.deassign_user("anna", "doctor")
        assert not rbac.check_access(session, "read", "record")
        assert not other.check_access(session, "read", "record")
        rbac.assign_user("anna", "doctor")
        assert not rbac.check_access(session, "read", "record"), (
            "a role that was dropped comes back only when activated"
        )
        other.add_active_role("anna", session, "doctor")


def test_decisions_from_many_threads_while_others_write(rbac: Rbac):
    rbac.add_role("doctor")
    rbac.grant_permission("read", "record", "doctor")
    rbac.add_user("anna")
    rbac.assign_user("anna", "doctor")
    session = rbac.create_session("anna", ["doctor"])

    def decide(_: int) -> bool:
        return all(rbac.check_access(session, "read", "record") for _ in range(50))

    with ThreadPoolExecutor(8) as threads:
        answers = [threads.submit(decide, number) for number in range(8)]
        for number in range(10):
            rbac.add_user(f"another-{number}")
        assert all(answer.result(60) for answer in answers)
