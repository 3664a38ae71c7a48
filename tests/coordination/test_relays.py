"""A relay is a member that reads the directory, and takes part in nothing."""

from __future__ import annotations


def join_as(federation, node, *roles: str) -> None:
    document = federation.membership(node.id, node.organisation, roles=roles)
    federation.admin.post(f"{federation.path}/memberships", document)


def test_a_relay_is_never_invited_whatever_it_says_that_it_holds(federation):
    nodes = federation.three()
    relay = federation.node("relay-1", organisation="north", online=True)
    join_as(federation, relay, "relay")
    assert relay.describe().is_success
    run = federation.run()["id"]
    invited = {participant["name"] for participant in federation.read(run)["participants"]}
    assert invited == {node.name for node in nodes}
    listed = federation.developer.get(f"{federation.path}/datasets")["_embedded"]["datasets"]
    assert len(listed[0]["nodes"]) == len(nodes)


def test_a_run_does_not_wait_for_a_relay_to_make_up_its_number(federation):
    node = federation.node("north", online=True)
    node.describe()
    relay = federation.node("relay-1", organisation="north", online=True)
    join_as(federation, relay, "relay")
    relay.describe()
    assert federation.run(minimum_nodes=2)["state"] == "queued"


def test_a_node_that_is_a_relay_too_takes_part(federation):
    nodes = federation.three()
    join_as(federation, nodes[0], "node", "relay")
    run = federation.run()["id"]
    assert {participant["name"] for participant in federation.read(run)["participants"]} == {n.name for n in nodes}


def test_a_relay_reads_the_directory_of_its_projects_and_of_no_other(federation):
    relay, stranger = federation.node("relay-1", organisation="north"), federation.foreign_node()
    join_as(federation, relay, "relay")
    listing = relay.api.get(f"{federation.path}/directory")
    assert [document["body"]["roles"] for document in listing["memberships"]] == [["relay"]]
    assert stranger.api.refused("GET", f"{federation.path}/directory") == (404, "unknown-project")
    fresh = relay.api.call("GET", f"{federation.path}/directory")
    again = relay.api.call("GET", f"{federation.path}/directory", headers={"If-None-Match": fresh.headers["ETag"]})
    assert again.status_code == 304, "looking every two seconds costs nothing"
