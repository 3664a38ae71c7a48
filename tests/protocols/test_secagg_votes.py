"""Secure sums with votes: equal to the vote-weighted mean in the clear, and no way to single a member out by votes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import Aborted, FlaasError, InvalidInput
from flaas_jupyter.protocols.secure_aggregation import (
    LEAST_SHARE,
    Votes,
    decode_sum,
    default_threshold,
    encode_update,
    minimum_voters,
)


def raises(code, kind=FlaasError):
    return pytest.raises(kind, check=lambda error: error.code == code)


def votes_of(here, shares):
    return Votes(dict(zip(here.settings.members, shares, strict=True)))


def encoded(here, deltas, shares, seed=0):
    rng = np.random.default_rng(seed)
    return [
        encode_update(delta, 1, 1, {}, here.settings, rng, share=share)
        for delta, share in zip(deltas, shares, strict=True)
    ]


@settings(max_examples=30, deadline=None)
@given(members=st.integers(5, 9), data=st.data())
def test_the_opened_sum_is_the_vote_weighted_mean_of_the_survivors(begin, members, data):
    silent = data.draw(st.integers(0, members - minimum_voters(members)))
    raw = [0.0] * silent + data.draw(
        st.lists(st.floats(1.0, 10.0), min_size=members - silent, max_size=members - silent)
    )
    raw = data.draw(st.permutations(raw))
    here = begin(members)
    votes = Votes.of(dict(zip(here.settings.members, raw, strict=True)))
    shares = [votes.shares[member] for member in here.settings.members]
    voters = [place for place in range(members) if raw[place] > 0]
    spare = min(members - default_threshold(members), len(voters) - minimum_voters(members))
    gone = set(data.draw(st.permutations(voters))[: data.draw(st.integers(0, spare))])
    deltas = np.random.default_rng(members).uniform(-1, 1, (members, 30))
    here.advertise().share().mask(encoded(here, deltas, shares), gone, votes=votes)
    total = here.confirm().unmask().open()

    left = [place for place in range(members) if place not in gone]
    weight = sum(shares[place] for place in left)
    opened = decode_sum(total, len(left), [], here.settings, 30, 1, shares=weight)
    wanted = np.array(raw)[left] @ deltas[left] / np.array(raw)[left].sum()
    assert np.abs(opened.mean - wanted).max() < opened.error_bound


def test_votes_become_shares_of_the_largest():
    votes = Votes.of({"aa": 3.0, "bb": 0.0, "cc": 1.5})
    assert votes.shares == {"aa": 1.0, "bb": 0.0, "cc": 0.5}
    assert votes.digest == Votes.of({"cc": 2.0, "bb": 0.0, "aa": 4.0}).digest
    assert votes.digest != Votes.of({"cc": 2.0, "bb": 0.0, "aa": 4.1}).digest


@pytest.mark.parametrize(
    "shares",
    [
        {"aa": 1.0, "bb": -0.1},
        {"aa": 1.0, "bb": math.nan},
        {"aa": 1.0, "bb": 1.5},
        {"aa": 1.0, "bb": "1"},
        {"aa": 1.0, "bb": True},
        {"aa": 0.5, "bb": 0.5},
        {},
        [1.0],
    ],
    ids=str,
)
def test_votes_that_are_none_are_refused(shares):
    with raises("secagg-bad-votes", InvalidInput):
        Votes(shares)


@pytest.mark.parametrize("votes", [{}, {"aa": 0.0}, {"aa": math.inf, "bb": 1.0}, {"aa": 1.0, "bb": -1.0}], ids=str)
def test_votes_of_nobody_are_refused(votes):
    with raises("secagg-bad-votes", InvalidInput):
        Votes.of(votes)


def test_a_third_of_the_members_must_have_a_vote():
    assert [minimum_voters(n) for n in (3, 5, 8, 9, 10, 30, 64)] == [3, 3, 3, 4, 4, 11, 22]


@pytest.mark.parametrize(
    "shares",
    [[1.0, 0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0, 0.0], [1.0, 1.0, *[LEAST_SHARE * 0.99] * 3]],
    ids=["one", "two", "hardly any"],
)
def test_nobody_sends_into_a_sum_that_hides_too_few(begin, shares):
    here = begin(5).advertise().share()
    votes = votes_of(here, shares)
    for name in here.settings.members:
        with raises("secagg-too-few-voters", Aborted):
            here.members[name].mask(np.zeros(3, np.uint32), here.inboxes[name], votes=votes)


def test_a_member_without_a_share_of_its_own_sends_nothing(begin):
    here = begin(5).advertise().share()
    first, *others = here.settings.members
    votes = Votes(dict.fromkeys(others, 1.0))
    with raises("secagg-bad-votes", InvalidInput):
        here.members[first].mask(np.zeros(3, np.uint32), here.inboxes[first], votes=votes)


def test_who_tells_each_member_that_it_alone_is_silent_opens_nothing(begin):
    # Told the truth, nobody would send: the victim is to count for 1 and all others for 0.
    here = begin(6).advertise().share()
    victim, *others = here.settings.members
    told = {victim: Votes(dict.fromkeys(here.settings.members, 1.0))}
    for silenced in others:
        told[silenced] = Votes({member: float(member != silenced) for member in here.settings.members})
    for name in here.settings.members:
        masked = here.members[name].mask(np.zeros(3, np.uint32), here.inboxes[name], votes=told[name])
        here.sum.add(name, masked)
    survivors = list(here.sum.survivors)
    signatures = {name: here.members[name].confirm(survivors) for name in survivors}
    for name in survivors:
        with raises("secagg-below-threshold", Aborted):
            here.members[name].unmask(signatures)


def test_who_tells_two_members_that_they_are_silent_opens_noise(begin):
    # T = 7 of the 9 were told that the two vote, and sign and open; the two have masked nothing.
    here = begin(9).advertise().share()
    names = here.settings.members
    public = votes_of(here, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    secret = votes_of(here, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
    told = dict.fromkeys(names, public) | dict.fromkeys(names[:2], secret)
    rng = np.random.default_rng(0)
    here.sum.announce(public)
    for name in names:
        vector = encode_update(np.full(2000, 0.5), 1, 1, {}, here.settings, rng, share=told[name].shares[name])
        here.sum.add(name, here.members[name].mask(vector, here.inboxes[name], votes=told[name]))
    survivors = list(here.sum.survivors)
    for name in names[2:]:
        here.signatures[name] = here.members[name].confirm(survivors)
    here.sum.confirmed(here.signatures)
    opened = here.unmask().open()
    counts = np.bincount(opened.view(np.uint8), minlength=256)
    chi_square = float(((counts - counts.mean()) ** 2 / counts.mean()).sum())
    assert chi_square < 481, "uniform: 255 degrees of freedom, ten standard deviations"
    with raises("secagg-implausible-sum", InvalidInput):
        decode_sum(opened, 9, [], here.settings, 2000, 1, shares=4.0)


def test_an_aggregator_that_drops_the_voters_of_a_round_opens_nothing(begin):
    here = begin(9)
    shares = [1.0] * 4 + [0.0] * 5
    votes = votes_of(here, shares)
    here.advertise().share().mask(encoded(here, np.zeros((9, 3)), shares), lost={0}, votes=votes)
    with raises("secagg-too-few-voters", Aborted):
        _ = here.sum.survivors
    survivors = list(here.settings.members[1:])  # and one that does not care
    for name in survivors:
        with raises("secagg-too-few-voters", Aborted):
            here.members[name].confirm(survivors)


def test_a_survivor_without_a_share_is_refused(begin):
    here = begin(9)
    listed = here.settings.members[:8]
    votes = Votes(dict.fromkeys(listed, 1.0))
    here.advertise().share().mask(encoded(here, np.zeros((9, 3)), [1.0] * 9), votes=votes)
    with raises("secagg-bad-votes", InvalidInput):
        here.members[listed[0]].confirm(list(here.settings.members))
    with raises("secagg-unknown-member", InvalidInput):
        here.sum.add(here.settings.members[8], np.zeros(3, np.uint32))


def test_votes_are_announced_once_and_first(begin, vectors_for):
    here = begin(5).advertise().share()
    votes = votes_of(here, [1.0] * 5)
    here.sum.announce(votes)
    with raises("secagg-wrong-phase"):
        here.sum.announce(votes)
    late = begin(5).advertise().share().mask(vectors_for(5, 3))
    with raises("secagg-wrong-phase"):
        late.sum.announce(votes)
    with raises("secagg-unknown-member", InvalidInput):
        begin(5).advertise().share({4}).sum.announce(votes)
