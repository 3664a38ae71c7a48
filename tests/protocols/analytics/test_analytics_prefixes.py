"""Values that nobody has listed: what nodes count, and what is told of it."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import FlaasError, InvalidInput
from flaas_jupyter.protocols.analytics import statistics
from flaas_jupyter.protocols.analytics.policy import ReleasePolicy
from flaas_jupyter.protocols.analytics.prefixes import CELLS, ENDS
from flaas_jupyter.protocols.analytics.release import release
from flaas_jupyter.protocols.analytics.statistics import Opened


def ask(prefixes: list[str], split: str = "values", **more):
    return statistics.parse(
        {"kind": "prefixes", "columns": ["t"], "prefixes": [p.encode().hex() for p in prefixes], "split": split, **more}
    )


def texts(*values) -> dict[str, np.ndarray]:
    column = np.empty(len(values), object)
    column[:] = values
    return {"t": column}


def test_rows_are_counted_by_the_byte_that_follows():
    statistic = ask(["a", "bc"])
    local = statistic.local(texts("a", "ab", "abc", "bc", "b", "", None, "é"))
    counts = local.counts.reshape(2, CELLS)
    assert counts[0, ENDS] == 1
    assert counts[0, ord("b")] == 2
    assert counts[1, ENDS] == 1
    assert counts.sum() == 4
    assert ask([""]).local(texts("é", None)).counts[0xC3] == 1


def test_a_word_counts_once_in_a_row_and_numbers_are_decimal_texts():
    local = ask([""], "words").local(texts("No pain, NO gain", "pain"))
    assert local.counts[ord("n")] == 1
    assert local.counts[ord("p")] == 2
    numbers = ask(["1"]).local({"t": np.array([1.0, 12.0, 1.5, np.nan])})
    assert [numbers.counts[cell] for cell in (ENDS, ord("2"), ord("."))] == [1, 1, 1]


def test_what_few_rows_have_is_not_told_and_the_rest_in_multiples_of_k():
    statistic = ask(["a"])
    counts = np.zeros(CELLS, np.int64)
    counts[[ENDS, ord("b"), ord("c"), ord("d")]] = [37, 9, 10, 1]
    told = release(Opened(counts, np.zeros((CELLS, 0)), 57, 57), statistic, ReleasePolicy(), 3)
    shown = {cell: told.counts[cell] for cell in np.flatnonzero(~np.isnan(told.counts))}
    assert shown == {ENDS: 30.0, ord("c"): 10.0}
    assert told.error_bound == 9.0


@pytest.mark.parametrize(
    "data",
    [
        {"columns": ["t"], "prefixes": []},
        {"columns": ["t"], "prefixes": ["61", "6162"]},
        {"columns": ["t"], "prefixes": ["61", "61"]},
        {"columns": ["t"], "prefixes": ["6"]},
        {"columns": ["t"], "prefixes": ["zz"]},
        {"columns": ["t"], "prefixes": ["61" * 300]},
        {"columns": ["t", "u"], "prefixes": [""]},
        {"columns": ["t"], "prefixes": [""], "split": "letters"},
        {"columns": ["t"], "prefixes": [""], "by": [{"column": "s", "values": [1]}]},
        {"columns": ["d"], "prefixes": [""], "assign": [["d", {"column": "t"}]]},
        {"columns": ["t"], "prefixes": [f"{n:06x}" for n in range(2000)]},
    ],
)
def test_a_question_that_could_not_be_answered_safely_is_refused(data):
    with pytest.raises(InvalidInput) as error:
        statistics.parse({"kind": "prefixes", **data})
    assert error.value.code in ("bad-statistic", "statistic-too-large")


def federation(values: list, **options):
    frame = pd.DataFrame({"t": pd.Series(values, dtype=object), "n": np.arange(len(values)) % 3})
    return flaas.simulate(frame, np.arange(len(values)) % 2, clients=4, raw=True, journal=False, **options)


VALUES = ["straße"] * 35 + ["strand"] * 24 + ["sea"] * 10 + ["rare"] * 9 + [None] * 12 + ["only one"]


def test_categories_are_the_values_that_enough_rows_have():
    found = federation(VALUES).analytics.categories("t")
    expected = {value: count // 10 * 10 for value, count in Counter(VALUES).items() if value and count >= 10}
    assert found.to_dict() == expected
    assert list(found.index) == ["straße", "strand", "sea"]
    assert found.error_bound == 9.0
    assert any("fewer than 10" in reason for reason in found.reasons)


def test_categories_of_numbers_are_numbers_and_a_condition_narrows_them():
    fed = federation(VALUES)
    assert list(fed.analytics.categories("n").index) == [0, 1, 2]
    frame = fed.frame()
    assert list(fed.analytics.categories("t", where=frame.t == "sea").index) == ["sea"]
    assert fed.analytics.categories("t", most=1).index.to_list() == ["straße"]
    assert fed.analytics.categories("t", longest=4).index.to_list() == ["sea"]


def test_words_that_enough_rows_have():
    notes = ["Chest pain!", "no pain", "no fever"] * 12 + ["zebra pain"] * 3
    found = federation(notes).analytics.vocabulary("t")
    assert found.to_dict() == {"no": 20.0, "pain": 20.0, "chest": 10.0, "fever": 10.0}


def test_with_differential_privacy_frequent_values_are_found_and_the_cost_is_what_was_said():
    fed = federation(["common"] * 4000 + ["usual"] * 3000 + ["rare"] * 12, analytics_epsilon=2.2)
    found = fed.analytics.categories("t", epsilon=2.0, longest=8)
    assert list(found.index) == ["common", "usual"]
    assert abs(found["common"] - 4000) < 10 * found.error_bound
    assert found.epsilon == pytest.approx(fed.analytics.budget()["spent"].max())
    assert 1.5 < found.epsilon <= 2.0
    with pytest.raises(FlaasError) as error:
        fed.analytics.categories("t", epsilon=2.0, longest=8)
    assert error.value.code == "analytics-budget"


def test_two_questions_that_differ_by_one_person_are_refused():
    fed = federation(VALUES)
    frame = fed.frame()
    fed.analytics.categories("t")
    with pytest.raises(FlaasError) as error:
        fed.analytics.categories("t", where=frame.t != "only one")
    assert error.value.code in ("query-differs-by-few", "analytics-withheld")


def test_texts_with_gaps_can_be_grouped_and_asked_about():
    fed = federation(VALUES)
    counted = fed.analytics.count(by="t", values=["straße", "strand", "sea", "rare"])
    assert counted["straße"] == 35
    assert int(fed.analytics.count(where=fed.frame().t.isnull())) == 12
