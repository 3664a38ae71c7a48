"""Release policy, query audit and budget as a notebook meets them."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pandas as pd
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.analytics import AnalyticsFrame, AnalyticsNumber, AnalyticsSeries
from flaas_jupyter.errors import FlaasError

K = 10


def refused(code):
    return pytest.raises(FlaasError, check=lambda error: error.code == code)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(11)
    rows = 500
    return pd.DataFrame(
        {
            "id": np.arange(rows),
            "age": rng.integers(18, 90, rows),
            "salary": rng.lognormal(10, 0.5, rows),
            "unit": np.repeat([0, 1, 2, 3], [300, 180, 16, 4]),
        }
    )


@pytest.fixture
def federation(table):
    """As real nodes are until their owners decide otherwise."""
    return flaas.simulate(table, np.arange(500) % 2, clients=3, analytics_policy=flaas.ReleasePolicy(), seed=2)


class TestSmallGroups:
    def test_are_withheld_with_a_reason(self, federation, table):
        answer = federation.analytics.mean("salary", by="unit", values=[0, 1, 2, 3])
        expected = table.groupby("unit").salary.mean()
        np.testing.assert_allclose(answer[[0, 1]], expected[[0, 1]], rtol=1e-12)
        assert answer.suppressed.tolist() == [False, False, True, True]
        assert answer.isna().tolist() == [False, False, True, True]
        assert "fewer than 10" in answer.reasons[0]
        assert "withheld" in answer._repr_html_()

    def test_a_number_that_is_withheld_says_so(self, federation):
        frame = federation.frame()
        answer = frame[frame.unit == 3].salary.mean()
        assert math.isnan(answer)
        assert answer.suppressed
        assert repr(answer).startswith("withheld (fewer than 10 rows")

    def test_bins_are_merged_and_add_up(self, federation, table):
        answer = federation.analytics.histogram("salary", bins=20, range=(0, 200_000))
        assert answer["count"].sum() == 500
        assert ((answer["count"] == 0) | (answer["count"] >= K)).all()
        assert (answer["upper"].to_numpy()[:-1] == answer["lower"].to_numpy()[1:]).all()
        for _, row in answer.iterrows():
            assert row["count"] == ((table.salary >= row["lower"]) & (table.salary < row["upper"])).sum()

    def test_extremes_are_brackets_of_k_rows(self, federation, table):
        low, high = federation.analytics.min("age"), federation.analytics.max("age")
        for answer, rows in ((low, table.age.nsmallest(K)), (high, table.age.nlargest(K))):
            assert answer.error_bound > 0
            if math.isfinite(answer.error_bound):
                inside = table.age.between(answer - answer.error_bound, answer + answer.error_bound).sum()
                assert inside >= K
                assert abs(answer - rows.iloc[0]) <= answer.error_bound

    def test_quantiles_are_right_within_their_bound(self, federation, table):
        for q in (0.1, 0.25, 0.5, 0.9):
            answer = federation.analytics.quantile("salary", q)
            assert abs(answer - table.salary.quantile(q)) <= answer.error_bound
            assert 0 < answer.error_bound < 20_000

    def test_derived_columns_that_single_rows_out_are_refused(self, federation):
        frame = federation.frame()
        with refused("analytics-derived"):
            (1 / (frame.id - 17.0001)).sum()
        assert (frame.salary / frame.age).mean() > 0


class TestDifferencing:
    def test_everybody_but_one(self, federation, table):
        frame = federation.frame()
        everybody = frame.salary.sum()
        with refused("query-differs-by-few"):
            frame[frame.id != 17].salary.sum()
        # Nor by the way round, by a group, by a bin, or by a derived key.
        assert frame.salary.sum() == everybody
        old = frame[frame.id >= 250].salary.sum()
        with refused("query-differs-by-few"):
            frame[(frame.id >= 250) & (frame.id != 300)].salary.sum()
        with refused("query-differs-by-few"):
            federation.analytics.sum("salary", by="id", edges=[0, 251, 500])
        derived = frame.assign(who=(frame.id >= 250) & (frame.id != 300))
        with refused("query-differs-by-few"):
            derived.groupby("who").salary.sum()
        assert frame[frame.id >= 250].salary.sum() == old

    def test_a_first_question_that_leaves_few_out(self, federation):
        frame = federation.frame()
        answer = frame[frame.id != 17].salary.sum()
        assert answer.suppressed  # the number of all rows is known to everybody

    def test_private_answers_are_not_audited(self, federation):
        frame = federation.frame()
        frame.salary.sum(epsilon=1.0, bounds=(0, 1e5))
        assert not frame[frame.id != 17].salary.sum(epsilon=1.0, bounds=(0, 1e5)).suppressed

    def test_a_sum_that_isolates_one_row_by_missing_values(self, federation):
        # log(id) of 0 is minus infinity and so missing: one row fewer, which is not told.
        frame = federation.frame()
        assert np.log(frame.id).mean().suppressed


class TestPrivacy:
    @pytest.fixture
    def private(self, table):
        policy = flaas.ReleasePolicy(privacy="required")
        return flaas.simulate(table, np.zeros(500), clients=3, analytics_policy=policy, analytics_epsilon=2.0).analytics

    def test_a_budget_is_charged_and_kept_to(self, private, table):
        with refused("analytics-privacy-required"):
            private.count()
        answer = private.mean("age", epsilon=1.0, bounds=(18, 90))
        assert answer.epsilon == 1.0
        assert abs(answer - table.age.mean()) < 3 * answer.error_bound
        assert private.budget().spent.tolist() == pytest.approx([1.0] * 3)
        with refused("analytics-budget"):
            private.mean("age", epsilon=1.9, bounds=(18, 90))
        private.count(epsilon=0.5)
        assert private.budget().remaining.max() < 2.0

    def test_every_question_with_privacy(self, table):
        analytics = flaas.simulate(table, np.zeros(500), clients=3).analytics
        options = {"epsilon": 20.0, "bounds": {"age": (18, 90), "salary": (0, 150_000)}}
        columns = ["age", "salary"]
        for function in ("count", "sum", "mean", "std", "median"):
            answer = getattr(analytics, function)(columns, **options)
            expected = getattr(table[columns].clip(upper=150_000), function)()
            np.testing.assert_allclose(answer, expected, rtol=0.25)
            assert answer.epsilon == pytest.approx(20.0)
        described = analytics.describe(columns, **options)
        assert described.loc["min"].isna().all()
        assert described.epsilon == pytest.approx(20.0)
        correlation = analytics.correlation(columns, **options)
        assert abs(correlation.loc["age", "salary"]) < 0.5
        counts = analytics.histogram("age", bins=[18, 40, 60, 90], epsilon=20.0)
        assert counts["count"].sum() == pytest.approx(500, abs=30)

    def test_what_privacy_needs(self, federation):
        with refused("bounds-missing"):
            federation.analytics.mean("age", epsilon=1.0)
        with refused("bad-epsilon"):
            federation.analytics.min("age", epsilon=1.0, bounds=(0, 100))
        with refused("bad-bins"):
            federation.analytics.histogram("age", bins=5, epsilon=1.0)


class TestRefusals:
    @pytest.mark.parametrize(
        ("ask", "code"),
        [
            (lambda a: a.mean("wage"), "unknown-column"),
            (lambda a: a.mean("age", by="unit"), "groups-unknown"),
            (lambda a: a.mean("age", by="unit", values={"age": [1]}), "bad-groups"),
            (lambda a: a.mean("age", by="unit", edges=[3, 1]), "bad-groups"),
            (lambda a: a.mean("age", values=[0]), "bad-groups"),
            (lambda a: a.mean("age", by=[]), "bad-groups"),
            (lambda a: a.mean("age", via="post"), "query-via"),
            (lambda a: a.mean("age", via="mpyc"), "query-via"),
            (lambda a: a.min("age", via="mpyc"), "analytics-order"),
            (lambda a: a.mean("age", epsilon=-1), "bad-epsilon"),
            (lambda a: a.mean("age", wher=3), "unknown-option"),
            (lambda a: a.mean("age", where=3), "bad-condition"),
            (lambda a: a.mean("age", epsilon=1, bounds=3), "bad-bounds"),
            (lambda a: a.mean(["age", "age"]), "bad-columns"),
            (lambda a: a.mean([]), "bad-columns"),
            (lambda a: a.quantile("age", 2), "bad-quantile"),
            (lambda a: a.quantile("age", []), "bad-quantile"),
            (lambda a: a.histogram("age", bins=0), "bad-bins"),
            (lambda a: a.group_by("unit", "mode", values=[0]), "unknown-function"),
            (lambda a: a.correlation(["age"]), "too-few-columns"),
            (lambda a: a.correlation(by="unit", values=[0]), "bad-groups"),
            (lambda a: a.describe(by="unit", values=[0]), "bad-groups"),
        ],
    )
    def test_name_what_was_wrong(self, federation, ask, code):
        with refused(code):
            ask(federation.analytics)

    def test_two_clients_are_too_few(self, table):
        with refused("secagg-too-few-nodes"):
            flaas.simulate(table, np.zeros(500), clients=2).analytics.count()

    def test_options_of_the_simulation(self, table):
        with refused("bad-release-policy"):
            flaas.simulate(table, np.zeros(500), clients=3, analytics_policy={"minimum_group": 3})
        with refused("bad-setting"):
            flaas.simulate(table, np.zeros(500), clients=3, analytics_epsilon=-1)

    def test_a_releaser_that_answers_something_else(self, federation):
        from flaas_jupyter.analytics import Analytics

        source = federation.analytics.source
        whole = source.open_query("count").step({"kind": "count"})

        class Lying:
            schema, names, ranges = source.schema, source.names, source.ranges

            def open_query(self, operation, summary=None):
                return self

            def step(self, statistic, via="mpc"):
                return whole

            def close(self, error=None):
                assert error is None or error.code == "bad-release"

        with refused("bad-release"):
            Analytics(Lying()).mean("age")
        assert Analytics(Lying()).count() == 500

    def test_a_share_of_rows_costs_both_counts(self, federation):
        frame = federation.frame()
        answer = (frame.age > 50).mean(epsilon=4.0)
        assert answer.epsilon == pytest.approx(4.0)
        assert abs(answer - 0.55) < 0.2
        assert answer.error_bound > 0


class TestAnswers:
    def test_are_numbers_series_and_frames(self, federation):
        analytics = federation.analytics
        number, series = analytics.mean("age"), analytics.mean(["age", "id"])
        frame = analytics.group_by("unit", "mean", ["age"], values=[0, 1])
        assert isinstance(number, AnalyticsNumber)
        assert isinstance(series, AnalyticsSeries)
        assert isinstance(frame, AnalyticsFrame)
        for answer in (number, series, frame):
            assert answer.nodes == ("client-0", "client-1", "client-2")
            assert answer.epsilon is None
            assert "3 nodes · via mpc" in answer._repr_html_()
        assert pickle.loads(pickle.dumps(number)).nodes == number.nodes
        assert isinstance(series + 1, AnalyticsSeries)
        assert number + 1 == float(number) + 1
        assert str(analytics.count()) == "500"

    def test_draw_themselves(self, federation):
        matplotlib = pytest.importorskip("matplotlib")
        matplotlib.use("Agg")
        import matplotlib.pyplot as plt

        analytics = federation.analytics
        drawn = [
            analytics.mean("age").plot(),
            analytics.mean(["age", "id"]).plot(),
            analytics.histogram("age", bins=[0, 40, 120]).plot(),
            analytics.histogram("age", bins=[0, 40, 120], by="unit", values=[0, 1]).plot(),
            analytics.correlation(["age", "salary"]).plot(),
            analytics.group_by("unit", ["mean", "std"], ["age"], values=[0, 1]).plot(),
            analytics.mean(["age", "id"]).plot(kind="line"),
            federation.frame().age.plot(),
        ]
        assert all(hasattr(axes, "get_figure") for axes in drawn)
        plt.close("all")
