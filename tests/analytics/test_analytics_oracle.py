"""Every question over a simulated federation is answered as pandas answers it on the table of all rows."""

from __future__ import annotations

import importlib.util
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import flaas_jupyter as flaas
from flaas_jupyter.protocols.analytics import ReleasePolicy

EVERYTHING = ReleasePolicy(minimum_group=1, order="exact", derived="any")
SINGLE = ["count", "sum", "mean", "var", "std", "min", "max", "median"]


def close(answer, expected, bound=0.0):
    np.testing.assert_allclose(np.asarray(answer, float), np.asarray(expected, float), rtol=1e-9, atol=1e-9 + bound)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(7)
    rows = 400
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "income": rng.lognormal(10, 1, rows),
            "drop": rng.normal(1e6, 1, rows),
            "sex": rng.integers(0, 2, rows),
            "label": rng.integers(0, 3, rows),
        }
    )


@pytest.fixture(scope="module")
def analytics(table):
    federation = flaas.simulate(table.drop(columns="label"), table.label, clients=4, analytics_policy=EVERYTHING)
    return federation.analytics


class TestQuestions:
    @pytest.mark.parametrize("function", SINGLE)
    def test_of_one_column_all_columns_and_groups(self, analytics, table, function):
        close(getattr(analytics, function)("income"), getattr(table.income, function)())
        close(getattr(analytics, function)(["age", "drop"]), getattr(table[["age", "drop"]], function)())
        close(getattr(analytics, function)("income", by="label"), getattr(table.groupby("label").income, function)())

    def test_the_number_of_rows(self, analytics, table):
        assert analytics.count() == len(table)
        assert analytics.count(by="label").tolist() == table.groupby("label").size().tolist()
        assert analytics.count(by="label").dtype == "int64"

    def test_quantiles(self, analytics, table):
        quantiles = [0.0, 0.1, 0.25, 1 / 3, 0.5, 0.999, 1.0]
        answer = analytics.quantile("income", quantiles)
        assert answer.index.tolist() == quantiles
        close(answer, table.income.quantile(quantiles))
        assert analytics.quantile("income", 0.3).error_bound == 0.0
        by = analytics.quantile(["income", "age"], [0.2, 0.7], by="label")
        expected = table.groupby("label")[["income", "age"]].quantile([0.2, 0.7])
        close(by, expected)
        assert by.index.tolist() == expected.index.tolist()

    def test_a_divisor_of_ones_own(self, analytics, table):
        close(analytics.var("income", ddof=0), table.income.var(ddof=0))

    def test_correlation(self, analytics, table):
        close(analytics.correlation(), table.corr())
        close(analytics.correlation(["age", "income"]), table[["age", "income"]].corr())

    def test_describe(self, analytics, table):
        answer, expected = analytics.describe(), table.describe()
        close(answer, expected)
        assert answer.index.tolist() == expected.index.tolist()
        close(analytics.describe("age"), table.age.describe())

    def test_histogram(self, analytics, table):
        answer = analytics.histogram("age", bins=7)
        counts, edges = np.histogram(table.age, 7)
        assert answer["count"].tolist() == counts.tolist()
        close(answer["lower"], edges[:-1])
        close(answer["upper"], edges[1:])
        known = analytics.histogram("age", bins=[0, 30, 60, 120])
        assert known["count"].tolist() == np.histogram(table.age, [0, 30, 60, 120])[0].tolist()
        outside = analytics.histogram("age", bins=[30, 60])
        assert outside["count"].tolist() == [
            (table.age < 30).sum(),
            table.age.between(30, 60).sum(),
            (table.age > 60).sum(),
        ]

    def test_group_by_as_agg(self, analytics, table):
        wanted = {"income": ["mean", "std"], "age": ["max", "median"]}
        answer = analytics.group_by("label", wanted)
        expected = table.groupby("label").agg(wanted)
        close(answer, expected)
        assert answer.columns.tolist() == expected.columns.tolist()
        flat = analytics.group_by(["label", "sex"], {"income": "sum"}, values={"sex": [0, 1]})
        expected = table.groupby(["label", "sex"]).agg({"income": "sum"})
        close(flat, expected)
        assert flat.index.tolist() == expected.index.tolist()
        cut = analytics.group_by("age", "mean", "income", edges=[18, 40, 60, 90])
        expected = table.groupby(pd.cut(table.age, [18, 40, 60, 90], right=False), observed=False)["income"].mean()
        close(cut["income"], expected)
        assert cut.index.tolist() == expected.index.tolist()

    def test_conditions(self, analytics, table):
        frame = analytics.frame()
        close(analytics.mean("income", where=frame.age > 40), table[table.age > 40].income.mean())
        assert (
            analytics.count(where=(frame.age > 40) & ~(frame.sex == 1)) == ((table.age > 40) & (table.sex != 1)).sum()
        )

    @pytest.mark.parametrize("via", ["he"])
    def test_by_homomorphic_encryption(self, analytics, table, via):
        if importlib.util.find_spec("tenseal") is None:
            pytest.skip("tenseal is not installed")
        close(analytics.mean("income", by="label", via=via), table.groupby("label").income.mean())
        assert analytics.count(via=via) == len(table)

    def test_by_comparisons_on_shares(self, analytics, table):
        close(analytics.max("income", by="label", via="mpyc"), table.groupby("label").income.max())


class TestMissingValues:
    @settings(max_examples=10, deadline=None)
    @given(data=st.data())
    def test_as_pandas_leaves_them_out(self, data):
        rows = data.draw(st.integers(6, 30))
        numbers = st.lists(st.floats(-100, 100), min_size=rows, max_size=rows)
        groups = st.lists(st.integers(0, 1), min_size=rows, max_size=rows)
        table = pd.DataFrame({"a": data.draw(numbers), "b": data.draw(numbers), "g": data.draw(groups)})
        federation = flaas.simulate(table, np.zeros(rows), clients=3, analytics_policy=EVERYTHING)
        lazy = federation.frame().assign(z=lambda f: (f.a - 1) / (f.b * 0 + f.g))
        with np.errstate(all="ignore"):
            z = (table.a - 1) / (table.b * 0 + table.g)
        z = z.where(np.isfinite(z))
        assert lazy.z.count() == z.count()
        for function in ("sum", "mean", "var", "min", "max", "median"):
            expected = getattr(z, function)()
            spread = float(z.abs().sum() ** 2) if z.count() else 0.0
            np.testing.assert_allclose(
                float(getattr(lazy.z, function)()), expected, rtol=1e-8, atol=1e-12 * (spread + 1)
            )


class TestArrays:
    def test_columns_of_arrays_are_numbered(self):
        x, y = np.arange(60.0).reshape(20, 3), np.arange(20) % 2
        analytics = flaas.simulate(x, y, clients=3, analytics_policy=EVERYTHING).analytics
        assert analytics.columns == ["x[0]", "x[1]", "x[2]", "y"]
        assert analytics.mean("x[1]") == x[:, 1].mean()
        assert analytics.count(by="y").tolist() == [10, 10]

    def test_every_client_with_its_own_table(self):
        tables = [pd.DataFrame({"a": np.arange(5.0) + i, "b": np.ones(5)}) for i in range(3)]
        clients = [(table, pd.Series(np.arange(5) % 2, name="ill")) for table in tables]
        analytics = flaas.simulate(clients=clients, analytics_policy=EVERYTHING).analytics
        assert analytics.sum("a") == pd.concat(tables).a.sum()
        assert analytics.mean("a", by="ill").index.tolist() == [0, 1]

    def test_columns_keep_their_precision(self):
        exact = np.array([1 / 3] * 30) + 1e9
        table = pd.DataFrame({"a": exact, "n": np.arange(30) + 2**40})
        analytics = flaas.simulate(table, np.zeros(30), clients=3, analytics_policy=EVERYTHING).analytics
        assert analytics.max("a") == exact[0]
        assert analytics.sum("n") == table.n.sum()

    def test_named_inputs(self):
        x = {"scan": np.ones((12, 2)), "age": np.arange(12.0)}
        analytics = flaas.simulate(x, np.zeros(12), clients=3, analytics_policy=EVERYTHING).analytics
        assert analytics.columns == ["scan[0]", "scan[1]", "age", "y"]
        assert analytics.mean("age") == 5.5

    def test_text_is_grouped_by_and_not_measured(self):
        table = pd.DataFrame({"city": ["Oslo", "Bern", "Rome"] * 20, "a": np.arange(60.0)})
        federation = flaas.simulate(table, np.zeros(60), partition=flaas.ByColumn("city"), analytics_policy=EVERYTHING)
        analytics = federation.analytics
        assert analytics.mean().index.tolist() == ["a", "y"]
        answer = analytics.mean("a", by="city", values=["Bern", "Oslo"])
        close(answer, table.groupby("city").a.mean()[["Bern", "Oslo"]])
        assert analytics.count(where=federation.frame().city == "Rome") == 20

    def test_many_clients(self):
        table = pd.DataFrame({"a": np.arange(200.0), "b": np.ones(200)})
        analytics = flaas.simulate(table, np.zeros(200), clients=50, analytics_policy=EVERYTHING).analytics
        assert analytics.mean("a") == 99.5
        assert len(analytics.mean("a").nodes) == 50


def test_a_wide_table_is_searched_in_several_steps(monkeypatch):
    from flaas_jupyter.analytics import search

    monkeypatch.setattr(search, "_INTERVALS", 20)
    rng = np.random.default_rng(4)
    table = pd.DataFrame(rng.normal(size=(60, 6)), columns=list("abcdef"))
    analytics = flaas.simulate(table, np.zeros(60), clients=3, analytics_policy=EVERYTHING).analytics
    close(analytics.quantile(list("abcdef"), [0.1, 0.9]), table.quantile([0.1, 0.9]))


class TestErrorBounds:
    @pytest.mark.parametrize(("centre", "spread"), [(0.0, 1.0), (1e9, 1e-3), (-3.0, 1e12), (1e-6, 1e-7), (5e5, 1e3)])
    def test_hold_against_exact_arithmetic(self, centre, spread):
        values = np.random.default_rng(9).normal(centre, spread, 3001)
        table = pd.DataFrame({"a": values, "b": np.ones(3001)})
        analytics = flaas.simulate(table, np.zeros(3001), clients=5, analytics_policy=EVERYTHING).analytics
        exact = [Fraction(value) for value in values.tolist()]
        mean = sum(exact) / len(exact)
        var = sum((value - mean) ** 2 for value in exact) / (len(exact) - 1)
        answers = {"sum": sum(exact), "mean": mean, "var": var}
        for function, expected in answers.items():
            answer = getattr(analytics, function)("a")
            assert abs(Fraction(float(answer)) - expected) <= answer.error_bound
            assert answer.error_bound <= 1e-9 * max(abs(float(expected)), 1e-3 if function == "var" else 1e-6, spread)
