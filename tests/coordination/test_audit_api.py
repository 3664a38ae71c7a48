"""The audit log over REST: who sees what, filters and pages, exports that can be checked, checkpoints and proofs."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from governance.audit.logs import owned
from sqlalchemy import select

from flaas_jupyter.coordination import audit_schemas, problems
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.hal import HalResponse
from flaas_jupyter.coordination.routes import audit as routes
from flaas_jupyter.coordination.services import audit as service
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.errors import NotAuthenticated
from flaas_jupyter.execution.witness import Witness
from flaas_jupyter.governance import audit
from flaas_jupyter.governance.audit import guards
from flaas_jupyter.governance.audit.merkle import is_extension
from flaas_jupyter.governance.audit.statements import Trust
from flaas_jupyter.governance.audit.tables import AuditCheckpoint, AuditEntry, AuditKey, AuditTreeHash
from flaas_jupyter.governance.audit.verification import exported, verify
from flaas_jupyter.governance.confidentiality import DataKey, LocalKeys, Vault
from flaas_jupyter.governance.identity import Caller
from flaas_jupyter.governance.rbac.usage import UsageLog

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
VAULT = Vault([LocalKeys([b"k" * 32])])
MODELS = (AuditEntry, AuditTreeHash, AuditCheckpoint, AuditKey, DataKey)


def auditor(*held: str, operations: tuple[str, ...] = ("audit:read", "audit:check")) -> Caller:
    return Caller("person-9", "user", "north", {operation: frozenset(held) for operation in operations})


CALLERS = {
    "platform": auditor("platform"),
    "north": auditor("organisation:north"),
    "credit": auditor("project:credit"),
    "several": auditor("organisation:north", "project:fraud"),
    "node": auditor("organisation:north", operations=("audit:check",)),
    "nowhere": auditor("node:" + "ab" * 32),
    "viewer": auditor("organisation:north", operations=("run:read",)),
}


class Names:
    """Signs in whoever gives a name."""

    scheme: ClassVar[str] = "Bearer"

    def authenticate(self, presented: Any) -> Caller:
        if presented.credentials not in CALLERS:
            raise NotAuthenticated("Nobody has this name.", hint="Give another.")
        return CALLERS[presented.credentials]


@pytest.fixture
def database(fresh_url: str, database_kind: str) -> Iterator[Database]:
    opened = Database(fresh_url if database_kind == "sqlite" else owned(fresh_url))
    with opened.writing() as session:
        AuditEntry.metadata.create_all(session.connection(), tables=[model.__table__ for model in MODELS])
        guards.install_guards(session.connection())
    yield opened
    opened.close()


@pytest.fixture
def app(database: Database) -> FastAPI:
    """The routes, with their background work, on a data base of the test's own."""
    app = FastAPI(default_response_class=HalResponse)
    settings = Settings(database_url="", tick=0.01)
    app.state.hosted = SimpleNamespace(
        database=database,
        settings=settings,
        authenticators=[Names()],
        usage=UsageLog(),
        vault=VAULT,
        scheduler=SimpleNamespace(heard=lambda: None),
    )
    problems.install(app)
    app.include_router(routes.router)
    return app


class Api:
    """Calls as somebody; each answer is held against its description."""

    def __init__(self, app: FastAPI) -> None:
        self._http = TestClient(app)  # without its context: nothing runs in the background

    def call(self, who: str | None, path: str) -> httpx.Response:
        headers = {} if who is None else {"Authorization": f"Bearer {who}"}
        return self._http.get(path, headers=headers)

    def entries(self, who: str, query: str = "") -> list[int]:
        """Return the numbers on all pages."""
        found, path = [], f"/v1/audit{query}"
        while path:
            answer = self.call(who, path)
            assert answer.status_code == 200, answer.text
            page = audit_schemas.AuditEntries.model_validate_json(answer.content, strict=True)
            found += [entry.sequence for entry in page.embedded.entries]
            path = page.links["next"].href if "next" in page.links else ""
        return found

    def code(self, who: str | None, path: str) -> tuple[int, str]:
        answer = self.call(who, path)
        assert answer.headers["Content-Type"] == "application/problem+json", answer.text
        return answer.status_code, answer.json()["code"]


@pytest.fixture
def api(app: FastAPI) -> Api:
    return Api(app)


def write(database: Database, count: int = 12) -> None:
    with database.writing() as session:
        for number in range(1, count + 1):
            audit.append(
                session,
                actor=f"person-{number % 2}" if number != 7 else "ab" * 32,
                actor_kind="user",
                operation="run:create" if number % 3 else "run:cancel",
                object=f"runs/{number}",
                organisation=("north", "south", None)[number % 3],
                project=("credit", "fraud", "other", None)[number % 4],
                outcome="refused" if number == 5 else "done",
                details={"shift": "-1", "formula": "=1+1"} if number == 3 else {},
                now=START + timedelta(minutes=number),
            )


def test_an_auditor_sees_what_lies_where_the_role_is_held(database, api):
    write(database)
    assert api.entries("platform") == list(range(12, 0, -1))
    assert api.entries("north") == [12, 9, 6, 3]
    assert api.entries("credit") == [12, 8, 4]
    assert api.entries("several") == [12, 9, 6, 5, 3, 1]
    assert api.entries("nowhere") == [7], "the entries that the node has made"
    for who, count in (("north", 4), ("several", 6), ("nowhere", 1)):
        assert len(api.call(who, "/v1/audit/export").text.splitlines()) == count


def test_filters_narrow_and_pages_go_on(database, api):
    write(database)
    assert api.entries("platform", "?limit=5") == list(range(12, 0, -1))
    assert api.entries("platform", "?actor=person-1") == [11, 9, 5, 3, 1]
    assert api.entries("platform", "?operation=run:cancel&limit=1") == [12, 9, 6, 3]
    assert api.entries("platform", "?object=runs/4") == [4]
    assert api.entries("platform", "?project=credit&actor=person-0") == [12, 8, 4]
    assert api.entries("platform", "?outcome=refused") == [5]
    assert api.entries("platform", "?from=2026-01-01T12:03:00Z&to=2026-01-01T12:06:00Z") == [5, 4, 3]
    assert api.entries("platform", "?from=2026-01-01T14:10:00%2B02:00&limit=2") == [12, 11, 10]
    assert api.entries("north", "?project=fraud") == [9]
    assert api.entries("platform", "?actor=nobody") == []
    page = api.call("platform", "/v1/audit?limit=2").json()
    assert page["_links"]["export"]["href"].startswith("/v1/audit/export")
    entry = page["_embedded"]["entries"][0]
    assert entry["time"] == "2026-01-01T12:12:00.000000Z"
    assert len(entry["hash"]) == 64


BAD_FILTERS = [
    ("?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422, "bad-window"),
    ("?from=0001-01-01T00:00:00%2B14:00", 422, "bad-window"),
    ("?from=2026-01-01T00:00:00", 422, None),
    ("?from=yesterday", 422, None),
    ("?outcome=perhaps", 422, None),
    ("?limit=0", 422, None),
    ("?cursor=x", 422, "bad-cursor"),
    ("?actor=a%00b", 422, None),
    ("?object=" + "a" * 301, 422, None),
]


def test_bad_filters_are_refused(api):
    for query, status, code in BAD_FILTERS:
        answer = api.code("platform", f"/v1/audit{query}")
        assert answer[0] == status, query
        assert code is None or answer[1] == code
        if "cursor" not in query and "limit" not in query:
            assert api.code("platform", f"/v1/audit/export{query}") == answer


def test_who_may_not_read_is_refused(database, api):
    write(database, 1)
    for path in ("/v1/audit", "/v1/audit/export"):
        assert api.code(None, path)[0] == 401
        assert api.code("viewer", path)[0] == 403
        assert api.code("node", path)[0] == 403
    for path in ("/v1/audit/checkpoints", "/v1/audit/proof?from=1&to=1"):
        assert api.code(None, path)[0] == 401
        assert api.code("viewer", path)[0] == 403
    assert api.call("node", "/v1/audit/checkpoints").status_code == 200


def test_json_lines_can_be_checked_offline(database, api, monkeypatch):
    monkeypatch.setattr(service, "_PAGE", 5)
    write(database)
    answer = api.call("platform", "/v1/audit/export?format=jsonl")
    assert answer.headers["Content-Type"].startswith("application/jsonl")
    assert "attachment" in answer.headers["Content-Disposition"]
    result = verify(exported(answer.text.splitlines()))
    assert (result.finding, result.entries) == (None, 12)
    part = api.call("north", "/v1/audit/export?format=jsonl").text.splitlines()
    result = verify(exported(part), partial=True)
    assert (result.finding, result.entries, result.gaps) == (None, 4, 8)


def test_csv_holds_no_formula(database, api):
    write(database, 4)
    with database.writing() as session:
        audit.append(session, actor="person-1", actor_kind="user", operation="run:create", object="/etc", details={})
    answer = api.call("platform", "/v1/audit/export?format=csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["sequence"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert json.loads(rows[2]["details"]) == {"shift": "-1", "formula": "=1+1"}
    assert all(not cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row.values())
    assert service._harmless("=cmd|' /C calc'!A0") == "'=cmd|' /C calc'!A0"
    assert service._harmless(-1) == -1
    assert api.code("platform", "/v1/audit/export?format=xlsx")[0] == 422


def test_checkpoints_and_proofs_can_be_checked(database, api):
    keeper = service.Keeper(database, VAULT, entries=5, seconds=60)
    sizes = []
    empty = api.call("node", "/v1/audit/checkpoints").json()
    assert (empty["key"], empty["newest"], empty["_embedded"]["checkpoints"]) == (None, None, [])
    for number in (3, 4, 6):
        write(database, number)
        sizes.append(keeper.sign())
        assert keeper.sign() is None
    assert sizes == [3, 7, 13]
    answer = api.call("node", "/v1/audit/checkpoints?after=3&limit=1")
    page = audit_schemas.Checkpoints.model_validate_json(answer.content, strict=True)
    assert [each.body.sequence for each in page.embedded.checkpoints] == [7]
    assert page.newest is not None
    assert page.newest.body.sequence == 13
    onward = api.call("node", page.links["next"].href).json()
    assert [each["body"]["sequence"] for each in onward["_embedded"]["checkpoints"]] == [13]
    assert "next" not in onward["_links"]
    trust = Trust(onward["key"], onward["successions"])
    first, second = (
        trust.open(document) for document in (answer.json()["_embedded"]["checkpoints"][0], onward["newest"])
    )
    proof = api.call("node", "/v1/audit/proof?from=7&to=13")
    audit_schemas.Proof.model_validate_json(proof.content, strict=True)
    steps = [bytes.fromhex(digest) for digest in proof.json()["proof"]]
    assert is_extension(7, 13, bytes.fromhex(first.root), bytes.fromhex(second.root), steps)
    assert api.code("node", "/v1/audit/proof?from=7&to=14") == (404, "audit-not-signed")
    assert api.code("node", "/v1/audit/proof?from=9&to=7") == (422, "bad-proof-range")
    for query in ("?from=0&to=7", "?from=1", "?from=x&to=7", f"?from=1&to={1 << 63}"):
        assert api.code("node", f"/v1/audit/proof{query}")[0] == 422


def test_the_api_signs_by_itself_when_it_is_time(database, app):
    write(database, 2)  # entries of long ago
    with TestClient(app) as http:
        deadline = datetime.now(UTC) + timedelta(seconds=20)
        newest = None
        while newest is None and datetime.now(UTC) < deadline:
            answer = http.get("/v1/audit/checkpoints", headers={"Authorization": "Bearer node"})
            newest = answer.json()["newest"]
    assert newest["body"]["sequence"] == 2
    with database.reading() as session:
        assert session.scalars(select(AuditKey)).one().key == newest["body"]["key"]


def test_a_witness_believes_this_api_until_its_data_base_is_set_back(database, api, tmp_path):
    keeper = service.Keeper(database, VAULT)

    async def fetch(path: str) -> dict[str, Any]:
        return api.call("node", path).raise_for_status().json()

    witness = Witness(tmp_path / "audit.json", fetch)
    for count in (1, 2, 5):
        write(database, count)
        keeper.sign()
        assert asyncio.run(witness.look())
    assert witness.alarm is None
    with database.writing() as session:
        guards.remove_guards(session.connection())
        for model in (AuditEntry, AuditCheckpoint):
            session.execute(model.__table__.delete().where(model.__table__.c.sequence > 3))
    asyncio.run(witness.look())
    assert witness.alarm["kind"] == "cut-off"
