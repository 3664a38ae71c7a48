import copy
import json
import subprocess
import sys
from pathlib import Path

import keras
import keras_models as models
import numpy as np
import pytest
from keras import layers

from flaas_jupyter.errors import InvalidInput, NotAllowed
from flaas_jupyter.plan import TrainingPlan, weights_by_path

ALLOWED = ["tests>Scale"]


def sent(plan: TrainingPlan) -> TrainingPlan:
    """The plan as it arrives at the other side."""
    return TrainingPlan.from_dict(json.loads(json.dumps(plan.to_dict())))


def model_of(*stack: layers.Layer, compiled: bool = True) -> keras.Model:
    inputs = layers.Input((4,))
    net = inputs
    for layer in stack:
        net = layer(net)
    model = keras.Model(inputs, net)
    if compiled:
        model.compile("sgd", "mse")
    return model


def hostile(change) -> TrainingPlan:
    """A plan as an attacker would write it: made by hand, not by `from_model`."""
    data = TrainingPlan.from_model(model_of(layers.Dense(2, name="victim"))).to_dict()
    data = copy.deepcopy(data)
    change(data)
    return TrainingPlan.from_dict(data)


def layer_entry(data: dict, name: str = "victim") -> dict:
    return next(layer for layer in data["model"]["layers"] if layer["name"] == name)


@pytest.mark.parametrize("family", models.FAMILIES)
def test_a_model_rebuilt_from_its_plan_predicts_the_same(family):
    model, arrays = models.FAMILIES[family]()
    plan = sent(TrainingPlan.from_model(model, local_epochs=2, batch_size=8, seed=1))
    rebuilt = plan.build()
    plan.assign(rebuilt, plan.vector_of(model))
    x = list(arrays.inputs.values()) if len(arrays.inputs) > 1 else arrays.inputs[""]
    expected, got = model.predict(x, verbose=0), rebuilt.predict(x, verbose=0)
    for one, other in zip(keras.tree.flatten(expected), keras.tree.flatten(got), strict=True):
        np.testing.assert_array_equal(one, other)
    assert plan.parameters == model.count_params() == sum(w.size for w in model.get_weights())
    assert rebuilt.optimizer.name == model.optimizer.name


def test_reading_a_written_plan_gives_the_same_plan_and_digest():
    plan = TrainingPlan.from_model(models.dense()[0], seed=5)
    assert sent(plan) == plan
    assert sent(plan).digest == plan.digest


@pytest.mark.parametrize(
    "change", [{"local_epochs": 2}, {"batch_size": 8}, {"seed": 2}, {"shuffle": False}], ids=lambda c: next(iter(c))
)
def test_the_digest_depends_on_every_setting(change):
    model = models.dense()[0]
    assert TrainingPlan.from_model(model, **change).digest != TrainingPlan.from_model(model).digest


def test_the_digest_depends_on_architecture_and_learning_rate_and_not_on_weights():
    model = model_of(layers.Dense(2, name="d"))
    before = TrainingPlan.from_model(model).digest
    model.set_weights([w + 1 for w in model.get_weights()])
    assert TrainingPlan.from_model(model).digest == before
    model.optimizer.learning_rate = 0.5
    assert TrainingPlan.from_model(model).digest != before


def test_another_process_gives_the_same_paths_in_the_same_order():
    plan = TrainingPlan.from_model(models.custom()[0])
    script = (
        "import json,sys,keras\n"
        "import keras_models\n"
        "from flaas_jupyter.plan import TrainingPlan, weights_by_path\n"
        "[keras.layers.Dense(1) for _ in range(3)]\n"  # other numbers for automatic names
        "plan = TrainingPlan.from_dict(json.load(sys.stdin))\n"
        "print(plan.digest, *weights_by_path(plan.build(allowed_custom=['tests>Scale'])))\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(plan.to_dict()),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(models.__file__).parent,
    )
    digest, *paths = answer.stdout.split()
    assert digest == plan.digest
    assert paths == [spec.path for spec in plan.weights]


def test_weights_are_keyed_by_the_layers_path():
    model = model_of(layers.Dense(3, name="a"), layers.BatchNormalization(name="b"), layers.Dense(1, name="c"))
    assert list(weights_by_path(model)) == [v.path for v in model.weights]
    assert len(weights_by_path(model)) == 8


def test_paths_survive_rebuilding_where_keras_own_do_not():
    model, _ = models.recurrent()
    rebuilt = TrainingPlan.from_model(model).build()
    assert [v.path for v in rebuilt.weights] != [v.path for v in model.weights]  # why paths are our own
    assert list(weights_by_path(rebuilt)) == list(weights_by_path(model))


def test_layers_of_the_same_name_in_two_inner_models_are_told_apart():
    paths = list(weights_by_path(models.nested()[0]))
    assert {"left/same/kernel", "right/same/kernel"} <= set(paths)
    assert len(paths) == 6  # the layer that is used twice counts once


def test_two_models_of_the_same_names_in_one_process_do_not_mix():
    one, two = model_of(layers.Dense(2, name="d")), model_of(layers.Dense(2, name="d"))
    plan = TrainingPlan.from_model(one)
    start = plan.vector_of(two)
    plan.assign(one, np.arange(plan.parameters, dtype="float32"))
    np.testing.assert_array_equal(plan.vector_of(two), start)
    np.testing.assert_array_equal(plan.vector_of(one), np.arange(10))


def test_a_vector_goes_where_the_plan_says():
    model = model_of(layers.Dense(2, name="d"))
    plan = TrainingPlan.from_model(model)
    plan.assign(model, np.arange(10, dtype="float32"))
    np.testing.assert_array_equal(model.get_layer("d").kernel, np.arange(8).reshape(4, 2))
    np.testing.assert_array_equal(model.get_layer("d").bias, [8, 9])


@pytest.mark.parametrize(("dtype", "vector"), [("float64", "float64"), ("bfloat16", "float32"), ("float32", "float32")])
def test_the_vector_holds_every_dtype_exactly(dtype, vector):
    model = model_of(layers.Dense(2, dtype=dtype))
    plan = TrainingPlan.from_model(model)
    values = plan.vector_of(model)
    assert values.dtype == plan.dtype == vector
    plan.assign(model, values)
    np.testing.assert_array_equal(plan.vector_of(model), values)


def test_a_vector_of_another_length_is_refused():
    model = model_of(layers.Dense(2))
    with pytest.raises(InvalidInput, match=r"\(3,\).*\(10,\)") as error:
        TrainingPlan.from_model(model).assign(model, np.zeros(3, "float32"))
    assert error.value.code == "wrong-weights"


def test_another_model_is_refused():
    plan = TrainingPlan.from_model(model_of(layers.Dense(2, name="d")))
    with pytest.raises(InvalidInput, match="e/kernel") as error:
        plan.vector_of(model_of(layers.Dense(2, name="e")))
    assert error.value.code == "other-model"


def test_a_sequential_model_makes_the_same_plan_as_the_functional_one():
    stack = [layers.Dense(2, name="d")]
    sequential = keras.Sequential([layers.Input((4,), name="i"), *stack], name="m")
    sequential.compile("sgd", "mse")
    assert [spec.path for spec in TrainingPlan.from_model(sequential).weights] == ["d/kernel", "d/bias"]


# ---- what cannot be a plan ------------------------------------------------------------------------------------------


def test_an_uncompiled_model_is_refused():
    with pytest.raises(InvalidInput, match=r"compile\(") as error:
        TrainingPlan.from_model(model_of(layers.Dense(1), compiled=False))
    assert error.value.code == "not-compiled"


def test_a_subclassed_model_is_refused():
    class Own(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(1)

        def call(self, inputs):
            return self.dense(inputs)

    model = Own()
    model(np.zeros((1, 4)))
    model.compile("sgd", "mse")
    with pytest.raises(InvalidInput) as error:
        TrainingPlan.from_model(model)
    assert error.value.code == "not-functional"


def test_a_fixed_batch_size_is_refused():
    inputs = layers.Input(batch_shape=(8, 4))
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    with pytest.raises(InvalidInput, match="batch size 8") as error:
        TrainingPlan.from_model(model)
    assert error.value.code == "fixed-batch"


def test_integer_weights_are_refused_with_the_reason():
    @keras.saving.register_keras_serializable(package="tests")
    class Counter(layers.Layer):
        def build(self, shape):
            self.count = self.add_weight(shape=(), dtype="int32", trainable=False, name="count")

        def call(self, inputs):
            return inputs

    with pytest.raises(InvalidInput, match=r"counter/count.*int32.*average") as error:
        TrainingPlan.from_model(model_of(Counter(name="counter"), layers.Dense(1)))
    assert error.value.code == "integer-weights"


@pytest.mark.parametrize("axis", [-1, None])
def test_what_a_normalization_has_adapted_to_is_part_of_the_architecture(axis):
    x = np.random.default_rng(0).normal(5, 3, (50, 4)).astype("float32")
    adapted = layers.Normalization(axis=axis, name="scale")
    adapted.adapt(x)
    inner = keras.Sequential([layers.Input((4,)), adapted], name="inner")
    for first in (adapted, inner):
        model = model_of(first, layers.Dense(1, name="head"))
        plan = sent(TrainingPlan.from_model(model))
        assert [spec.path for spec in plan.weights] == ["head/kernel", "head/bias"]
        rebuilt = plan.build()
        plan.assign(rebuilt, plan.vector_of(model))
        np.testing.assert_allclose(rebuilt.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)
    assert adapted.get_config()["mean"] is None  # the developer's own layer is as it was


def test_a_learned_vocabulary_is_refused_with_what_to_do():
    lookup = layers.IntegerLookup(name="codes", output_mode="multi_hot")
    lookup.adapt(np.array([3, 5, 5, 8]))
    inputs = layers.Input((1,), dtype="int64")
    model = keras.Model(inputs, layers.Dense(1)(lookup(inputs)))
    model.compile("sgd", "mse")
    with pytest.raises(InvalidInput, match="'codes'") as error:
        TrainingPlan.from_model(model)
    assert error.value.code == "adapted-layer"
    assert "get_vocabulary" in error.value.hint


def test_a_model_without_trainable_weights_is_refused():
    with pytest.raises(InvalidInput) as error:
        TrainingPlan.from_model(model_of(layers.Dense(1, trainable=False)))
    assert error.value.code == "nothing-to-train"


@pytest.mark.parametrize("setting", [{"local_epochs": 0}, {"batch_size": True}, {"seed": -1}, {"shuffle": 1}])
def test_a_bad_setting_is_refused_by_name(setting):
    with pytest.raises(InvalidInput, match=next(iter(setting))) as error:
        TrainingPlan.from_model(models.dense()[0], **setting)
    assert error.value.code == "bad-plan"


def test_a_loss_that_has_the_name_of_one_of_keras_is_not_swapped_silently():
    def mean_squared_error(y, p):
        return keras.ops.mean(keras.ops.abs(y - p))

    model = model_of(layers.Dense(1))
    model.compile("sgd", mean_squared_error)
    with pytest.raises(InvalidInput) as error:
        TrainingPlan.from_model(model)
    assert error.value.code == "disguised-loss"


def test_a_lambda_is_refused_in_the_notebook():
    with pytest.raises(NotAllowed, match=r"'double'.*Lambda.*code") as error:
        TrainingPlan.from_model(model_of(layers.Dense(1), layers.Lambda(lambda x: x * 2, name="double")))
    assert error.value.code == "custom-layer"


def test_an_unregistered_layer_is_refused_in_the_notebook():
    class Unregistered(layers.Layer):
        def call(self, inputs):
            return inputs

    with pytest.raises(NotAllowed, match=r"'mine'.*not registered") as error:
        TrainingPlan.from_model(model_of(layers.Dense(1), Unregistered(name="mine")))
    assert "register_keras_serializable" in error.value.hint


# ---- what a node refuses --------------------------------------------------------------------------------------------


def test_a_registered_layer_is_refused_unless_the_owner_allows_it():
    model, _ = models.custom()
    plan = sent(TrainingPlan.from_model(model))
    with pytest.raises(NotAllowed, match=r"'scale'.*'tests>Scale'.*not allowed") as error:
        plan.build()
    assert error.value.code == "custom-layer"
    assert "allow_layers" in error.value.hint
    rebuilt = plan.build(allowed_custom=ALLOWED)
    plan.assign(rebuilt, plan.vector_of(model))


def test_an_allowed_layer_may_name_the_module_that_registers_it():
    plan = TrainingPlan.from_model(models.custom()[0])
    assert plan.build(allowed_custom=["keras_models:tests>Scale"]).count_params() == plan.parameters
    with pytest.raises(InvalidInput, match="no_such_module") as error:
        plan.build(allowed_custom=["no_such_module:tests>Scale"])
    assert error.value.code == "custom-layer-missing"


def test_an_allowed_layer_that_is_not_installed_is_told():
    def change(data):
        layer_entry(data).update(module=None, class_name="Gone", registered_name="their>Gone")

    with pytest.raises(InvalidInput, match="their>Gone") as error:
        hostile(change).build(allowed_custom=["their>Gone"])
    assert error.value.code == "custom-layer-missing"


UNSAFE = {
    "lambda": {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "victim"}},
    "lambda function": {"class_name": "__lambda__", "config": {"code": "4wEAAA=="}},
    "saved model": {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/etc/passwd"}},
    "torch": {"module": "keras.layers", "class_name": "TorchModuleWrapper", "config": {}},
    "typespec": {"class_name": "__typespec__", "spec_name": "TensorSpec", "module": "os", "config": []},
    "any class": {"module": "os", "class_name": "system", "config": {}, "registered_name": None},
    "any class of keras": {"module": "keras.utils", "class_name": "get_file", "config": {}, "registered_name": None},
    "private class": {"module": "keras.src.layers.core.lambda_layer", "class_name": "Lambda2", "config": {}},
    "disguised": {"module": "keras.layers", "class_name": "Dense", "config": {}, "registered_name": "tests>Scale"},
    "module of an operation": {"module": "keras.src.ops.numpy", "class_name": "np", "config": {}},
    "operation outside": {"module": "keras.src.ops.numpy", "class_name": "Operation", "config": {}},
    "any function": {"module": "builtins", "class_name": "function", "config": "eval", "registered_name": "function"},
    "keras's loader": {"module": "keras.activations", "class_name": "function", "config": "deserialize"},
    "no module": {"class_name": "Dense", "config": {"units": 1}},
}


@pytest.mark.parametrize("kind", UNSAFE)
@pytest.mark.parametrize("place", ["layer", "activation", "loss", "optimizer", "metric"])
def test_nothing_but_keras_own_objects_is_let_through(kind, place):
    def change(data):
        if place == "layer":
            entry = layer_entry(data)
            graph = {key: entry[key] for key in ("name", "inbound_nodes")}
            entry.clear()
            entry.update(UNSAFE[kind] | graph)
        elif place == "activation":
            layer_entry(data)["config"]["activation"] = UNSAFE[kind]
        elif place == "metric":
            data["compile"]["metrics"] = {"deep": [[UNSAFE[kind]]]}
        else:
            data["compile"][place] = UNSAFE[kind]

    plan = hostile(change)
    with pytest.raises(NotAllowed) as error:
        plan.build(allowed_custom=["some>Other"])
    assert error.value.code == "custom-layer"


def test_a_registered_function_behind_a_plain_string_is_refused():
    @keras.saving.register_keras_serializable(package="tests")
    def sneaky(x):
        return x

    def change(data):
        layer_entry(data)["config"]["activation"] = "tests>sneaky"

    with pytest.raises(NotAllowed, match="tests>sneaky"):
        hostile(change).build()


def test_a_vocabulary_file_is_not_opened():
    def change(data):
        config = {"name": "victim", "vocabulary": "/etc/passwd", "max_tokens": 9}
        layer_entry(data).update(module="keras.layers", class_name="StringLookup", config=config)

    with pytest.raises(NotAllowed, match="opens no file"):
        hostile(change).build()


def test_a_nested_model_is_looked_into():
    inner = keras.Sequential([layers.Input((4,)), models.Scale(4, name="deep")], name="inner")
    plan = TrainingPlan.from_model(model_of(inner, layers.Dense(1)))
    with pytest.raises(NotAllowed, match="'deep'"):
        plan.build()


def test_a_model_other_than_the_plans_weights_is_refused():
    def change(data):
        data["weights"][0][1] = [4, 3]

    with pytest.raises(InvalidInput, match="victim/kernel") as error:
        hostile(change).build()
    assert error.value.code == "model-mismatch"


def test_a_configuration_that_keras_cannot_build_is_one_clear_error():
    def change(data):
        layer_entry(data)["config"]["units"] = "many"

    with pytest.raises(InvalidInput, match="cannot build") as error:
        hostile(change).build()
    assert error.value.code == "bad-model"


def test_deep_or_large_json_is_refused_without_recursion():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidInput, match="levels") as error:
        TrainingPlan.from_dict({"model": deep})
    assert error.value.code == "plan-too-large"
    with pytest.raises(InvalidInput, match="values"):
        TrainingPlan.from_dict({"model": [0] * 600_000})
    data = TrainingPlan.from_model(models.dense()[0]).to_dict()
    with pytest.raises(InvalidInput, match="bytes"):
        TrainingPlan.from_dict({**data, "model": {**data["model"], "name": "x" * (3 << 20)}})


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2}, {"model": []}, {"compile": {}}, {"weights": []}, {"weights": [["a", [1], "int32"]]},
        {"weights": [["a", [-1], "float32"]]}, {"weights": [["a", [1], "float32"]] * 2}, {"weights": {}},
        {"batch_size": "8"}, {"local_epochs": 0}, {"seed": 1.5}, {"more": 1}, {"model": {"layers": float("nan")}},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_not_a_plan_is_refused(change):
    data = TrainingPlan.from_model(models.dense()[0]).to_dict()
    with pytest.raises(InvalidInput) as error:
        TrainingPlan.from_dict({**data, **change})
    assert error.value.code == "bad-plan"


@pytest.mark.parametrize("junk", [None, 3, "plan", [], {}])
def test_junk_is_refused(junk):
    with pytest.raises(InvalidInput):
        TrainingPlan.from_dict(junk)


def test_reading_a_plan_does_not_import_keras():
    data = json.dumps(TrainingPlan.from_model(models.dense()[0]).to_dict())
    script = (
        "import json,sys\n"
        "from flaas_jupyter.plan import TrainingPlan\n"
        "TrainingPlan.from_dict(json.load(sys.stdin)).digest\n"
        "print('keras' in sys.modules)\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], input=data, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_a_schedule_becomes_its_first_rate():
    model = model_of(layers.Dense(1))
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 10, 0.9)), "mse")
    plan = sent(TrainingPlan.from_model(model))
    assert plan.learning_rate_schedule is not None
    assert float(plan.build().optimizer.learning_rate) == 0.5


def test_a_nested_federated_model_travels_as_the_keras_model_that_it_is():
    from flaas_jupyter.federatedmodel import FederatedModel

    inputs = layers.Input((4,))
    inner = FederatedModel(inputs, layers.Dense(4, name="d")(inputs), secure_aggregation=True, name="inner")
    inner.compile("adam", "mse")
    plan = sent(TrainingPlan.from_model(model_of(inner, layers.Dense(1, name="head"))))
    plan.build()
    assert [spec.path for spec in plan.weights] == ["inner/d/kernel", "inner/d/bias", "head/kernel", "head/bias"]
