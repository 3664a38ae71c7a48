"""The directory believes signatures, not the API."""

from __future__ import annotations

import copy
import logging
import time
from pathlib import Path
from typing import Any

import pytest
from mesh_domain import DOMAIN, Domain

from flaas_jupyter.communications import statements
from flaas_jupyter.communications.carrier import Whereabouts
from flaas_jupyter.communications.directory import Directory, Membership, Record, sign_membership
from flaas_jupyter.communications.identity import MEMBER, RECORD, Identity, sign_document
from flaas_jupyter.errors import InvalidInput, NotAllowed, NotAuthenticated

WHEREABOUTS = Whereabouts(
    ("192.0.2.7:41641", "[2001:db8::7]:41641"),
    ("192.0.2.7:443",),
    ("https://relay.example:8443", "http://127.0.0.1:3340"),
)


@pytest.fixture
def node(domain: Domain) -> Identity:
    identity = Identity.generate()
    domain.admit(identity.node_id)
    domain.publish(identity, WHEREABOUTS)
    return identity


def _code(directory: Directory, node_id: str, now: float | None = None) -> str:
    with pytest.raises(NotAllowed) as caught:
        directory.peer(node_id, now)
    return caught.value.code


def test_a_member_is_a_peer_with_its_addresses(domain: Domain, node: Identity) -> None:
    peer = domain.directory().peer(node.node_id)
    assert (peer.organisation, peer.roles, peer.whereabouts) == ("clinic", ("node",), WHEREABOUTS)


def test_a_key_without_membership_is_unknown(domain: Domain) -> None:
    stranger = Identity.generate()
    domain.publish(stranger, WHEREABOUTS)
    assert _code(domain.directory(), stranger.node_id) == "unknown-peer"


def test_the_role_decides(domain: Domain, node: Identity) -> None:
    directory = domain.directory()
    assert directory.require(node.node_id, "node").node_id == node.node_id
    with pytest.raises(NotAllowed, match="not as developer") as caught:
        directory.require(node.node_id, "developer")
    assert caught.value.code == "role-missing"


def test_a_developer_may_do_what_an_explorer_may_and_not_the_other_way_round(domain: Domain, node: Identity) -> None:
    developer, explorer = Identity.generate(), Identity.generate()
    domain.admit(developer.node_id, roles=("developer",))
    domain.admit(explorer.node_id, roles=("explorer",))
    directory = domain.directory()
    for person in (developer, explorer):
        assert directory.require(person.node_id, "explorer").node_id == person.node_id
    for person, role in ((explorer, "developer"), (explorer, "node"), (developer, "node"), (node, "explorer")):
        with pytest.raises(NotAllowed, match=f"not as {role}"):
            directory.require(person.node_id, role)


def test_membership_has_a_beginning_and_an_end_and_points_at_the_clock(domain: Domain, node: Identity) -> None:
    directory, now = domain.directory(), time.time()
    assert _code(directory, node.node_id, now + 3600) == "membership-expired"
    assert _code(directory, node.node_id, now - 3600) == "membership-not-yet"
    with pytest.raises(NotAllowed, match="Correct the clock"):
        directory.peer(node.node_id, now - 3600)


def test_a_record_out_of_force_gives_no_addresses(domain: Domain, node: Identity) -> None:
    domain.admit(node.node_id, not_before=0, not_after=1 << 33)
    directory, now = domain.directory(), time.time()
    assert directory.peer(node.node_id, now + 700).whereabouts == WHEREABOUTS
    assert directory.peer(node.node_id, now + 3600).whereabouts == Whereabouts()
    assert directory.peer(node.node_id, now - 3600).whereabouts == Whereabouts()


def test_an_older_record_never_comes_back(domain: Domain, node: Identity) -> None:
    directory = domain.directory()
    old = domain.records[node.node_id]
    domain.publish(node, Whereabouts(("192.0.2.8:1",)), sequence=2)
    directory.update(domain.listing())
    domain.records[node.node_id] = old
    directory.update(domain.listing())
    assert directory.peer(node.node_id).whereabouts == Whereabouts(("192.0.2.8:1",))


def test_a_revoked_membership_never_comes_back(domain: Domain, node: Identity) -> None:
    directory = domain.directory()
    old = domain.memberships[node.node_id]
    domain.admit(node.node_id, serial=2, not_before=0, not_after=1)
    directory.update(domain.listing())
    assert _code(directory, node.node_id) == "membership-expired"
    domain.memberships[node.node_id] = old
    directory.update(domain.listing())
    assert _code(directory, node.node_id) == "membership-expired"
    del domain.memberships[node.node_id]
    directory.update(domain.listing())
    assert _code(directory, node.node_id) == "unknown-peer"


def test_the_api_cannot_make_a_member(domain: Domain, caplog: pytest.LogCaptureFixture) -> None:
    stranger, api = Identity.generate(), Identity.generate()
    now = int(time.time())
    membership = Membership(DOMAIN, stranger.node_id, "x", ("node",), now, now + 100, 1)
    domain.memberships["x"] = sign_membership(api, membership)
    assert _code(domain.directory(), stranger.node_id) == "unknown-peer"
    assert "membership was dropped" in caplog.text


def test_the_api_cannot_move_a_node(domain: Domain, node: Identity, caplog: pytest.LogCaptureFixture) -> None:
    moved = copy.deepcopy(domain.records[node.node_id])
    moved["body"]["addresses"] = ["203.0.113.66:1"]
    moved["body"]["sequence"] = 9
    domain.records[node.node_id] = moved
    assert domain.directory().peer(node.node_id).whereabouts == Whereabouts()
    assert "record was dropped" in caplog.text


def test_the_api_cannot_move_a_membership_between_domains(domain: Domain) -> None:
    node, now = Identity.generate(), int(time.time())
    elsewhere = Membership("other-study", node.node_id, "x", ("node",), now, now + 100, 1)
    domain.memberships["x"] = sign_membership(domain.key, elsewhere)
    assert _code(domain.directory(), node.node_id) == "unknown-peer"


def test_one_bad_entry_does_not_hide_the_good_ones(domain: Domain, node: Identity) -> None:
    listing = domain.listing()
    for junk in (None, 3, [], {}, {"body": {}, "signature": "00"}, {"body": {"node_id": node.node_id}}):
        listing["memberships"].insert(0, junk)
        listing["records"].insert(0, junk)
    directory = Directory(DOMAIN, domain.key.node_id)
    directory.update(listing)
    assert directory.peer(node.node_id).whereabouts == WHEREABOUTS


def test_another_domain_key_than_the_pinned_one_is_refused(domain: Domain, node: Identity) -> None:
    directory = domain.directory()
    with pytest.raises(NotAuthenticated) as caught:
        directory.update(domain.listing() | {"domain_key": Identity.generate().node_id})
    assert caught.value.code == "domain-key-changed"
    assert directory.peer(node.node_id), "what was known stays"


@pytest.mark.parametrize("listing", [None, [], {}, {"domain": "other"}])
def test_what_is_no_directory_is_refused(domain: Domain, listing: object) -> None:
    with pytest.raises(InvalidInput):
        domain.directory().update(listing)


RECORD_BODY = {
    "v": 2,
    "domain": DOMAIN,
    "addresses": ["192.0.2.7:1"],
    "tls": ["[2001:db8::7]:1"],
    "relays": ["https://relay.example"],
    "sequence": 1,
    "issued": 1000,
    "expires": 1900,
}


@pytest.mark.parametrize(
    "change",
    [
        {"v": 1},
        {"more": 1},
        {"domain": ""},
        {"addresses": "192.0.2.7:1"},
        {"addresses": ["node.example:1"]},
        {"addresses": ["192.0.2.7"]},
        {"addresses": ["192.0.2.7:0"]},
        {"addresses": ["192.0.2.7:65536"]},
        {"addresses": ["2001:db8::7:1"]},
        {"addresses": ["[192.0.2.7]:1"]},
        {"addresses": ["192.0.2.7:1"] * 17},
        {"tls": ["node.example:1"]},
        {"tls": ["192.0.2.7:1"] * 17},
        {"relays": "https://relay.example"},
        {"relays": ["relay.example"]},
        {"relays": ["http://relay.example"]},
        {"relays": ["https://relay.example/path"]},
        {"relays": ["https://user:secret@relay.example"]},
        {"relays": ["https://relay.example"] * 9},
        {"sequence": -1},
        {"sequence": True},
        {"sequence": 1.0},
        {"issued": 1 << 60},
        {"expires": 1901},
        {"expires": 1000},
    ],
)
def test_a_record_is_checked_field_by_field(change: dict[str, Any]) -> None:
    node = Identity.generate()
    good = RECORD_BODY | {"node_id": node.node_id}
    assert Record.parse(sign_document(node, RECORD, good)).sequence == 1
    with pytest.raises(InvalidInput):
        Record.parse(sign_document(node, RECORD, good | change))


@pytest.mark.parametrize(
    "change",
    [
        {"v": 0},
        {"node_id": "ab"},
        {"node_id": None},
        {"organisation": 7},
        {"roles": ["admin"]},
        {"roles": "node"},
        {"serial": "1"},
        {"not_after": None},
        {"more": 1},
    ],
)
def test_a_membership_is_checked_field_by_field(domain: Domain, change: dict[str, Any]) -> None:
    good = domain.admit(Identity.generate().node_id)["body"]
    with pytest.raises(InvalidInput):
        Membership.parse(sign_document(domain.key, MEMBER, good | change), domain.key.node_id)


def test_a_record_is_signed_by_its_own_node() -> None:
    record = Record(DOMAIN, Identity.generate().node_id, (), (), (), 1, 1, 2)
    with pytest.raises(NotAllowed):
        record.sign(Identity.generate())


def test_a_full_disk_ends_nobody_and_what_was_signed_is_kept_once_there_is_room(
    domain: Domain, node: Identity, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "statements.json"
    directory = Directory(DOMAIN, domain.key.node_id, path)
    domain.revoke(node.node_id)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR):
        patched.setattr(statements, "write_private", full)
        assert "revocations" in directory.update(domain.listing())
        directory.update(domain.listing())
    assert _code(directory, node.node_id) == "membership-revoked", "it counts all the same"
    assert [record.getMessage() for record in caplog.records] == [
        f"{DOMAIN}: what was signed is known, but not kept: [Errno 28] No space left on device"
    ]
    assert directory.update(domain.listing()) == frozenset()
    assert Directory(DOMAIN, domain.key.node_id, path).statements.revocation(node.node_id)
