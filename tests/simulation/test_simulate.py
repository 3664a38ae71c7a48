"""What `simulate` takes, what it refuses, and how a simulated federation shows itself."""

from __future__ import annotations

import json

import keras
import numpy as np
import pandas as pd
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import InvalidInput

from .conftest import FEATURES, classifier, fitted, rows, vector
from .test_runs import newest

X, Y = rows(40)
PAIRS = [(X[:10], Y[:10]), (X[10:25], Y[10:25]), (X[25:], Y[25:])]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({}, "no-data"),
        ({"x": X}, "no-data"),
        ({"x": X, "y": Y[:-1]}, "bad-data"),
        ({"x": X[:0], "y": Y[:0]}, "bad-data"),
        ({"x": X.astype(str), "y": Y}, "bad-data"),
        ({"x": 3, "y": Y}, "bad-data"),
        ({"x": [[1, 2], [3]], "y": [0, 1]}, "bad-data"),
        ({"x": pd.DataFrame({"a": ["low", "high"]}), "y": [0, 1]}, "bad-data"),
        ({"x": np.where(X > 1, np.nan, X), "y": Y}, "missing-values"),
        ({"x": X, "y": np.where(Y > 0, np.inf, 0.5)}, "missing-values"),
        ({"x": {"a": X, "b": X[:-1]}, "y": Y}, "bad-data"),
        ({"clients": []}, "bad-clients"),
        ({"clients": [X, Y, X]}, "bad-clients"),
        ({"clients": [(X, Y, Y)]}, "bad-clients"),
        ({"clients": PAIRS, "x": X}, "bad-clients"),
        ({"clients": [PAIRS[0], (X[:5, :2], Y[:5])]}, "bad-data"),
        ({"clients": [PAIRS[0], (X[:0], Y[:0])]}, "bad-data"),
        ({"x": X, "y": Y, "clients": 0}, "bad-clients"),
        ({"x": X, "y": Y, "clients": 41}, "bad-clients"),
        ({"x": X, "y": Y, "clients": "ten"}, "bad-clients"),
        ({"x": X, "y": Y, "clients": 2.5}, "bad-clients"),
        ({"x": X, "y": Y, "seed": -1}, "bad-seed"),
        ({"x": X, "y": Y, "seed": True}, "bad-seed"),
        ({"x": X, "y": Y, "seed": 0.5}, "bad-seed"),
        ({"x": X, "y": Y, "attack": "label_flip"}, "not-an-attack"),
        ({"x": X, "y": Y, "behaviour": {"dropout": 0.1}}, "bad-behaviour"),
        ({"x": X, "y": Y, "backend": "mxnet"}, "unknown-backend"),
        ({"x": X, "y": Y, "workers": 0}, "bad-setting"),
        ({"x": X, "y": Y, "root": X}, "bad-data"),
        ({"x": X, "y": Y, "root": (X[:5, :2], Y[:5])}, "bad-data"),
        ({"x": X, "y": Y, "partition": "alphabetical"}, "unknown-partition"),
        ({"x": X, "y": Y, "attack": flaas.attacks.LabelFlip(source=7, target=8)}, "no-such-class"),
    ],
)
def test_bad_input_is_refused_with_its_code(arguments, code):
    with pytest.raises(InvalidInput) as caught:
        flaas.simulate(**({"clients": 4} if "x" in arguments and "clients" not in arguments else {}), **arguments)
    assert caught.value.code == code


def test_a_model_that_does_not_fit_the_data_is_refused_before_training(federation, home):
    x, y = rows()
    with pytest.raises(InvalidInput) as caught:
        fitted(classifier(), federation(x[:, :3], y))
    assert caught.value.code == "model-does-not-fit"
    assert not list(home.glob("simulations/*"))


@pytest.mark.parametrize(
    "convert",
    [
        lambda x, y: (x.tolist(), y.tolist()),
        lambda x, y: (tuple(map(tuple, x.tolist())), tuple(y.tolist())),
        lambda x, y: (x.astype("float64"), y.astype(bool)),
        lambda x, y: (pd.DataFrame(x), pd.Series(y)),
        lambda x, y: (x, y.astype("float64")),
        lambda x, y: (x, y[:, None]),
    ],
    ids=["lists", "tuples", "float64", "pandas", "float labels", "column"],
)
def test_data_come_in_many_forms(convert, federation):
    x, y = rows()
    np.testing.assert_allclose(
        fitted(classifier(), federation(*convert(x, y), seed=2), batch_size=200),
        fitted(classifier(), federation(x, y, seed=2), batch_size=200),
        atol=1e-6,
    )


def test_one_hot_labels_are_divided_by_class_as_numbers_are(federation):
    x, y = rows()
    split = flaas.Dirichlet(0.3)
    one_hot, numbers = (federation(x, labels, partition=split) for labels in (np.eye(2)[y], y))
    assert one_hot.sizes.tolist() == numbers.sizes.tolist()


def test_clients_may_bring_their_own_data(federation):
    own = federation(clients=PAIRS)
    assert own.sizes.tolist() == [10, 15, 15]
    for client, (x, y) in enumerate(PAIRS):
        np.testing.assert_array_equal(own.data.arrays.inputs[""][own.data.rows[client]], x)
        np.testing.assert_array_equal(own.data.arrays.targets[""][own.data.rows[client]], y)


def test_targets_of_one_client_may_look_like_labels_and_others_not(federation):
    quantity = [(X[:10], Y[:10].astype("float64")), (X[10:], X[10:, 0])]
    own = federation(clients=quantity)
    assert own.data.arrays.targets[""].dtype == np.float32
    np.testing.assert_array_equal(own.data.arrays.targets[""][10:], X[10:, 0])


def test_own_data_and_the_same_rows_divided_train_alike(federation):
    parts = [np.arange(10), np.arange(10, 25), np.arange(25, 40)]
    divided = fitted(classifier(dropout=0.3), federation(X, Y, clients=None, partition=parts))
    np.testing.assert_array_equal(fitted(classifier(dropout=0.3), federation(clients=PAIRS)), divided)


def test_a_column_divides_the_rows_and_is_no_input(federation):
    table = pd.DataFrame(X, columns=[f"x{i}" for i in range(FEATURES)]).assign(ward=["a"] * 10 + ["b"] * 30)
    made = federation(table, Y, clients=None, partition=flaas.ByColumn("ward"))
    assert made.clients["name"].tolist() == ["a", "b"]
    assert made.clients["rows"].tolist() == [10, 30]
    assert made.schema["name"].tolist() == [*(f"x{i}" for i in range(FEATURES)), "y"]


def test_a_dictionary_goes_to_the_inputs_of_its_names(federation):
    x, y = rows()
    keras.utils.set_random_seed(1)
    inputs = {"left": keras.Input((2,), name="left"), "right": keras.Input((4,), name="right")}
    net = keras.layers.Concatenate()([inputs["left"], inputs["right"]])
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(net))
    model.compile("sgd", "binary_crossentropy")
    before = vector(model)
    made = federation({"left": x[:, :2], "right": x[:, 2:]}, y)
    assert not np.allclose(fitted(model, made), before)
    assert made.schema["name"].tolist() == ["left", "right", "y"]


def test_a_federation_tells_who_is_in_it(federation):
    made = federation(attack=flaas.attacks.SignFlip(fraction=0.25))
    assert list(made.clients.columns) == ["name", "organisation", "rows", "online", "attacker", "id"]
    assert repr(made) == "<Simulated federation of 8 clients, 2 of them malicious, 160 rows>"


# ---- what is measured and told ---------------------------------------------------------------------------------


def test_validation_is_measured_every_so_many_rounds_and_after_the_last(federation, home):
    model = classifier()
    fitted(model, federation(), rounds=5, validation_data=rows(40, seed=3), validation_freq=2)
    losses = model.federated_report["val_loss"]
    assert losses.notna().tolist() == [False, True, False, True, True]
    lines = (home / "simulations" / newest(home)["id"] / "rounds.jsonl").read_text().splitlines()
    journalled = [json.loads(line)["metrics"].get("val_loss") for line in lines]
    assert [value for value in journalled if value is not None] == losses.dropna().tolist()
    assert losses.iloc[-1] == pytest.approx(model.evaluate(*rows(40, seed=3), verbose=0)[0], rel=1e-5)


def test_one_client_whose_rows_stay_in_order_is_keras_itself(federation):
    x, y = rows(45)
    model, alone = classifier(), classifier()
    alone.set_weights(model.get_weights())
    fitted(model, federation(x, y, clients=1), rounds=3, batch_size=10, shuffle=False)
    alone.fit(x, y, epochs=3, batch_size=10, shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_shuffle_is_true_or_false(federation):
    with pytest.raises(InvalidInput, match="shuffle must be true or false, not 'batch'"):
        fitted(classifier(), federation(), shuffle="batch")


def test_success_of_an_attack_is_in_the_journal(federation, home):
    attack = flaas.attacks.LabelFlip(fraction=0.5, source=0, target=1)
    fitted(classifier(), federation(attack=attack), validation_data=rows(40, seed=3))
    line = (home / "simulations" / newest(home)["id"] / "rounds.jsonl").read_text().splitlines()[-1]
    assert 0 <= json.loads(line)["metrics"]["val_attack_success_rate"] <= 1


def test_metrics_are_the_clients_weighted_by_their_rows(federation):
    """With nothing learned, the mean over clients is the mean over rows."""
    x, y = rows(100)
    parts = [np.arange(0, 20), np.arange(20, 90), np.arange(90, 100)]
    model = classifier(learning_rate=1e-12)
    fitted(model, federation(x, y, clients=None, partition=parts), rounds=1)
    loss, accuracy = model.evaluate(x, y, verbose=0)
    assert model.federated_report["loss"].iloc[0] == pytest.approx(loss, rel=1e-5)
    assert model.federated_report["accuracy"].iloc[0] == pytest.approx(accuracy, rel=1e-5)


def test_the_journal_says_what_a_simulation_is(federation, home):
    model = classifier(aggregation=flaas.aggregation("trimmed_mean", beta=0.3))
    attack = flaas.attacks.SignFlip(fraction=0.25, scale=2.0)
    fitted(model, federation(attack=attack, partition=flaas.Dirichlet(0.5)), run_name="first try")
    header = newest(home)
    assert (header["name"], header["state"], header["rounds"], header["round"]) == ("first try", "completed", 3, 3)
    assert (header["aggregation"], header["aggregation_options"]["beta"]) == ("trimmed_mean", 0.3)
    assert header["attack"] == {"name": "sign_flip", "options": {"fraction": 0.25, "scale": 2.0}}
    assert header["partition"] == "Dirichlet(alpha=0.5, minimum=1)"
    assert header["privacy"] is None
    assert sum(client["attacker"] for client in header["clients"]) == 2
    folder = home / "simulations" / header["id"]
    assert folder.stat().st_mode & 0o077 == 0
    assert [json.loads(line)["number"] for line in (folder / "rounds.jsonl").read_text().splitlines()] == [1, 2, 3]


def test_without_a_journal_nothing_is_written(federation, home):
    fitted(classifier(), federation(journal=False))
    assert not (home / "simulations").exists()


def test_a_bar_shows_the_rounds(federation, capsys):
    fitted(classifier(), federation(), rounds=4, verbose=1)
    told = capsys.readouterr().out
    assert "4/4" in told
    assert "loss" in told


def test_a_line_a_round_can_be_had(federation, capsys):
    fitted(classifier(), federation(), rounds=2, verbose=2)
    assert [line.split("  ")[0] for line in capsys.readouterr().out.splitlines()] == ["Round 1/2", "Round 2/2"]


def test_nothing_is_told_when_nothing_is_to_be_told(federation, capfd):
    fitted(classifier(), federation(), verbose=0, validation_data=rows(20))
    assert capfd.readouterr().out == ""


def test_layers_of_the_notebooks_own_train_in_its_process_or_not_at_all(tmp_path, monkeypatch):
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))

    @keras.saving.register_keras_serializable(package="clinic")
    class Doubled(keras.layers.Layer):
        def call(self, inputs):
            return 2.0 * inputs

    x = np.random.default_rng(0).normal(size=(30, 3)).astype("float32")
    y = (x[:, 0] > 0).astype("int32")
    inputs = keras.Input((3,))
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(Doubled()(inputs)))
    model.compile("sgd", "binary_crossentropy")
    elsewhere = "jax" if keras.backend.backend() != "jax" else "tensorflow"
    with pytest.raises(InvalidInput) as caught:
        model.fit(flaas.simulate(x, y, clients=3, backend=elsewhere), rounds=1, batch_size=4, verbose=0)
    assert caught.value.code == "backend-unfit"
    assert "KERAS_BACKEND" in str(caught.value)
    model.fit(flaas.simulate(x, y, clients=3), rounds=1, batch_size=4, verbose=0)
    assert len(model.federated_report) == 1
