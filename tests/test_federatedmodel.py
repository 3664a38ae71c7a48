import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers, ops

from flaas_jupyter import activations, federatedmodel
from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.federatedmodel import FederatedModel, SecureAggregation
from flaas_jupyter.plan import TrainingPlan
from flaas_jupyter.protocols.aggregation import Needs, Rule, aggregation
from flaas_jupyter.protocols.privacy import DifferentialPrivacy


def small(**options) -> FederatedModel:
    inputs = layers.Input((4,))
    outputs = layers.Dense(1, activation="sigmoid")(layers.Dense(3, activation="relu")(inputs))
    return FederatedModel(inputs, outputs, **options)


def compiled(**options) -> FederatedModel:
    model = small(**options)
    model.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=["accuracy"])
    return model


def data(rows: int = 40) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(0).normal(size=(rows, 4)).astype("float32")
    return x, (x[:, 0] > 0).astype("float32")


class FakeFederation:
    """Answers to a federation's interface; `fit` is watched, nothing trains."""

    def train(self, plan, weights, options):
        raise AssertionError("federated_fit is replaced in these tests")

    @property
    def clients(self):
        raise AssertionError("asking for this goes over the network")


@pytest.fixture
def fitted(monkeypatch):
    """What `fit` hands over to `federated_fit`."""
    from flaas_jupyter import federated_fit

    calls = []
    monkeypatch.setattr(
        federated_fit, "federated_fit", lambda *args, **kwargs: calls.append((args, kwargs)) or "history"
    )
    return calls


def test_the_designs_example_runs_as_it_stands():
    from keras import layers
    from tensorflow import nn

    from flaas_jupyter import federatedmodel

    with pytest.warns(UserWarning, match="input_shape"):
        input_layer = layers.InputLayer(input_shape=(23,))
    net = layers.Dense(12, activation=nn.relu)(input_layer.output)
    net = layers.Dropout(0.5)(net)
    net = layers.Dense(1, activation=nn.sigmoid)(net)
    model = federatedmodel.FederatedModel(inputs=input_layer.output, outputs=net, secure_aggregation=True)

    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    rebuilt = TrainingPlan.from_dict(TrainingPlan.from_model(model).to_dict()).build()
    rebuilt.set_weights(model.get_weights())
    x = np.random.default_rng(0).normal(size=(5, 23))
    np.testing.assert_array_equal(rebuilt.predict(x, verbose=0), model.predict(x, verbose=0))
    assert model.secure_aggregation == SecureAggregation(clip=8.0)
    assert [layer.activation for layer in model.layers[1::2]] == [keras.activations.relu, keras.activations.sigmoid]


def test_fit_with_arrays_is_keras_own():
    x, y = data()
    ours = compiled()
    keras_own = keras.models.clone_model(keras.Model(ours.input, ours.output))
    keras_own.set_weights(ours.get_weights())
    keras_own.compile(keras.optimizers.SGD(0.1), "binary_crossentropy", metrics=["accuracy"])
    options = {"epochs": 3, "batch_size": 8, "verbose": 0, "shuffle": False, "validation_split": 0.25}
    assert ours.fit(x, y, **options).history == keras_own.fit(x, y, **options).history
    positional = ours.fit(x, y, 8, 2, 0, None, 0.25)
    assert positional.epoch == [0, 1]
    assert "val_loss" in positional.history
    assert len(ours.fit(x, y, verbose=0, validation_data=(x, y)).history["val_loss"]) == 1
    assert ours.federated_report is None


def test_fit_takes_data_sets_and_tables_as_keras_does():
    import tensorflow as tf

    x, y = data()
    misleading = pd.DataFrame(x, columns=["train", "clients", "federation", "d"])
    for first, rest in ((tf.data.Dataset.from_tensor_slices((x, y)).batch(8), []), (misleading, [pd.Series(y)])):
        assert len(compiled().fit(first, *rest, verbose=0, shuffle=False).history["loss"]) == 1


def test_a_saved_model_is_loaded_as_it_was(tmp_path):
    x, y = data()
    model = compiled(secure_aggregation=SecureAggregation(clip=2.5, group_size=4, sharded=True), name="risk")
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is FederatedModel
    assert (loaded.secure_aggregation, loaded.aggregation, loaded.name) == (
        SecureAggregation(2.5, 4, sharded=True),
        "fedavg",
        "risk",
    )
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert loaded.evaluate(x, y, verbose=0) == model.evaluate(x, y, verbose=0)
    assert TrainingPlan.from_model(loaded).digest == TrainingPlan.from_model(model).digest


def test_a_model_of_named_inputs_and_outputs_is_rebuilt_from_its_config():
    a, b = layers.Input((2,), name="a"), layers.Input((3,), name="b")
    net = layers.Concatenate()([a, b])
    model = FederatedModel({"a": a, "b": b}, {"risk": layers.Dense(1)(net), "cost": layers.Dense(1)(net)})
    rebuilt = FederatedModel.from_config(model.get_config())
    rebuilt.set_weights(model.get_weights())
    x = {"a": np.ones((2, 2)), "b": np.ones((2, 3))}
    expected, got = model.predict(x, verbose=0), rebuilt.predict(x, verbose=0)
    assert got.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(got[name], expected[name])


def test_layers_that_are_frozen_stay_frozen():
    model = small()
    model.layers[1].trainable = False
    rebuilt = FederatedModel.from_config(model.get_config())
    assert [layer.trainable for layer in rebuilt.layers] == [layer.trainable for layer in model.layers]
    model.trainable = False
    assert FederatedModel.from_config(model.get_config()).trainable_weights == []


def test_a_clone_has_the_same_graph_and_weights_of_its_own():
    # Keras makes a plain functional model of every subclass with options of its own.
    model = small()
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    x, _ = data()
    np.testing.assert_array_equal(clone.predict(x, verbose=0), model.predict(x, verbose=0))
    assert clone.count_params() == model.count_params()
    lines: list[str] = []
    model.summary(print_fn=lines.append)
    assert "19" in "".join(lines)


# ---- options --------------------------------------------------------------------------------------------------------


def test_secure_aggregation_is_off_on_or_with_options():
    assert small().secure_aggregation is None
    assert small(secure_aggregation=True).secure_aggregation == SecureAggregation()
    assert small(secure_aggregation=SecureAggregation(clip=1)).secure_aggregation.clip == 1.0
    with pytest.raises(InvalidInput, match="'yes'") as error:
        small(secure_aggregation="yes")
    assert error.value.code == "bad-secure-aggregation"


@pytest.mark.parametrize("clip", [0, -1, float("nan"), float("inf"), "8", True])
def test_a_bad_clip_is_refused(clip):
    with pytest.raises(InvalidInput, match="clip") as error:
        SecureAggregation(clip)
    assert error.value.code == "bad-clip"


def test_an_unknown_aggregation_rule_is_refused_with_the_names():
    with pytest.raises(InvalidInput, match=r"fedavg.*Did you mean 'fedavg'") as error:
        small(aggregation="fedavgg")
    assert error.value.code == "unknown-aggregation"
    with pytest.raises(InvalidInput, match="fedavg"):
        small(aggregation=3)


class Unheard(Rule):
    """A rule that nobody has registered."""

    name = "unheard"
    needs = Needs.SUM

    def aggregate(self, cohort):
        raise NotImplementedError


def test_a_rule_of_ones_own_has_no_name_to_send_before_it_is_registered(tmp_path):
    for rule in (Unheard(), type("Krum", (Unheard,), {"name": "krum"})()):
        model = small(aggregation=rule)
        with pytest.raises(InvalidInput, match=type(rule).__name__) as error:
            model.save(tmp_path / "m.keras")
        assert error.value.code == "aggregation-object"


def test_a_registered_rule_is_sent_and_saved_by_name_and_options(tmp_path):
    model = compiled(aggregation=aggregation("trimmed_mean", byzantine=1))
    assert (model.aggregation_name, model.aggregation_options["byzantine"]) == ("trimmed_mean", 1)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.aggregation == aggregation("trimmed_mean", byzantine=1)
    assert loaded.aggregation_options == model.aggregation_options
    assert small(aggregation="trimmed_mean").aggregation_options == {}


def test_options_are_sent_as_json_has_them():
    model = small(aggregation=aggregation("krum", byzantine=np.int64(2)))
    assert model.aggregation_options == {"byzantine": 2}
    assert type(model.aggregation_options["byzantine"]) is int


def test_a_rule_that_must_see_updates_runs_in_groups_with_secure_aggregation():
    class Nosy(Rule):
        needs = Needs.UPDATES

        def aggregate(self, cohort):
            raise NotImplementedError

    assert small(aggregation=Nosy()).group_size is None
    assert small(aggregation=Nosy(), secure_aggregation=True).group_size == 3
    assert small(aggregation="median", secure_aggregation=SecureAggregation(group_size=5)).group_size == 5
    assert small(aggregation="fedavg", secure_aggregation=SecureAggregation(group_size=5)).group_size is None


def test_every_registered_rule_can_be_asked_for():
    for name in aggregation.names():
        assert small(aggregation=name).aggregation_name == name


def test_privacy_is_saved_and_restored(tmp_path):
    privacy = DifferentialPrivacy(epsilon=4.0, delta=1e-5, clip=0.5, mode="local")
    model = compiled(privacy=privacy, aggregation="krum")
    model.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").privacy == privacy
    assert FederatedModel.from_config(small().get_config()).privacy is None


@pytest.mark.parametrize("privacy", [True, 1.0, "central", {"epsilon": 1.0}], ids=str)
def test_what_is_no_privacy_is_refused(privacy):
    with pytest.raises(InvalidInput, match=r"flaas\.DifferentialPrivacy") as error:
        small(privacy=privacy)
    assert error.value.code == "bad-privacy"


@pytest.mark.parametrize("rule", ["median", "fedqv"])
def test_central_privacy_is_for_rules_that_need_sums_only(rule):
    central = DifferentialPrivacy(epsilon=4.0, delta=1e-5, clip=0.5)
    with pytest.raises(InvalidInput, match=rf"{rule}.*mean of the clipped updates") as error:
        small(privacy=central, aggregation=rule)
    assert error.value.code == "aggregation-with-privacy"
    assert "fedavg" in error.value.hint
    assert "krum" not in error.value.hint
    for allowed in ("fedavg", "fedprox", "fedadam"):
        assert small(privacy=central, aggregation=allowed, secure_aggregation=True).privacy == central


def test_with_secure_aggregation_a_rule_may_see_sums_and_a_number_of_each_client():
    for rule in ("fedavg", "fedprox", "fedyogi", "fedqv"):
        assert small(secure_aggregation=True, aggregation=rule).aggregation == rule
    with pytest.raises(InvalidInput, match="fltrust compares with the update of client 'north'") as error:
        small(secure_aggregation=True, aggregation=aggregation("fltrust", trusted="north"))
    assert error.value.code == "aggregation-needs-updates"
    assert error.value.details["reason"] == "SECAGG_INCOMPATIBLE_AGGREGATOR"
    assert "fedqv" in error.value.hint
    assert "median" not in error.value.hint


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"group_size": 2}, "bad-group-size"),
        ({"group_size": 3.5}, "bad-group-size"),
        ({"group_size": None}, "bad-group-size"),
        ({"sharded": 1}, "bad-secure-aggregation"),
    ],
)
def test_options_of_secure_aggregation_that_are_none(options, code):
    with pytest.raises(InvalidInput) as error:
        SecureAggregation(**options)
    assert error.value.code == code


def test_what_a_sum_in_shards_cannot_do_is_refused():
    sharded = SecureAggregation(sharded=True)
    distributed = DifferentialPrivacy(epsilon=4.0, delta=1e-5, clip=0.5, mode="distributed")
    for possible in ({}, {"aggregation": "fedadam"}, {"privacy": distributed}):
        assert small(secure_aggregation=sharded, **possible).secure_aggregation.sharded
    central = DifferentialPrivacy(epsilon=4.0, delta=1e-5, clip=0.5)
    for impossible in ({"aggregation": "fedqv"}, {"aggregation": "krum"}, {"privacy": central}):
        with pytest.raises(InvalidInput) as error:
            small(secure_aggregation=sharded, **impossible)
        assert error.value.code == "secagg-not-sharded"
    with pytest.raises(InvalidInput) as error:
        small(privacy=distributed)
    assert error.value.code == "privacy-needs-secure-aggregation"


# ---- activations ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["tensorflow.nn", "keras.ops"])
def test_every_activation_in_the_table_means_the_same_in_keras(library):
    import tensorflow as tf

    namespace = {"tensorflow.nn": tf.nn, "keras.ops": ops}[library]
    x = np.random.default_rng(0).normal(0, 4, (6, 8)).astype("float32")
    checked = 0
    for name in activations.SAME[library]:
        function = getattr(namespace, name, None)
        if function is not None:
            np.testing.assert_allclose(function(x), keras.activations.get(name)(x), rtol=1e-5, atol=1e-6, err_msg=name)
            checked += 1
    assert checked >= len(activations.SAME[library]) - 1


def test_inner_activations_are_replaced_too():
    import tensorflow as tf

    inputs = layers.Input((3, 2))
    lstm = layers.LSTM(2, activation=tf.nn.relu, recurrent_activation=tf.math.sigmoid)
    model = FederatedModel(inputs, layers.Activation(tf.nn.softmax)(layers.Bidirectional(lstm)(inputs)))
    cell = model.layers[1].forward_layer.cell
    assert cell.activation is keras.activations.relu
    assert cell.recurrent_activation is keras.activations.sigmoid
    assert model.layers[2].activation is keras.activations.softmax


def impostor():
    def relu(x):
        return x * 0

    return relu


def test_an_activation_without_an_equal_is_refused_with_what_is_allowed():
    import tensorflow as tf

    for function in (tf.nn.crelu, ops.gelu, impostor(), lambda x: x):
        inputs = layers.Input((3,))
        outputs = layers.Dense(2, activation=function, name="odd")(inputs)
        with pytest.raises(InvalidInput, match=r"'odd'.*Allowed are.*relu6") as error:
            FederatedModel(inputs, outputs)
        assert error.value.code == "foreign-activation"


def test_a_registered_activation_is_kept():
    @keras.saving.register_keras_serializable(package="tests")
    def bent(x):
        return ops.where(x > 0, x, x / 3)

    inputs = layers.Input((3,))
    model = FederatedModel(inputs, layers.Dense(2, activation=bent)(inputs))
    assert model.layers[1].activation is bent


def test_an_activation_layer_is_kept():
    inputs = layers.Input((3,))
    FederatedModel(inputs, layers.Dense(2, activation=layers.LeakyReLU())(inputs))


# ---- fit with a federation ------------------------------------------------------------------------------------------


def test_fit_hands_a_federation_over(fitted):
    model, federation = compiled(), FakeFederation()
    callback = keras.callbacks.TerminateOnNaN()
    x, y = data()
    result = model.fit(
        federation, rounds=3, local_epochs=2, batch_size=16, clients_per_round=5, minimum_nodes=2,
        validation_data=(x, y), callbacks=[callback], seed=7, verbose=0, run_name="first",
    )  # fmt: skip
    assert result == "history"
    [((passed, to), options)] = fitted
    assert (passed, to) == (model, federation)
    assert options == {
        "rounds": 3, "local_epochs": 2, "batch_size": 16, "clients_per_round": 5, "minimum_nodes": 2,
        "validation_data": (x, y), "callbacks": [callback], "seed": 7, "verbose": 0, "resume": None,
        "run_name": "first", "validation_freq": 1, "shuffle": True, "preprocessing": None,
    }  # fmt: skip


def test_shuffling_can_be_left_away(fitted):
    compiled().fit(FakeFederation(), rounds=1, shuffle=False)
    assert fitted[0][1]["shuffle"] is False
    model = compiled()
    before = model.get_weights()
    histories = []
    for _ in range(2):
        model.set_weights(before)
        model.optimizer.iterations.assign(0)
        histories.append(model.fit(*data(), epochs=2, batch_size=3, shuffle=False, verbose=0).history["loss"])
    np.testing.assert_allclose(*histories, rtol=1e-6)


def test_fit_fills_in_what_is_left_out(fitted):
    compiled().fit(FakeFederation(), rounds=np.int64(2))
    [(_, options)] = fitted
    assert (options["rounds"], options["local_epochs"], options["batch_size"]) == (2, 1, 32)
    assert (options["clients_per_round"], options["seed"], options["verbose"], options["callbacks"]) == (
        None,
        None,
        1,
        [],
    )


def test_a_run_may_be_resumed_without_saying_its_rounds(fitted):
    compiled().fit(FakeFederation(), resume="run-1")
    assert fitted[0][1]["resume"] == "run-1"


@pytest.mark.parametrize("rounds", [None, 0, -1, 1.5, "3", True])
def test_rounds_must_be_a_positive_integer(fitted, rounds):
    with pytest.raises(InvalidInput, match="rounds") as error:
        compiled().fit(FakeFederation(), rounds=rounds)
    assert error.value.code == "bad-rounds"
    assert fitted == []


@pytest.mark.parametrize(
    "setting",
    [
        {"local_epochs": 0},
        {"batch_size": -1},
        {"clients_per_round": 0},
        {"minimum_nodes": 1.5},
        {"seed": -1},
        {"seed": 0.5},
    ],
    ids=str,
)
def test_a_bad_setting_is_named(fitted, setting):
    with pytest.raises(InvalidInput, match=next(iter(setting))) as error:
        compiled().fit(FakeFederation(), rounds=1, **setting)
    assert error.value.code == "bad-setting"
    assert fitted == []


def test_epochs_are_ambiguous_with_a_federation(fitted):
    with pytest.raises(InvalidInput, match="local_epochs") as error:
        compiled().fit(FakeFederation(), epochs=3)
    assert error.value.code == "epochs-with-federation"


@pytest.mark.parametrize(
    "given",
    [{"y": np.ones(3)}, {"sample_weight": np.ones(3)}, {"class_weight": {0: 2}}, {"validation_split": 0.1}],
    ids=list,
)
def test_what_belongs_to_arrays_is_refused_with_a_federation(fitted, given):
    with pytest.raises(InvalidInput, match=next(iter(given))) as error:
        compiled().fit(FakeFederation(), rounds=1, **given)
    assert error.value.code == "keras-arguments-with-federation"


@pytest.mark.parametrize("given", [{"rounds": 3}, {"clients_per_round": 2}, {"seed": 1}, {"resume": "r"}], ids=list)
def test_what_belongs_to_a_federation_is_refused_with_arrays(given):
    x, y = data()
    with pytest.raises(InvalidInput, match=rf"{next(iter(given))}.*ndarray.*\(40, 4\)") as error:
        compiled().fit(x, y, **given)
    assert error.value.code == "rounds-with-arrays"


def test_missing_targets_are_told():
    with pytest.raises(InvalidInput, match="y is missing") as error:
        compiled().fit(data()[0])
    assert error.value.code == "missing-y"


def test_a_project_is_not_yet_a_federation():
    class Project:
        def federation(self, dataset):
            raise NotImplementedError

    with pytest.raises(InvalidInput, match=r"project\.federation\(dataset") as error:
        compiled().fit(Project(), rounds=1)
    assert error.value.code == "not-a-federation"


def test_an_uncompiled_model_is_told_before_anything_is_sent(fitted):
    with pytest.raises(InvalidInput, match=r"compile\(") as error:
        small().fit(FakeFederation(), rounds=1)
    assert error.value.code == "not-compiled"
    assert fitted == []


def test_the_package_offers_the_same_class():
    import flaas_jupyter

    assert flaas_jupyter.FederatedModel is federatedmodel.FederatedModel
