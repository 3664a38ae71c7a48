"""Which permissions nobody has used."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from flaas_jupyter.governance.rbac import Rbac, usage
from flaas_jupyter.governance.rbac.usage import UsageLog

LATER = datetime.now(UTC) + timedelta(days=100)


@pytest.fixture
def lab(rbac: Rbac) -> Rbac:
    rbac.add_role("viewer")
    rbac.add_ascendant("developer", "viewer")
    rbac.grant_permission("read", "run", "viewer")
    rbac.grant_permission("create", "run", "developer")
    rbac.add_user("anna")
    rbac.assign_user("anna", "developer", "project:a")
    rbac.assign_user("anna", "developer", "project:b")
    return rbac


def unused(rbac: Rbac, now: datetime = LATER, days: float = 90) -> set[tuple[str, str, str]]:
    with rbac._store.reading() as session:
        return {(each.role, each.scope, each.operation) for each in usage.unused(session, days, now)}


def flush(rbac: Rbac, log: UsageLog) -> None:
    with rbac._store.writing() as session:
        log.flush(session)


def test_what_is_used_counts_where_it_is_used(lab: Rbac):
    assert unused(lab, datetime.now(UTC)) == set(), "what was assigned today cannot have been used for 90 days"
    everything = {("developer", scope, verb) for scope in ("project:a", "project:b") for verb in ("read", "create")}
    assert unused(lab) == everything
    log = UsageLog()
    roles = (("developer", "project:a"), ("developer", "project:b"))
    log.note(roles, "run:create", "project:a", "organisation:x")
    assert unused(lab) == everything, "nothing is written before the flush"
    flush(lab, log)
    in_time = datetime.now(UTC) + timedelta(days=1)
    assert unused(lab, in_time, days=0.5) == everything
    assert unused(lab, in_time, days=2) == set(), "assigned two days ago at most"
    with lab._store.writing() as session:
        usage.note(session, "developer", "project:a", "create", "run", LATER)
    assert unused(lab) == everything - {("developer", "project:a", "create")}


def test_working_with_an_included_role_is_use(lab: Rbac):
    with lab._store.writing() as session:
        usage.note(session, "viewer", "project:b", "read", "run", LATER)
    assert ("developer", "project:b", "read") not in unused(lab)
    assert ("developer", "project:a", "read") in unused(lab)


def test_only_roles_that_give_the_permission_are_noted(lab: Rbac):
    log = UsageLog()
    lab.add_role("clerk")
    log.note((("clerk", "platform"), ("developer", "project:b"), ("gone", "platform")), "run:read")
    flush(lab, log)
    with lab._store.reading() as session:
        assert [(row.role, row.scope) for row in session.query(usage.Usage)] == [("developer", "project:b")]


def test_an_older_use_does_not_replace_a_newer(lab: Rbac):
    with lab._store.writing() as session:
        usage.note(session, "developer", "project:a", "create", "run", LATER)
        usage.note(session, "developer", "project:a", "create", "run", LATER - timedelta(days=95))
    assert ("developer", "project:a", "create") not in unused(lab)


def test_threads_note_while_the_log_is_written(lab: Rbac):
    log = UsageLog()
    done = threading.Event()

    def work() -> None:
        number = 0
        while not done.is_set():
            log.note((("developer", "project:a"),), "run:read", f"project:{number % 50}")
            number += 1

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        flush(lab, log)
    done.set()
    for thread in threads:
        thread.join(20)
