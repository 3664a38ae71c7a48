"""What each step makes of a table, against pandas."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.preprocessing import ColumnMap, DateParts, Impute, OneHot, Preprocessing, Scale, TextVectorize

from .tables import patients

TABLE = patients()
NUMBERS = TABLE[["age", "chol"]]


def test_missing_numbers_are_filled_by_a_figure_of_those_that_are_there():
    for strategy, figure in (("mean", TABLE.age.mean()), ("median", TABLE.age.median()), ("constant", 7.0)):
        step = Impute("age", value=7.0) if strategy == "constant" else Impute("age", strategy)
        made = Preprocessing(step).fit(NUMBERS).transform(NUMBERS)
        assert np.allclose(made.age, NUMBERS.age.fillna(figure).astype("float32")), strategy


def test_that_a_number_was_missing_can_be_a_column_of_its_own():
    made = Preprocessing(Impute("age", indicator=True)).fit(NUMBERS).transform(NUMBERS)
    assert list(made.columns) == ["age", "age.missing", "chol"]
    assert made["age.missing"].to_list() == TABLE.age.isna().astype(float).to_list()


def test_scaling_is_by_the_values_that_were_there():
    made = Preprocessing(Impute("age", "mean"), Scale(["age", "chol"])).fit(NUMBERS).transform(NUMBERS)
    expected = (NUMBERS.age.fillna(NUMBERS.age.mean()) - NUMBERS.age.mean()) / NUMBERS.age.std(ddof=0)
    assert np.allclose(made.age, expected, atol=1e-6)
    assert np.allclose(made.chol.mean(), 0, atol=1e-5)
    assert np.allclose(made.chol.std(ddof=0), 1, atol=1e-5)


def test_scaling_to_a_range_and_by_quartiles():
    chol = TABLE[["chol"]]
    low, high = chol.chol.min(), chol.chol.max()
    found = Preprocessing(Scale("chol", "minmax")).fit(chol).transform(chol).chol
    assert np.allclose(found, (chol.chol - low) / (high - low))
    given = Preprocessing(Scale("chol", "minmax", ranges={"chol": (0, 100)})).fit(chol).transform(chol).chol
    assert np.allclose(given, chol.chol / 100)
    quartiles = chol.chol.quantile([0.25, 0.5, 0.75]).to_list()
    robust = Preprocessing(Scale("chol", "robust")).fit(chol).transform(chol).chol
    assert np.allclose(robust, (chol.chol - quartiles[1]) / (quartiles[2] - quartiles[0]))


def test_a_column_of_one_value_is_only_shifted():
    table = pd.DataFrame({"x": [3.0, 3.0, 3.0]})
    assert Preprocessing(Scale("x")).fit(table).transform(table).x.to_list() == [0.0, 0.0, 0.0]


def test_categories_have_a_column_each():
    both = TABLE[["sex", "stage"]]
    made = Preprocessing(OneHot(["sex", "stage"])).fit(both).transform(both)
    assert list(made.columns) == ["sex=female", "sex=male", "stage=0", "stage=1", "stage=2", "stage=3"]
    expected = pd.get_dummies(both.sex).astype("float32")
    assert made[["sex=female", "sex=male"]].to_numpy().tolist() == expected.to_numpy().tolist()
    assert made["stage=2"].to_list() == (both.stage == 2).astype(float).to_list()


def test_unknown_and_missing_categories_are_zeros_or_have_columns():
    seen = pd.DataFrame({"sex": ["f", "m", "f"]})
    later = pd.DataFrame({"sex": ["x", None, "", "m"]})
    plain = Preprocessing(OneHot("sex")).fit(seen).transform(later)
    assert plain.to_numpy().tolist() == [[0, 0], [0, 0], [0, 0], [0, 1]]
    apart = Preprocessing(OneHot("sex", unknown="column", missing="column")).fit(seen).transform(later)
    assert list(apart.columns) == ["sex=f", "sex=m", "sex=<other>", "sex=<missing>"]
    assert apart.to_numpy().tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0, 1, 0, 0]]
    numbers = Preprocessing(OneHot("n", categories=[1, 2], unknown="column", missing="column"))
    made = numbers.fit(pd.DataFrame({"n": [1.0]})).transform(pd.DataFrame({"n": [2.0, 9.0, math.nan]}))
    assert made.to_numpy().tolist() == [[0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]


def test_a_filled_text_counts_as_what_it_was_filled_with():
    table = pd.DataFrame({"sex": ["f", "m", None, "f"], "note": ["a b", None, "b", "c"]})
    steps = [Impute("sex", "most_frequent"), Impute("note", value="B c"), OneHot("sex"), TextVectorize("note")]
    made = Preprocessing(steps).fit(table).transform(table)
    assert made["sex=f"].to_list() == [1, 0, 1, 1]
    assert made[["note:a", "note:b", "note:c"]].to_numpy().tolist() == [[1, 1, 0], [0, 1, 1], [0, 1, 0], [0, 0, 1]]


def test_words_are_counted_as_they_are_or_weighed():
    table = pd.DataFrame({"note": ["Pain, pain", "no pain", None]})
    counts = Preprocessing(TextVectorize("note", output="count")).fit(table).transform(table)
    assert counts[["note:pain", "note:no"]].to_numpy().tolist() == [[2, 0], [1, 1], [0, 0]]
    weighed = Preprocessing(TextVectorize("note", output="tf_idf")).fit(table).transform(table)
    assert np.allclose(weighed["note:pain"], np.array([2, 1, 0]) * math.log1p(3 / (1 + 2)))
    places = Preprocessing(TextVectorize("note", output="int", length=3)).fit(table).transform(table)
    assert places.to_numpy().tolist() == [[2, 2, 0], [3, 2, 0], [0, 0, 0]]


def test_parts_of_dates_are_those_of_pandas():
    dates = pd.DataFrame({"d": pd.date_range("1899-12-30", "2104-03-02", periods=4000).floor("min")})
    parts = ["year", "month", "day", "weekday", "dayofyear", "days", "hour", "minute"]
    made = Preprocessing(DateParts("d", parts, scale=False)).fit(dates).transform(dates)
    d = dates.d.dt
    expected = [d.year, d.month, d.day, d.day_of_week, d.day_of_year, (dates.d - pd.Timestamp("1970-01-01")).dt.days]
    for name, column in zip(parts, [*expected, d.hour, d.minute], strict=True):
        assert (made[f"d.{name}"] == column).all(), name


def test_dates_are_read_in_the_form_that_is_said_and_what_is_none_is_zeros():
    table = pd.DataFrame({"d": ["31/01/2024 23:59", "29/02/2023 10:00", "29/02/2024 10:00", "soon", None, "1/2/2024"]})
    steps = DateParts("d", ["month", "hour"], format="%d/%m/%Y %H:%M", scale=False, missing="column")
    made = Preprocessing(steps).fit(table).transform(table)
    assert made.to_numpy().tolist() == [[1, 23, 0], [0, 0, 1], [2, 10, 0], [0, 0, 1], [0, 0, 1], [0, 0, 1]]


def test_what_no_step_names_is_kept_or_left_out():
    table = pd.DataFrame({"a": [1.0], "b": [2.0], "t": ["x"]})
    assert Preprocessing(OneHot("t")).fit(table).columns == ["a", "b", "t=x"]
    assert Preprocessing(Scale("a"), rest="drop").fit(table).columns == ["a"]
    assert Preprocessing(OneHot("t"), exclude=["b"]).fit(table).columns == ["a", "t=x"]
    with pytest.raises(InvalidInput) as error:
        Preprocessing(Scale("a")).fit(table)
    assert error.value.code == "text-left"
    assert "t" in error.value.message


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda: Preprocessing("age"), "bad-step"),
        (lambda: Preprocessing(Impute("age", "usual")), "bad-step"),
        (lambda: Preprocessing(Impute("age", "constant")), "bad-step"),
        (lambda: Preprocessing(OneHot("sex", categories=["f", "f"])), "bad-step"),
        (lambda: Preprocessing(OneHot("sex", categories=["f", 1])), "bad-step"),
        (lambda: Preprocessing(TextVectorize("note", vocabulary=["Two words"])), "bad-step"),
        (lambda: Preprocessing(DateParts("admitted", ["hour"], format="%Y-%m-%d")), "bad-step"),
        (lambda: Preprocessing(DateParts("admitted", format="%Y-%m-%d %S")), "bad-step"),
        (lambda: Preprocessing(Impute("ages")).fit(TABLE), "unknown-column"),
        (lambda: Preprocessing(Scale("sex")).fit(TABLE), "wrong-column-kind"),
        (lambda: Preprocessing(TextVectorize("age")).fit(TABLE), "wrong-column-kind"),
        (lambda: Preprocessing(OneHot("sex"), OneHot("sex"), rest="drop").fit(TABLE), "unknown-column"),
        (lambda: Preprocessing(Impute("age")).columns, "not-fitted"),
        (lambda: Preprocessing(Scale("age"), rest="drop").fit(TABLE).transform(TABLE), "missing-values"),
        (lambda: Preprocessing(Scale("chol"), rest="drop").fit(TABLE).transform(TABLE[["age"]]), "recipe-does-not-fit"),
        (
            lambda: Preprocessing(Scale("chol"), rest="drop").fit(TABLE).transform({"chol": np.array(["a"])}),
            "recipe-does-not-fit",
        ),
    ],
)
def test_what_does_not_go_is_refused_and_says_why(make, code):
    with pytest.raises(InvalidInput) as error:
        make()
    assert error.value.code == code
    assert str(error.value)


@pytest.mark.parametrize("codes", [[0.1, 0.1 + 1e-12], [16777216.0, 16777217.0], [1.0, 1e300]])
def test_codes_that_float32_does_not_tell_apart_are_refused(codes):
    table = pd.DataFrame({"code": codes * 10})
    for make in (lambda: Preprocessing(OneHot("code")).fit(table), lambda: OneHot("code", categories=codes)):
        with pytest.raises(InvalidInput) as caught:
            make()
        assert caught.value.code == "bad-step"


def test_codes_of_a_mapping_are_compared_as_float32_where_they_are_fractions():
    column = ColumnMap("code", recode=((0.1, 1.0), (2**53, 2.0)))
    assert column.values(np.array([0.1], np.float32)).tolist() == [1]
    assert column.values(np.array([2**53, 0.1])).tolist() == [2, 1]
    with pytest.raises(InvalidInput):
        ColumnMap("code", recode=((0.1, 1.0), (0.1 + 1e-12, 2.0)))


@pytest.mark.parametrize(
    "late",
    [lambda: OneHot("code"), lambda: Impute("code"), lambda: Scale("code", "minmax")],
    ids=["one-hot", "impute", "scale"],
)
def test_what_is_fitted_on_raw_values_does_not_come_after_scaling(late):
    with pytest.raises(InvalidInput, match="after Scale") as caught:
        Preprocessing(Scale("code"), late())
    assert caught.value.code == "bad-step"
    Preprocessing(Scale("code"), Impute("code", value=0.0))


def test_dates_none_of_which_can_be_read_are_refused_by_a_table():
    table = pd.DataFrame({"d": ["05/03/2024", "17/11/2023", None]})
    with pytest.raises(InvalidInput) as caught:
        Preprocessing(DateParts("d")).fit(table)
    assert caught.value.code == "bad-step"
    assert "2024" not in str(caught.value)
    assert Preprocessing(DateParts("d", format="%d/%m/%Y")).fit(table).columns[0] == "d.year"
