"""A domain key of several holders: so many of them sign, whoever they are, and nobody else can."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.communications.domain_key import (
    Holder,
    Holders,
    cosign,
    merge,
    open_domain_document,
    pinned,
    sign_domain_document,
    signatures_missing,
)
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput, NotAllowed, NotAuthenticated

CONTEXT, OTHER = "flaas/member/1", "flaas/revoke/1"
PEOPLE = [Identity(bytes([number]) * 32) for number in range(1, 6)]
HOLDERS = Holders.of([person.node_id for person in PEOPLE[:3]], 2)
BODY = {"v": 1, "domain": "study", "serial": 7, "text": "Ü"}


def signed_by(*people: Identity, holders: Holders = HOLDERS) -> dict[str, Any]:
    document = sign_domain_document(Holder(people[0], holders), CONTEXT, BODY)
    for person in people[1:]:
        document = cosign(document, CONTEXT, person)
    return document


def code(document: object, context: str = CONTEXT, key: str = HOLDERS.domain_key) -> str:
    with pytest.raises(FlaasError) as caught:
        open_domain_document(document, context, key)
    return caught.value.code


def test_a_single_key_signs_alone_and_its_documents_are_as_ever() -> None:
    key = PEOPLE[0]
    document = sign_domain_document(key, CONTEXT, BODY)
    assert set(document) == {"body", "signature"}
    assert open_domain_document(document, CONTEXT, pinned(key)) == BODY
    assert signatures_missing(document, CONTEXT, pinned(key)) == 0
    assert code(document) == "bad-signature", "a holder alone is not the domain"


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (2, 1)], ids=str)
def test_any_two_of_three_sign(pair: tuple[int, int]) -> None:
    document = signed_by(*(PEOPLE[number] for number in pair))
    assert open_domain_document(document, CONTEXT, HOLDERS.domain_key) == BODY
    assert signatures_missing(signed_by(PEOPLE[pair[0]]), CONTEXT, HOLDERS.domain_key) == 1


def test_one_of_three_is_pending_and_worth_nothing() -> None:
    document = signed_by(PEOPLE[0])
    assert code(document) == "signatures-missing"


def test_a_holder_counts_once() -> None:
    document = signed_by(PEOPLE[0])
    with pytest.raises(Conflict, match="signed it already"):
        cosign(document, CONTEXT, PEOPLE[0])
    (signature,) = document["signatures"].values()
    for alias in (PEOPLE[0].node_id.upper(), f" {PEOPLE[0].node_id}", PEOPLE[1].node_id):
        twice = copy.deepcopy(document)
        twice["signatures"][alias] = signature
        assert code(twice) == "bad-signature"


def test_who_is_no_holder_cannot_sign() -> None:
    with pytest.raises(NotAllowed, match="no holder"):
        cosign(signed_by(PEOPLE[0]), CONTEXT, PEOPLE[4])


def test_others_cannot_name_themselves_the_holders() -> None:
    theirs = Holders.of([PEOPLE[3].node_id, PEOPLE[4].node_id], 1)
    assert code(signed_by(PEOPLE[3], holders=theirs)) == "bad-signature"


def test_signatures_of_other_holders_are_not_even_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = Holders.of([PEOPLE[3].node_id, PEOPLE[4].node_id], 1)
    document = signed_by(PEOPLE[3], PEOPLE[4], holders=theirs)
    looked: list[str] = []
    monkeypatch.setattr(
        "flaas_jupyter.communications.domain_key.verify", lambda key, *_: looked.append(key), raising=True
    )
    assert code(document) == "bad-signature"
    assert not looked
    signatures_missing(signed_by(PEOPLE[0]), CONTEXT, HOLDERS.domain_key)
    assert looked, "those of the domain's are"


@pytest.mark.parametrize("threshold", [1, 3])
def test_the_threshold_is_part_of_the_domain_key(threshold: int) -> None:
    lowered = signed_by(PEOPLE[0])
    lowered["holders"]["threshold"] = threshold
    assert code(lowered) == "bad-signature"
    assert Holders(HOLDERS.keys, threshold).domain_key != HOLDERS.domain_key


def test_a_signature_is_for_one_purpose() -> None:
    document = signed_by(PEOPLE[0], PEOPLE[1])
    assert code(document, OTHER) == "bad-signature"
    with pytest.raises(NotAuthenticated):
        cosign(document, OTHER, PEOPLE[2])


def test_signatures_of_one_body_come_together() -> None:
    whole = merge(signed_by(PEOPLE[0]), signed_by(PEOPLE[2]), CONTEXT)
    assert open_domain_document(whole, CONTEXT, HOLDERS.domain_key) == BODY
    other = sign_domain_document(Holder(PEOPLE[2], HOLDERS), CONTEXT, BODY | {"serial": 8})
    with pytest.raises(InvalidInput):
        merge(signed_by(PEOPLE[0]), other, CONTEXT)


@pytest.mark.parametrize(
    "keys",
    [[], [0], [0, 0], list(range(17))],
    ids=["none", "one", "twice", "seventeen"],
)
def test_holders_are_two_to_sixteen_different_keys(keys: list[int]) -> None:
    with pytest.raises(InvalidInput):
        Holders.of([Identity(bytes([number + 1]) * 32).node_id for number in keys], 1)


@pytest.mark.parametrize("threshold", [0, 4, -1])
def test_the_threshold_is_one_to_all(threshold: int) -> None:
    with pytest.raises(InvalidInput, match="cannot sign"):
        Holders(HOLDERS.keys, threshold)


def test_the_order_in_which_holders_are_named_does_not_matter() -> None:
    assert Holders.of(list(reversed(HOLDERS.keys)), 2) == HOLDERS
    with pytest.raises(InvalidInput):
        Holders(tuple(reversed(HOLDERS.keys)), 2)


def test_the_browser_and_later_versions_read_what_this_one_signs() -> None:
    """The vector is read by the panel's tests too."""
    vector = json.loads((Path(__file__).parents[1] / "vectors" / "holders.json").read_text(encoding="utf-8"))
    assert vector["document"] == signed_by(PEOPLE[0], PEOPLE[2])
    assert open_domain_document(vector["document"], vector["context"], vector["domain_key"]) == BODY


def test_what_was_pinned_does_not_change_with_versions() -> None:
    assert HOLDERS.domain_key == "391eec6c6165855cecc71a67bc18c558c54197b890d5255a00370f585fa6949e"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3)
)


@settings(deadline=None, derandomize=True)
@given(
    place=st.sampled_from(["body", "holders", "signatures", "text", "serial", "threshold", "keys", "one"]), junk=JSON
)
def test_whatever_is_changed_in_a_signed_document_it_is_refused_or_the_same(place: str, junk: Any) -> None:
    document = signed_by(PEOPLE[0], PEOPLE[1])
    where = {"text": "body", "serial": "body", "threshold": "holders", "keys": "holders"}.get(place)
    if place == "one":
        document["signatures"][PEOPLE[0].node_id] = junk
    elif where:
        document[where][place] = junk
    else:
        document[place] = junk
    if json.dumps(document, sort_keys=True) == json.dumps(signed_by(PEOPLE[0], PEOPLE[1]), sort_keys=True):
        return
    with pytest.raises(FlaasError):
        open_domain_document(document, CONTEXT, HOLDERS.domain_key)


@settings(deadline=None, derandomize=True)
@given(junk=st.dictionaries(st.sampled_from(["body", "holders", "signatures", "signature", "x"]), JSON) | JSON)
def test_what_is_no_document_is_refused_as_such(junk: Any) -> None:
    with pytest.raises(FlaasError):
        open_domain_document(junk, CONTEXT, HOLDERS.domain_key)


@settings(deadline=None, derandomize=True)
@given(chosen=st.sets(st.integers(0, 4)), threshold=st.integers(1, 4), count=st.integers(2, 5))
def test_a_document_is_whole_if_so_many_different_holders_have_signed(
    chosen: set[int], threshold: int, count: int
) -> None:
    holders = Holders.of([person.node_id for person in PEOPLE[:count]], min(threshold, count))
    signers = [PEOPLE[number] for number in sorted(chosen) if number < count]
    if not signers:
        return
    document = signed_by(*signers, holders=holders)
    missing = max(0, holders.threshold - len(signers))
    assert signatures_missing(document, CONTEXT, holders.domain_key) == missing
    if missing:
        assert code(document, key=holders.domain_key) == "signatures-missing"
    else:
        assert open_domain_document(document, CONTEXT, holders.domain_key) == BODY
