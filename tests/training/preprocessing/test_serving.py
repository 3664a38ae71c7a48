"""The exported model makes of raw columns what nodes make of them, and answers as the trained model does."""

from __future__ import annotations

import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest

from flaas_jupyter import FederatedModel
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.preprocessing import DateParts, Impute, OneHot, Preprocessing, Scale, TextVectorize

from .tables import patients, raw

TABLE = patients()


def everything() -> Preprocessing:
    return Preprocessing(
        Impute("age", "mean", indicator=True),
        Impute("sex", "most_frequent"),
        Impute("note", value="chest PAIN"),
        Scale(["age", "chol"]),
        OneHot(["sex", "stage"], unknown="column", missing="column"),
        TextVectorize("note", output="tf_idf"),
        DateParts("admitted", ["year", "month", "day", "weekday", "dayofyear", "days"], missing="column"),
    ).fit(TABLE)


def model_of(width: int) -> FederatedModel:
    keras.utils.set_random_seed(0)
    inputs = keras.Input((width,))
    net = keras.layers.Dense(6, activation="relu")(inputs)
    return FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(net))


def strangers() -> pd.DataFrame:
    """Rows with a category that nobody has seen, and more gaps."""
    table = TABLE.head(60).copy()
    table.loc[table.index[:9], "sex"] = "unheard of"
    table.loc[table.index[5:20], "admitted"] = None
    return table


def test_a_served_model_takes_raw_columns_and_answers_as_the_trained_one_also_when_loaded(tmp_path):
    prep, table = everything(), strangers()
    model = model_of(len(prep.columns))
    expected = model.predict(prep.transform(table).to_numpy(), verbose=0)
    columns = prep.raw(table)
    for name, values in raw(table, prep.recipe.inputs).items():
        assert np.array_equal(columns[name], values, equal_nan=values.dtype.kind == "f"), name
    served = prep.export(model)
    assert np.allclose(served.predict(columns, verbose=0), expected, atol=1e-5)
    served.save(tmp_path / "served.keras")
    assert np.allclose(
        keras.models.load_model(tmp_path / "served.keras").predict(columns, verbose=0), expected, atol=1e-5
    )


@pytest.mark.long
def test_a_served_model_loads_where_this_package_is_not_there(tmp_path):
    prep, table = everything(), strangers()
    model = model_of(len(prep.columns))
    prep.export(model).save(tmp_path / "served.keras")
    program = (
        "import sys, keras, numpy as np\n"
        "sys.modules['flaas_jupyter'] = None\n"
        "model = keras.models.load_model(sys.argv[1])\n"
        "data = dict(np.load(sys.argv[2], allow_pickle=False))\n"
        "columns = {n: v.astype(object) if v.dtype.kind == 'U' else v for n, v in data.items()}\n"
        "np.save(sys.argv[3], model.predict(columns, verbose=0))\n"
    )
    columns = prep.raw(table)
    plain = {name: values.astype(str) if values.dtype.kind == "O" else values for name, values in columns.items()}
    np.savez(tmp_path / "raw.npz", **plain)
    files = [str(tmp_path / name) for name in ("served.keras", "raw.npz", "answers.npy")]
    subprocess.run([sys.executable, "-c", program, *files], check=True, timeout=240, capture_output=True)
    expected = model.predict(prep.transform(table).to_numpy(), verbose=0)
    assert np.allclose(np.load(files[2]), expected, atol=1e-5)


def test_the_matrix_inside_is_that_of_the_nodes_to_float32():
    prep = everything()
    width = len(prep.columns)
    inputs = keras.Input((width,))
    same = keras.Model(inputs, keras.layers.Identity()(inputs))
    made = prep.export(same).predict(raw(TABLE, prep.recipe.inputs), verbose=0)
    assert np.allclose(made, prep.transform(TABLE).to_numpy(), rtol=1e-5, atol=2e-5)


def test_numbers_alone_make_a_model_without_texts_and_sequences_one_with_an_embedding():
    numbers = Preprocessing(Impute("age"), Scale(["age", "chol"], "robust"), rest="drop").fit(TABLE)
    model = model_of(2)
    expected = model.predict(numbers.transform(TABLE).to_numpy(), verbose=0)
    served = numbers.export(model)
    answers = served.predict({name: TABLE[name].to_numpy() for name in ("age", "chol")}, verbose=0)
    assert np.allclose(answers, expected, atol=1e-5)
    words = Preprocessing(TextVectorize("note", output="int", length=4), rest="drop").fit(TABLE)
    inputs = keras.Input((4,), dtype="int32")
    net = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(20, 3)(inputs))
    reader = FederatedModel(inputs, keras.layers.Dense(1)(net))
    expected = reader.predict(words.transform(TABLE).to_numpy().astype("int32"), verbose=0)
    assert np.allclose(words.export(reader).predict(words.raw(TABLE), verbose=0), expected, atol=1e-5)


def test_columns_may_have_any_names(tmp_path):
    table = TABLE[["age", "sex"]].rename(columns={"age": "größe (cm)/m", "sex": "a b=c:d"})
    prep = Preprocessing(Impute("größe (cm)/m"), OneHot("a b=c:d")).fit(table)
    model = model_of(3)
    served = prep.export(model)
    served.save(tmp_path / "odd.keras")
    answers = keras.models.load_model(tmp_path / "odd.keras").predict(prep.raw(table), verbose=0)
    assert np.allclose(answers, model.predict(prep.transform(table).to_numpy(), verbose=0), atol=1e-5)


def test_a_model_of_another_width_is_refused():
    with pytest.raises(InvalidInput) as error:
        everything().export(model_of(3))
    assert error.value.code == "model-does-not-fit"
    assert str(len(everything().columns)) in str(error.value)


def test_codes_that_are_no_whole_numbers_are_the_same_once_keras_has_made_float32_of_them():
    table = pd.DataFrame({"dose": [0.1, 0.5, 2.2, np.nan] * 15 + [0.1] * 5})
    prep = Preprocessing(Impute("dose", "most_frequent"), OneHot("dose")).fit(table)
    made = prep.transform(table).to_numpy()
    assert np.array_equal(made.sum(axis=1), np.ones(len(table)))
    inputs = keras.Input((3,))
    served = prep.export(keras.Model(inputs, keras.layers.Identity()(inputs)))
    assert np.array_equal(served.predict(prep.raw(table), verbose=0), made)
