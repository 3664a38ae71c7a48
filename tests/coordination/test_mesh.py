"""The mesh as far as the API knows it: network documents, signals to connect back, and how nodes are connected."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from flaas_jupyter.communications.coordinator import Coordinator, Event, NodeKey
from flaas_jupyter.communications.dial_signal import DialSignal, asked_back
from flaas_jupyter.communications.directory import Directory, Record
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.coordination import events
from flaas_jupyter.coordination.services.dials import MOST, PAUSE, WINDOW, DialLimits
from flaas_jupyter.coordination.tables import EventRow, MeshLinks
from flaas_jupyter.errors import Conflict

from .hosted_api import Federation, Node

LINK = {"kind": "direct", "rtt": 0.0125, "throughput": 2.5e7, "bytes": 4096}


def admit(federation: Federation, *keys: Identity | Node, organisation: str | None = None, **changes) -> None:
    """Have the domain key sign for nodes, or for a person's key of `organisation`."""
    for key in keys:
        node_id = key.id if isinstance(key, Node) else key.node_id
        theirs = organisation or key.organisation
        document = federation.membership(node_id, theirs, **changes)
        federation.person("operator", "north").post(f"{federation.path}/memberships", document)


# ---- the network document -------------------------------------------------------------------------------------------


def test_the_network_document_is_passed_on_as_it_was_signed(federation):
    path, operator = f"{federation.path}/network", federation.person("operator", "north")
    assert federation.developer.refused("GET", path) == (404, "no-network")
    assert federation.developer.get(f"{federation.path}/directory")["network"] is None
    node = federation.node("north", online=True)
    document = federation.network()
    operator.put(path, document)
    assert node.stream.until("directory.changed")["project"] == federation.project
    answer = federation.developer.get(path)
    assert {name: answer[name] for name in document} == document
    listing = node.api.get(f"{federation.path}/directory")
    directory = Directory(federation.project, federation.domain_key.node_id)
    directory.update(listing)
    assert [relay.url for relay in directory.network.relays] == ["https://relay.example"]


def test_handing_it_in_is_audited_once_more_changes_nothing(federation):
    path, operator = f"{federation.path}/network", federation.person("operator", "north")
    document = federation.network()
    operator.put(path, document)
    told = [e["type"] for e in federation.developer.embedded(f"{federation.path}/events", "events")]
    operator.put(path, document)
    assert [e["type"] for e in federation.developer.embedded(f"{federation.path}/events", "events")] == told
    auditor = federation.person("auditor", "north")
    entries = auditor.embedded("/v1/audit?operation=membership:write", "entries")
    assert {entry["object"] for entry in entries} == {"projects/credit/network"}


def test_an_older_network_document_does_not_come_back(federation):
    path, operator = f"{federation.path}/network", federation.person("operator", "north")
    older, newer = federation.network(1), federation.network(2, direct="only")
    operator.put(path, older)
    operator.put(path, newer)
    assert operator.refused("PUT", path, older) == (409, "stale-network")
    assert operator.refused("PUT", path, federation.network(2, direct="prefer")) == (409, "stale-network")
    assert federation.developer.get(path)["body"]["direct"] == "only"


def test_a_network_document_not_signed_by_the_domain_key_is_refused(federation):
    path, operator = f"{federation.path}/network", federation.person("operator", "north")
    changed = federation.network()
    changed["body"]["relays"][0]["url"] = "https://relay.attacker.example"
    assert operator.refused("PUT", path, changed) == (401, "bad-signature")
    assert operator.refused("PUT", path, federation.network(domain="fraud")) == (422, "wrong-domain")
    assert operator.refused("PUT", path, federation.membership("ab" * 32, "north")) == (401, "bad-signature")
    federation.domain_key = Identity(b"f" * 32)
    assert operator.refused("PUT", path, federation.network()) == (401, "bad-signature")
    assert federation.developer.get(f"{federation.path}/directory")["network"] is None


def test_what_is_no_signed_document_is_refused(federation):
    operator = federation.person("operator", "north")
    for body in (None, [], {}, {"body": {}}, {"body": [], "signature": "00"}, {"signature": "0" * 128}):
        assert operator.refused("PUT", f"{federation.path}/network", body)[0] == 422


def test_only_operators_hand_in_a_network_document(federation):
    path, document = f"{federation.path}/network", federation.network()
    node = federation.node("north")
    assert federation.nobody.refused("PUT", path, document)[0] == 401
    for caller in (federation.developer, federation.person("viewer", "north"), node.api):
        assert caller.refused("PUT", path, document) == (403, "not-allowed")
    for stranger in (federation.person("operator", "elsewhere"), federation.foreign_node().api):
        assert stranger.refused("GET", path) == (404, "unknown-project")
    assert federation.person("operator", "elsewhere").refused("PUT", path, document) == (404, "unknown-project")


# ---- signals to connect back ----------------------------------------------------------------------------------------


@pytest.fixture
def pair(federation):
    """Nodes north and south, members, online."""
    north, south = federation.node("north", online=True), federation.node("south", online=True)
    admit(federation, north, south)
    return north, south


def test_a_node_has_another_connect_back_and_nobody_else_is_told(federation, pair):
    north, south = pair
    west = federation.node("west", online=True)
    admit(federation, west)
    following = federation.follow()
    assert north.api.call("POST", f"{federation.path}/dials", {"to": south.id}).status_code == 204
    told = south.stream.until("mesh.dial")
    assert (told["node"], told["data"]) == (south.id, {"from": north.id, "record": None})
    federation.person("operator", "north").put(f"{federation.path}/network", federation.network())
    for stream in (west.stream, north.stream, following):
        while (event := stream.next())["type"] != "directory.changed" or event["node"] is not None:
            assert event["type"] != "mesh.dial"
    assert "mesh.dial" not in [e["type"] for e in federation.admin.embedded(f"{federation.path}/events", "events")]
    auditor = federation.person("auditor", "north")
    assert not auditor.embedded("/v1/audit?operation=mesh:dial", "entries")


def test_the_signal_of_a_process_reaches_the_node(federation, pair):
    north, south = pair

    async def signal() -> None:
        async with Coordinator(federation.api.url, NodeKey(north.identity)) as coordinator:
            await DialSignal(coordinator, lambda _: federation.project)(south.id)
            with pytest.raises(Conflict) as caught:
                await DialSignal(coordinator, lambda _: federation.project)(south.id)
            assert caught.value.code == "too-many-dials"

    asyncio.run(signal())
    told = Event.parse(json.dumps(south.stream.until("mesh.dial")))
    assert asked_back(told, time.time()) == north.id


def test_a_signal_is_forgotten_after_a_minute(federation, pair):
    north, south = pair
    north.api.post(f"{federation.path}/dials", {"to": south.id})
    database, now = federation.api.hosted.database, datetime.now(UTC)
    for later, kept in ((0, 1), (59, 1), (61, 0)):
        with database.writing() as session:
            events.forget(session, now + timedelta(seconds=later))
            assert len(session.scalars(select(EventRow).where(EventRow.type == "mesh.dial")).all()) == kept
    assert federation.developer.embedded(f"{federation.path}/events", "events"), "everything else stays"


def record_of(federation, key: Identity, **changes):
    now = int(time.time())
    body = {"domain": federation.project, "node_id": key.node_id, "addresses": ("192.0.2.1:4000",), "tls": (),
            "relays": (), "sequence": 1, "issued": now, "expires": now + 600, **changes}  # fmt: skip
    return Record(**body).sign(key)


def test_a_persons_key_shows_by_its_record_that_it_is_theirs(federation, pair):
    _, south = pair
    kernel, path = Identity(b"k" * 32), f"{federation.path}/dials"
    admit(federation, kernel, organisation="laboratory", roles=("developer",))
    body = {"to": south.id, "record": record_of(federation, kernel)}
    assert federation.developer.call("POST", path, body).status_code == 204
    told = south.stream.until("mesh.dial")["data"]
    assert told == {"from": kernel.node_id, "record": body["record"]}
    assert Record.parse(told["record"]).addresses == ("192.0.2.1:4000",)
    assert federation.developer.refused("POST", path, {"to": south.id}) == (422, "record-missing")
    thief = federation.person("developer", "west")
    assert thief.refused("POST", path, body) == (403, "key-not-yours")
    forged = {**body, "record": {**body["record"], "signature": "0" * 128}}
    assert federation.developer.refused("POST", path, forged) == (401, "bad-signature")
    old = record_of(federation, kernel, issued=1_700_000_000, expires=1_700_000_600)
    assert federation.developer.refused("POST", path, {**body, "record": old}) == (422, "record-expired")
    other = record_of(federation, kernel, domain="fraud")
    assert federation.developer.refused("POST", path, {**body, "record": other}) == (422, "wrong-domain")
    stranger = record_of(federation, Identity(b"u" * 32))
    assert federation.developer.refused("POST", path, {**body, "record": stranger}) == (403, "unknown-peer")


def test_a_node_signals_for_itself_alone(federation, pair):
    north, south = pair
    body = {"to": south.id, "record": record_of(federation, south.identity)}
    assert north.api.refused("POST", f"{federation.path}/dials", body) == (422, "wrong-domain")
    assert north.api.refused("POST", f"{federation.path}/dials", {"to": north.id}) == (404, "unknown-node")


def test_only_members_in_force_are_signalled_or_signal(federation, pair):
    north, south = pair
    path, west = f"{federation.path}/dials", federation.node("west", online=True)
    assert west.api.refused("POST", path, {"to": north.id}) == (403, "unknown-peer")
    assert north.api.refused("POST", path, {"to": west.id}) == (404, "unknown-node")
    admit(federation, south, serial=2, not_after=1_700_000_001)  # revoked
    assert south.api.refused("POST", path, {"to": north.id}) == (403, "unknown-peer")
    assert north.api.refused("POST", path, {"to": south.id}) == (404, "unknown-node")


def test_who_is_not_of_the_project_signals_nobody(federation, pair):
    north, _ = pair
    path, body = f"{federation.path}/dials", {"to": north.id}
    assert federation.nobody.refused("POST", path, body)[0] == 401
    for role in ("viewer", "auditor", "governance-admin"):
        assert federation.person(role, "north").refused("POST", path, body) == (403, "not-allowed")
    for stranger in (federation.person("developer", "elsewhere"), federation.foreign_node().api):
        assert stranger.refused("POST", path, body) == (404, "unknown-project")


def test_an_offline_node_is_not_signalled(federation, pair):
    north, south = pair
    south.go_offline()
    federation.follow(0).until("node.offline", node=south.id)
    assert north.api.refused("POST", f"{federation.path}/dials", {"to": south.id}) == (409, "node-offline")


def test_garbage_signals_nobody(federation, pair):
    whom = "0" * 64
    for body in ({}, {"to": "nobody"}, {"to": 7}, {"to": whom, "from": whom}, {"to": whom, "record": 1}):
        assert pair[0].api.refused("POST", f"{federation.path}/dials", body) == (422, "invalid-input")


def test_signals_to_a_node_are_a_pause_apart(federation, pair):
    north, south = pair
    federation.api.hosted.dials = DialLimits(clock=lambda: 100.0)
    path, body = f"{federation.path}/dials", {"to": south.id}
    assert north.api.call("POST", path, body).status_code == 204
    answer = north.api.call("POST", path, body)
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (429, "too-many-dials", "2")


def test_limits_are_of_a_pair_and_of_a_caller():
    clock = [1000.0]
    limits = DialLimits(clock=lambda: clock[0])
    limits.count("a", "b")
    limits.count("b", "a")
    limits.count("a", "c")
    with pytest.raises(Conflict) as caught:
        limits.count("a", "b")
    assert caught.value.details["retry_after"] == PAUSE
    clock[0] += PAUSE
    limits.count("a", "b")
    for number in range(MOST - 3):
        limits.count("a", f"node {number}")
    with pytest.raises(Conflict) as caught:
        limits.count("a", "one more")
    assert caught.value.details["retry_after"] == WINDOW - PAUSE
    limits.count("b", "one more")
    clock[0] += WINDOW - PAUSE
    limits.count("a", "one more")


# ---- how nodes are connected ----------------------------------------------------------------------------------------


def test_who_sees_the_project_sees_its_nodes_and_how_they_are_connected(federation, pair):
    north, south = pair
    federation.node("west")
    assert north.api.call("PUT", f"{north.path}/links", {"links": [{"node_id": south.id, **LINK}]}).status_code == 204
    relayed = {"node_id": north.id, **LINK, "kind": "relay", "rtt": None, "throughput": None}
    south.api.put(f"{south.path}/links", {"links": [relayed]})
    for caller in (federation.developer, federation.person("viewer", "south"), north.api, federation.admin):
        shown = caller.get(f"{federation.path}/mesh")
        assert [(n["name"], n["organisation"], n["roles"], n["online"]) for n in shown["nodes"]] == [
            ("north", "north", ["node"], True),
            ("south", "south", ["node"], True),
            ("west", "west", [], False),
        ]
        assert sorted(shown["links"], key=lambda link: link["kind"]) == [
            {"from": north.id, "to": south.id, **LINK},
            {"from": south.id, "to": north.id, **{k: v for k, v in relayed.items() if k != "node_id"}},
        ]
    assert "192.0.2" not in str(shown)


def test_what_a_node_says_takes_the_place_of_what_it_said(federation, pair):
    north, south = pair
    for links in ([{"node_id": south.id, **LINK}], [{"node_id": south.id, **LINK, "kind": "tls"}], []):
        north.api.put(f"{north.path}/links", {"links": links})
        shown = federation.developer.get(f"{federation.path}/mesh")["links"]
        assert [link["kind"] for link in shown] == [link["kind"] for link in links]


def test_what_is_a_minute_old_does_not_count(federation, pair):
    north, south = pair
    north.api.put(f"{north.path}/links", {"links": [{"node_id": south.id, **LINK}]})
    ago = datetime.now(UTC) - timedelta(seconds=61)
    with federation.api.hosted.database.writing() as session:
        session.execute(update(MeshLinks).values(reported=ago))
    shown = federation.developer.get(f"{federation.path}/mesh")
    assert shown["links"] == []
    assert {node["reported"] for node in shown["nodes"]} == {None}


def test_what_a_node_said_that_is_offline_does_not_count(federation, pair):
    north, south = pair
    for node, peer in ((north, south), (south, north)):
        node.api.put(f"{node.path}/links", {"links": [{"node_id": peer.id, **LINK}]})
    south.go_offline()
    federation.follow(0).until("node.offline", node=south.id)
    assert [link["from"] for link in federation.developer.get(f"{federation.path}/mesh")["links"]] == [north.id]


def test_links_with_others_than_the_projects_nodes_are_not_shown(federation, pair):
    north, _ = pair
    stranger, itself = federation.foreign_node(), {"node_id": north.id, **LINK}
    links = [{"node_id": stranger.id, **LINK}, {"node_id": "ab" * 32, **LINK}, itself]
    north.api.put(f"{north.path}/links", {"links": links})
    assert federation.developer.get(f"{federation.path}/mesh")["links"] == []


def test_a_removed_node_is_not_part_of_the_mesh(federation, pair):
    north, south = pair
    north.api.put(f"{north.path}/links", {"links": [{"node_id": south.id, **LINK}]})
    operator = federation.person("operator", "north")
    north.go_offline()
    federation.follow(0).until("node.offline", node=north.id)
    assert operator.call("DELETE", north.path, headers=operator.matching(north.path)).status_code == 204
    shown = federation.developer.get(f"{federation.path}/mesh")
    assert ([node["name"] for node in shown["nodes"]], shown["links"]) == (["south"], [])


def test_a_node_speaks_for_itself_alone(federation, pair):
    north, south = pair
    body = {"links": [{"node_id": south.id, **LINK}]}
    path = f"{north.path}/links"
    assert south.api.refused("PUT", path, body) == (403, "not-allowed")
    assert federation.foreign_node().api.refused("PUT", path, body) == (404, "unknown-node")
    assert federation.nobody.refused("PUT", path, body)[0] == 401
    for role in ("operator", "viewer", "developer"):
        assert federation.person(role, "north").refused("PUT", path, body) == (403, "not-allowed")
    assert federation.developer.get(f"{federation.path}/mesh")["links"] == []


def test_strangers_do_not_see_the_mesh(federation, pair):
    path = f"{federation.path}/mesh"
    assert federation.nobody.refused("GET", path)[0] == 401
    assert federation.person("governance-admin", "north").refused("GET", path) == (403, "not-allowed")
    for stranger in (federation.person("viewer", "elsewhere"), federation.foreign_node().api):
        assert stranger.refused("GET", path) == (404, "unknown-project")


def test_links_are_figures_and_nothing_else(federation, pair):
    north, south = pair
    for wrong in (
        {"node_id": "nobody"},
        {"kind": "pigeon"},
        {"rtt": -1.0},
        {"rtt": 4000.0},
        {"throughput": -1.0},
        {"bytes": 0.5},
        {"bytes": -1},
        {"address": "192.0.2.1:4000"},
    ):
        body = {"links": [{"node_id": south.id, **LINK, **wrong}]}
        assert north.api.refused("PUT", f"{north.path}/links", body) == (422, "invalid-input")
    links = [{"node_id": f"{number:064x}", **LINK} for number in range(1001)]
    assert north.api.refused("PUT", f"{north.path}/links", {"links": links}) == (422, "invalid-input")
    assert north.api.call("PUT", f"{north.path}/links", {"links": links[:-1]}).status_code == 204
