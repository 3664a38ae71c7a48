"""Classes of rows: every one of them k-anonymous and l-diverse, told by something that covers its rows."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.anonymisation import (
    Categorical,
    Hierarchy,
    Ordered,
    Requirement,
    divide,
    risk_figures,
)

CITIES = Hierarchy(
    {
        "Bonn": ["Germany", "Europe"],
        "Ulm": ["Germany", "Europe"],
        "Lyon": ["France", "Europe"],
        "Nice": ["France", "Europe"],
        "Oslo": ["Norway", "Europe"],
        "Lima": ["Peru", "America"],
    },
    "city",
)


def interval(low, high):
    return low, high


def some_rows(seed, rows):
    rng = np.random.default_rng(seed)
    ages = np.round(rng.normal(40, 15, rows))
    ages[rng.random(rows) < 0.1] = np.nan
    cities = rng.choice(len(CITIES.values), rows, p=[0.4, 0.2, 0.2, 0.1, 0.05, 0.05])
    sexes = rng.integers(0, 3, rows)
    attributes = [
        Ordered("age", ages, interval),
        Categorical("city", cities, CITIES.values, CITIES),
        Categorical("sex", sexes, ["f", "m", "x"]),
    ]
    return attributes, ages, cities, sexes, rng.integers(0, 4, rows)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 300),
    k=st.integers(2, 12),
    l=st.sampled_from([None, 2, 3]),
    diversity=st.sampled_from(["distinct", "entropy"]),
    limit=st.sampled_from([0.0, 0.05, 0.3]),
)
def test_every_class_meets_k_and_l_and_is_told_by_what_covers_it(seed, rows, k, l, diversity, limit):  # noqa: E741
    attributes, ages, cities, sexes, ill = some_rows(seed, rows)
    requirement = Requirement(k, l, diversity, {"ill": ill} if l else {})
    if not requirement.holds(np.arange(rows)):
        with pytest.raises(InvalidInput) as refused:
            divide(attributes, requirement, rows, limit)
        assert refused.value.code == "anonymise-impossible"
        return
    found = divide(attributes, requirement, rows, limit)
    everybody = np.sort(np.concatenate([*found.classes, found.suppressed]))
    assert np.array_equal(everybody, np.arange(rows))
    assert len(found.suppressed) <= limit * rows
    for members in found.classes:
        assert len(members) >= k
        if l:
            counts = np.unique(ill[members], return_counts=True)[1]
            shares = counts / counts.sum()
            achieved = len(counts) if diversity == "distinct" else math.exp(-(shares * np.log(shares)).sum())
            assert achieved >= l - 1e-9
        age, city, sex = (attribute.told(members) for attribute in attributes)
        if age is not None and age != "*":
            assert age[0] <= ages[members].min()
            assert ages[members].max() <= age[1]
        for code in cities[members]:
            assert city in (CITIES.values[code], "*", *ancestors(CITIES.values[code]))
        for code in sexes[members]:
            assert sex in ("fmx"[code], "*") or "fmx"[code] in sex.strip("{}").split(", ")


def ancestors(city):
    countries = {
        "Bonn": "Germany",
        "Ulm": "Germany",
        "Lyon": "France",
        "Nice": "France",
        "Oslo": "Norway",
        "Lima": "Peru",
    }
    return countries[city], "America" if city == "Lima" else "Europe"


def test_what_can_be_told_apart_is_told_apart():
    ages = np.array([30.0] * 5 + [60.0] * 5)
    found = divide([Ordered("age", ages, interval)], Requirement(5), 10)
    assert sorted(len(each) for each in found.classes) == [5, 5]


def test_a_class_of_rows_that_cannot_be_cut_stays_whole():
    ages = np.array([30.0] * 9 + [60.0])
    found = divide([Ordered("age", ages, interval)], Requirement(5), 10)
    assert [len(each) for each in found.classes] == [10]


def test_few_outliers_are_left_out_where_that_is_allowed():
    cities = np.array([0] * 50 + [2] * 50 + [5])
    attribute = Categorical("city", cities, CITIES.values, CITIES)
    kept = divide([attribute], Requirement(5), 101, 0.05)
    assert kept.suppressed.tolist() == [100]
    assert sorted(attribute.told(rows) for rows in kept.classes) == ["Bonn", "Lyon"]
    whole = divide([attribute], Requirement(5), 101, 0.0)
    assert whole.suppressed.size == 0


def test_small_branches_of_a_hierarchy_are_told_together():
    cities = np.array([0] * 20 + [2] * 3 + [4] * 3)
    attribute = Categorical("city", cities, CITIES.values, CITIES)
    found = divide([attribute], Requirement(5), 26)
    assert sorted(attribute.told(rows) for rows in found.classes) == ["Bonn", "Europe"]


def test_entropy_asks_for_more_than_distinct_values():
    ill = np.array([0] * 99 + [1])
    assert Requirement(5, 2, "distinct", {"ill": ill}).holds(np.arange(100))
    assert not Requirement(5, 2, "entropy", {"ill": ill}).holds(np.arange(100))
    assert Requirement(5, 2, "entropy", {"ill": ill}).achieved(np.array([0, 1])) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("ancestors", "why"),
    [
        ({"a": ["b"], "b": ["c"]}, "value and an ancestor"),
        ({"a": ["g", "h"], "b": ["g", "i"]}, "two parents"),
        ({"a": ["g", "h", "g"]}, "repeat"),
        ({"a": ["*", "g"]}, "two parents|repeat|ancestor"),
    ],
)
def test_a_hierarchy_that_is_no_tree_is_refused(ancestors, why):
    with pytest.raises(InvalidInput, match=why) as refused:
        Hierarchy(ancestors, "x")
    assert refused.value.code == "anonymise-bad-hierarchy"


def test_risk_figures():
    figures = risk_figures(np.array([1, 3, 6]))
    assert (figures.rows, figures.classes, figures.unique) == (10, 3, 1)
    assert (figures.prosecutor, figures.marketer) == (1.0, 0.3)
