"""Who sees what beside whom; every role at every endpoint is `test_role_matrix`, every foreign id `test_isolation`."""

from __future__ import annotations

from flaas_jupyter.coordination.app import operation_of

from .hosted_api import ROUTES
from .north import body_for


def test_lists_hold_only_what_the_caller_sees(federation):
    node = federation.node("north")
    stranger = federation.person("viewer", "elsewhere")
    assert stranger.embedded("/v1/nodes", "nodes") == []
    assert [p["id"] for p in stranger.embedded("/v1/projects", "projects")] == ["other"]
    assert [o["id"] for o in stranger.embedded("/v1/organisations", "organisations")] == ["elsewhere"]
    viewer = federation.person("viewer", "west")
    assert [n["id"] for n in viewer.embedded("/v1/nodes", "nodes")] == [node.id]
    assert [p["id"] for p in viewer.embedded("/v1/projects", "projects")] == ["credit"]


def test_another_node_of_the_same_project_cannot_act_for_it(federation):
    node, other = federation.node("north"), federation.node("south")
    tried = 0
    for route in ROUTES:
        if operation_of(route) == "node:act":
            (method,) = route.methods
            body = None if method in ("GET", "DELETE") else body_for(route.path, federation, node)
            path = route.path.format(node_id=node.id, run_id="x", name="loans", upload_id="x")
            # Uploads of other nodes are not there at all (test_uploads).
            expected = (404, "unknown-upload") if "upload_id" in route.path else (403, "not-allowed")
            assert other.api.refused(method, path, body) == expected, path
            tried += 1
    assert tried > 3


def test_a_node_sees_the_projects_that_it_is_in_and_no_others_of_its_organisation(federation):
    federation.admin.post("/v1/projects", federation.project_body(id="fraud"))
    node = federation.node("north")
    assert [p["id"] for p in node.api.embedded("/v1/projects", "projects")] == ["credit"]
    assert node.api.refused("GET", "/v1/projects/fraud") == (404, "unknown-project")


def test_an_unknown_project_names_those_that_there_are(federation):
    problem = federation.developer.problem("GET", "/v1/projects/elsewhere")
    assert problem["code"] == "unknown-project"
    assert problem["known"] == ["credit"]
    assert "credit" in problem["detail"]
