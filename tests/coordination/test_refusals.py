"""Who was refused stands in the audit log, and cannot fill it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import select

from flaas_jupyter.coordination import refusals
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.governance.audit import AuditEntry
from flaas_jupyter.governance.identity import Caller

from .hosted_api import Federation


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    opened = Database(database_url)
    yield opened
    opened.close()


def entries(federation: Federation) -> list[dict[str, Any]]:
    auditor = federation.person("auditor", "laboratory")
    return [each for each in auditor.get("/v1/audit?limit=200")["_embedded"]["entries"] if each["outcome"] == "refused"]


def test_who_tries_what_they_may_not_is_written_down_once_a_minute(federation: Federation) -> None:
    developer = federation.developer
    for _ in range(3):
        assert developer.call("POST", "/v1/organisations", {"id": "mine", "name": "Mine"}).status_code == 403
    (entry,) = entries(federation)
    assert (entry["operation"], entry["object"], entry["organisation"]) == (
        "organisation:write",
        "organisations",
        "laboratory",
    )
    assert entry["details"] == {"method": "POST", "code": "not-allowed", "since_last_count": 0}


def test_what_went_by_without_an_entry_is_counted(database: Database) -> None:
    now = [0.0]
    noted = refusals.Refusals(database, clock=lambda: now[0])
    caller = Caller("ana", "user", "north", {})
    for _ in range(4):
        noted.note(caller, "run:create", "POST", "/v1/projects/p/runs", "not-allowed")
    now[0] = refusals.PAUSE
    noted.note(caller, "run:create", "POST", "/v1/projects/p/runs", "not-allowed")
    noted.note(caller, "run:cancel", "POST", "/v1/runs/r/cancel", "not-allowed")
    with database.reading() as session:
        counts = [
            (each.operation, each.details["since_last_count"])
            for each in session.scalars(
                select(AuditEntry).where(AuditEntry.outcome == "refused").order_by(AuditEntry.sequence)
            )
        ]
    assert counts == [("run:create", 0), ("run:create", 3), ("run:cancel", 0)]


def test_only_so_many_are_remembered(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "MOST", 2)
    noted = refusals.Refusals(database, clock=lambda: 0.0)
    for name in ("a", "b", "c", "a"):
        noted.note(Caller(name, "user", "north", {}), "run:create", "POST", "/v1/runs", "not-allowed")
    with database.reading() as session:
        assert [
            each.actor
            for each in session.scalars(
                select(AuditEntry).where(AuditEntry.outcome == "refused").order_by(AuditEntry.sequence)
            )
        ] == list("abca")
