"""Models that come with a question are read with suspicion, and only where the owner lets models in."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import FlaasError
from flaas_jupyter.execution.explaining import with_model
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.explaining.travelling import keras_model
from flaas_jupyter.protocols.analytics import statistics
from flaas_jupyter.protocols.explaining import ModelReference, digest_of
from flaas_jupyter.training import keras_prediction, tree_prediction
from flaas_jupyter.training.prediction import bind

NODE = "ab" * 32


@keras.saving.register_keras_serializable(package="tests")
class Doubled(keras.layers.Layer):
    def call(self, inputs):
        return 2.0 * inputs


def small(*layers):
    inputs = keras.Input((2,))
    net = inputs
    for layer in (*layers, keras.layers.Dense(1)):
        net = layer(net)
    model = flaas.FederatedModel(inputs, net)
    model.compile("sgd", "mse")
    return model


def octets(document):
    raw = document if isinstance(document, bytes) else json.dumps(document).encode()
    return np.frombuffer(raw, np.uint8)


def question(tensors, kind="keras", what="explanation"):
    model = ModelReference(kind, digest_of(tensors)).to_dict()
    own = {"states": 2} if what == "performance" else {}
    if what == "explanation" and kind == "keras":
        own = {"background": {"columns": {"a": [0.0], "b": [0.0]}, "weights": [1.0]}}
    return statistics.parse({"v": 1, "kind": what, "columns": ["a", "b"], "model": model, **own})


def trees(**changes):
    tree = {"feature": [0, -1, -1], "bin": [0, -1, -1], "missing_left": [0, 0, 0], "left": [1, -1, -1]}
    tree |= {"value": [0, 1, 2], "gain": [1.0, 0.0, 0.0], "rows": [20, 10, 10]}
    ensemble = {"exponent": 0, "base": [0], "iterations": [[tree]]}
    document = {"edges": {"a": [0.0], "b": [1.0]}, "missing": None, "loss": "logistic", "outputs": 1, "offset": 0.0}
    return document | {"target": "y", "ensemble": ensemble} | changes


@pytest.mark.parametrize(
    ("tensors", "kind", "code"),
    [
        ({"plan": octets(b"\x80\x04cos\nsystem\n"), "weights": np.zeros(3)}, "keras", "bad-explained-model"),
        ({"plan": octets([1, 2]), "weights": np.zeros(3)}, "keras", "bad-explained-model"),
        ({"plan": octets({"version": 1}), "weights": np.zeros(3)}, "keras", "bad-plan"),
        ({"plan": np.zeros(3), "weights": np.zeros(3)}, "keras", "bad-explained-model"),
        ({"trees": octets({})}, "boosting", "bad-explained-model"),
        ({"trees": octets(trees(missing="x"))}, "boosting", "bad-explained-model"),
        ({"trees": octets(trees(loss="exec"))}, "boosting", "boosting-unknown-loss"),
        ({"trees": octets(trees(edges={"a": [1.0, 0.0]}))}, "boosting", "boosting-bad-edges"),
        ({"trees": octets(trees(ensemble={"exponent": 0, "base": [0], "iterations": [[{}]]}))}, "boosting", None),
    ],
)
def test_what_is_no_model_is_refused(tensors, kind, code):
    with pytest.raises(FlaasError) as caught:
        bind(question(tensors, kind), tensors)
    assert caught.value.code == (code or "boosting-bad-tree")


def test_layers_that_an_owner_has_not_allowed_are_refused_and_others_are_not():
    travelling = keras_model(small(Doubled()))
    statistic = question(travelling.tensors)
    with pytest.raises(FlaasError) as caught:
        bind(statistic, travelling.tensors)
    assert caught.value.code == "custom-layer"
    bind(statistic, travelling.tensors, allowed_custom=("tests>Doubled",))
    bind(statistic, travelling.tensors, allowed_custom=None)


def test_weights_of_another_model_are_refused():
    travelling = keras_model(small())
    tensors = {**travelling.tensors, "weights": np.zeros(99, np.float32)}
    with pytest.raises(FlaasError) as caught:
        bind(question(tensors), tensors)
    assert caught.value.code == "wrong-weights"


def test_owners_let_models_in_where_they_may_be_trained_or_anything_may_be_derived():
    travelling = keras_model(small())
    for policy, allowed in (
        (Policy(operations=("train", "analytics")), True),
        (Policy(operations=("analytics",), analytics_derived="any"), True),
        (Policy(operations=("analytics",)), False),
        (Policy(operations=("train", "analytics"), datasets={"d": {"operations": ("analytics",)}}), False),
    ):
        statistic = question(travelling.tensors)
        if allowed:
            assert with_model(statistic, travelling.tensors, policy, "d", NODE).explainer is not None
            continue
        with pytest.raises(FlaasError) as caught:
            with_model(statistic, travelling.tensors, policy, "d", NODE)
        assert caught.value.code == "policy-explain"
    profile = statistics.parse({"v": 1, "kind": "explanation", "columns": ["a"]})
    assert with_model(profile, {}, Policy(operations=("analytics",)), "d", NODE) is profile


def test_a_node_tells_its_own_figures_only_if_its_owner_says_so():
    travelling = keras_model(small())
    statistic = question(travelling.tensors, what="performance")
    silent = with_model(statistic, travelling.tensors, Policy(operations=("train",)), "d", NODE)
    assert silent.teller == ""
    policy = Policy(operations=("train",), explore_performance=True, minimum_group=25)
    told = with_model(statistic, travelling.tensors, policy, "d", NODE)
    assert (told.teller, told.smallest) == (NODE, 25)


def test_more_work_than_a_node_does_is_refused(monkeypatch):
    monkeypatch.setattr(keras_prediction, "MAXIMUM_CALLS", 10)
    monkeypatch.setattr(tree_prediction, "MAXIMUM_LOOK_UPS", 10)
    columns = {"a": np.zeros(20), "b": np.zeros(20)}
    curved = keras_model(small(keras.layers.Dense(2, activation="tanh")))
    tensors = {"trees": octets(trees())}
    for statistic, model in ((question(curved.tensors), curved.tensors), (question(tensors, "boosting"), tensors)):
        with pytest.raises(FlaasError) as caught:
            bind(statistic, model).local(columns)
        assert caught.value.code == "explanation-too-large"


def test_a_model_that_is_too_large_to_travel_says_so(monkeypatch):
    monkeypatch.setattr("flaas_jupyter.explaining.travelling.LIMIT", 10)
    with pytest.raises(FlaasError) as caught:
        keras_model(small()).reference("margin")
    assert caught.value.code == "explanation-too-large"
