"""Private set intersection is set intersection; a blinded point tells nothing of its id that a bit could hold."""

from __future__ import annotations

import hashlib
import unicodedata

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.vertical import curve
from flaas_jupyter.protocols.vertical.curve import P, hash_to_curve, jacobi, on_curve
from flaas_jupyter.protocols.vertical.ids import canonical_ids
from flaas_jupyter.protocols.vertical.psi import PrivateSet, hash_all, intersect

few = settings(max_examples=25, deadline=None)
ids = st.lists(st.text("aäcé\u0301ßзаметка漢🙂 ", max_size=4) | st.integers(-3, 30).map(str), max_size=12)


def pair(one: list[str], other: list[str], **options: int) -> tuple[PrivateSet, PrivateSet]:
    return PrivateSet(canonical_ids(one), **options), PrivateSet(canonical_ids(other), **options)


# ---- the oracle -----------------------------------------------------------------------------------------------------


@few
@given(ids, ids)
def test_it_is_the_intersection_of_the_sets_with_duplicates_unicode_and_empty_ones(one: list[str], other: list[str]):
    normal = [unicodedata.normalize("NFC", text) for text in one]
    found = intersect(canonical_ids(one), canonical_ids(other))
    expected = set(normal) & {unicodedata.normalize("NFC", text) for text in other}
    assert [value.decode() for value in found] == [text for text in dict.fromkeys(normal) if text in expected]


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [
        ([], [], 0),
        ([], ["a"], 0),
        (["a", "b"], ["c", "d"], 0),
        (["a", "a", "b"], ["a", "a", "a"], 1),
        (["caf\u00e9"], ["cafe\u0301"], 1),
        (["A"], ["a"], 0),
    ],
)
def test_the_cases_at_the_edge(one: list[str], other: list[str], common: int):
    assert len(intersect(canonical_ids(one), canonical_ids(other))) == common


def test_numbers_of_one_party_meet_the_texts_of_another():
    numbers, texts = np.arange(20), np.array([str(value) for value in range(15, 40)], dtype=object)
    assert intersect(canonical_ids(numbers), canonical_ids(texts)) == [b"15", b"16", b"17", b"18", b"19"]


def test_places_are_those_of_the_first_of_duplicates():
    holder, feature = pair(["x", "y", "x", "z"], ["z", "x"])
    sent, received = holder.first(), feature.first()
    places, positions = holder.common(feature.second(sent), holder.second(received))
    assert sorted(places.tolist()) == [0, 3]
    assert sorted(feature.confirm(positions, len(sent)).tolist()) == [0, 1]


# ---- what is sent ---------------------------------------------------------------------------------------------------


def test_scalars_are_fresh_and_orders_shuffled_in_every_run():
    names = [str(value) for value in range(200)]
    one, other = pair(names, names)
    first, second = one.first(), other.first()
    assert first.shape == (200, 32)
    assert not set(map(bytes, first)) & set(map(bytes, second))
    places, positions = one.common(other.second(first), one.second(second))
    assert sorted(places.tolist()) == sorted(positions.tolist()) == list(range(200))
    # Two unforeseeable orders of 200 agree at one place on average.
    assert (places == positions).sum() < 20


def test_padding_hides_the_size_and_is_never_in_common():
    padded = PrivateSet(canonical_ids(["a", "b"]), pad_to=16)
    other = PrivateSet(canonical_ids(["b", "c"]), pad_to=8)
    assert padded.size == 16
    sent, received = padded.first(), other.first()
    assert (len(sent), len(received)) == (16, 8)
    places, positions = padded.common(other.second(sent), padded.second(received))
    assert places.tolist() == [1]
    assert other.confirm(positions, 16).tolist() == [0]


def test_every_point_of_an_id_is_on_the_curve_and_not_on_its_twist():
    points = hash_all([b"%d" % value for value in range(300)])
    assert len(set(points)) == 300
    for point in points:
        u = int.from_bytes(point, "little")
        assert pow(u * (u * (u + 486662) + 1), (P - 1) // 2, P) == 1


def test_half_of_all_coordinates_are_on_the_twist_so_that_the_check_decides_something():
    candidates = [hashlib.sha256(b"%d" % value).digest() for value in range(400)]
    masked = [each[:31] + bytes((each[31] & 127,)) for each in candidates]
    assert 140 < sum(map(on_curve, masked)) < 260


def test_blinding_keeps_points_off_the_twist():
    blinded = PrivateSet([b"%d" % value for value in range(64)]).first()
    assert all(on_curve(bytes(point)) for point in blinded)


@few
@given(st.integers(0, P - 1))
def test_the_jacobi_symbol_is_eulers_criterion(value: int):
    assert jacobi(value, P) % P == pow(value, (P - 1) // 2, P)


def test_python_and_gmpy2_give_the_same_points(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("gmpy2")
    values = [b"%d" % value for value in range(50)]
    quick = hash_all(values)
    monkeypatch.setattr(curve, "on_curve", lambda point: _slow(int.from_bytes(point, "little")))
    assert [hash_to_curve(value) for value in values] == quick


def _slow(u: int) -> bool:
    return jacobi(u * (u * (u + 486662) + 1), P) == 1


# ---- abuse ----------------------------------------------------------------------------------------------------------


def refused(work) -> str:
    with pytest.raises(InvalidInput) as error:
        work()
    return error.value.code


def test_more_ids_than_allowed_are_refused_on_both_sides():
    assert refused(lambda: PrivateSet([b"a", b"b"], maximum=1)) == "too-many-ids"
    many = PrivateSet([b"%d" % value for value in range(5)]).first()
    assert refused(lambda: PrivateSet([b"a"], maximum=4).second(many)) == "too-many-ids"


def test_points_of_small_order_are_refused():
    own = PrivateSet([b"a"])
    assert refused(lambda: own.second(np.zeros((1, 32), np.uint8))) == "bad-point"


def test_points_that_stand_there_twice_are_refused():
    other = PrivateSet([b"a"]).first()
    assert refused(lambda: PrivateSet([b"a"]).second(np.repeat(other, 2, axis=0))) == "bad-point"


@pytest.mark.parametrize("bad", [np.zeros((2, 31), np.uint8), np.zeros((2, 32), np.int8), np.zeros(32, np.uint8)])
def test_what_is_not_points_is_refused(bad: np.ndarray):
    assert refused(lambda: PrivateSet([b"a"]).second(bad)) == "bad-point"


def test_another_number_of_points_than_was_sent_is_refused():
    one, other = pair(["a", "b"], ["b"])
    returned = other.second(one.first())[:1]
    assert refused(lambda: one.common(returned, one.second(other.first()))) == "bad-point"


@pytest.mark.parametrize(
    "told", [np.array([0, 5]), np.array([-1]), np.array([1, 1]), np.arange(4), np.array([[0]]), np.array([0.0])]
)
def test_an_intersection_that_cannot_be_is_refused(told: np.ndarray):
    own = PrivateSet([b"a", b"b", b"c", b"d", b"e"])
    assert refused(lambda: own.confirm(told, 3)) == "bad-intersection"


def test_padding_cannot_be_named():
    own = PrivateSet([b"a"], pad_to=3)
    assert refused(lambda: own.confirm(np.arange(3), 3)) == "bad-intersection"
