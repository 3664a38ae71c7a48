"""Roles over REST, with callers whose rights come from sessions in the tables themselves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import postgresql
import psycopg
import pytest
from fastapi import FastAPI
from fastapi.responses import Response
from fastapi.testclient import TestClient

from flaas_jupyter.coordination import database as api_database
from flaas_jupyter.coordination import problems
from flaas_jupyter.coordination.calls import Call
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.coordination.metrics import Metrics
from flaas_jupyter.coordination.rbac_schemas import CALLS
from flaas_jupyter.coordination.routes import rbac as routes
from flaas_jupyter.coordination.services import rbac as service
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.coordination.tables import Organisation, Project, ProjectOrganisation
from flaas_jupyter.coordination.traffic import Gate
from flaas_jupyter.errors import NotAllowed, NotAuthenticated
from flaas_jupyter.governance.identity import Caller
from flaas_jupyter.governance.permissions import PERMISSIONS, ROLES
from flaas_jupyter.governance.rbac import Rbac, core, defaults, grants, review, sessions, store
from flaas_jupyter.governance.rbac.functions import FUNCTIONS
from flaas_jupyter.governance.rbac.tables import TABLES
from flaas_jupyter.governance.rbac.usage import UsageLog

Rows = dict[str, list[dict[str, Any]]]
PEOPLE = {
    # user: organisation, roles with scopes
    "governor": ("north", [("governance-admin", "platform")]),
    "auditor": ("north", [("auditor", "platform")]),
    "head": ("north", [("org-admin", "organisation:north")]),
    "dev": ("north", [("developer", "organisation:north")]),
    "stranger": ("south", [("viewer", "organisation:south")]),
    "local": ("north", [("governance-admin", "organisation:north")]),
}


class Sessions:
    """Recognises whoever presents the id of a session of roles."""

    scheme = "Bearer"

    def __init__(self, database: Database) -> None:
        self._database = database

    def authenticate(self, presented: Any) -> Caller:
        with self._database.reading() as session:
            try:
                given = grants.of(session, presented.credentials)
            except LookupError as error:
                raise NotAuthenticated("no such session") from error
        organisation = PEOPLE[given.user][0]
        return Caller(given.user, "user", organisation, given.operations, given.roles, presented.credentials)


@dataclass
class Site:
    """An API with the routes of roles alone."""

    database: Database
    client: TestClient
    ids: dict[str, str]
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    waits: bool = False

    def call(self, user: str, method: str, path: str, json: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.ids[user]}"}
        return self.client.request(method, path, json=json, headers=headers)

    def get(self, user: str, path: str) -> Any:
        response = self.call(user, "GET", path)
        assert response.status_code == 200, response.text
        return response.json()

    def function(self, caller: str, called: str, /, **arguments: Any) -> Any:
        response = self.call(caller, "POST", f"/v1/rbac/{called}", {"arguments": arguments})
        assert response.status_code == 200, response.text
        return response.json()["result"]

    def refused(self, caller: str, called: str, /, **arguments: Any) -> tuple[int, str]:
        response = self.call(caller, "POST", f"/v1/rbac/{called}", {"arguments": arguments})
        assert response.status_code >= 400, response.text
        assert response.headers["Content-Type"] == "application/problem+json"
        return response.status_code, response.json()["code"]


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def built(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Database, dict[str, str], Rows]]:
    """The default roles, two organisations with a project each, people at work; and all rows about roles."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('roles') / 'roles.db'}"
    else:
        cluster = request.getfixturevalue("cluster")
        url = cluster.url(cluster.create())
    database = Database(url)
    database.migrate()
    with database.writing() as session:
        defaults.install(session)
        for user, (_, roles) in PEOPLE.items():
            core.add_user(session, user)
            for role, scope in roles:
                core.assign_user(session, user, role, scope)
        ids = {
            user: sessions.create_session(session, user, [role for role, _ in roles])
            for user, (_, roles) in PEOPLE.items()
        }
        now = datetime.now(UTC)
        for name in ("north", "south"):
            session.add(Organisation(id=name, name=name, created=now))
        session.flush()
        for name, organisation in (("credit", "north"), ("secret", "south")):
            session.add(Project(id=name, name=name, description="", domain_key="ab" * 32, created=now))
            session.flush()
            session.add(ProjectOrganisation(project=name, organisation=organisation))
    with database.reading() as session:
        rows = {table.name: [dict(row._mapping) for row in session.execute(table.select())] for table in TABLES}
    yield url, database, ids, rows
    database.close()


@pytest.fixture
def site(built: tuple[str, Database, dict[str, str], Rows], monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """The API; what a test does to roles is undone after it."""
    url, database, ids, rows = built
    app = FastAPI()
    app.state.hosted = SimpleNamespace(
        database=database,
        settings=Settings(database_url=url),
        authenticators=[Sessions(database)],
        usage=UsageLog(),
        scheduler=SimpleNamespace(heard=lambda: None),
    )
    app.add_middleware(Gate, metrics=Metrics(database, app.state.hosted.settings, lambda: 0), body_limit=1 << 20)
    problems.install(app)
    app.include_router(routes.router)
    site = Site(database, TestClient(app), dict(ids))

    def critical(call: Call, session: Any, action: str, scope: str, body: Any) -> Response | None:
        site.asked.append((action, scope, body))
        return Response(status_code=202, headers={"Location": "/v1/approvals/1"}) if site.waits else None

    monkeypatch.setattr(Call, "critical", critical)
    yield site
    site.client.close()
    with database.writing() as session:
        for table in reversed(TABLES):
            session.execute(table.delete())
        for table in TABLES:
            if rows[table.name]:
                session.execute(table.insert(), rows[table.name])


def test_every_function_has_its_route():
    paths = {route.path for route in routes.router.routes}  # type: ignore[attr-defined]
    assert {f"/v1/rbac/{name}" for name in FUNCTIONS} <= paths
    assert set(CALLS) == set(FUNCTIONS)


def test_the_description_of_the_interface_names_every_argument(site: Site):
    described = site.client.app.openapi()["components"]["schemas"]  # type: ignore[attr-defined]
    assert set(described["CreateSsdSetArguments"]["required"]) == {"name", "roles", "n"}
    assert described["AssignUserArguments"]["additionalProperties"] is False


def test_writers_of_the_api_and_of_the_facade_take_turns_with_each_other():
    assert store.WRITERS_LOCK == api_database._WRITERS_LOCK


def test_the_matrix_tells_who_may_do_what_and_why(site: Site):
    first = site.get("dev", "/v1/permissions?limit=5")
    assert len(first["_embedded"]["permissions"]) == 5
    shown = []
    path = "/v1/permissions?limit=50"
    while path:
        page = site.get("dev", path)
        shown += page["_embedded"]["permissions"]
        path = page["_links"].get("next", {}).get("href")
    assert [f"{each['object']}:{each['operation']}" for each in shown] == sorted(PERMISSIONS)
    registering = next(each for each in shown if (each["operation"], each["object"]) == ("register", "node"))
    assert registering["roles"] == [
        {"role": "operator", "path": ["operator"]},
        {"role": "org-admin", "path": ["org-admin", "operator"]},
    ]


def test_roles_tell_their_holders_only_to_those_who_may_see_members(site: Site):
    def holders(user: str, role: str) -> list[dict[str, str]]:
        return site.get(user, f"/v1/roles/{role}")["users"]

    assert holders("auditor", "viewer") == [{"user": "stranger", "scope": "organisation:south"}]
    assert holders("head", "viewer") == []
    assert holders("head", "developer") == [{"user": "dev", "scope": "organisation:north"}]
    assert holders("stranger", "developer") == []
    listed = site.get("stranger", "/v1/roles")["_embedded"]["roles"]
    assert [role["name"] for role in listed] == sorted(ROLES)
    assert all(role["users"] == [] for role in listed)
    developer = next(role for role in listed if role["name"] == "developer")
    assert developer["built_in"]
    assert developer["juniors"] == ["viewer"]
    assert {"operation": "create", "object": "run"} in developer["permissions"]
    assert {"operation": "read", "object": "costs"} in developer["inherited"]
    assert site.call("stranger", "GET", "/v1/roles/king").status_code == 404
    assert "edit" in site.get("governor", "/v1/roles/viewer")["_links"]
    assert "edit" not in site.get("local", "/v1/roles/viewer")["_links"]


def test_separation_is_told(site: Site):
    shown = site.get("dev", "/v1/separation")["_embedded"]["exclusions"]
    assert {(each["kind"], each["name"], each["per_scope"]) for each in shown} >= {
        ("static", "administration-and-audit", False),
        ("static", "development-and-approval", True),
        ("dynamic", "operation-and-approval", False),
    }


def test_changes_are_made_by_those_who_may_change_roles_on_the_platform(site: Site):
    for user in ("dev", "head", "auditor", "stranger"):
        assert site.refused(user, "add_role", role="mine") == (403, "not-allowed")
    assert site.refused("local", "add_role", role="mine") == (403, "not-allowed"), "held in an organisation only"
    assert site.function("governor", "add_role", role="intern") is None
    assert site.function("governor", "add_inheritance", ascendant="developer", descendant="intern") is None
    assert site.function("governor", "grant_permission", operation="read", object="manual", role="intern") is None
    assert {"operation": "read", "object": "manual"} in site.function("dev", "role_permissions", role="developer")
    assert [action for action, _, _ in site.asked] == ["role.change"] * 3
    assert site.function("governor", "create_ssd_set", name="new", roles=["intern", "auditor"], n=2) is None
    assert site.asked[-1][:2] == ("separation.change", "platform")


def test_a_change_that_needs_approval_waits_and_is_carried_out_as_it_was_asked_for(site: Site):
    site.waits = True
    response = site.call("governor", "POST", "/v1/rbac/add_role", {"arguments": {"role": "intern"}})
    assert (response.status_code, response.headers["Location"]) == (202, "/v1/approvals/1")
    assert site.call("governor", "GET", "/v1/roles/intern").status_code == 404
    (_, _, body) = site.asked[0]
    assert body == {"function": "add_role", "arguments": {"role": "intern"}}
    with site.database.writing() as session:
        lost = Caller("governor", "user", "north", {"role:manage": frozenset({"organisation:north"})})
        with pytest.raises(NotAllowed):
            service.carry_out(SimpleNamespace(session=session, requester=lost), body)
        kept = Caller("governor", "user", "north", {"role:manage": frozenset({"platform"})})
        service.carry_out(SimpleNamespace(session=session, requester=kept), body)
    assert site.get("dev", "/v1/roles/intern")["permissions"] == []


def test_what_cannot_be_done_is_not_asked_for(site: Site):
    assert site.refused("governor", "add_role", role="viewer") == (409, "role-exists")
    assert site.refused("governor", "delete_role", role="king") == (404, "unknown-role")
    assert site.refused("governor", "add_inheritance", ascendant="viewer", descendant="developer") == (
        409,
        "inheritance-cycle",
    )
    assert site.refused("governor", "set_ssd_set_cardinality", name="administration-and-audit", n=9) == (
        422,
        "bad-cardinality",
    )
    assert site.refused("governor", "assign_user", user="governor", role="auditor") == (409, "ssd-violated")
    assert site.asked == []


def test_other_arguments_are_refused(site: Site):
    for body in [
        None,
        {},
        {"arguments": {}},
        {"arguments": {"role": "a", "more": 1}},
        {"arguments": {"role": ""}},
        {"arguments": {"role": "a\x00"}},
        {"arguments": {"role": 7}},
        {"arguments": {"role": "x" * 201}},
        {"arguments": ["role"]},
        {"role": "a"},
        {"arguments": {"role": "a"}, "function": "delete_role"},
    ]:
        response = site.call("governor", "POST", "/v1/rbac/add_role", body)
        assert (response.status_code, response.json()["code"]) == (422, "invalid-input"), body


def test_a_preview_names_conflicts_and_changes_nothing(site: Site):
    changes = [
        {"function": "add_role", "arguments": {"role": "chief"}},
        {"function": "add_inheritance", "arguments": {"ascendant": "chief", "descendant": "auditor"}},
        {"function": "add_inheritance", "arguments": {"ascendant": "chief", "descendant": "org-admin"}},
        {"function": "assign_user", "arguments": {"user": "governor", "role": "chief"}},
    ]
    response = site.call("governor", "POST", "/v1/roles/preview", {"changes": changes})
    shown = response.json()
    assert shown["conflicts"] == [
        {"exclusion": "administration-and-audit", "user": "governor", "roles": ["auditor", "governance-admin"]},
        {"exclusion": "roles-and-resources", "user": "governor", "roles": ["governance-admin", "org-admin"]},
    ]
    assert (shown["problem"]["code"], shown["problem"]["change"]) == ("ssd-violated", 3)
    assert site.call("governor", "GET", "/v1/roles/chief").status_code == 404
    good = site.call("governor", "POST", "/v1/roles/preview", {"changes": changes[:3]}).json()
    assert (good["conflicts"], good["problem"]) == ([], None)
    wrong = [{"function": "check_access", "arguments": {}}]
    said = site.call("governor", "POST", "/v1/roles/preview", {"changes": wrong}).json()
    assert said["problem"]["code"] == "unknown-function"
    for user in ("dev", "local"):
        assert site.call(user, "POST", "/v1/roles/preview", {"changes": changes}).status_code == 403


def test_sessions_are_their_users_own(site: Site):
    mine = site.function("dev", "create_session", user="dev", roles=["viewer"])
    assert site.function("dev", "session_roles", session=mine) == ["viewer"]
    assert site.function("dev", "check_access", session=mine, operation="read", object="run") is True
    assert site.function("dev", "check_access", session=mine, operation="create", object="run") is False
    site.function("dev", "add_active_role", user="dev", session=mine, role="developer")
    within = {"operation": "create", "object": "run", "within": ["organisation:north"]}
    assert site.function("dev", "check_access", session=mine, **within) is True
    site.function("dev", "drop_active_role", user="dev", session=mine, role="developer")
    pair = {"role": "developer", "scope": "organisation:north"}
    assert site.function("dev", "create_session", user="dev", roles=[pair])
    assert site.refused("dev", "create_session", user="dev", roles=["org-admin"]) == (403, "not-authorised")
    assert site.refused("dev", "create_session", user="head", roles=[]) == (403, "not-session-owner")
    theirs = site.ids["head"]
    for name, more in (
        ("add_active_role", {"user": "dev", "role": "viewer"}),
        ("drop_active_role", {"user": "dev", "role": "viewer"}),
        ("delete_session", {"user": "dev"}),
        ("check_access", {"operation": "read", "object": "run"}),
    ):
        assert site.refused("dev", name, session=theirs, **more) == (404, "unknown-session")
        assert site.refused("dev", name, session="nonsense", **more) == (404, "unknown-session")
    site.function("dev", "delete_session", user="dev", session=mine)
    assert site.refused("dev", "session_roles", session=mine) == (404, "unknown-session")


def test_a_token_for_few_roles_cannot_reach_for_more(site: Site):
    with site.database.writing() as session:
        free = sessions.create_session(session, "dev", [])
        site.ids["dev"] = sessions.create_session(session, "dev", ["viewer"], fixed=True)
    own = site.ids["dev"]
    assert site.refused("dev", "create_session", user="dev", roles=["developer"]) == (403, "session-fixed")
    for session in (own, free):
        assert site.refused("dev", "add_active_role", user="dev", session=session, role="developer") == (
            403,
            "session-fixed",
        )


def test_review_of_people_takes_a_role_that_sees_them(site: Site):
    assert site.function("auditor", "authorized_users", role="viewer") == ["dev", "head", "stranger"]
    assert "stranger" in site.function("auditor", "permission_users", operation="read", object="run")
    assert site.function("auditor", "assigned_roles", user="stranger") == ["viewer"]
    assert site.function("dev", "authorized_roles", user="dev") == ["developer", "viewer"]
    for name in ("assigned_users", "authorized_users"):
        assert site.refused("dev", name, role="viewer") == (403, "not-allowed")
    for name in ("assigned_roles", "authorized_roles", "user_permissions"):
        assert site.refused("dev", name, user="stranger") == (404, "unknown-user")
        assert site.refused("dev", name, user="nobody") == (404, "unknown-user")
    assert site.refused("dev", "session_roles", session=site.ids["head"]) == (404, "unknown-session")
    assert site.function("dev", "ssd_role_set_cardinality", name="administration-and-audit") == 2
    assert site.function("dev", "permission_roles", operation="create", object="run") == ["developer"]


def test_can_tells_whether_and_why(site: Site):
    def can(user: str, **query: str) -> Any:
        return site.get(user, "/v1/can?" + "&".join(f"{key}={value}" for key, value in query.items()))

    yes = can("dev", operation="run:read", resource="project/credit")
    assert yes["permitted"]
    assert yes["because"] == [{"role": "developer", "scope": "organisation:north", "path": ["developer", "viewer"]}]
    no = can("dev", operation="node:register", resource="project/credit")
    assert (no["permitted"], no["because"]) == (False, [])
    assert can("dev", operation="run:create")["permitted"]
    assert not can("dev", operation="run:create", resource="platform")["permitted"]
    assert not can("dev", operation="run:create", resource="organisation/south")["permitted"]
    hidden = site.call("dev", "GET", "/v1/can?operation=run:read&resource=project/secret")
    missing = site.call("dev", "GET", "/v1/can?operation=run:read&resource=project/none")
    assert (hidden.status_code, hidden.json()["code"]) == (missing.status_code, missing.json()["code"])
    assert hidden.status_code == 404
    for query in ("operation=run:fly", "operation=nonsense", "operation=run:read&resource=moon/1", ""):
        assert site.call("dev", "GET", f"/v1/can?{query}").status_code == 422


def test_unused_permissions_are_reported_to_auditors(site: Site):
    assert site.get("auditor", "/v1/permissions/unused")["unused"] == [], "nothing was assigned 90 days ago"
    shown = site.get("auditor", "/v1/permissions/unused?days=0.0000001")["unused"]
    assert {"dev", "developer"} & {each["role"] for each in shown}
    assert all(each["last_used"] is None for each in shown)
    locally = site.get("local", "/v1/permissions/unused?days=0.0000001")["unused"]
    assert {each["scope"] for each in locally} == {"organisation:north"}
    assert site.call("dev", "GET", "/v1/permissions/unused").status_code == 403
    for days in ("0", "-1", "nan", "1e9"):
        assert site.call("auditor", "GET", f"/v1/permissions/unused?days={days}").status_code == 422


def test_what_is_revoked_is_refused_in_the_next_request(site: Site):
    site.function("governor", "deassign_user", user="auditor", role="auditor")
    assert site.call("auditor", "GET", "/v1/permissions/unused").status_code == 403
    site.function("governor", "delete_user", user="auditor")
    assert site.call("auditor", "GET", "/v1/permissions").status_code == 401
    with site.database.reading() as session:
        assert "auditor" not in review.permission_users(session, "read", "audit")


def test_the_standalone_facade_works_on_the_apis_data_base(cluster: postgresql.Cluster):
    """Also as a role that row-level security holds for."""
    name = cluster.create()
    url = cluster.url(name)
    database = Database(url)
    database.migrate()
    with database.writing() as session:
        defaults.install(session)
    database.close()
    with psycopg.connect(url, autocommit=True) as control:
        control.execute(f"CREATE ROLE {name} LOGIN NOSUPERUSER")
        control.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    with Rbac(url.replace("flaas@", f"{name}@")) as rbac:
        rbac.add_user("anna")
        rbac.assign_user("anna", "developer", "project:credit")
        session_id = rbac.create_session("anna", ["developer"])
        assert rbac.check_access(session_id, "create", "run", "project:credit")
        assert rbac.authorized_users("viewer") == {"anna"}
    cluster.drop(name)


def test_nobody_without_credentials(site: Site):
    for method, path in [("GET", "/v1/roles"), ("POST", "/v1/rbac/add_role"), ("GET", "/v1/can?operation=run:read")]:
        assert site.client.request(method, path, json={} if method == "POST" else None).status_code == 401
