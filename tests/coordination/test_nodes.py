"""Nodes: registered with a proof, described by themselves, found through the signed directory."""

from __future__ import annotations

import pytest

from flaas_jupyter.communications.directory import Directory
from flaas_jupyter.communications.identity import Identity

from .hosted_api import Node, description


@pytest.fixture
def node(federation):
    return Node(federation, "north", "north", Identity(b"n" * 32))


def test_a_node_is_registered(federation, node):
    response = node.register()
    assert (response.status_code, response.headers["Location"]) == (201, node.path)
    body = response.json()
    assert body["id"] == node.id
    assert (body["state"], body["last_seen"], body["addresses"], body["datasets"]) == ("offline", None, 0, [])
    assert (body["organisation"], body["projects"]) == ("north", ["credit"])


def test_registering_again_changes_projects_and_version(federation, node):
    federation.admin.post("/v1/projects", federation.project_body(id="fraud"))
    assert node.register().status_code == 201
    again = node.register(projects=["fraud", "credit"], version="0.2.0")
    assert again.status_code == 200
    assert (again.json()["projects"], again.json()["version"]) == (["credit", "fraud"], "0.2.0")
    assert again.json()["registered"] == federation.admin.get(node.path)["registered"]
    assert node.register(projects=["fraud"]).json()["projects"] == ["fraud"]
    assert node.api.refused("GET", federation.path) == (404, "unknown-project")


def test_a_second_node_of_the_name_is_refused(federation, node):
    node.register()
    second = Node(federation, "north", "north", Identity(b"2" * 32))
    response = second.register()
    assert (response.status_code, response.json()["code"]) == (409, "node-exists")
    elsewhere = Node(federation, "north", "south", Identity(b"3" * 32))
    assert elsewhere.register().status_code == 201, "another organisation may use the name"


def test_a_second_node_of_the_key_is_refused(federation, node):
    node.register()
    renamed = Node(federation, "renamed", "north", node.identity)
    assert renamed.register().json()["code"] == "node-exists"
    stolen = Node(federation, "north", "south", node.identity)
    response = stolen.register()
    assert (response.status_code, response.json()["code"]) == (409, "node-exists")
    assert "north" not in response.json()["detail"], "whose it is, is not told"


def test_the_key_must_be_the_nodes_own(federation, node):
    other = Identity(b"o" * 32)
    body = node.registration(id=other.node_id)
    operator = federation.person("operator", "north")
    assert operator.refused("POST", "/v1/nodes", body) == (401, "bad-signature")
    replayed_elsewhere = federation.person("operator", "south")
    assert replayed_elsewhere.refused("POST", "/v1/nodes", node.registration()) == (401, "bad-signature")


def test_a_node_joins_projects_of_its_organisation_only(federation, node):
    response = node.register(projects=["credit", "other"])
    assert (response.status_code, response.json()["code"]) == (404, "unknown-project")
    assert federation.admin.embedded("/v1/nodes", "nodes") == [], "nothing is half done"


def test_a_removed_node_is_gone_and_its_name_free(federation):
    node = federation.node("north", online=True)
    operator = federation.person("operator", "north")
    foreign = federation.person("operator", "south")
    assert foreign.refused("DELETE", node.path, headers=foreign.matching(node.path)) == (403, "not-allowed")
    assert delete(operator, node.path) == 204
    assert node.stream.until("node.removed")["node"] == node.id
    assert operator.refused("GET", node.path) == (404, "unknown-node")
    assert node.api.refused("GET", node.path) == (404, "unknown-node")
    assert federation.developer.embedded(f"{federation.path}/datasets", "datasets") == []
    replacement = Node(federation, "north", "north", Identity(b"r" * 32))
    assert replacement.register().status_code == 201
    assert node.register().json()["code"] == "node-exists"


def test_a_removed_node_can_be_registered_again(federation):
    node = federation.node("north")
    assert delete(federation.person("operator", "north"), node.path) == 204
    assert node.register().status_code == 201
    assert node.api.get(node.path)["datasets"] == []


def delete(caller, path: str) -> int:
    """Remove what is at `path`, reading it anew as long as it changes meanwhile (a heartbeat)."""
    while True:
        response = caller.call("DELETE", path, headers=caller.matching(path))
        if response.status_code != 412:
            return response.status_code


def test_links_show_what_may_be_done_with_a_node(federation):
    node = federation.node("north")
    assert set(federation.developer.get(node.path)["_links"]) == {"self"}
    assert set(federation.person("operator", "north").get(node.path)["_links"]) == {"self", "delete", "quarantine"}
    assert set(federation.person("operator", "south").get(node.path)["_links"]) == {"self"}
    assert set(node.api.get(node.path)["_links"]) == {"self", "events", "assignments", "record", "links", "dataset"}


def test_nodes_are_listed_by_project(federation):
    for name in ("north", "south", "west"):
        federation.node(name)
    federation.foreign_node()
    listed = federation.developer.embedded("/v1/nodes?project=credit&limit=2", "nodes")
    assert {n["name"] for n in listed} == {"north", "south", "west"}
    assert len(federation.admin.embedded("/v1/nodes", "nodes")) == 4
    assert federation.developer.refused("GET", "/v1/nodes?project=other") == (404, "unknown-project")


# ---- the signed directory -------------------------------------------------------------------------------------------


def test_the_directory_is_passed_on_as_it_was_signed(federation):
    node = federation.node("north")
    membership = federation.membership(node.id, "north")
    operator = federation.person("operator", "north")
    path = f"{federation.path}/memberships"
    assert operator.call("POST", path, membership).status_code == 201
    assert operator.call("POST", path, membership).status_code == 200, "handing it in again changes nothing"
    record = node.record()
    assert node.api.call("PUT", f"{node.path}/record", record).status_code == 200
    listing = federation.developer.get(f"{federation.path}/directory")
    assert (listing["memberships"], listing["records"]) == ([membership], [record])
    directory = Directory(federation.project, federation.domain_key.node_id)
    directory.update(listing)
    assert directory.require(node.id, "node", now=1_790_000_100).whereabouts.addresses == ("127.0.0.1:4000",)
    assert federation.developer.get(node.path)["addresses"] == 1


def test_the_directory_costs_a_304_while_nothing_changes(federation):
    node = federation.node("north")
    path = f"{federation.path}/directory"
    before = node.api.call("GET", path).headers["ETag"]
    assert node.api.call("GET", path, headers={"If-None-Match": before}).status_code == 304
    node.api.put(f"{node.path}/record", node.record())
    assert node.api.call("GET", path, headers={"If-None-Match": before}).status_code == 200


def test_a_membership_not_signed_by_the_domain_key_is_refused(federation):
    node = federation.node("north")
    forged = federation.membership(node.id, "north")
    federation.domain_key = Identity(b"f" * 32)
    path = f"{federation.path}/memberships"
    assert federation.admin.refused("POST", path, federation.membership(node.id, "north")) == (
        401,
        "bad-signature",
    )
    forged["body"]["organisation"] = "south"
    assert federation.admin.refused("POST", path, forged) == (401, "bad-signature")
    assert federation.admin.get(f"{federation.path}/directory")["memberships"] == []


def test_a_membership_is_for_this_project_and_an_organisation_in_it(federation):
    node, path = federation.node("north"), f"{federation.path}/memberships"
    for changes, code in (
        ({"domain": "fraud"}, "wrong-domain"),
        ({"organisation": "elsewhere"}, "unknown-organisation"),
    ):
        document = federation.membership(**{"node_id": node.id, "organisation": "north", **changes})
        assert federation.admin.refused("POST", path, document) == (422, code)


def test_an_older_membership_does_not_come_back(federation):
    node, path = federation.node("north"), f"{federation.path}/memberships"
    federation.admin.post(path, federation.membership(node.id, "north", serial=5))
    older = federation.membership(node.id, "north", serial=4)
    assert federation.admin.refused("POST", path, older) == (409, "stale-membership")
    revoking = federation.membership(node.id, "north", serial=6, not_after=1_700_000_001)
    assert federation.admin.call("POST", path, revoking).status_code == 201
    assert federation.admin.get(f"{federation.path}/directory")["memberships"] == [revoking]


def test_an_older_record_does_not_come_back(federation):
    node = federation.node("north")
    older, newer = node.record(), node.record(addresses=("127.0.0.1:4001", "[::1]:4001"))
    path = f"{node.path}/record"
    node.api.put(path, newer)
    assert node.api.refused("PUT", path, older) == (409, "stale-record")
    assert node.api.refused("PUT", path, newer) == (409, "stale-record")
    assert node.api.get(node.path)["addresses"] == 2


def test_a_record_is_the_nodes_own_and_for_a_project_of_its(federation):
    node, other = federation.node("north"), federation.node("south")
    path = f"{node.path}/record"
    assert node.api.refused("PUT", path, other.record()) == (422, "wrong-domain")
    assert node.api.refused("PUT", path, node.record(domain="fraud")) == (422, "wrong-domain")
    tampered = node.record()
    tampered["body"]["addresses"] = ["6.6.6.6:666"]
    assert node.api.refused("PUT", path, tampered) == (401, "bad-signature")


# ---- data sets ------------------------------------------------------------------------------------------------------


def test_data_sets_are_listed_over_the_nodes_that_hold_them(federation):
    federation.node("north", online=True, rows=100)
    federation.node("south", rows=50)
    federation.node("west").describe("cars", rows=7)
    listed = federation.developer.embedded(f"{federation.path}/datasets?limit=1", "datasets")
    assert [(d["name"], d["rows"], len(d["nodes"])) for d in listed] == [("cars", 7, 1), ("loans", 250, 3)]
    nodes = {n["node_name"]: (n["rows"], n["online"], n["organisation"]) for n in listed[1]["nodes"]}
    assert nodes["north"] == (100, True, "north")
    assert nodes["south"] == (50, False, "south")
    assert [f["name"] for f in listed[1]["features"]] == ["age", "income"]


def test_describing_again_replaces_and_removing_forgets(federation):
    node = federation.node("north")
    assert node.describe(rows=7).json()["rows"] == 7
    assert node.describe(projects=[]).json()["projects"] == []
    assert federation.developer.embedded(f"{federation.path}/datasets", "datasets") == []
    node.describe()
    path = f"{node.path}/datasets/loans"
    assert node.api.call("DELETE", path).status_code == 204
    assert node.api.refused("DELETE", path) == (404, "unknown-dataset")
    types = [e["type"] for e in federation.developer.embedded(f"{federation.path}/events", "events")]
    assert types[-2:] == ["dataset.described", "dataset.removed"]


def test_a_data_set_goes_to_projects_of_the_node_only(federation):
    node = federation.node("north")
    problem = node.describe(projects=["credit", "other"]).json()
    assert (problem["status"], problem["code"]) == (404, "unknown-project")


def test_the_description_is_of_the_data_set_in_the_address(federation):
    node = federation.node("north")
    response = node.api.call("PUT", f"{node.path}/datasets/loans", description("cars"))
    assert response.status_code == 422
    for name in ("../etc", "a b", ".hidden", "x" * 101):
        assert node.api.call("PUT", f"{node.path}/datasets/x", description(name)).status_code == 422


def test_a_description_holds_columns_and_counts_and_nothing_else(federation):
    node = federation.node("north")
    values = {"name": "a", "dtype": "f4", "shape": [], "values": [1, 2]}
    for changes, pointer in (
        ({"rows": -1}, "/rows"),
        ({"rows": "100"}, "/rows"),
        ({"features": []}, "/features"),
        ({"features": [values]}, "/features/0/values"),
        ({"target": {"name": "y", "dtype": "i8", "kind": "odd", "classes": 2}}, "/target/kind"),
        ({"values": [[1.0, 2.0]]}, "/values"),
    ):
        problem = node.describe(**changes).json()
        assert problem["status"] == 422
        assert [error["pointer"] for error in problem["errors"]] == [pointer]
