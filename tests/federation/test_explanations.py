"""Explanations over real node processes: what a simulation computes, and the protections of every query."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import FlaasError, NotAllowed
from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.execution.query_log import queries_of
from flaas_jupyter.explaining.travelling import keras_model

from .conftest import FEATURES, linear_model, offered, restored

NAMES = [f"x{place}" for place in range(FEATURES)]


@pytest.fixture
def connected(three):
    """A federation of real nodes, its data set, the rows of all of them, and the same in a simulation."""
    federation, data = three
    registries = {name: DatasetRegistry(node.home.path) for name, node in federation.nodes.items()}
    for (
        name,
        registry,
    ) in registries.items():
        registry.add("explained", data.files[name]["rows"], target="label", projects=(federation.project,))
    offered(federation, "explained", len(registries))
    with federation.connect() as session:
        tables = [pd.read_csv(files["rows"]) for files in data.files.values()]
        pooled = pd.concat(tables, ignore_index=True)
        parts = np.split(np.arange(len(pooled)), np.cumsum([len(table) for table in tables])[:-1])
        simulated = flaas.simulate(
            pooled[NAMES], pooled.label, partition=parts, analytics_policy=flaas.ReleasePolicy(), seed=0
        )
        yield federation, session.project(federation.project).federation(dataset="explained"), pooled, simulated
    for registry in registries.values():
        registry.remove("explained")
    offered(federation, "explained", 0)


def logistic():
    """A linear model, whose SHAP values are known exactly."""
    import keras

    inputs = keras.Input((FEATURES,))
    model = flaas.FederatedModel(inputs, keras.layers.Dense(1, activation="sigmoid")(inputs), name="logistic")
    model.compile("sgd", "binary_crossentropy", metrics=["accuracy", keras.metrics.AUC(name="auc")])
    model.set_weights([np.linspace(-1.0, 2.0, FEATURES)[:, None], np.array([0.3])])
    return model


def with_policies(federation, names, old, new):
    """Change the owners' policies, and start their nodes again with these."""
    for name in names:
        policy = federation.nodes[name].home.policy
        policy.write_text(policy.read_text().replace(old, new))
        federation.kill_node(name)
    restored(federation)


def test_real_nodes_and_a_simulation_explain_alike_and_exactly(connected):
    federation, real, pooled, simulated = connected
    model = logistic()
    explanation = model.explain(real)
    weights = model.get_weights()[0][:, 0]
    wanted = (weights * (pooled[NAMES] - pooled[NAMES].mean())).abs().mean()
    found = explanation.global_importance.sort_index()
    np.testing.assert_allclose(found.to_numpy(), wanted.to_numpy(), rtol=1e-6)
    assert set(explanation.nodes) == {"north", "south", "west"}
    assert explanation.rows == len(pooled)
    same = model.explain(simulated)
    pd.testing.assert_frame_equal(explanation.table, same.table, rtol=1e-9)
    pd.testing.assert_frame_equal(explanation.bins, same.bins, rtol=1e-9)
    assert (explanation.bins["rows"] >= 10).all()

    network = linear_model(secure=False)  # with a hidden layer, so that orders of features matter
    curved, again = network.explain(real, seed=3), network.explain(simulated, seed=3)
    pd.testing.assert_frame_equal(curved.table, again.table, rtol=1e-4, atol=1e-6)
    log = [row for row in queries_of(federation.nodes["west"].home, "explained") if row["operation"] == "explain"]
    assert {row["outcome"] for row in log} == {"answered"}

    local = model.evaluate(pooled[NAMES].to_numpy("float32"), pooled.label, verbose=0, return_dict=True)
    performance = model.evaluate(real)
    assert dict(performance) == pytest.approx(local, rel=1e-5)
    assert performance.suppressed.all(), "their owners have not said that they tell it"
    assert performance.by_client["auc"].isna().all()


def test_a_model_that_is_changed_on_the_way_or_missing_is_refused(connected):
    _, real, _, _ = connected
    travelling = keras_model(logistic())
    statistic = {
        "v": 1,
        "kind": "explanation",
        "columns": NAMES,
        "model": travelling.reference("margin").to_dict(),
        "background": {"columns": {name: [0.0] for name in NAMES}, "weights": [1.0]},
    }
    changed = {**travelling.tensors, "weights": travelling.tensors["weights"] * 2}
    for tensors, code in ((changed, "model-altered"), ({}, "model-missing")):
        with pytest.raises(FlaasError) as caught, real.analytics.source.open_query("explain") as query:
            query.step(statistic, "mpc", tensors)
        assert caught.value.code == code
        assert "refuses" in caught.value.message


@pytest.mark.long
def test_owners_decide_whether_models_come_in_and_whether_their_own_figures_are_told(connected):
    federation, real, pooled, simulated = connected
    model = logistic()
    with_policies(federation, federation.nodes, "explore_performance = false", "explore_performance = true")
    told = model.evaluate(real)
    assert not told.suppressed.any()
    pd.testing.assert_frame_equal(
        told.by_client.reset_index(drop=True), model.evaluate(simulated).by_client.reset_index(drop=True)
    )
    with_policies(federation, ["north"], "explore_performance = true", "explore_performance = false")
    assert model.evaluate(real).suppressed.all(), "of three, the sum and two figures would tell the third"
    with_policies(federation, ["south"], 'operations = ["train", "analytics"]', 'operations = ["analytics"]')
    try:
        with pytest.raises(NotAllowed) as caught:
            model.explain(real)
        assert caught.value.code == "policy-explain"
        assert "south" in caught.value.message
        assert real.analytics.mean("x0") == pytest.approx(pooled.x0.mean())
    finally:
        with_policies(federation, ["south"], 'operations = ["analytics"]', 'operations = ["train", "analytics"]')
