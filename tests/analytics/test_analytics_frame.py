"""The lazy table: pandas' words, compiled to the questions; single rows cannot be reached."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.analytics import Column, Frame
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAllowed
from flaas_jupyter.protocols.analytics import ReleasePolicy


def refused(code, kind=FlaasError):
    return pytest.raises(kind, check=lambda error: error.code == code)


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(3)
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, 300),
            "weight": rng.normal(75, 12, 300),
            "height": rng.normal(1.7, 0.1, 300),
            "sex": rng.integers(0, 2, 300),
        }
    )


@pytest.fixture(scope="module")
def frame(table):
    return flaas.simulate(
        table, np.zeros(300), clients=3, analytics_policy=ReleasePolicy(minimum_group=1, order="exact", derived="any")
    ).frame()


def close(answer, expected):
    np.testing.assert_allclose(np.asarray(answer, float), np.asarray(expected, float), rtol=1e-9)


class TestExpressions:
    @pytest.mark.parametrize(
        "expression",
        [
            lambda f: f.weight / (f.height * f.height),
            lambda f: 2 * f.age + 1 - f.weight,
            lambda f: 1 / f.height,
            lambda f: -(f.weight**2),
            lambda f: np.log(f.weight) + np.exp(f.height),
            lambda f: (f["weight"] - 75).abs(),
            lambda f: f.weight.round(1),
            lambda f: np.float64(3.0) * f.weight,
        ],
    )
    def test_are_those_of_pandas(self, frame, table, expression):
        close(expression(frame).mean(), expression(table).mean())
        close(expression(frame).max(), expression(table).max())

    @pytest.mark.parametrize(
        "condition",
        [
            lambda f: f.age > 40,
            lambda f: (f.age >= 40) & (f.sex == 1),
            lambda f: (f.age < 30) | ~(f.sex != 1),
            lambda f: f.age.between(30, 50),
            lambda f: f.age.isin([30, 31, 32]),
            lambda f: f.weight / f.height > 45,
            lambda f: f.age.notnull(),
            lambda f: f.age >= 40,
        ],
    )
    def test_conditions_filter(self, frame, table, condition):
        met = condition(table)
        close(frame[condition(frame)].weight.mean(), table[met].weight.mean())
        assert len(frame[condition(frame)]) == met.sum()
        close(condition(frame).mean(), met.mean())
        assert condition(frame).sum() == met.sum()

    def test_filters_and_derived_columns_follow_one_another(self, frame, table):
        def steps(f):
            f = f[f.age > 30]
            f = f.assign(bmi=lambda g: g.weight / (g.height * g.height), old=lambda g: g.age >= 60)
            return f[f.bmi < 35]

        mine, theirs = steps(frame), steps(table)
        close(mine.bmi.mean(), theirs.bmi.mean())
        close(mine.groupby("old").bmi.mean(), theirs.groupby("old").bmi.mean())
        close(mine[["bmi", "age"]].mean(), theirs[["bmi", "age"]].mean())
        close(mine.bmi.corr(mine.age), theirs.bmi.corr(theirs.age))

    def test_a_derived_column_in_place_of_its_own(self, frame, table):
        close(frame.assign(age=frame.age * 12).age.mean(), (table.age * 12).mean())
        with refused("derived-twice"):
            frame[frame.age > 30].assign(age=frame.age * 12)

    def test_what_is_no_expression(self, frame, table):
        with refused("bad-condition"):
            bool(frame.age > 3)
        with refused("bad-condition"):
            frame[frame.age]
        with refused("bad-expression"):
            frame.age + table.age.tolist()
        with refused("bad-expression"):
            frame.age**3
        with pytest.raises(TypeError):
            np.sin(frame.age)


class TestFigures:
    @pytest.mark.parametrize("function", ["count", "sum", "mean", "var", "std", "min", "max", "median"])
    def test_of_columns_tables_and_groups(self, frame, table, function):
        close(getattr(frame.age, function)(), getattr(table.age, function)())
        close(getattr(frame[["age", "weight"]], function)(), getattr(table[["age", "weight"]], function)())
        grouped = frame.groupby("sex", values=[0, 1])
        close(getattr(grouped.weight, function)(), getattr(table.groupby("sex").weight, function)())

    def test_of_groups(self, frame, table):
        mine, theirs = frame.groupby("sex", values=[0, 1]), table.groupby("sex")
        assert mine.size().tolist() == theirs.size().tolist()
        close(mine.agg({"age": ["mean", "max"]}), theirs.agg({"age": ["mean", "max"]}))
        answer = mine.weight.agg(["mean", "std"])
        close(answer, theirs.weight.agg(["mean", "std"]))
        assert answer.columns.tolist() == ["mean", "std"]
        close(mine[["age", "weight"]].mean(), theirs[["age", "weight"]].mean())
        close(mine.weight.quantile(0.3), theirs.weight.quantile(0.3))

    def test_of_everything(self, frame, table):
        close(frame[["age", "weight"]].describe(), table[["age", "weight"]].describe())
        close(frame[["age", "weight"]].corr(), table[["age", "weight"]].corr())
        close(frame.weight.quantile([0.1, 0.9]), table.weight.quantile([0.1, 0.9]))
        close(frame.agg({"age": "mean", "weight": "max"}), table.agg({"age": "mean", "weight": "max"}))
        several = frame[["age", "weight"]].agg(["mean", "max"])
        close(several, table[["age", "weight"]].agg(["mean", "max"]))
        assert several.columns.tolist() == ["age", "weight"]
        old = (frame.age > 50).mean(by="sex", values=[0, 1])
        close(old, (table.age > 50).groupby(table.sex).mean())
        assert frame.sex.value_counts([0, 1]).tolist() == table.sex.value_counts().sort_index().tolist()
        assert frame.age.histogram(bins=[0, 50, 100])["count"].sum() == 300


class TestLazy:
    def test_nothing_is_asked_before_a_figure_is(self, frame):
        asked = []

        class Silent:
            schema = frame.analytics.source.schema
            names, ranges = frame.analytics.source.names, frame.analytics.source.ranges

            def open_query(self, operation, summary=None):
                asked.append(operation)
                raise NotAllowed("Nobody answers.")

        from flaas_jupyter.analytics import Analytics

        lazy = Frame(Analytics(Silent()))
        lazy = lazy[lazy.age > 30].assign(bmi=lazy.weight / lazy.height)
        assert "bmi" in lazy.columns
        assert isinstance(lazy.bmi, Column)
        assert "age > 30" in repr(lazy)
        assert "<div>" in lazy._repr_html_()
        assert asked == []
        with pytest.raises(NotAllowed):
            lazy.bmi.mean()
        assert asked == ["mean"]

    def test_rows_stay_where_they_are(self, frame):
        with refused("no-rows"):
            frame[3]
        with refused("no-rows"):
            list(frame.age)
        with refused("unknown-column", InvalidInput):
            frame["weigth"]
        with pytest.raises(AttributeError):
            frame.weigth  # noqa: B018
        assert "age" in dir(frame)
        assert list(frame) == frame.columns
