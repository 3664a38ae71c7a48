"""People and services: who may make them, see them, and say what they may do."""

from __future__ import annotations

import pytest

from .hosted_api import Caller, Federation

ADA = {"organisation": "north", "email": "ada@north.example", "name": "Ada"}


def role(name: str, scope: str) -> dict[str, str]:
    return {"role": name, "scope": scope}


@pytest.fixture
def head(federation: Federation) -> Caller:
    """Who runs the organisation north."""
    return federation.person("org-admin", "north")


def service(caller: Caller, name: str, *roles: dict[str, str], organisation: str = "north") -> dict:
    return caller.post("/v1/users", {"id": name, "kind": "service", "organisation": organisation, "roles": list(roles)})


def test_a_person_is_invited_once_and_a_service_has_a_token(head, federation):
    ada = head.post("/v1/users", ADA)
    assert (ada["kind"], ada["state"], ada["name"], ada["email"], ada["roles"]) == (
        "person", "invited", "Ada", "ada@north.example", [],
    )  # fmt: skip
    assert ada["invitation"]
    path = f"/v1/users/{ada['id']}"
    assert "invitation" not in head.get(path)
    again = head.post(f"{path}/invitation")
    assert again["invitation"] != ada["invitation"]
    made = service(head, "pipeline", role("developer", "project:credit"))
    assert made["roles"] == [role("developer", "project:credit")]
    pipeline = federation.api.as_person(made["token"])
    assert pipeline.get("/v1/me")["permissions"]["run:create"] == ["project:credit"]


def test_names_are_for_those_who_administer_the_organisation(head, federation):
    ada = head.post("/v1/users", ADA)["id"]
    for knows in (head, federation.governor, federation.person("auditor", "north")):
        assert knows.get(f"/v1/users/{ada}")["email"] == ADA["email"]
    for stranger in (federation.person("org-admin", "south"), federation.person("auditor", "south")):
        assert stranger.refused("GET", f"/v1/users/{ada}") == (404, "unknown-user")
        assert ada not in {user["id"] for user in stranger.embedded("/v1/users", "users")}
    assert federation.person("viewer", "north").refused("GET", "/v1/users") == (403, "not-allowed")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({**ADA, "organisation": "mars"}, 404, "unknown-organisation"),
        ({**ADA, "organisation": "south"}, 404, "unknown-organisation"),
        ({"organisation": "north"}, 422, "bad-user"),
        ({**ADA, "kind": "service"}, 422, "bad-user"),
        ({**ADA, "email": "nobody"}, 422, "invalid-input"),
        ({**ADA, "id": "Ada Lovelace"}, 422, "invalid-input"),
        ({**ADA, "state": "active"}, 422, "invalid-input"),
        ({**ADA, "roles": [role("king", "organisation:north")]}, 404, "unknown-role"),
        ({**ADA, "roles": [role("viewer", "planet:north")]}, 422, "bad-scope"),
        ({**ADA, "roles": [role("viewer", "organisation:south")]}, 403, "may-not-assign"),
        ({**ADA, "roles": [role("governance-admin", "platform")]}, 403, "may-not-assign"),
        ({**ADA, "roles": [role("viewer", "platform")]}, 403, "may-not-assign"),
    ],
)
def test_what_is_not_acceptable_changes_nothing(head, body, status, code):
    before = {user["id"] for user in head.embedded("/v1/users", "users")}
    assert head.refused("POST", "/v1/users", body) == (status, code)
    assert {user["id"] for user in head.embedded("/v1/users", "users")} == before


def test_roles_are_given_and_taken_and_count_at_once(head, federation):
    made = service(head, "pipeline")
    pipeline = federation.api.as_person(made["token"])
    assert pipeline.refused("GET", "/v1/projects") == (403, "not-allowed")
    path = "/v1/users/pipeline/roles"
    assert head.post(path, role("viewer", "organisation:north"))["roles"] == [role("viewer", "organisation:north")]
    assert pipeline.get(federation.path)
    assert head.refused("POST", path, role("viewer", "organisation:north")) == (409, "already-assigned")
    assert head.call("DELETE", f"{path}/viewer/organisation:north").status_code == 204
    assert pipeline.refused("GET", "/v1/projects") == (403, "not-allowed")
    status, code = head.refused("DELETE", f"{path}/viewer/organisation:north")
    assert (status, code) == (409, "not-assigned")


def test_separation_of_duties_holds_when_roles_are_given(head, federation):
    service(head, "ada", role("developer", "organisation:north"))
    problem = head.problem("POST", "/v1/users/ada/roles", role("approver", "organisation:north"))
    assert problem["code"] == "ssd-violated"
    assert "development-and-approval" in problem["detail"]
    governor = federation.governor
    service(governor, "audit", role("auditor", "platform"), organisation="platform")
    assert (
        governor.problem("POST", "/v1/users/audit/roles", role("governance-admin", "platform"))["code"]
        == "ssd-violated"
    )
    assert governor.get("/v1/users/audit")["roles"] == [role("auditor", "platform")]


def test_a_role_in_a_project_reaches_no_other(head, federation):
    federation.admin.post("/v1/projects", federation.project_body(id="fraud"))
    made = service(head, "guest", role("viewer", "project:credit"))
    guest = federation.api.as_person(made["token"])
    assert [project["id"] for project in guest.embedded("/v1/projects", "projects")] == ["credit"]
    assert guest.refused("GET", "/v1/projects/fraud") == (404, "unknown-project")
    assert guest.refused("GET", "/v1/costs/summary") == (403, "not-allowed"), "money is the organisation's"
    assert head.refused("POST", "/v1/users/guest/roles", role("viewer", "project:other"))[0] in (403, 422)


def test_what_one_may_in_one_project_one_may_not_in_another_that_one_sees(head, federation):
    federation.admin.post("/v1/projects", federation.project_body(id="fraud"))
    made = service(head, "both", role("developer", "project:credit"), role("viewer", "project:fraud"))
    both = federation.api.as_person(made["token"])
    assert both.get("/v1/projects/fraud")
    assert both.refused("POST", "/v1/projects/fraud/runs", {"dataset": "x"})[0] in (403, 422)
    assert "create_launch" not in both.get("/v1/projects/fraud")["_links"]
    assert "create_launch" in both.get("/v1/projects/credit")["_links"]


def test_an_administrator_of_a_project_raises_nobody(federation):
    governor = federation.governor
    made = service(governor, "lead", role("org-admin", "project:credit"))
    lead = federation.api.as_person(made["token"])
    service(governor, "helper", role("viewer", "project:credit"))
    for wanted in (
        role("governance-admin", "platform"),
        role("governance-admin", "project:credit"),
        role("auditor", "platform"),
        role("org-admin", "platform"),
        role("org-admin", "organisation:north"),
        role("operator", "project:other"),
    ):
        for user in ("helper", "lead"):
            status, _ = lead.refused("POST", f"/v1/users/{user}/roles", wanted)
            assert status in (403, 404, 422), (user, wanted)
    assert governor.get("/v1/users/lead")["roles"] == [role("org-admin", "project:credit")]
    assert lead.refused(
        "POST", "/v1/rbac/grant_permission", {"operation": "manage", "object": "role", "role": "viewer"}
    )[0] in (403, 404)


def test_a_removed_user_is_gone_and_its_id_not_free(head, federation):
    made = service(head, "pipeline", role("viewer", "organisation:north"))
    pipeline = federation.api.as_person(made["token"])
    path = "/v1/users/pipeline"
    assert head.refused("DELETE", path) == (428, "if-match-required")
    assert head.call("DELETE", path, headers=head.matching(path)).status_code == 204
    assert pipeline.refused("GET", "/v1/me")[0] == 401
    assert head.refused("GET", path) == (404, "unknown-user")
    assert head.refused("POST", "/v1/users", {"id": "pipeline", "kind": "service", "organisation": "north"}) == (
        409,
        "user-exists",
    )


def test_links_show_what_may_be_done_with_a_user(head, federation):
    service(head, "pipeline")
    assert set(head.get("/v1/users/pipeline")["_links"]) == {"self", "roles", "take_role", "remove"}
    auditor = federation.person("auditor", "north")
    assert set(auditor.get("/v1/users/pipeline")["_links"]) == {"self"}
    assert set(head.get("/v1/users/org-admin.north")["_links"]) == {"self"}, "nobody changes their own roles"
    ada = head.post("/v1/users", ADA)["id"]
    assert "invitation" in head.get(f"/v1/users/{ada}")["_links"]
    assert "invite" in head.get("/v1/users")["_links"]
    assert "invite" not in auditor.get("/v1/users")["_links"]


def test_nobody_changes_their_own_roles(head):
    assert head.refused("POST", "/v1/users/org-admin.north/roles", role("developer", "organisation:north")) == (
        403,
        "own-roles",
    )
