"""The ring of neighbours: its size by the paper and by exact arithmetic, its order, and what it must not let happen."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import Aborted
from flaas_jupyter.protocols.secure_aggregation import Session, graph
from flaas_jupyter.protocols.secure_aggregation.graph import Graph, Parameters

NAMES = [f"{i:064x}" for i in range(1000)]

# What the paper's authors publish with their implementation (google/federated-compute, fcp/secagg/server,
# graph_parameter_finder_test.cc): members, γ, δ, server, k, t; σ = 40, η = 20.
PUBLISHED = [
    (100, 0.45, 0.45, "curious", 92, 46),
    (1000, 0.45, 0.45, "curious", 822, 417),
    (10_000, 0.45, 0.45, "curious", 3494, 1771),
    (100, 0.33, 0.33, "curious", 68, 34),
    (1000, 0.33, 0.33, "curious", 286, 150),
    (100_000, 0.33, 0.33, "curious", 480, 251),
    (1000, 0.3, 0.3, "semi-malicious", 872, 584),
    (1000, 0.05, 0.33, "curious", 72, 24),
    (100, 0.05, 0.33, "semi-malicious", 72, 39),
    (1000, 0.05, 0.33, "semi-malicious", 398, 223),
    (10_000, 0.05, 0.33, "semi-malicious", 746, 420),
    (100, 0.33, 0.05, "curious", 34, 29),
    (1000, 0.33, 0.05, "curious", 78, 60),
    (100, 0.33, 0.05, "semi-malicious", 42, 37),
    (1000, 0.33, 0.05, "semi-malicious", 132, 109),
    (100_000, 0.33, 0.05, "semi-malicious", 196, 160),
    (100, 0.05, 0.05, "curious", 12, 6),
    (1000, 0.05, 0.05, "curious", 30, 17),
    (100, 0.05, 0.05, "semi-malicious", 16, 11),
    (1000, 0.05, 0.05, "semi-malicious", 52, 37),
    (10_000, 0.05, 0.05, "semi-malicious", 62, 44),
    (100_000, 0.05, 0.05, "semi-malicious", 68, 48),
]


@pytest.mark.parametrize(("members", "corrupt", "dropout", "server", "degree", "threshold"), PUBLISHED)
def test_the_papers_formula_gives_the_published_values(members, corrupt, dropout, server, degree, threshold):
    found = graph.published_parameters(members, corrupt, dropout, correctness=20, server=server)
    assert found is not None
    assert found[0] == degree
    assert found[1] <= threshold


def test_what_the_papers_abstract_claims_holds():
    # "in the semi-malicious setting with 10^4 clients, each client needs to communicate only with 3% of the clients …
    # while withstanding up to 5% corrupt clients and 5% dropouts"
    found = graph.published_parameters(10_000, 0.05, 0.05, correctness=30, server="semi-malicious")
    assert found is not None
    assert found[0] <= 300


def test_an_impossible_graph_is_none():
    assert graph.published_parameters(1000, 0.5, 0.5) is None
    assert graph.choose(1000, 400, 400) is None


def exact_tail(population, marked, draws, at_least):
    """Pr[at least so many of the draws are marked], as a fraction."""
    ways = range(at_least, min(marked, draws) + 1)
    return Fraction(
        sum(math.comb(marked, x) * math.comb(population - marked, draws - x) for x in ways),
        math.comb(population, draws),
    )


@pytest.mark.parametrize("members", [100, 200, 500, 1000])
def test_the_chosen_degree_is_safe_and_correct_in_exact_arithmetic(members):
    bad = lost = members // 10
    found = graph.choose(members, bad, lost)
    assert found is not None
    degree, threshold, following = found.degree, found.threshold, found.following
    side = degree // 2
    one = members - 1
    unsafe, failing = Fraction(1, 2 ** (graph.SECURITY + graph.GRINDING)), Fraction(1, 2**graph.CORRECTNESS)
    overlap = 2 * following - side
    secrets_open = members * exact_tail(one, bad, degree, threshold)
    ring_cut = members * exact_tail(one, bad, side, overlap)
    assert secrets_open + ring_cut <= unsafe
    too_few_holders = members * (1 - exact_tail(one, one - lost, degree, threshold))
    too_few_following = members * (1 - exact_tail(one, one - lost, side, following))
    assert too_few_holders + too_few_following <= failing
    # It is the smallest: two less would not do.
    assert graph.choose(members, bad, lost) == found
    assert graph.tolerated(members, found) >= bad


def test_the_degree_grows_much_slower_than_the_members():
    degrees = {n: graph.choose(n, n // 10, n // 10).degree for n in (100, 300, 1000)}
    assert degrees[100] < degrees[300] < degrees[1000] < 2.5 * degrees[300]
    assert degrees[1000] <= 280


def test_a_degree_that_was_asked_for_tolerates_what_it_says():
    for degree in (6, 12, 30):
        found = graph.of_degree(degree)
        assert found.threshold == 2 * (degree + 1) // 3 + 1
        anywhere = 2 * found.following - degree // 2 - 1
        assert graph.tolerated(64, found) >= min(anywhere, 21)


@settings(max_examples=60, deadline=None)
@given(members=st.integers(7, 60), data=st.data())
def test_the_ring_is_regular_symmetric_and_the_same_for_all(members, data):
    degree = 2 * data.draw(st.integers(2, (members - 2) // 2))
    session = data.draw(st.binary(min_size=32, max_size=32))
    ring = Graph(session, NAMES[:members], Parameters(degree, 3, 2), 5)
    again = Graph(session, data.draw(st.permutations(NAMES[:members])), Parameters(degree, 3, 2), 5)
    for member in NAMES[:members]:
        neighbours = ring.neighbours(member)
        assert len(set(neighbours)) == degree
        assert member not in neighbours
        assert all(member in ring.neighbours(other) for other in neighbours)
        assert set(ring.following(member)) <= set(neighbours)
        assert len(ring.following(member)) == degree // 2
        assert ring.holders(member) == tuple(sorted([member, *neighbours]))
        assert set(again.neighbours(member)) == set(neighbours)


def test_the_order_changes_with_the_session():
    one, other = (Graph(bytes([i]) * 32, NAMES[:100], Parameters(10, 8, 4), 67) for i in range(2))
    assert one.ring != other.ring
    assert sorted(one.ring) == sorted(other.ring) == NAMES[:100]
    # Neighbours in one order are neighbours in another by chance only: 10 of 99.
    common = [len(set(one.neighbours(n)) & set(other.neighbours(n))) for n in NAMES[:100]]
    assert 0.4 < np.mean(common) < 1.8


def test_too_few_members_for_the_degree_make_a_complete_graph():
    full = Graph(bytes(32), NAMES[:7], Parameters(6, 5, 3), 5)
    assert full.is_complete
    assert full.threshold == 5
    assert set(full.neighbours(NAMES[0])) == set(NAMES[1:7])
    full.require_connected([])
    full.require_hidden(NAMES[0], [])


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_list_that_is_signed_never_cuts_the_ring_of_honest_survivors(data):
    """Whoever colludes, drops out or is kept from whom: what honest survivors masked with each other joins them all."""
    members, degree = 40, data.draw(st.sampled_from([8, 12, 16, 20]))
    found = graph.of_degree(degree)
    side, rng = degree // 2, np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    ring = Graph(bytes(rng.bytes(32)), NAMES[:members], found, 27)
    names = ring.ring
    # As many colluding as two sets of m among those after a member cannot have in common.
    most = 2 * found.following - side - 1
    corrupt = {names[i] for i in rng.permutation(members)[: data.draw(st.integers(0, most))]}
    # The aggregator says who survives, and shows to each who shared with it: just enough to go on.
    survivors = {name for name in names if rng.random() < data.draw(st.sampled_from([0.75, 0.85, 0.95]))}
    gap = int(rng.integers(members))
    survivors -= {names[(gap + i) % members] for i in range(side - found.following)}
    shown = {name: {ring.following(name)[i] for i in rng.permutation(side)[: found.following]} for name in names}
    try:
        ring.require_connected(survivors)
    except Aborted:
        return  # a list that nobody signs
    for name in names:
        ring.require_hidden(name, shown[name])
    honest = survivors - corrupt
    edges = {name: shown[name] & honest for name in honest}
    reached, todo = set(), [min(honest)]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += edges[name] | {other for other in honest if name in edges[other]}
    assert reached == honest


def test_the_check_of_a_list_is_the_plain_one():
    rng = np.random.default_rng(4)
    ring = Graph(bytes(32), NAMES[:50], graph.of_degree(12), 34)
    outcomes = set()
    for _ in range(300):
        survivors = {name for name in ring.ring if rng.random() < 0.85}
        enough = all(sum(o in survivors for o in ring.following(n)) >= 5 for n in survivors)
        try:
            ring.require_connected(survivors)
        except Aborted:
            assert not enough
        else:
            assert enough
        outcomes.add(enough)
    assert outcomes == {True, False}


class TestSession:
    def test_up_to_64_members_share_with_everybody(self, begin):
        here = begin(10).advertise()
        session = Session(here.settings, here.advertisements)
        assert session.graph.is_complete
        assert session.graph.threshold == here.settings.threshold

    def test_who_did_not_advertise_counts_as_dropped(self, settings_for, begin):
        here = begin(200)
        everybody = {name: member.advertise() for name, member in here.members.items()}
        whole = Session(here.settings, everybody)
        assert whole.graph.parameters == graph.choose(200, 20, 20)
        fewer = dict(list(everybody.items())[:190])
        assert Session(here.settings, fewer).graph.parameters == graph.choose(190, 20, 10)
        least = dict(list(everybody.items())[:150])
        assert Session(here.settings, least).graph.parameters == graph.choose(150, 20, 0)

    def test_every_key_changes_the_session(self, begin):
        here, other = begin(5).advertise(), begin(5).advertise()
        digests = {Session(here.settings, here.advertisements).digest}
        for name in here.settings.members:
            changed = here.advertisements | {name: other.advertisements[name]}
            digests.add(Session(here.settings, changed).digest)
            digests.add(Session(here.settings, {n: a for n, a in here.advertisements.items() if n != name}).digest)
        assert len(digests) == 11
