"""Group mode: groups that nobody chooses, a rule on their means, and what it remembers of their members."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.communications.identity import verify
from flaas_jupyter.errors import Aborted, Conflict, FlaasError, InvalidInput, NotAuthenticated
from flaas_jupyter.protocols import combination
from flaas_jupyter.protocols.aggregation import Needs, aggregation, names
from flaas_jupyter.protocols.group_memory import credited_memory, pooled_memory
from flaas_jupyter.protocols.group_rule import combine_groups
from flaas_jupyter.protocols.groups import (
    Assignment,
    Commitment,
    GroupDraw,
    assign,
    check_commitments,
    draw,
    group_settings,
)

IN_GROUPS = [name for name in names() if aggregation(name).needs is Needs.UPDATES and name != "fltrust"]


# ---- the assignment -------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(members=st.integers(3, 200), size=st.integers(3, 9), seed=st.binary(min_size=32, max_size=32))
def test_everybody_is_in_one_group_of_at_least_g(members, size, seed):
    ids = [f"client {n}" for n in range(members)]
    if members < size:
        with pytest.raises(InvalidInput, match="do not make a group"):
            assign(ids, size, seed)
        return
    groups = assign(ids, size, seed).groups
    assert sorted(member for group in groups for member in group) == sorted(ids)
    sizes = {len(group) for group in groups}
    assert min(sizes) >= size
    assert max(sizes) - min(sizes) <= 1
    assert len(groups) == members // size
    assert assign(ids[::-1], size, seed) == assign(ids, size, seed)


def test_any_two_members_meet_as_often_as_chance_has_it():
    ids = [f"client {n}" for n in range(15)]
    met = np.zeros((15, 15))
    for number in range(700):
        place = assign(ids, 3, hashlib.sha256(b"%d" % number).digest()).place
        told = np.array([place[member] for member in ids])
        met += told[:, None] == told
    rates = met[np.triu_indices(15, 1)] / 700
    # Two of fourteen others: one seventh; five standard deviations of 700 draws are 0.066.
    assert np.abs(rates - 1 / 7).max() < 0.066


@pytest.mark.parametrize("size", [2, 0, -3, 3.0, True, "3", None])
def test_a_group_hides_a_member_among_three_at_least(size):
    with pytest.raises(InvalidInput) as caught:
        assign(["a", "b", "c"], size, b"")
    assert caught.value.code == "bad-group-size"


# ---- the draw -------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawing(identities, settings_for):
    """Settings of nine members, each one's side of the draw, and their commitments as they travel."""
    whole = settings_for(9)
    sides = {one.node_id: GroupDraw(whole, 3, one.node_id, one.sign, verify) for one in identities[:9]}
    return whole, sides, {m: Commitment.from_dict(side.commit().to_dict()) for m, side in sides.items()}


def test_all_members_find_the_same_groups(drawing):
    whole, sides, commitments = drawing
    check_commitments(whole, 3, commitments, verify)
    seeds = {member: side.reveal(commitments) for member, side in sides.items()}
    found = draw(whole, 3, commitments, seeds)
    contexts = set()
    for member, side in sides.items():
        assignment, own = side.assigned(seeds)
        assert assignment == found
        assert own.members == found.groups[found.place[member]]
        contexts.add(own.context)
    assert len(contexts) == 3


def test_one_seed_changes_everybodys_group(drawing):
    whole, sides, commitments = drawing
    seeds = {member: side.reveal(commitments) for member, side in sides.items()}
    found = {draw(whole, 3, commitments, seeds).groups}
    for member in whole.members:
        other = GroupDraw(whole, 3, member, lambda *_: bytes(64), verify)
        swapped = {**commitments, member: other.commit()}
        other._commitments = swapped
        found.add(draw(whole, 3, swapped, {**seeds, member: other._seed}).groups)
    assert len(found) == 10


def test_who_speaks_last_cannot_choose(drawing):
    whole, sides, commitments = drawing
    seeds = {member: side.reveal(commitments) for member, side in sides.items()}
    last = whole.members[4]
    with pytest.raises(InvalidInput, match="another seed") as caught:
        draw(whole, 3, commitments, {**seeds, last: bytes(32)})
    assert (caught.value.code, caught.value.details["member"]) == ("group-seed-wrong", last)
    without = {member: seed for member, seed in seeds.items() if member != last}
    with pytest.raises(Aborted, match="did not reveal") as withheld:
        draw(whole, 3, commitments, without)
    assert (withheld.value.code, withheld.value.details["members"]) == ("group-seed-withheld", [last])
    with pytest.raises(Aborted):
        sides[whole.members[0]].assigned(without)


def test_a_commitment_that_was_copied_cannot_be_opened(drawing):
    whole, sides, commitments = drawing
    victim, copier = whole.members[:2]
    copied = {**commitments, copier: commitments[victim]}
    with pytest.raises(NotAuthenticated) as caught:
        check_commitments(whole, 3, copied, verify)
    assert caught.value.details["member"] == copier
    seeds = {member: side._seed for member, side in sides.items()}
    with pytest.raises(InvalidInput) as opened:
        draw(whole, 3, copied, {**seeds, copier: seeds[victim]})
    assert opened.value.code == "group-seed-wrong"


def test_a_seed_is_revealed_for_one_set_of_commitments(drawing):
    whole, sides, commitments = drawing
    me = whole.members[0]
    assert sides[me].reveal(commitments) == sides[me].reveal(dict(commitments))
    fewer = {member: one for member, one in commitments.items() if member != whole.members[5]}
    with pytest.raises(Conflict) as caught:
        sides[me].reveal(fewer)
    assert caught.value.code == "group-draw-changed"


def test_a_member_that_is_left_out_reveals_nothing(drawing):
    whole, sides, commitments = drawing
    me = whole.members[0]
    without = {member: one for member, one in commitments.items() if member != me}
    with pytest.raises(Conflict) as caught:
        sides[me].reveal(without)
    assert caught.value.code == "secagg-not-in-round"
    with pytest.raises(Conflict) as early:
        sides[me].assigned({})
    assert early.value.code == "secagg-wrong-phase"


@pytest.mark.parametrize("bad", [None, {}, {"digest": b"1", "signature": bytes(64)}, {"digest": bytes(32)}])
def test_what_is_no_commitment_is_refused(bad):
    with pytest.raises(InvalidInput) as caught:
        Commitment.from_dict(bad)
    assert caught.value.code == "secagg-malformed"


def test_strangers_and_too_few_are_refused(drawing):
    whole, _, commitments = drawing
    one = commitments[whole.members[0]]
    with pytest.raises(InvalidInput) as stranger:
        check_commitments(whole, 3, {**commitments, "ab" * 32: one}, None)
    assert stranger.value.code == "secagg-unknown-member"
    with pytest.raises(Aborted) as few:
        check_commitments(whole, 3, dict(list(commitments.items())[:2]), None)
    assert few.value.code == "secagg-below-threshold"


def test_the_sums_of_a_group_are_bound_to_the_whole_assignment(settings_for):
    whole = settings_for(9)
    first = assign(whole.members, 3, bytes(32))
    groups = list(first.groups)
    groups[1], groups[2] = groups[2], groups[1]
    own = group_settings(whole, first, 0)
    assert own.threshold == 3
    assert own.context != group_settings(whole, Assignment(tuple(groups)), 0).context


# ---- the rule -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", IN_GROUPS)
def test_the_rule_on_groups_is_the_rule_on_their_means(name):
    rng = np.random.default_rng(3)
    ids = [f"client {n}" for n in range(31)]
    assignment = assign(ids, 3, bytes(32))
    start = rng.normal(size=20)
    examples = {client: int(n) for client, n in zip(ids, rng.integers(5, 50, 31), strict=True)}
    deltas = {client: rng.normal(size=20) for client in ids}
    means, totals = {}, []
    for place, group in enumerate(assignment.groups):
        total = sum(examples[client] for client in group)
        means[place] = sum(examples[client] * deltas[client] for client in group) / total
        totals.append(total)
    made = combine_groups(aggregation(name), start, means, dict(enumerate(assignment.groups)), examples, {})
    models = np.stack([start + mean for mean in means.values()])
    plain = aggregation(name)(models, totals, reference=start)
    np.testing.assert_allclose(made.weights, plain.weights)
    assert made.contributions.keys() == set(ids)
    assert sum(made.contributions.values()) == pytest.approx(1.0)
    for place, group in enumerate(assignment.groups):
        credited = sum(made.contributions[client] for client in group)
        assert credited == pytest.approx(plain.contributions[place], abs=1e-12)
        for client in group:
            told = dict(made.columns[client])
            assert told.pop("group") == place + 1
            assert told == pytest.approx({column: values[place] for column, values in plain.columns.items()})


def test_three_groups_of_a_trimmed_mean_trim_the_one_that_may_be_spoilt():
    start, spoilt = np.zeros(2), np.full(2, 1e6)
    means = {0: np.ones(2), 1: spoilt, 2: np.full(2, 2.0)}
    members = {0: "abc", 1: "def", 2: "ghi"}
    made = combine_groups(aggregation("trimmed_mean"), start, means, members, dict.fromkeys("abcdefghi", 1), {})
    assert made.weights.max() <= 2.0


@pytest.mark.parametrize("name", ["foolsgold", "reputation", "fedqv_reputation"])
def test_members_are_remembered_over_reshuffles(name):
    rng = np.random.default_rng(5)
    ids = [f"client {n}" for n in range(15)]
    start, state = rng.normal(size=12), {}
    for number in range(4):
        assignment = assign(ids, 3, b"%d" % number)
        means = {place: rng.normal(size=12) for place in range(5)}
        members = dict(enumerate(assignment.groups))
        state = combine_groups(aggregation(name), start, means, members, dict.fromkeys(ids, 10), state).state
        kept = state["clients"] if name == "foolsgold" else next(iter(state.values()))
        assert set(kept) == set(ids)
        aggregation(name).load_state_dict(state)  # it is a memory of that rule


def test_a_group_has_the_mean_of_its_members_memories_and_they_are_credited_with_its_change():
    groups = {"group 1": ("a", "b"), "group 2": ("c", "d")}
    budgets = {"budgets": {"a": 30.0, "b": 10.0, "c": 4.0}}
    pooled = pooled_memory(budgets, groups)
    assert pooled == {"budgets": {"group 1": 20.0, "group 2": 4.0}}
    after = {"budgets": {"group 1": 15.0, "group 2": 0.5}}
    assert credited_memory(budgets, pooled, after, groups) == {
        "budgets": {"a": 25.0, "b": 5.0, "c": 0.5, "d": 0.5}
    }  # d takes over what its group has left
    opinions = {"opinions": {"a": [0.2, 0.4], "b": [0.8], "e": [0.1]}}
    pooled = pooled_memory(opinions, groups)
    assert pooled["opinions"] == {"group 1": [0.2, pytest.approx(0.6)]}
    after = {"opinions": {"group 1": [0.2, 0.6, 0.9], "group 2": [0.3]}}
    assert credited_memory(opinions, pooled, after, groups)["opinions"] == {
        "a": [0.2, 0.4, 0.9], "b": [0.8, 0.9], "c": [0.3], "d": [0.3], "e": [0.1],
    }  # fmt: skip


# ---- bounds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "byzantine", "needed"),
    [("median", None, 9), ("krum", 1, 15), ("krum", 2, 21), ("krum", 3, 27), ("multi_krum", 1, 15),
     ("trimmed_mean", 1, 9), ("trimmed_mean", 2, 15), ("trimmed_mean", 3, 21), ("geometric_median", None, 9),
     ("residual", None, 12), ("reputation", None, 12)],
)  # fmt: skip
def test_the_smallest_n_in_groups_of_three(name, byzantine, needed):
    rule = aggregation(name, **({} if byzantine is None else {"byzantine": byzantine}))
    how = {"secure_aggregation": True, "privacy": None, "group_size": 3}
    combination.require_combination(rule, **how, clients=needed)
    assert (
        combination.least_clients(rule, list(map(str, range(needed))), secure_aggregation=True, group_size=3) == needed
    )
    with pytest.raises(InvalidInput) as caught:
        combination.require_combination(rule, **how, clients=needed - 1)
    error = caught.value
    assert error.code == "aggregation-needs-updates"
    assert error.details["reason"] == "SECAGG_INCOMPATIBLE_AGGREGATOR"
    assert (error.details["clients"], error.details["needed"]) == (needed - 1, needed)
    assert name in error.message
    assert f"N ≥ {needed}" in error.message
    assert f"N = {needed - 1}" in error.message
    assert "secure_aggregation=False" in error.hint
    assert "fedavg" in error.hint


def test_larger_groups_take_more_clients():
    with pytest.raises(InvalidInput, match="N ≥ 25 in groups of 5"):
        combination.require_combination(
            aggregation("krum"), secure_aggregation=True, privacy=None, group_size=5, clients=24
        )


def test_a_rule_that_must_see_one_client_has_no_groups():
    with pytest.raises(InvalidInput, match="hides in a sum") as caught:
        combination.require_combination(
            aggregation("fltrust", trusted="north"), secure_aggregation=True, privacy=None, group_size=3, clients=100
        )
    assert isinstance(caught.value, FlaasError)
    assert caught.value.details["reason"] == "SECAGG_INCOMPATIBLE_AGGREGATOR"
