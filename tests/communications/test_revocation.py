"""What was revoked stays revoked, whatever is shown again and in whichever order, until it is signed for anew."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_domain import DOMAIN, Domain

from flaas_jupyter.communications.directory import Directory
from flaas_jupyter.communications.identity import MEMBER, REVOKE, Identity, sign_document
from flaas_jupyter.communications.revocation import Revocation, sign_revocation
from flaas_jupyter.communications.statements import Statements
from flaas_jupyter.errors import InvalidInput, NotAllowed, NotAuthenticated
from flaas_jupyter.governance.domain import revocation

KEY = Identity(b"k" * 32)
NODE = Identity(b"n" * 32).node_id


@pytest.fixture
def node(domain: Domain) -> str:
    domain.admit(NODE)
    return NODE


def code(directory: Directory, node_id: str) -> str | None:
    try:
        directory.peer(node_id)
    except NotAllowed as error:
        return error.code
    return None


def test_a_revoked_key_is_no_peer_and_it_is_said_why(domain: Domain, node: str) -> None:
    directory = domain.directory()
    assert code(directory, node) is None
    domain.revoke(node, reason="laptop lost")
    assert directory.update(domain.listing()) == {"revocations"}
    with pytest.raises(NotAllowed, match="laptop lost") as caught:
        directory.require(node, "node")
    assert caught.value.code == "membership-revoked"


def test_replaying_the_membership_or_hiding_the_revocation_does_not_bring_it_back(domain: Domain, node: str) -> None:
    directory = domain.directory()
    domain.revoke(node)
    directory.update(domain.listing())
    domain.revocations.clear()
    assert directory.update(domain.listing()) == frozenset()
    assert code(directory, node) == "membership-revoked"
    del domain.memberships[node]
    directory.update(domain.listing())
    assert code(directory, node) == "membership-revoked"


def test_a_newer_membership_brings_it_back_and_the_old_revocation_does_not_undo_that(domain: Domain, node: str) -> None:
    directory = domain.directory()
    domain.revoke(node, serial=1)
    directory.update(domain.listing())
    domain.admit(node, serial=2)
    directory.update(domain.listing())
    assert code(directory, node) is None
    domain.revoke(node, serial=1)
    directory.update(domain.listing())
    assert code(directory, node) is None


def test_a_key_may_be_revoked_before_it_was_ever_a_member(domain: Domain) -> None:
    domain.revoke(NODE, serial=5)
    directory = domain.directory()
    domain.admit(NODE, serial=4)
    directory.update(domain.listing())
    assert code(directory, NODE) == "membership-revoked"


def test_it_holds_over_a_restart(domain: Domain, node: str, tmp_path: Path) -> None:
    path = tmp_path / "domains" / "study.json"
    before = Directory(DOMAIN, domain.key.node_id, path)
    domain.revoke(node)
    before.update(domain.listing())
    assert path.stat().st_mode & 0o077 == 0
    domain.revocations.clear()
    after = Directory(DOMAIN, domain.key.node_id, path)
    after.update(domain.listing())
    assert code(after, node) == "membership-revoked"
    domain.admit(node, serial=0)
    after.update(domain.listing())
    assert code(after, node) == "membership-revoked"


def test_processes_that_share_a_home_keep_what_each_has_learned(domain: Domain, tmp_path: Path) -> None:
    path, (first, second) = tmp_path / "study.json", ("1" * 64, "2" * 64)
    one, two = (Statements(DOMAIN, domain.key.node_id, path) for _ in range(2))
    one.learn("revocations", domain.revoke(first))
    one.save()
    two.learn("revocations", domain.revoke(second))
    two.save()
    both = Statements(DOMAIN, domain.key.node_id, path)
    assert both.serials() == {first: 1, second: 1}


@pytest.mark.parametrize("damage", ["", "{}", "[]", '{"version": 1}'])
def test_a_damaged_file_is_told_and_not_passed_over(domain: Domain, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "study.json"
    path.write_text(damage)
    with pytest.raises(InvalidInput, match="Restore it"):
        Statements(DOMAIN, domain.key.node_id, path)


def test_what_somebody_has_written_into_the_file_is_not_believed(domain: Domain, tmp_path: Path) -> None:
    path = tmp_path / "study.json"
    statements = Statements(DOMAIN, domain.key.node_id, path)
    statements.learn("memberships", domain.admit(NODE))
    statements.save()
    kept = json.loads(path.read_text())
    kept["memberships"][0]["body"]["roles"] = ["developer"]
    path.write_text(json.dumps(kept))
    with pytest.raises(InvalidInput):
        Statements(DOMAIN, domain.key.node_id, path)


def test_another_domain_key_does_not_write_over_what_was_learned(domain: Domain, tmp_path: Path) -> None:
    path, other = tmp_path / "study.json", Identity.generate().node_id
    elsewhere = Statements(DOMAIN, other, path)
    before = Statements(DOMAIN, domain.key.node_id, path)
    before.learn("revocations", domain.revoke(NODE))
    before.save()
    kept = path.read_bytes()
    for attempt in (lambda: Statements(DOMAIN, other, path), elsewhere.save):
        with pytest.raises(InvalidInput) as caught:
            attempt()
        assert caught.value.code == "bad-statements-file"
    assert path.read_bytes() == kept


def test_the_highest_serial_can_be_revoked(domain: Domain, tmp_path: Path) -> None:
    """One who holds the domain key with others could have signed a membership after which there is no serial."""
    key, highest = tmp_path / "study.key", (1 << 53) - 1
    domain.key = Identity.load_or_create(key)
    domain.admit(NODE, serial=highest)
    directory = domain.directory()
    assert code(directory, NODE) is None
    domain.revocations[NODE] = revocation(key, DOMAIN, NODE, "", after=highest)
    directory.update(domain.listing())
    assert code(directory, NODE) == "membership-revoked"


def test_a_text_that_is_signed_is_one_line(domain: Domain) -> None:
    now = int(time.time())
    for reason in ("lost\n2 is not revoked", "lost\x1b[1A", "\u202egnp"):
        with pytest.raises(InvalidInput, match="printable"):
            sign_revocation(domain.key, Revocation(DOMAIN, NODE, 1, reason, now))


def test_the_api_cannot_revoke(domain: Domain, node: str, caplog: pytest.LogCaptureFixture) -> None:
    api = Identity.generate()
    domain.revocations[node] = sign_revocation(api, Revocation(DOMAIN, node, 9, "", int(time.time())))
    assert code(domain.directory(), node) is None
    assert "revocation was dropped" in caplog.text


def test_a_revocation_is_for_its_domain_and_purpose(domain: Domain, node: str) -> None:
    body = domain.revoke(node)["body"]
    elsewhere = sign_document(domain.key, REVOKE, body | {"domain": "other-study"})
    with pytest.raises(InvalidInput) as wrong:
        Statements(DOMAIN, domain.key.node_id).learn("revocations", elsewhere)
    assert wrong.value.code == "wrong-domain"
    with pytest.raises(NotAuthenticated):
        Revocation.parse(sign_document(domain.key, MEMBER, body), domain.key.node_id)


@pytest.mark.parametrize(
    "change",
    [{"v": 2}, {"serial": -1}, {"serial": True}, {"reason": "x" * 201}, {"reason": None}, {"node_id": "ab"},
     {"time": 1 << 60}, {"more": 1}, {"domain": ""}],
    ids=str,
)  # fmt: skip
def test_a_revocation_is_checked_field_by_field(domain: Domain, change: dict[str, Any]) -> None:
    good = domain.revoke(NODE)["body"]
    with pytest.raises(InvalidInput):
        Revocation.parse(sign_document(domain.key, REVOKE, good | change), domain.key.node_id)


def _documents() -> list[tuple[str, int, dict[str, Any]]]:
    domain = Domain()
    domain.key = KEY
    made: list[tuple[str, int, dict[str, Any]]] = []
    for serial in range(4):
        made.append(("memberships", serial, domain.admit(NODE, serial=serial)))
        made.append(("revocations", serial, domain.revoke(NODE, serial=serial)))
    return made


DOCUMENTS = _documents()


@settings(deadline=None, derandomize=True)
@given(shown=st.lists(st.sampled_from(DOCUMENTS), max_size=12), data=st.data())
def test_in_whichever_order_documents_come_the_same_is_believed(
    shown: list[tuple[str, int, dict[str, Any]]], data: st.DataObject
) -> None:
    """The highest serial decides, and a revocation over a membership of the same: what comes later changes nothing."""
    ordered, other = (Statements(DOMAIN, KEY.node_id) for _ in range(2))
    seen: set[tuple[str, int]] = set()
    for kind, serial, document in shown:
        before = ordered.revocation(NODE)
        ordered.learn(kind, document)
        seen.add((kind, serial))
        member = max((number for of, number in seen if of == "memberships"), default=-1)
        revoked = max((number for of, number in seen if of == "revocations"), default=-1)
        assert (ordered.revocation(NODE) is not None) == (0 <= revoked >= member)
        if before is not None and ordered.revocation(NODE) is None:
            assert (kind, member) == ("memberships", serial), "only a newer membership ends a revocation"
    for kind, _, document in data.draw(st.permutations(shown)):
        other.learn(kind, document)
    assert other.serials() == ordered.serials()
    assert other.revocation(NODE) == ordered.revocation(NODE)
    assert other.membership(NODE) == ordered.membership(NODE)


@settings(deadline=None, derandomize=True)
@given(first=st.sets(st.integers(0, 7)), second=st.sets(st.integers(0, 7)))
def test_two_that_compare_know_the_same_afterwards(first: set[int], second: set[int]) -> None:
    one, two = (Statements(DOMAIN, KEY.node_id) for _ in range(2))
    for statements, known in ((one, first), (two, second)):
        for number in known:
            kind, _, document = DOCUMENTS[number]
            statements.learn(kind, document)
    for ours, theirs in itertools.permutations((one, two)):
        for kind, documents in theirs.newer_than(ours.versions(), most=10).items():
            for document in documents:
                ours.learn(kind, document)
    assert one.versions() == two.versions()
    assert (one.revocation(NODE) is None) == (two.revocation(NODE) is None)
