"""A node under a new key is the same node: name, data sets and what it waits for; its old key is nobody any more."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from flaas_jupyter.communications.coordinator import Coordinator, NodeKey
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.rotation import sign_rotation
from flaas_jupyter.errors import NotFound, Unreachable
from flaas_jupyter.execution import node as daemon
from flaas_jupyter.execution import rotation
from flaas_jupyter.execution.enrolment import Enrolment
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.execution.timing import Timing
from flaas_jupyter.home import Home, write_private

from .hosted_api import Node

NEW = Identity(b"N" * 32)


@pytest.fixture
def node(federation):
    return federation.node("north", online=True)


def begin(node, new: Identity = NEW):
    return node.api.call("POST", f"{node.path}/rotation", sign_rotation(node.identity, new, 1_790_000_000))


def signed_for(federation, new: Identity = NEW) -> None:
    federation.admin.post(f"{federation.path}/memberships", federation.membership(new.node_id, "north"))


def complete(node):
    return node.api.call("POST", f"{node.path}/rotation/completion", {})


def keep(federation, node, home: Home) -> Enrolment:
    """Write what the node's machine has of it."""
    enrolment = Enrolment("north").joined(
        federation.api.url, "north", federation.project, federation.domain_key.node_id
    )
    enrolment.save(home.enrolment)
    write_private(home.key, node.identity.seed)
    home.policy.write_text(Policy.default_toml())
    return enrolment


class Deaf(Coordinator):
    """What it posts arrives, and the connection breaks before the answer."""

    async def post(self, path: str, json: Any = None, **how: Any) -> dict[str, Any]:
        await super().post(path, json, **how)
        raise Unreachable("The connection broke.")


@pytest.fixture
def moved(federation, tmp_path):
    """A node that the API has moved to its new key, and whose own home has the old one still."""
    node, home = federation.node("north"), Home(tmp_path)
    enrolment = keep(federation, node, home)
    rotation.begin(home)
    signed_for(federation, Identity.load_or_create(rotation.next_key(home)))

    async def scenario() -> None:
        async with Deaf(federation.api.url, NodeKey(node.identity)) as api:
            with pytest.raises(Unreachable):
                await rotation.complete(home, enrolment, node.identity, api)

    asyncio.run(scenario())
    assert node.api.refused("GET", node.path) == (404, "unknown-node")
    assert Identity.load_or_create(home.key).node_id == node.id
    return node, home, enrolment


def is_in_place(home: Home, node) -> bool:
    keys = Identity.load_or_create(home.key), Identity.load_or_create(home.key.with_name("node.key.old"))
    return keys[0].node_id != node.id == keys[1].node_id and not rotation.next_key(home).exists()


def test_the_node_goes_on_under_its_new_key(federation, node):
    federation.admin.post(f"{federation.path}/memberships", federation.membership(node.id, "north"))
    node.api.put(f"{node.path}/record", node.record())
    assert begin(node).status_code == 201
    shown = federation.developer.get(f"{node.path}/rotation")
    assert (shown["node"], shown["new"], shown["completed"]) == (node.id, NEW.node_id, None)
    assert complete(node).json()["code"] == "rotation-not-signed"
    signed_for(federation)
    answer = complete(node)
    assert answer.status_code == 200, answer.text
    after = Node(federation, "north", "north", NEW)
    body = after.api.get(after.path)
    assert (body["name"], body["organisation"], body["projects"], body["datasets"]) == (
        "north", "north", ["credit"], ["loans"],
    )  # fmt: skip
    held = federation.developer.embedded(f"{federation.path}/datasets", "datasets")
    assert [entry["node"] for entry in held[0]["nodes"]] == [NEW.node_id]
    assert node.api.refused("GET", node.path) == (404, "unknown-node")
    listing = federation.developer.get(f"{federation.path}/directory")
    assert listing["records"] == [], "where the old key was is forgotten"
    assert after.come_online().state == "online"
    assert after.describe("savings").status_code in (200, 201)


def test_a_run_that_waits_waits_for_the_new_key(federation):
    nodes = [federation.node(name, online=True) for name in ("north", "south")]
    run = federation.run(minimum_nodes=2)["id"]
    assert federation.read(run)["state"] == "gathering"
    begin(nodes[0])
    signed_for(federation)
    assert complete(nodes[0]).status_code == 200
    after = Node(federation, "north", "north", NEW).come_online()
    assert {part["node"] for part in federation.read(run)["participants"]} == {NEW.node_id, nodes[1].id}
    for one in (after, nodes[1]):
        assert one.answer(run).is_success
    assert federation.read(run)["aggregator"] in (NEW.node_id, nodes[1].id)


def test_a_node_in_a_run_that_has_begun_goes_over_afterwards(federation):
    nodes = federation.three()
    run, leader, _ = federation.led_run(nodes)
    north = federation.nodes["north"]
    begin(north)
    signed_for(federation)
    assert complete(north).json()["code"] == "node-busy"
    leader.move(run, "running")
    leader.move(run, "failed", reason={"kind": "Aborted", "code": "x", "message": "x", "hint": "", "details": {}})
    assert complete(north).status_code == 200
    history = {part["node"] for part in federation.read(run)["participants"]}
    assert north.id in history, "what was is told as it was"


def test_only_the_node_itself_begins_and_with_both_keys(federation, node):
    other = federation.node("south")
    statement = sign_rotation(other.identity, NEW, 1_790_000_000)
    assert node.api.refused("POST", f"{node.path}/rotation", statement) == (422, "wrong-domain")
    assert other.api.call("POST", f"{node.path}/rotation", statement).status_code == 403
    half = sign_rotation(node.identity, NEW, 1_790_000_000)
    half["signatures"]["new"] = half["signatures"]["old"]
    assert node.api.refused("POST", f"{node.path}/rotation", half) == (401, "bad-signature")
    assert node.api.refused("GET", f"{node.path}/rotation") == (404, "no-rotation")
    assert complete(node).json()["code"] == "no-rotation"


def test_the_new_key_is_nobodys(federation, node):
    other = federation.node("south")
    assert begin(node, other.identity).json()["code"] == "node-exists"
    begin(other)
    assert begin(node).json()["code"] == "node-exists", "another node goes over to it"


def test_a_node_that_was_stopped_in_between_goes_on(federation, tmp_path):
    """The API has moved the node, and the machine went down before the new key was in its place."""
    node, home = federation.node("north"), Home(tmp_path)
    enrolment = keep(federation, node, home)
    new = rotation.begin(home)["new"]
    assert rotation.begin(home)["new"] == new, "again changes nothing"
    assert not asyncio.run(rotation.resume(home, enrolment, node.identity)), "it has not been moved yet"
    federation.admin.post(f"{federation.path}/memberships", federation.membership(new, "north"))
    assert complete(node).status_code == 200
    assert Identity.load_or_create(home.key).node_id == node.id
    assert asyncio.run(rotation.resume(home, enrolment, node.identity))
    assert Identity.load_or_create(home.key).node_id == new
    assert Identity.load_or_create(home.key.with_name("node.key.old")).node_id == node.id
    assert home.key.stat().st_mode & 0o077 == 0
    assert not rotation.next_key(home).exists()


def test_a_lost_answer_is_found_out_when_it_is_tried_again(federation, moved):
    node, home, enrolment = moved

    async def scenario() -> None:
        async with Coordinator(federation.api.url, NodeKey(node.identity)) as api:
            await asyncio.gather(*(rotation.complete(home, enrolment, node.identity, api) for _ in range(2)))

    asyncio.run(scenario())
    assert is_in_place(home, node), "once, whoever was first"


def test_a_running_node_whose_answer_was_lost_starts_anew_when_its_stream_breaks(moved):
    node, home, _ = moved

    async def scenario() -> None:
        running = daemon.Node(home, timing=Timing())
        try:
            with pytest.raises(rotation.KeyRotatedError):
                await asyncio.wait_for(running._listen(None), 20)
        finally:
            await running._coordinator.close()

    asyncio.run(scenario())
    assert is_in_place(home, node)


def test_a_running_node_that_the_api_does_not_know_by_any_key_ends(federation, moved):
    node, home, _ = moved
    rotation.next_key(home).unlink()

    async def scenario() -> None:
        running = daemon.Node(home, timing=Timing())
        try:
            with pytest.raises(NotFound):
                await asyncio.wait_for(running._listen(None), 20)
        finally:
            await running._coordinator.close()

    asyncio.run(scenario())
    assert Identity.load_or_create(home.key).node_id == node.id


def test_a_node_that_starts_anew_leaves_nothing_open_behind(moved):
    node, home, _ = moved

    async def scenario() -> daemon.Node:
        before = daemon.Node(home, timing=Timing())
        assert await asyncio.wait_for(before.run(), 20), "it is to be run anew"
        return before

    before = asyncio.run(scenario())
    assert before._coordinator._http.is_closed
    with pytest.raises(RuntimeError, match="after shutdown"):
        before._keras.submit(int)
    assert is_in_place(home, node)


def test_a_rotation_can_begin_anew_with_another_key(federation, node):
    begin(node, Identity(b"M" * 32))
    assert begin(node).status_code == 201
    assert federation.developer.get(f"{node.path}/rotation")["new"] == NEW.node_id
