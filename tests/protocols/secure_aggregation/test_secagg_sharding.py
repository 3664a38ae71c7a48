"""Sharded sums: the plan, the sum, and the bytes that each member sends."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.communications.identity import verify
from flaas_jupyter.errors import Aborted, Conflict, FlaasError, InvalidInput
from flaas_jupyter.protocols.secure_aggregation import ShardSum, Votes, shards


def raises(code, kind=FlaasError):
    return pytest.raises(kind, check=lambda error: error.code == code)


def scatter(here, vectors, *, lost=(), missed=(), votes=None):
    """Until the survivors are settled; `lost` send nothing, `missed` are (sender, aggregator) that do not arrive."""
    plan = shards(vectors[0].size, here.settings.members)
    sums, sent, received = {}, Counter(), Counter()
    for name in here.settings.members:
        sums[name] = ShardSum(here.settings, plan, name, verify=verify)
        sums[name].advertised(here.advertisements)
        sums[name].joined(here.sealed)
        if votes is not None:
            sums[name].announce(votes)
    for place, name in enumerate(here.settings.members):
        if place in lost:
            continue
        parts = here.members[name].mask_shards(vectors[place], here.inboxes[name], plan, votes=votes)
        for aggregator, part in parts.items():
            if (name, aggregator) in missed:
                continue
            if aggregator != name:
                sent[name] += part.nbytes
                received[aggregator] += part.nbytes
            sums[aggregator].add(name, part)
    whole = set.intersection(*(set(one.received) for one in sums.values()))
    return plan, sums, sorted(whole), sent, received


def finish(here, plan, sums, survivors, sent=None, received=None):
    for one in sums.values():
        one.settle(survivors)
    signatures = {name: here.members[name].confirm(survivors) for name in survivors}
    reveals = {name: here.members[name].unmask(signatures) for name in survivors}
    opened = {}
    for aggregator, one in sums.items():
        one.confirmed(signatures)
        opened[aggregator] = one.open(reveals)
        for other in here.settings.members:
            if other != aggregator and sent is not None:
                sent[aggregator] += opened[aggregator].nbytes
                received[other] += opened[aggregator].nbytes
    return plan.gather(opened)


@given(length=st.integers(0, 10_000), members=st.integers(1, 70))
def test_shards_are_equal_parts_in_order(length, members):
    names = [f"{i:064x}" for i in range(members)]
    plan = shards(length, names[::-1])
    assert [shard.aggregator for shard in plan.shards] == names
    assert plan.shards[0].start == 0
    assert plan.shards[-1].stop == length
    assert all(one.stop == next_.start for one, next_ in zip(plan.shards, plan.shards[1:], strict=False))
    lengths = [shard.length for shard in plan.shards]
    assert max(lengths) - min(lengths) <= 1
    assert lengths == sorted(lengths, reverse=True)
    assert sum(plan.bytes_sent(name) for name in names) == 2 * 4 * length * (members - 1)


def test_a_plan_for_nobody_or_nothing_is_refused():
    for length, members in ((5, []), (-1, ["aa"])):
        with raises("secagg-bad-settings", InvalidInput):
            shards(length, members)
    plan = shards(5, ["aa", "bb"])
    with raises("secagg-unknown-member", InvalidInput):
        plan.of("cc")
    assert plan.digest != shards(6, ["aa", "bb"]).digest != shards(6, ["aa", "cc"]).digest


@settings(max_examples=25, deadline=None)
@given(members=st.integers(4, 8), size=st.integers(0, 100), lost=st.sets(st.integers(0, 3), max_size=1))
def test_a_sharded_sum_is_the_plain_sum(begin, vectors_for, members, size, lost):
    here, vectors = begin(members).advertise().share(), vectors_for(members, size)
    plan, sums, survivors, _, _ = scatter(here, vectors, lost=lost)
    total = finish(here, plan, sums, survivors)
    wanted = np.sum([v for place, v in enumerate(vectors) if place not in lost], axis=0, dtype=np.uint32)
    np.testing.assert_array_equal(total, wanted)


@pytest.mark.parametrize("members", [3, 5, 10])
def test_each_member_sends_and_receives_less_than_twice_the_vector(begin, vectors_for, members):
    size = 60 * members
    here, vectors = begin(members).advertise().share(), vectors_for(members, size)
    plan, sums, survivors, sent, received = scatter(here, vectors)
    finish(here, plan, sums, survivors, sent, received)
    for name in here.settings.members:
        assert sent[name] == received[name] == plan.bytes_sent(name) == 2 * (members - 1) / members * 4 * size


def test_whose_shard_missed_one_aggregator_is_in_nobodys_sum(begin, vectors_for):
    here, vectors = begin(6).advertise().share(), vectors_for(6, 30)
    one, other = here.settings.members[1], here.settings.members[4]
    plan, sums, survivors, _, _ = scatter(here, vectors, missed={(one, other)})
    assert one not in survivors
    wanted = np.sum([v for place, v in enumerate(vectors) if place != 1], axis=0, dtype=np.uint32)
    np.testing.assert_array_equal(finish(here, plan, sums, survivors), wanted)


def test_a_ring_and_votes_work_in_shards(begin, vectors_for):
    here, vectors = begin(14, degree=8).advertise().share(), vectors_for(14, 40)
    votes = Votes(dict.fromkeys(here.settings.members, 1.0))
    plan, sums, survivors, _, _ = scatter(here, vectors, votes=votes)
    np.testing.assert_array_equal(finish(here, plan, sums, survivors), np.sum(vectors, axis=0, dtype=np.uint32))


def test_two_lists_for_two_shards_are_not_both_signed(begin, vectors_for):
    here, vectors = begin(6).advertise().share(), vectors_for(6, 12)
    scatter(here, vectors)
    everybody = list(here.settings.members)
    here.members[everybody[0]].confirm(everybody)
    with raises("secagg-survivors-changed", Conflict):
        here.members[everybody[0]].confirm(everybody[:-1])


def test_aggregators_check_what_the_leader_says(begin, vectors_for):
    here, vectors = begin(6).advertise().share(), vectors_for(6, 12)
    one, other = here.settings.members[:2]
    _, sums, survivors, _, _ = scatter(here, vectors, missed={(one, other)})
    with raises("secagg-wrong-phase", Conflict):
        _ = sums[other].survivors
    with raises("secagg-unknown-member", InvalidInput):
        sums[other].settle(here.settings.members)
    with raises("secagg-below-threshold", Aborted):
        sums[other].settle(survivors[:3])
    sums[other].settle(survivors)
    with raises("secagg-wrong-phase", Conflict):
        sums[other].settle(survivors)
    sums[other].abort()
    sums[other].confirmed({name: here.members[name].confirm(survivors) for name in survivors})
    with raises("secagg-wrong-phase", Conflict):
        sums[other].open({})


def test_who_leads_cannot_name_sharers_that_are_none(begin, vectors_for):
    here = begin(4).advertise().share()
    plan = shards(8, here.settings.members)
    one = ShardSum(here.settings, plan, here.settings.members[0], verify=verify)
    with raises("secagg-wrong-phase", Conflict):
        one.joined(here.settings.members)
    one.advertised(here.advertisements)
    with raises("secagg-unknown-member", InvalidInput):
        one.joined([*here.settings.members, "ab" * 32])
    with raises("secagg-below-threshold", Aborted):
        one.joined(here.settings.members[:2])


def test_shards_of_the_wrong_shape_are_refused(begin, vectors_for):
    here, vectors = begin(4).advertise().share(), vectors_for(4, 12)
    plan, name = shards(13, here.settings.members), here.settings.members[0]
    with raises("secagg-malformed", InvalidInput):
        here.members[name].mask_shards(vectors[0], here.inboxes[name], plan)
    parts = {shard.aggregator: np.zeros(shard.length, np.uint32) for shard in plan.shards}
    assert plan.gather(parts).size == 13
    for bad in ({}, parts | {name: np.zeros(9, np.uint32)}, parts | {name: np.zeros(4)}):
        with raises("secagg-malformed", InvalidInput):
            plan.gather(bad)


def test_no_key_serves_two_shards(begin):
    here, zeros = begin(3).advertise().share(), np.zeros(30_000, np.uint32)
    name = here.settings.members[0]
    parts = here.members[name].mask_shards(zeros, here.inboxes[name], shards(zeros.size, here.settings.members))
    one, other, third = parts.values()
    for a, b in ((one, other), (other, third), (one, third)):
        assert np.count_nonzero(a == b) < 3
