"""What a node remembers: answers that later ones may not be subtracted from, and what private answers have cost."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput, NotAllowed
from flaas_jupyter.protocols.analytics import audit, noise, statistics
from flaas_jupyter.protocols.analytics.audit import QueryAudit
from flaas_jupyter.protocols.analytics.budget import PrivacyBudget

K = 10
TABLE = {
    "id": np.arange(200.0),
    "age": np.arange(200.0) % 80,
    "sex": np.arange(200) % 2,
    "income": np.random.default_rng(5).normal(50, 9, 200),
}


def compare(op, column, value):
    return {"op": op, "args": [{"column": column}, {"value": value}]}


def local(**data):
    return statistics.parse({"kind": "moments", "columns": ["income"], **data}).local(TABLE)


def refused(code):
    return pytest.raises(NotAllowed, check=lambda error: error.code == code)


@pytest.fixture
def asked():
    """Return an audit that has answered about everybody."""
    remembered = QueryAudit(K)
    remembered.require(local())
    remembered.record(local())
    return remembered


class TestDifferencing:
    def test_everybody_and_everybody_but_one(self, asked):
        with refused("query-differs-by-few") as error:
            asked.require(local(where=compare("ne", "id", 17)))
        assert "17" not in str(error.value)

    def test_the_other_way_round(self):
        remembered = QueryAudit(K)
        remembered.record(local(where=compare("ne", "id", 17)))
        with refused("query-differs-by-few"):
            remembered.require(local())

    @pytest.mark.parametrize(("left_out", "allowed"), [(1, False), (9, False), (10, True), (50, True)])
    def test_k_rows_are_enough(self, asked, left_out, allowed):
        question = local(where=compare("ge", "id", left_out))
        if allowed:
            asked.require(question)
        else:
            with refused("query-differs-by-few"):
                asked.require(question)

    def test_one_in_and_another_one_out(self, asked):
        first = {"op": "and", "args": [compare("ge", "id", 50), compare("ne", "id", 60)]}
        second = {"op": "and", "args": [compare("ge", "id", 50), compare("ne", "id", 61)]}
        asked.require(local(where=first))
        asked.record(local(where=first))
        with refused("query-differs-by-few"):
            asked.require(local(where=second))

    def test_the_same_again_is_fine_whatever_was_asked_in_between(self, asked):
        asked.record(local(where=compare("ge", "id", 100)))
        for again in (local(), local(where=compare("ge", "id", 100)), local(where=compare("gt", "id", 99.5))):
            asked.require(again)

    def test_groups_with_moved_edges(self, asked):
        first = local(by=[{"column": "age", "edges": [0, 40, 80]}])
        asked.require(first)
        asked.record(first)
        asked.require(first)
        with refused("query-differs-by-few"):
            asked.require(local(by=[{"column": "age", "edges": [0, 41, 80]}]))
        asked.require(local(by=[{"column": "age", "edges": [0, 60, 80]}]))

    def test_bins_with_moved_edges(self, asked):
        def bins(edges):
            return statistics.parse({"kind": "histogram", "columns": ["age"], "edges": {"age": edges}}).local(TABLE)

        asked.record(bins([0, 30, 80]))
        with refused("query-differs-by-few"):
            asked.require(bins([0, 31, 80]))
        with refused("query-differs-by-few"):
            asked.require(local(where=compare("lt", "age", 31)))

    def test_groups_by_a_derived_condition(self, asked):
        def by(condition):
            return local(assign={"old": condition}, by=[{"column": "old", "values": [False, True]}])

        asked.record(by(compare("ge", "age", 40)))
        but_one = {"op": "and", "args": [compare("ge", "age", 40), compare("ne", "id", 45)]}
        with refused("query-differs-by-few"):
            asked.require(by(but_one))
        with refused("query-differs-by-few"):
            asked.require(local(where=but_one))

    def test_groups_by_values_of_a_column_stay_allowed(self, asked):
        asked.require(local(by=[{"column": "sex", "values": [0, 1]}]))
        assert local(by=[{"column": "sex", "values": [0, 1]}]).partitions == ()

    def test_without_a_minimum_group_nothing_is_refused(self):
        remembered = QueryAudit(1)
        remembered.record(local())
        remembered.require(local(where=compare("ne", "id", 17)))

    def test_what_cannot_be_remembered_is_refused(self, asked, monkeypatch):
        monkeypatch.setattr(audit, "MEMORY", 40)
        asked.require(local())
        with refused("query-audit-full"):
            asked.require(local(where=compare("ge", "id", 100)))

    @settings(max_examples=60, deadline=None)
    @given(rows=st.lists(st.lists(st.booleans(), min_size=24, max_size=24), min_size=2, max_size=6))
    def test_no_two_answered_sets_differ_by_few(self, rows):
        remembered, answered = QueryAudit(4), []
        for row in rows:
            question = statistics.Local(np.zeros(1, np.int64), np.zeros((1, 0)), np.array(row))
            try:
                remembered.require(question)
            except NotAllowed:
                continue
            remembered.record(question)
            answered.append(np.array(row))
        for first in answered:
            for second in answered:
                assert (first ^ second).sum() == 0 or (first ^ second).sum() >= 4


class TestBudget:
    def test_many_small_answers_cost_less_than_their_sum(self):
        budget = PrivacyBudget([0.1] * 100)
        assert budget.answers == 100
        assert 1.0 < budget.spent < 6.0
        assert budget.delta == noise.DELTA

    def test_a_few_large_answers_cost_their_sum_at_most(self):
        assert PrivacyBudget([5.0]).spent == pytest.approx(5.0)
        assert PrivacyBudget([5.0, 5.0]).spent <= 10.0
        assert PrivacyBudget().spent == 0.0

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.floats(0.01, 3), min_size=1, max_size=30), st.floats(0.5, 10))
    def test_a_limit_is_never_passed_and_used_up(self, charges, limit):
        budget = PrivacyBudget()
        for epsilon in charges:
            before, left = budget.spent, budget.left(limit)
            if epsilon > left + 1e-6:
                with refused("analytics-budget"):
                    budget.require(epsilon, limit)
                continue
            if epsilon > left - 1e-6:
                continue
            budget.require(epsilon, limit)
            budget.charge(epsilon)
            assert budget.spent <= limit + 1e-6
            assert budget.spent >= before

    def test_the_refusal_says_what_is_left(self):
        budget = PrivacyBudget([0.8])
        with refused("analytics-budget") as error:
            budget.require(0.9, 1.0)
        assert error.value.details["left"] == pytest.approx(budget.left(1.0))
        budget.require(error.value.details["left"], 1.0)

    @pytest.mark.parametrize("epsilon", [0.0, -1.0, math.nan, math.inf])
    def test_garbage(self, epsilon):
        with pytest.raises(InvalidInput):
            PrivacyBudget().charge(epsilon)
