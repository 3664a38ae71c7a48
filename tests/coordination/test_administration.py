"""Organisations, projects and tokens, as administrators manage them."""

from __future__ import annotations

import pytest


def test_an_organisation_is_created_renamed_and_removed(federation):
    admin = federation.admin
    response = admin.call("POST", "/v1/organisations", {"id": "east", "name": "East"})
    assert (response.status_code, response.headers["Location"]) == (201, "/v1/organisations/east")
    path = "/v1/organisations/east"
    changed = admin.call("PATCH", path, {"name": "Far East"}, headers=admin.matching(path))
    assert changed.json()["name"] == "Far East"
    assert admin.get(path)["name"] == "Far East"
    assert admin.call("DELETE", path, headers=admin.matching(path)).status_code == 204
    assert admin.refused("GET", path) == (404, "unknown-organisation")


def test_a_change_needs_what_was_read(federation):
    admin, path = federation.admin, "/v1/organisations/north"
    before = admin.matching(path)
    for method, body in (("PATCH", {"name": "New"}), ("DELETE", None)):
        assert admin.refused(method, path, body) == (428, "if-match-required")
        stale = {"If-Match": '"something else"'}
        assert admin.refused(method, path, body, headers=stale) == (412, "stale-etag")
    assert admin.call("PATCH", path, {"name": "New"}, headers=before).status_code == 200
    assert admin.refused("PATCH", path, {"name": "Newer"}, headers=before) == (412, "stale-etag")


def test_what_is_in_use_is_not_removed(federation):
    admin = federation.admin
    matching = admin.matching("/v1/organisations/north")
    assert admin.refused("DELETE", "/v1/organisations/north", headers=matching) == (
        409,
        "organisation-in-use",
    )
    federation.node("north", online=True)
    run = federation.run()["id"]
    path = federation.path
    assert admin.refused("DELETE", path, headers=admin.matching(path)) == (409, "project-in-use")
    federation.developer.post(f"/v1/runs/{run}/cancel")
    assert admin.call("DELETE", path, headers=admin.matching(path)).status_code == 204
    assert federation.developer.refused("GET", f"/v1/runs/{run}") == (404, "unknown-run")


def test_a_project_that_was_removed_leaves_nothing_to_one_of_the_same_name(federation):
    admin, path = federation.admin, federation.path
    federation.node("north")
    assert admin.embedded(f"{path}/events", "events")
    assert admin.call("DELETE", path, headers=admin.matching(path)).status_code == 204
    admin.post("/v1/projects", federation.project_body(organisations=["elsewhere"]))
    stranger = federation.person("viewer", "elsewhere")
    assert stranger.embedded(f"{path}/events", "events") == []
    assert stranger.embedded(f"{path}/datasets", "datasets") == []
    assert stranger.embedded(f"/v1/nodes?project={federation.project}", "nodes") == []


@pytest.mark.parametrize("path", ["/v1/organisations", "/v1/projects"])
def test_an_id_is_given_once(federation, path):
    kind = path.split("/")[2].removesuffix("s")
    body = {"id": "twice", "name": "Twice"}
    if kind == "project":
        body = federation.project_body(id="twice")
    federation.admin.post(path, body)
    assert federation.admin.refused("POST", path, body) == (409, f"{kind}-exists")


def test_a_project_takes_organisations_that_there_are(federation):
    problem = federation.admin.problem(
        "POST", "/v1/projects", federation.project_body(id="x", organisations=["north", "mars", "venus"])
    )
    assert (problem["status"], problem["code"]) == (404, "unknown-organisation")
    assert problem["unknown"] == ["mars", "venus"]


def test_an_organisation_that_leaves_takes_its_nodes_out_of_the_project_and_its_runs(federation):
    nodes = federation.three()
    run, _, _ = federation.led_run(nodes)
    admin, path = federation.admin, federation.path
    remaining = ["north", "west", "laboratory"]
    change = {"organisations": remaining, "description": "Without south"}
    changed = admin.call("PATCH", path, change, headers=admin.matching(path)).json()
    assert changed["organisations"] == sorted(remaining)
    south = federation.nodes["south"]
    assert south.api.refused("GET", path) == (404, "unknown-project")
    holders = federation.developer.embedded(f"{path}/datasets", "datasets")[0]["nodes"]
    assert {holder["node_name"] for holder in holders} == {"north", "west"}
    states = {p["name"]: (p["state"], (p["reason"] or {}).get("code")) for p in federation.read(run)["participants"]}
    assert states["south"] == ("failed", "node-removed")
    assert states["north"] == ("accepted", None)
    assert south.stream.until("node.removed")["node"] == south.id


def test_the_domain_key_of_a_project_cannot_be_swapped(federation):
    admin, path = federation.admin, federation.path
    problem = admin.problem("PATCH", path, {"domain_key": "ef" * 32}, headers=admin.matching(path))
    assert problem["status"] == 422
    assert problem["errors"] == [{"pointer": "/domain_key", "detail": "Extra inputs are not permitted"}]


def test_links_show_what_may_be_done_with_a_project(federation):
    def links(caller):
        return set(caller.get(federation.path)["_links"])

    reading = {
        "self", "directory", "nodes", "mesh", "datasets", "runs", "queries", "recipes", "uploads", "events", "launches",
    }  # fmt: skip
    launching = {"create_launch", "create_upload"}
    assert links(federation.person("viewer", "north")) == reading
    assert links(federation.person("operator", "north")) == reading | launching | {"add_membership"}
    developing = reading | launching | {"create_recipe", "create_view"}
    assert links(federation.developer) == developing, "nothing can be run while there is no data set"
    federation.node("north")
    assert links(federation.developer) == developing | {"create_run"}
    assert links(federation.admin) == reading | launching | {"add_membership", "edit", "delete"}


def test_lists_come_in_pages_that_neither_skip_nor_repeat(federation):
    admin = federation.admin
    for number in range(7):
        admin.post("/v1/organisations", {"id": f"org-{number}", "name": "x"})
    everything = [o["id"] for o in admin.embedded("/v1/organisations", "organisations")]
    first = admin.call("GET", "/v1/organisations?limit=3")
    onward = first.json()["_links"]["next"]["href"]
    assert first.headers["Link"] == f'<{onward}>; rel="next"'
    admin.post("/v1/organisations", {"id": "aaa-comes-before", "name": "x"})
    paged = [o["id"] for o in first.json()["_embedded"]["organisations"]]
    paged += [o["id"] for o in admin.embedded(onward, "organisations")]
    assert paged == everything == sorted(everything)


def test_a_page_has_1_to_200_entries(federation):
    for limit in ("0", "201", "-1", "many"):
        problem = federation.admin.problem("GET", f"/v1/organisations?limit={limit}")
        assert problem["status"] == 422
        assert problem["errors"][0]["pointer"] == "/query/limit"


def test_a_cursor_is_good_for_its_own_list_only(federation):
    admin = federation.admin
    onward = admin.get("/v1/organisations?limit=1")["_links"]["next"]["href"]
    cursor = onward.split("cursor=")[1]
    assert admin.refused("GET", f"/v1/projects?cursor={cursor}") == (422, "bad-cursor")
    for garbage in ("x", "%00", "bnVsbA==", "WyIvdjEvb3JnYW5pc2F0aW9ucyIsIDFd"):
        status, _ = admin.refused("GET", f"/v1/organisations?cursor={garbage}")
        assert status == 422


def test_a_token_is_shown_once_and_works_until_it_is_revoked(federation):
    operator = federation.person("operator", "north")
    made = operator.post("/v1/tokens", {"note": "at the ward"})
    ward = federation.api.as_person(made["token"])
    assert ward.get("/v1/me")["subject"] == "operator.north"
    path = f"/v1/tokens/{made['id']}"
    assert "token" not in operator.get(path)
    assert all("token" not in token for token in operator.embedded("/v1/tokens", "tokens"))
    for other in (federation.developer, federation.admin):
        assert other.refused("GET", path) == (404, "unknown-token")
        assert made["id"] not in {token["id"] for token in other.embedded("/v1/tokens", "tokens")}
    governor = federation.governor
    assert governor.call("DELETE", path, headers=governor.matching(path)).status_code == 204
    assert ward.refused("GET", "/v1/me") == (401, "bad-token")
    assert operator.refused("GET", path) == (404, "unknown-token")
    assert operator.get("/v1/me"), "the token that it was made with is another one"


def test_a_token_asks_for_a_subset_of_ones_roles(federation):
    operator = federation.person("operator", "north")
    weak = federation.api.as_person(operator.post("/v1/tokens", {"roles": ["viewer"]})["token"])
    assert weak.get("/v1/me")["roles"] == [{"role": "viewer", "scope": "organisation:north"}]
    assert weak.get(federation.path)
    assert weak.refused("POST", "/v1/nodes", {}) == (403, "not-allowed")
    here = {"role": "operator", "scope": "organisation:north"}
    assert operator.post("/v1/tokens", {"roles": [here]})["roles"] == [here]
    for more in (["developer"], ["org-admin"], [{"role": "operator", "scope": "platform"}], ["king"]):
        status, _ = operator.refused("POST", "/v1/tokens", {"roles": more})
        assert status in (403, 404, 409, 422), more
    assert weak.refused("POST", "/v1/tokens", {"expires_in": 0}) == (422, "invalid-input")


def test_a_weak_token_makes_no_stronger_one(federation):
    operator = federation.person("operator", "north")
    weak = federation.api.as_person(operator.post("/v1/tokens", {"roles": ["viewer"]})["token"])
    for asked in ({}, {"roles": ["operator"]}):
        answer = weak.call("POST", "/v1/tokens", asked)
        if answer.is_success:
            stronger = federation.api.as_person(answer.json()["token"])
            assert stronger.refused("POST", "/v1/nodes", {}) == (403, "not-allowed")


def test_what_is_unchanged_costs_a_304(federation):
    admin, path = federation.admin, federation.path
    first = admin.call("GET", path)
    again = admin.call("GET", path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["ETag"] == first.headers["ETag"]
    assert "Authorization" in again.headers["Vary"]
    changed = admin.call("PATCH", path, {"name": "Other"}, headers={"If-Match": first.headers["ETag"]})
    fresh = admin.call("GET", path, headers={"If-None-Match": first.headers["ETag"]})
    assert (fresh.status_code, fresh.json()["name"]) == (200, "Other")
    assert fresh.headers["ETag"] == changed.headers["ETag"]
