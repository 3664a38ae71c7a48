"""Secure sums against plain sums, whoever drops out when, with every degree; what cannot be opened must abort."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import Aborted
from flaas_jupyter.protocols.secure_aggregation import Session, decode_integers, default_threshold, encode_integers

PHASES = ("advertise", "share", "mask", "confirm", "unmask", "never")


def plain_sum(vectors, places):
    total = np.zeros(vectors[0].size, np.uint32)
    for place in places:
        total += vectors[place]
    return total


def outcome(here, lost):
    """What must come of a round in which members are lost so: the survivors' names, or the code of the abort."""
    names, threshold = set(here.settings.members), here.settings.threshold
    left = {}
    for phase in PHASES[:-1]:
        names = names - here.ids(lost[phase])
        left[phase] = names
    if len(left["advertise"]) < threshold:
        return "secagg-below-threshold"
    advertisements = {name: here.members[name].advertise() for name in left["advertise"]}
    ring = Session(here.settings, advertisements).graph
    for phase in ("share", "mask"):
        if len(left[phase]) < threshold:
            return "secagg-below-threshold"
        for name in left[phase]:
            if ring.parameters and sum(o in left[phase] for o in ring.following(name)) < ring.parameters.following:
                return "secagg-neighbours-lost"
    holders = [sum(holder in left["unmask"] for holder in ring.holders(name)) for name in left["share"]]
    if len(left["confirm"]) < threshold or min(holders) < ring.threshold:
        return "secagg-below-threshold"
    return tuple(sorted(left["mask"]))


@settings(max_examples=70, deadline=None)
@given(members=st.integers(3, 18), size=st.sampled_from([0, 1, 3, 65]), data=st.data())
def test_a_round_gives_the_plain_sum_of_its_survivors_or_aborts(begin, vectors_for, members, size, data):
    degrees = [None, members - 1, *range(4, members - 1, 2)]
    threshold = data.draw(st.integers(default_threshold(members), members))
    here = begin(members, degree=data.draw(st.sampled_from(degrees)), threshold=threshold)
    lost = {phase: set() for phase in PHASES}
    gone = data.draw(st.permutations(range(members)))[: data.draw(st.integers(0, members // 3 + 1))]
    for place in gone:
        lost[data.draw(st.sampled_from(PHASES))].add(place)
    vectors = vectors_for(members, size)
    expected = outcome(here, lost)
    if isinstance(expected, str):
        with pytest.raises(Aborted) as caught:
            run(here, vectors, lost)
        assert caught.value.code == expected
        return
    np.testing.assert_array_equal(
        run(here, vectors, lost), plain_sum(vectors, [here.settings.members.index(name) for name in expected])
    )
    assert here.sum.survivors == expected


def run(here, vectors, lost):
    here.advertise(lost["advertise"]).share(lost["share"]).mask(vectors, lost["mask"])
    return here.confirm(lost["confirm"]).unmask(lost["unmask"] | lost["confirm"]).open()


def test_a_hundred_members_of_whom_a_tenth_drops_out(begin, vectors_for):
    here, rng = begin(100), np.random.default_rng(2)
    numbers = rng.integers(-(2**61), 2**61, (100, 4))
    vectors = [encode_integers(row, here.settings) for row in numbers]
    gone = rng.permutation(100)[:10].tolist()
    lost = {"advertise": gone[:1], "share": gone[1:3], "mask": gone[3:8], "confirm": gone[8:9], "unmask": gone[9:]}
    total = run(here, vectors, {phase: set(some) for phase, some in lost.items()})
    degree = Session(here.settings, here.advertisements).graph.parameters.degree
    assert degree < 80
    name = here.sum.survivors[0]
    assert len(here.sealed[name]) == degree, "each member handles its neighbours' shares only"
    assert len(here.reveals[name]) <= degree + 1
    left = np.delete(numbers, gone[:8], axis=0)
    summed = len(here.sum.survivors)
    assert decode_integers(total, here.settings, summed=summed).tolist() == left.astype(object).sum(axis=0).tolist()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_thousand_members_of_whom_a_tenth_drops_out(begin, vectors_for):
    here, rng = begin(1000), np.random.default_rng(3)
    vectors = vectors_for(1000, 50)
    gone = rng.permutation(1000)[:100].tolist()
    lost = {"advertise": gone[:10], "share": gone[10:30], "mask": gone[30:80], "confirm": gone[80:90]}
    total = run(here, vectors, {phase: set(some) for phase, some in lost.items()} | {"unmask": set(gone[90:])})
    np.testing.assert_array_equal(total, plain_sum(vectors, sorted(set(range(1000)) - set(gone[:80]))))
