"""Simulations of raw tables: statistics, federated preprocessing, training, clients with other columns."""

from __future__ import annotations

import keras
import numpy as np
import pandas as pd
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import FlaasError
from flaas_jupyter.preprocessing import DateParts, Impute, OneHot, Preprocessing, Scale, TextVectorize
from tests.training.preprocessing.tables import patients

TABLE = patients(360, seed=3)
SICK = pd.Series((TABLE.age.fillna(50) + 10 * (TABLE.sex == "male") > 52).astype(int), name="sick")


def steps() -> Preprocessing:
    return Preprocessing(
        Impute("age", "mean"),
        Scale(["age", "chol"]),
        OneHot(["sex", "stage"]),
        TextVectorize("note", output="count"),
        DateParts("admitted"),
    )


def model_of(width: int) -> flaas.FederatedModel:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((width,))
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs))
    model.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", metrics=["accuracy"])
    return model


def test_fitted_on_all_clients_together_it_is_what_the_pooled_table_gives():
    federation = flaas.simulate(TABLE, SICK, clients=4, raw=True, journal=False)
    federated, pooled = steps().fit(federation), steps().fit(TABLE)
    assert set(federated.columns) == set(pooled.columns)
    ours, theirs = federated.transform(TABLE), pooled.transform(TABLE)
    assert np.allclose(ours[pooled.columns], theirs, atol=1e-5)


def test_clients_train_on_what_the_recipe_makes_and_draw_the_same_random_numbers():
    federation = flaas.simulate(TABLE, SICK, clients=3, raw=True, seed=5, journal=False)
    prep = steps().fit(federation)
    prepared = federation.prepared(prep.recipe)
    arrays = flaas.simulate(prep.transform(TABLE), SICK, clients=3, seed=5, journal=False)
    assert np.array_equal(prepared.data.arrays.inputs[""], arrays.data.arrays.inputs[""])
    assert prepared.data.salts == arrays.data.salts
    assert all(map(np.array_equal, prepared.data.rows, arrays.data.rows))
    assert prepared is federation.prepared(prep.recipe)
    assert federation.clients.equals(arrays.clients)


def test_a_raw_federation_trains_with_preprocessing_as_on_arrays_and_only_so(here):
    federation = flaas.simulate(TABLE, SICK, clients=3, raw=True, seed=5, journal=False)
    assert federation.schema.set_index("name").loc["sex", "dtype"] == "string"
    prep = steps().fit(federation)
    width = len(prep.columns)
    raw = model_of(width)
    history = raw.fit(federation, preprocessing=prep, rounds=3, seed=2, verbose=0, validation_data=(TABLE, SICK))
    arrays = flaas.simulate(prep.transform(TABLE), SICK, clients=3, seed=5, journal=False)
    plain = model_of(width)
    plain.fit(arrays, rounds=3, seed=2, verbose=0)
    for ours, theirs in zip(raw.get_weights(), plain.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    assert history.history["val_accuracy"][-1] > 0.8
    with pytest.raises(FlaasError) as error:
        model_of(width).fit(federation, rounds=1, verbose=0)
    assert error.value.code == "needs-preprocessing"


def test_preprocessing_that_is_not_fitted_is_fitted_on_the_way_and_raw_tables_take_nothing_else(here):
    federation = flaas.simulate(TABLE, SICK, clients=3, preprocessing=steps(), journal=False)
    width = len(steps().fit(TABLE).columns)
    with pytest.raises(FlaasError) as error:
        model_of(width + 1).fit(federation, rounds=1, verbose=0)
    assert error.value.code == "model-does-not-fit"
    assert federation.preprocessing.is_fitted
    raw = flaas.simulate(TABLE, SICK, clients=3, raw=True, journal=False)
    for given, code in ((None, "needs-preprocessing"), ("scale", "bad-setting")):
        with pytest.raises(FlaasError) as error:
            model_of(width).fit(raw, rounds=1, verbose=0, preprocessing=given)
        assert error.value.code == code
    with pytest.raises(FlaasError) as error:
        model_of(width).fit(TABLE[["chol"]].to_numpy(), SICK.to_numpy(), preprocessing=steps())
    assert error.value.code == "rounds-with-arrays"


def test_without_raw_texts_and_gaps_are_refused_as_ever():
    for table, code in ((TABLE, "bad-data"), (TABLE[["age"]], "missing-values")):
        with pytest.raises(FlaasError) as error:
            flaas.simulate(table, SICK, clients=3)
        assert error.value.code == code


def other_hospital(rows: int = 120) -> pd.DataFrame:
    """The same columns, as another hospital keeps them."""
    table = patients(rows, seed=9).rename(columns={"age": "Age"})
    return table.assign(sex=table.sex.map({"female": "F", "male": "M"}))


def test_clients_with_other_columns_are_brought_together_by_a_mapping():
    first, second = TABLE.head(120), TABLE.tail(120)
    clients = [(first, SICK.head(120)), (second, SICK.tail(120)), (other_hospital(), SICK.head(120))]
    federation = flaas.simulate(clients=clients, raw=True, journal=False)
    with pytest.raises(FlaasError) as error:
        federation.analytics.mean("chol")
    assert error.value.code == "schema-mismatch"
    differ = federation.schema_differences()
    assert set(differ[differ.field == "absent"].column) == {"age", "Age"}
    mapping = federation.suggest_mapping()
    together = federation.mapped(mapping)
    assert together.schema_differences().query("field == 'absent'").empty
    ages = pd.concat([first.age, second.age, other_hospital().Age])
    assert float(together.analytics.mean("age")) == pytest.approx(ages.mean())
    prep = Preprocessing(mapping, *steps().steps).fit(federation)
    made = federation.prepared(prep.recipe).data.arrays.inputs[""]
    assert np.array_equal(made[240:], prep.transform(other_hospital(), node="2").to_numpy())


def test_saying_too_little_of_a_group_stops_the_fit_with_a_way_out():
    few = pd.DataFrame({"code": [f"c{i}" for i in range(60)], "x": np.arange(60.0)})
    federation = flaas.simulate(few, np.arange(60) % 2, clients=3, raw=True, journal=False)
    with pytest.raises(FlaasError) as error:
        Preprocessing(OneHot("code")).fit(federation)
    assert error.value.code == "statistic-withheld"
    assert "categories=" in error.value.hint


def test_wide_tables_are_asked_about_in_parts_and_a_budget_holds_for_all_of_it():
    wide = pd.DataFrame(np.random.default_rng(0).normal(5, 2, (60, 300)), columns=[f"c{i}" for i in range(300)])
    federation = flaas.simulate(wide, np.arange(60) % 2, clients=3, raw=True, journal=False)
    names = list(wide.columns)
    ours = Preprocessing(Impute(names, "mean"), Scale(names)).fit(federation)
    theirs = Preprocessing(Impute(names, "mean"), Scale(names)).fit(wide)
    assert np.allclose(ours.transform(wide), theirs.transform(wide), atol=1e-5)
    private = flaas.simulate(TABLE, SICK, clients=3, raw=True, journal=False, analytics_epsilon=40.0)
    prep = steps().fit(private, epsilon=40.0, bounds={"age": (0, 110), "chol": (100, 400)})
    assert private.analytics.budget()["spent"].max() <= 40.0
    assert {"sex=female", "sex=male"} <= set(prep.columns)
    assert abs(prep.transform(TABLE)["chol"].mean()) < 0.5
