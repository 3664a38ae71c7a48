"""What a node gets, it checks by itself: it believes the approvers' keys that it knows, and nobody else."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaas_jupyter.communications.identity import Identity, canonical
from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput
from flaas_jupyter.governance import approvals
from flaas_jupyter.governance.approvals.documents import digest, sign, verified_approvers, write

ANN, BOB, EVE = (Identity(letter * 32) for letter in (b"a", b"b", b"e"))
KEYS = {"ann": ANN.node_id, "bob": BOB.node_id}


def made(**changes):
    document, sha256 = write("model.release", "project:credit", "dora", {"model": "m1"})
    entries = [
        {
            "decider": name,
            "decision": "approve",
            "role": "approver",
            "time": 1_790_000_000,
            "key": key.node_id,
            "signature": sign(key, "r1", sha256, "approve", 1_790_000_000),
        }
        for name, key in (("ann", ANN), ("bob", BOB))
    ]
    return {"request": "r1", "document": document, "sha256": sha256, "decisions": entries, **changes}


def test_it_names_those_whose_keys_are_known(world):
    request = world.ask()
    world.decide(request, "ann")
    world.decide(request, "owen")
    with world.database.reading() as session:
        bundle = approvals.bundle(session, request)
    bundle = json.loads(json.dumps(bundle))  # as it comes over the wire
    keys = {name: world.people.humans[name].key.node_id for name in ("ann", "owen", "bob")}
    assert verified_approvers(bundle, keys) == {"ann", "owen"}
    assert verified_approvers(bundle, {"owen": keys["owen"]}) == {"owen"}
    assert verified_approvers(bundle, list(keys.values())) == {keys["ann"], keys["owen"]}
    assert (bundle["body"], bundle["action"], bundle["requester"]) == ({"model": "m1"}, "model.release", "dora")


def test_of_an_unknown_request_there_is_none(world):
    with world.database.reading() as session, pytest.raises(FlaasError) as caught:
        approvals.bundle(session, "nothing")
    assert caught.value.code == "unknown-approval"


def test_a_tampered_document_is_found():
    bundle = made()
    with pytest.raises(Conflict):
        verified_approvers({**bundle, "document": bundle["document"].replace("m1", "m2")}, KEYS)


def test_with_a_fitting_digest_nobody_has_approved_the_other_text():
    other = made()["document"].replace("m1", "m2")
    assert verified_approvers(made(document=other, sha256=digest(other)), KEYS) == frozenset()


def test_approvals_of_one_request_are_none_of_another():
    assert verified_approvers(made(request="r2"), KEYS) == frozenset()


def test_a_server_that_makes_keys_up_has_nobodys_approval():
    bundle = made()
    for entry in bundle["decisions"]:
        entry["key"] = EVE.node_id
        entry["signature"] = sign(EVE, "r1", bundle["sha256"], "approve", entry["time"])
    assert verified_approvers(bundle, KEYS) == frozenset()


def test_one_key_under_two_names_is_one_person():
    bundle = made()
    bundle["decisions"][1] = {**bundle["decisions"][0], "decider": "bob"}
    assert len(verified_approvers(bundle, {"ann": ANN.node_id, "bob": ANN.node_id})) == 1


def test_neither_a_denial_nor_the_requesters_own_counts():
    document, sha256 = write("model.release", "project:credit", "ann", {"model": "m1"})
    own = made(document=document, sha256=sha256)
    for entry, key in zip(own["decisions"], (ANN, BOB), strict=True):
        entry["signature"] = sign(key, "r1", sha256, "approve", entry["time"])
    assert verified_approvers(own, KEYS) == {"bob"}
    denied = made()
    denied["decisions"][0]["decision"] = "deny"
    assert verified_approvers(denied, KEYS) == {"bob"}


values = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.lists(st.none(), max_size=2)


@given(st.sampled_from(["request", "document", "sha256", "decisions"]), values)
def test_garbage_in_a_bundle_is_refused_or_proves_nothing(name, value):
    with contextlib.suppress(InvalidInput, Conflict):
        assert verified_approvers(made(**{name: value}), KEYS) == frozenset()


@given(st.sampled_from(["decider", "decision", "time", "key", "signature"]), values)
def test_garbage_in_a_decision_is_refused_or_proves_nothing(name, value):
    bundle = made()
    del bundle["decisions"][1]
    bundle["decisions"][0][name] = value
    with contextlib.suppress(InvalidInput, Conflict):
        assert verified_approvers(bundle, KEYS) == frozenset()


@given(st.dictionaries(st.text(max_size=5), values, max_size=3) | values | st.lists(values, max_size=2))
def test_what_is_no_bundle_is_refused(thing):
    with pytest.raises((InvalidInput, Conflict)):
        verified_approvers(thing, KEYS)


def test_a_text_with_two_meanings_is_refused():
    document = made()["document"].replace('"body":{', '"body":{"model":"m0",', 1)
    assert json.loads(document)["body"] == {"model": "m1"}
    assert canonical(json.loads(document)).decode() != document
    with pytest.raises(Conflict):
        verified_approvers(made(document=document, sha256=digest(document)), KEYS)
