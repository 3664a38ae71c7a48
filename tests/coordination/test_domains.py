"""What a domain key has signed, at the API: it passes it on, and can neither make nor undo any of it."""

from __future__ import annotations

import pytest

from flaas_jupyter.communications.directory import Directory
from flaas_jupyter.communications.domain_key import Holder, Holders, cosign, open_domain_document, sign_domain_document
from flaas_jupyter.communications.identity import MEMBER, REVOKE, Identity
from flaas_jupyter.communications.network import NETWORK
from flaas_jupyter.errors import NotAllowed

PEOPLE = [Identity(bytes([number]) * 32) for number in (1, 2, 3)]
HOLDERS = Holders.of([person.node_id for person in PEOPLE], 2)


@pytest.fixture
def operator(federation):
    return federation.person("operator", "north")


def member(federation, node, serial: int = 5) -> None:
    federation.admin.post(
        f"{federation.path}/memberships", federation.membership(node.id, node.organisation, serial=serial)
    )


# ---- revocations ----------------------------------------------------------------------------------------------------


def test_a_revocation_is_passed_on_as_it_was_signed_and_told(federation, operator):
    node = federation.node("north", online=True)
    member(federation, node)
    revocation, path = federation.revocation(node.id, serial=5), f"{federation.path}/revocations"
    assert operator.call("POST", path, revocation).status_code == 201
    assert operator.call("POST", path, revocation).status_code == 200, "handing it in again changes nothing"
    listing = federation.developer.get(f"{federation.path}/directory")
    assert listing["revocations"] == [revocation]
    directory = Directory(federation.project, federation.domain_key.node_id)
    directory.update(listing)
    with pytest.raises(NotAllowed) as caught:
        directory.peer(node.id)
    assert caught.value.code == "membership-revoked"
    assert node.stream.until("directory.changed", node=node.id)


def test_older_documents_do_not_come_back(federation):
    node, revocations, memberships = (
        federation.node("north"),
        *(f"{federation.path}/{kind}" for kind in ("revocations", "memberships")),
    )
    member(federation, node, serial=5)
    assert federation.admin.refused("POST", revocations, federation.revocation(node.id, serial=4)) == (
        409,
        "stale-revocation",
    )
    federation.admin.post(revocations, federation.revocation(node.id, serial=7))
    for serial in (5, 6, 7):
        older = federation.membership(node.id, "north", serial=serial, roles=("developer",))
        assert federation.admin.refused("POST", memberships, older) == (409, "stale-membership")
    older = federation.revocation(node.id, serial=6)
    assert federation.admin.refused("POST", revocations, older) == (409, "stale-revocation")
    member(federation, node, serial=8)
    assert federation.admin.get(f"{federation.path}/directory")["revocations"] == []
    again = federation.revocation(node.id, serial=7)
    assert federation.admin.refused("POST", revocations, again) == (409, "stale-revocation")


def test_only_the_domain_key_revokes_and_only_here(federation):
    node, path = federation.node("north"), f"{federation.path}/revocations"
    elsewhere = federation.revocation(node.id, domain="other")
    assert federation.admin.refused("POST", path, elsewhere) == (422, "wrong-domain")
    federation.domain_key = Identity(b"f" * 32)
    assert federation.admin.refused("POST", path, federation.revocation(node.id)) == (401, "bad-signature")


def test_a_revoked_node_is_out_of_its_run_and_of_new_ones(federation):
    nodes = federation.three()
    for node in nodes:
        member(federation, node)
    run, leader, others = federation.led_run(nodes)
    federation.admin.post(f"{federation.path}/revocations", federation.revocation(leader.id, serial=5))
    read = federation.read(run)
    states = {part["node"]: (part["state"], (part["reason"] or {}).get("code")) for part in read["participants"]}
    assert states[leader.id] == ("failed", "membership-revoked")
    assert {states[node.id][0] for node in others} == {"accepted"}
    held = federation.developer.embedded(f"{federation.path}/datasets", "datasets")[0]
    assert {entry["node"] for entry in held["nodes"]} == {node.id for node in others}
    waiting = federation.run(minimum_nodes=3)
    assert waiting["state"] == "queued", "two are left"


def test_nothing_is_sent_to_a_revoked_node(federation):
    node = federation.node("north", online=True)
    member(federation, node)
    node.api.put(f"{node.path}/upload-key", node.upload_key())
    upload_key = f"{node.path}/upload-key?project=credit"
    assert federation.person("operator", "north").get(upload_key)["membership"] is not None
    federation.admin.post(f"{federation.path}/revocations", federation.revocation(node.id, serial=5))
    assert federation.person("operator", "north").get(upload_key)["membership"] is None


def test_a_revoked_node_learns_that_it_is_and_not_where_the_others_are(federation):
    """Its key may be somebody else's by now."""
    north, south = (federation.node(name, online=True) for name in ("north", "south"))
    for node in (north, south):
        member(federation, node)
        node.api.put(f"{node.path}/record", node.record())
    path = f"{federation.path}/directory"
    assert len(north.api.get(path)["records"]) == 2
    revocation = federation.revocation(north.id, serial=6)
    federation.admin.post(f"{federation.path}/revocations", revocation)
    shown = north.api.get(path)
    assert shown["records"] == []
    assert shown["revocations"] == [revocation]
    assert len(shown["memberships"]) == 2
    assert len(south.api.get(path)["records"]) == len(federation.developer.get(path)["records"]) == 2
    federation.admin.post(f"{federation.path}/memberships", federation.membership(north.id, "north", serial=7))
    assert len(north.api.get(path)["records"]) == 2, "signed for anew"


def test_who_may_hand_them_in(federation):
    node = federation.node("north")
    for role in ("developer", "viewer"):
        person = federation.person(role, "north")
        for kind in ("revocations", "pending"):
            assert person.call("POST", f"{federation.path}/{kind}", federation.revocation(node.id)).status_code == 403
    assert node.api.call("POST", f"{federation.path}/revocations", federation.revocation(node.id)).status_code == 403


# ---- several holders ------------------------------------------------------------------------------------------------


@pytest.fixture
def shared(federation):
    """The project ``shared``, whose domain key three people hold, of whom two sign."""
    federation.admin.post("/v1/projects", federation.project_body(id="shared", domain_key=HOLDERS.domain_key))
    return "/v1/projects/shared"


def body_of(federation, node_id: str, **changes):
    return federation.membership(node_id, "north", domain="shared", **changes)["body"]


def signed(body, *people: int, context: str = MEMBER):
    document = sign_domain_document(Holder(PEOPLE[people[0]], HOLDERS), context, body)
    for number in people[1:]:
        document = cosign(document, context, PEOPLE[number])
    return document


def test_a_document_of_one_holder_waits_and_the_second_puts_it_in_force(federation, shared):
    node = Identity(b"x" * 32).node_id
    first = signed(body_of(federation, node), 0)
    assert federation.admin.refused("POST", f"{shared}/memberships", first) == (401, "signatures-missing")
    waiting = federation.admin.post(f"{shared}/pending", {"kind": "memberships", "document": first})
    assert (waiting["missing"], waiting["document"]) == (1, first)
    (listed,) = federation.admin.embedded(f"{shared}/pending", "pending")
    assert (listed["id"], listed["created_by"]) == (waiting["id"], federation.admin.get("/v1/me")["subject"])
    assert federation.admin.get(f"{shared}/directory")["memberships"] == []
    whole = cosign(listed["document"], MEMBER, PEOPLE[2])
    assert federation.admin.post(f"{shared}/pending", {"kind": "memberships", "document": whole})["missing"] == 0
    assert federation.admin.embedded(f"{shared}/pending", "pending") == []
    listing = federation.admin.get(f"{shared}/directory")
    assert open_domain_document(listing["memberships"][0], MEMBER, HOLDERS.domain_key)["node_id"] == node
    directory = Directory("shared", HOLDERS.domain_key)
    directory.update(listing)
    assert directory.require(node, "node").organisation == "north"


def test_holders_who_sign_apart_come_together(federation, shared):
    body = body_of(federation, Identity(b"x" * 32).node_id)
    for number, missing in ((0, 1), (0, 1), (2, 0)):
        handed_in = {"kind": "memberships", "document": signed(body, number)}
        assert federation.admin.post(f"{shared}/pending", handed_in)["missing"] == missing
    assert len(federation.admin.get(f"{shared}/directory")["memberships"]) == 1


def test_revocations_and_the_network_take_two_holders_too(federation, shared):
    node = Identity(b"x" * 32).node_id
    revocation = federation.revocation(node, domain="shared")["body"]
    network = federation.network(domain="shared")["body"]
    for kind, context, body in (("revocations", REVOKE, revocation), ("networks", NETWORK, network)):
        one = {"kind": kind, "document": signed(body, 0, context=context)}
        assert federation.admin.post(f"{shared}/pending", one)["missing"] == 1
        two = {"kind": kind, "document": signed(body, 1, context=context)}
        assert federation.admin.post(f"{shared}/pending", two)["missing"] == 0
    listing = federation.admin.get(f"{shared}/directory")
    assert (len(listing["revocations"]), listing["network"]["body"]) == (1, network)
    assert federation.admin.get(f"{shared}/network")["body"] == network


def test_what_is_not_the_domains_does_not_wait_there(federation, shared):
    node = Identity(b"x" * 32).node_id
    good = body_of(federation, node)
    others = Holders.of([PEOPLE[0].node_id, PEOPLE[1].node_id], 1)
    for kind, document, code in (
        ("memberships", sign_domain_document(Holder(PEOPLE[0], others), MEMBER, good), "bad-signature"),
        ("revocations", signed(good, 0), "bad-signature"),
        ("memberships", signed(good | {"domain": "credit"}, 0), "wrong-domain"),
        ("memberships", signed(good | {"roles": ["king"]}, 0), "bad-membership"),
        ("memberships", signed(good | {"not_after": good["not_before"]}, 0), "bad-membership"),
    ):
        assert federation.admin.refused("POST", f"{shared}/pending", {"kind": kind, "document": document})[1] == code
    assert federation.admin.embedded(f"{shared}/pending", "pending") == []


def test_what_waits_can_be_withdrawn(federation, shared):
    handed_in = {"kind": "memberships", "document": signed(body_of(federation, Identity(b"x" * 32).node_id), 0)}
    waiting = federation.admin.post(f"{shared}/pending", handed_in)
    assert federation.admin.call("DELETE", f"{shared}/pending/{waiting['id']}").status_code == 204
    assert federation.admin.refused("DELETE", f"{shared}/pending/{waiting['id']}") == (404, "unknown-pending")
    assert federation.admin.embedded(f"{shared}/pending", "pending") == []


def test_only_so_many_wait(federation, shared, monkeypatch):
    monkeypatch.setattr("flaas_jupyter.coordination.services.pending.MOST", 1)
    for number, code in ((1, None), (2, "too-many-pending")):
        body = body_of(federation, Identity(bytes([number + 8]) * 32).node_id)
        answer = federation.admin.call(
            "POST", f"{shared}/pending", {"kind": "memberships", "document": signed(body, 0)}
        )
        assert answer.json().get("code") == code
