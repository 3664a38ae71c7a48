"""Mode ``linear_he``: the regression that gradients in the clear would give, and only scores and masked sums sent."""

from __future__ import annotations

import importlib.util

import keras
import numpy as np
import pytest
from vertical_world import ID, LABEL, bottom, federation, tables

from flaas_jupyter import VerticalModel, simulate_vertical
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols import tenseal_library
from flaas_jupyter.protocols.vertical.ckks_linear import MAXIMUM_ROWS
from flaas_jupyter.training.vertical.scaling import Scaler

pytestmark = pytest.mark.skipif(importlib.util.find_spec("tenseal") is None, reason="extra he is not installed")

FIT = {"verbose": 0, "seed": 7, "batch_size": 300}


def plainly(parties, epochs: int, rate: float) -> tuple[dict[str, np.ndarray], float]:
    """Logistic regression by gradient descent on all columns in one place, in the plan's batches."""
    aligned = parties.align(FIT["seed"])
    columns, weights = {}, {}
    for party in parties.parties:
        values = parties.tables[party].matrix(parties.columns[party])
        columns[party] = np.float64(Scaler.of(values)(values[aligned[party].rows]))
        weights[party] = np.zeros(columns[party].shape[1])
    labels = parties.tables["bank"].label[aligned["bank"].rows]
    intercept = 0.0
    for epoch in range(epochs):
        order = np.random.default_rng(np.random.SeedSequence([FIT["seed"], epoch])).permutation(len(labels))
        for at in range(0, len(order), FIT["batch_size"]):
            rows = order[at : at + FIT["batch_size"]]
            score = intercept + sum(columns[party][rows] @ weights[party] for party in weights)
            residual = 1 / (1 + np.exp(-score)) - labels[rows]
            for party in weights:
                weights[party] -= rate * columns[party][rows].T @ residual / len(rows)
            intercept -= rate * residual.mean()
    return weights, intercept


def test_it_is_the_regression_in_the_clear_up_to_the_noise_of_the_encryption(tmp_path):
    parties = federation()
    made = VerticalModel({}, mode="linear_he")
    made.compile(keras.optimizers.SGD(0.5), "binary_crossentropy", metrics=["AUC"])
    expected, intercept = plainly(parties, epochs=4, rate=0.5)
    made.fit(parties, epochs=4, **FIT)
    states = made.outcome.states
    for party in ("telco", "shop"):
        np.testing.assert_allclose(states[party].tensors["weights"], expected[party], atol=2e-3)
    *own, kernel, bias = states["bank"].tensors["weights"]
    np.testing.assert_allclose(own, expected["bank"], atol=2e-3)
    assert kernel == 0.0
    assert bias == pytest.approx(intercept, abs=2e-3)
    made.save(tmp_path / "regression.flaas")
    loaded = VerticalModel.load(tmp_path / "regression.flaas")
    np.testing.assert_array_equal(loaded.predict(parties), made.predict(parties))
    before, after = made.history.history["loss"], loaded.fit(parties, **FIT).history["loss"]
    assert after[0] < before[-1]  # goes on from where it was


def test_what_is_sent_is_scores_ciphertexts_and_masked_sums():
    parties = federation(parties=2)
    made = VerticalModel({}, mode="linear_he")
    made.compile("adam", "binary_crossentropy")
    made.fit(parties, epochs=1, validation_split=0.2, **FIT)
    shapes = {message.kind: message.shapes for message in parties.messages}
    assert set(shapes) == {
        f"linear_he/{kind}" for kind in ("key", "epoch", "score", "residual", "masked", "opened", "validation")
    }
    assert shapes["linear_he/opened"] == {"sums": (4,)}
    assert set(shapes["linear_he/masked"]) == {"0", "1", "2", "3"}
    assert made.vertical_report.label_leak is None


@pytest.mark.long
def test_quantities_have_a_linear_model():
    given = tables(parties=2)
    given["bank"][LABEL] = 0.3 * given["bank"]["b0"] + 1.0
    parties = simulate_vertical(given, id=ID, label=("bank", LABEL))
    made = VerticalModel({}, mode="linear_he")
    made.compile(keras.optimizers.SGD(0.3), "mse")
    history = made.fit(parties, epochs=6, **FIT)
    assert history.history["loss"][-1] < 0.1 * history.history["loss"][0]


def refused(work) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        work()
    return error.value


def test_a_bottom_that_is_not_linear_is_refused():
    made = VerticalModel({"telco": bottom(4, 1)}, mode="linear_he")
    made.compile("adam", "binary_crossentropy")
    assert refused(lambda: made.fit(federation(parties=2), **FIT)).code == "not-linear"


def test_a_batch_that_does_not_fit_into_a_ciphertext_is_refused():
    made = VerticalModel({}, mode="linear_he")
    made.compile("adam", "binary_crossentropy")
    error = refused(lambda: made.fit(federation(parties=2), verbose=0, batch_size=MAXIMUM_ROWS + 1))
    assert error.code == "batch-too-large"
    assert str(MAXIMUM_ROWS) in error.hint


def test_without_the_extra_it_is_refused(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tenseal", None)
    tenseal_library.tenseal.cache_clear()
    made = VerticalModel({}, mode="linear_he")
    made.compile("adam", "binary_crossentropy")
    try:
        error = refused(lambda: made.fit(federation(parties=2), **FIT))
    finally:
        monkeypatch.undo()
        tenseal_library.tenseal.cache_clear()
    assert error.code == "missing-extra"
    assert "flaas_jupyter[he]" in error.hint
