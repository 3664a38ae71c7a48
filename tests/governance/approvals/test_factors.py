"""Who fills which factor: as many as possible, nobody twice."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from flaas_jupyter.governance.approvals.actions import Factor
from flaas_jupyter.governance.approvals.factors import Seats, also, fill, is_full, resolve, unplaced

numbers = st.lists(st.integers(1, 2), min_size=1, max_size=3)
PEOPLE = "abcde"


def seats_of(counts: list[int]) -> list[Seats]:
    return [Seats(f"role-{at}", "action", ("project:p",), count) for at, count in enumerate(counts)]


@given(numbers, st.lists(st.sets(st.integers(0, 2)), min_size=5, max_size=5))
def test_it_is_full_exactly_if_some_assignment_is(counts, possible):
    seats = seats_of(counts)
    options = {person: [at for at in able if at < len(seats)] for person, able in zip(PEOPLE, possible, strict=True)}
    taken = fill(seats, options)
    sitting = list(itertools.chain(*taken))
    assert len(sitting) == len(set(sitting))
    assert all(at in options[person] for at, persons in enumerate(taken) for person in persons)
    assert all(len(persons) <= seat.number for seat, persons in zip(seats, taken, strict=True))
    places = [at for at, seat in enumerate(seats) for _ in range(seat.number)]
    exists = any(
        all(at in options[person] for at, person in zip(places, chosen, strict=True))
        for chosen in itertools.permutations(PEOPLE, len(places))
    )
    assert is_full(seats, taken) == exists


ROLES, SCOPES = ("approver", "data-owner", "approver|data-owner"), ("platform", "action")
rules = st.lists(
    st.builds(Factor, st.sampled_from(ROLES), st.sampled_from(SCOPES), st.integers(1, 2)),
    max_size=3,
    unique_by=lambda factor: (factor.role, factor.scope),
)
persons = st.lists(
    st.tuples(st.sampled_from(("approver", "data-owner")), st.sampled_from(("platform", "project:p"))), max_size=7
)


def options_of(seats, people):
    def fits(person, seat):
        role, scope = person
        return role in seat.roles and (not seat.scopes or scope in (*seat.scopes, "platform"))

    return {str(who): [at for at, seat in enumerate(seats) if fits(person, seat)] for who, person in enumerate(people)}


@given(rules, rules, persons)
def test_who_fills_both_fills_each(first, second, people):
    one, other = [unplaced(each) for each in first], [unplaced(each) for each in second]
    both = also(one, other)
    if is_full(both, fill(both, options_of(both, people))):
        for seats in (one, other):
            assert is_full(seats, fill(seats, options_of(seats, people)))


@given(rules)
def test_the_same_twice_asks_for_nobody_more(rule):
    seats = tuple(unplaced(each) for each in rule)
    assert also(seats, seats) == seats
    assert also(seats, ()) == seats


def test_where_a_role_has_to_be_held():
    places = ("project:p", "organisation:north")

    def where(scope, at=places):
        return resolve(Factor("approver", scope, 1), at, "south").scopes

    assert where("action") == places
    assert where("platform") == ("platform",)
    assert where("organisation") == ("organisation:north",)
    assert where("organisation", ("project:p",)) == ("organisation:south",)
    assert where("project") == ("project:p",)
    assert where("project", ("organisation:north",)) == ("organisation:north",)
