import json

import keras
import keras_models as models
import numpy as np
import pytest
from keras import layers

from flaas_jupyter.errors import Aborted, InvalidInput, NotAllowed
from flaas_jupyter.execution.trainer import Trainer
from flaas_jupyter.plan import TrainingPlan
from flaas_jupyter.training import local
from flaas_jupyter.training.arrays import Arrays
from flaas_jupyter.training.seeds import ClientSeeds


def sent(model: keras.Model, **settings) -> TrainingPlan:
    """The plan as it arrives at a node."""
    return TrainingPlan.from_dict(json.loads(json.dumps(TrainingPlan.from_model(model, **settings).to_dict())))


def classifier(optimizer="sgd", units: int = 1, loss: str = "binary_crossentropy", dtype=None, **layer) -> keras.Model:
    keras.utils.set_random_seed(2)
    inputs = layers.Input((6,), dtype=dtype)
    net = layers.Dense(5, activation="tanh", dtype=dtype, **layer)(inputs)
    activation = {"binary_crossentropy": "sigmoid", "mse": None}.get(loss, "softmax")
    model = keras.Model(inputs, layers.Dense(units, activation=activation, dtype=dtype, name="out")(net))
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def rows(count: int, seed: int = 0) -> Arrays:
    rng = np.random.default_rng(seed)
    x = rng.normal(seed / 3, 1, (count, 6)).astype("float32")
    return Arrays("loans", {"": x}, {"": (x @ np.linspace(-1, 1, 6) > 0).astype("int32")})


def trained(model: keras.Model, arrays: Arrays, *, round_number: int = 1, learning_rate=None, **settings):
    plan = sent(model, **settings)
    return Trainer(plan, arrays).train(plan.vector_of(model), round_number=round_number, learning_rate=learning_rate)


# ---- it trains ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", models.FAMILIES)
def test_every_family_of_models_trains(family):
    model, arrays = models.FAMILIES[family]()
    plan = sent(model, local_epochs=2, batch_size=16, seed=1)
    start = plan.vector_of(model)
    result = Trainer(plan, arrays).train(start, round_number=1)
    assert result.weights.shape == (plan.parameters,)
    assert result.weights.dtype == plan.dtype
    assert not np.array_equal(result.weights, start)
    assert result.examples == arrays.rows == models.ROWS
    assert result.seconds > 0
    expected = {"loss", *({"accuracy"} if family in ("dense", "convolutional", "batch_normalised") else ())}
    assert expected <= result.metrics.keys()
    assert all(isinstance(value, float) and np.isfinite(value) for value in result.metrics.values())


def test_training_lowers_the_loss():
    model, arrays = classifier(keras.optimizers.Adam(0.05)), rows(200)
    before = trained(model, arrays, seed=1).metrics["loss"]
    assert trained(model, arrays, seed=1, local_epochs=20).metrics["loss"] < before / 2


def test_metrics_of_several_outputs_carry_their_names():
    model, arrays = models.two_inputs_two_outputs()
    metrics = trained(model, arrays).metrics
    assert {"loss", "risk_loss", "cost_loss", "risk_accuracy"} <= metrics.keys()


def test_a_metric_of_several_values_is_spread_out():
    model = classifier(units=3, loss="categorical_crossentropy")
    model.compile("sgd", "categorical_crossentropy", metrics=[keras.metrics.F1Score(name="f1")])
    arrays = Arrays("loans", {"": models.features(6)}, {"": np.eye(3, dtype="float32")[np.arange(models.ROWS) % 3]})
    assert {"f1_0", "f1_1", "f1_2"} <= trained(model, arrays).metrics.keys()


def test_the_graph_loop_gives_what_keras_fit_gives():
    model, arrays = models.dense()
    plan = sent(model, local_epochs=3, batch_size=7, seed=1)  # 48 rows: the last batch is smaller
    ours = Trainer(plan, arrays)
    keras_own = Trainer(plan, arrays)
    x, y = arrays.inputs[""], arrays.targets[""].astype("float32")[:, None]
    keras_own._training._run_epoch = local._keras_epoch(keras_own._training._model, x, y, plan.batch_size)
    start = plan.vector_of(model)
    one, other = (trainer.train(start, round_number=4) for trainer in (ours, keras_own))
    np.testing.assert_allclose(one.weights, other.weights, atol=1e-6)
    assert one.metrics.keys() == other.metrics.keys()
    for name, value in one.metrics.items():
        assert value == pytest.approx(other.metrics[name], abs=1e-5)


def test_federated_sgd_of_full_batches_is_centralised_sgd():
    model = classifier(keras.optimizers.SGD(0.5))
    parts = [rows(40, 0), rows(25, 1), rows(90, 2)]
    plan = sent(model, batch_size=1000)
    clients = [Trainer(plan, part) for part in parts]
    weights = plan.vector_of(model)
    x = np.concatenate([part.inputs[""] for part in parts])
    y = np.concatenate([part.targets[""] for part in parts])
    for number in range(1, 6):
        results = [client.train(weights, round_number=number) for client in clients]
        weights = np.average([r.weights for r in results], axis=0, weights=[r.examples for r in results]).astype(
            "float32"
        )
        loss = model.train_on_batch(x, y, return_dict=True)["loss"]
        assert np.average([r.metrics["loss"] for r in results], weights=[40, 25, 90]) == pytest.approx(loss, abs=1e-5)
    np.testing.assert_allclose(weights, plan.vector_of(model), atol=1e-5)


def test_weights_in_double_precision_stay_so():
    model = classifier(keras.optimizers.SGD(0.5), loss="mse", dtype="float64")
    parts = [rows(40, 0), rows(25, 1)]
    plan = sent(model, batch_size=1000)
    assert plan.dtype == "float64"
    start = plan.vector_of(model)
    results = [Trainer(plan, part).train(start, round_number=1) for part in parts]
    model.train_on_batch(
        np.concatenate([part.inputs[""] for part in parts]), np.concatenate([part.targets[""] for part in parts])
    )
    mean = np.average([r.weights for r in results], axis=0, weights=[40, 25])
    assert mean.dtype == "float64"
    # Keras computes losses in single precision.
    np.testing.assert_allclose(mean, plan.vector_of(model), atol=1e-7)


def test_moving_statistics_of_batch_normalisation_are_part_of_the_result():
    inputs = layers.Input((6,))
    model = keras.Model(inputs, layers.Dense(1)(layers.BatchNormalization(momentum=0.5, name="bn")(inputs)))
    model.compile("sgd", "mse")
    plan, arrays = sent(model, batch_size=1000), rows(50, 2)
    result = Trainer(plan, arrays).train(plan.vector_of(model), round_number=1)
    plan.assign(model, result.weights)
    np.testing.assert_allclose(model.get_layer("bn").moving_mean, arrays.inputs[""].mean(axis=0) / 2, atol=1e-5)


# ---- rounds are fresh and repeatable --------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "adagrad", "rmsprop", "lion"])
def test_every_round_starts_with_a_fresh_optimizer(optimizer):
    model, arrays = classifier(optimizer), rows(30)
    plan = sent(model, seed=1)
    start, trainer = plan.vector_of(model), Trainer(plan, arrays)
    first = trainer.train(start, round_number=1)
    trainer.train(first.weights, round_number=2)
    np.testing.assert_array_equal(trainer.train(start, round_number=1).weights, first.weights)


def test_the_same_seed_node_and_round_give_the_same_update_also_after_a_restart():
    model, arrays = models.dense()  # with drop-out
    plan = sent(model, batch_size=8, seed=1, local_epochs=2)
    start = plan.vector_of(model)
    first = Trainer(plan, arrays).train(start, round_number=3)
    again = Trainer(plan, arrays).train(start, round_number=3)
    np.testing.assert_array_equal(first.weights, again.weights)
    assert first.metrics == again.metrics


def test_rounds_nodes_and_seeds_shuffle_and_drop_out_differently():
    model, arrays = models.dense()
    start = sent(model).vector_of(model)

    def update(seed: int, salt: str, number: int) -> bytes:
        trainer = Trainer(sent(model, batch_size=8, seed=seed), arrays, salt=salt)
        return trainer.train(start, round_number=number).weights.tobytes()

    updates = {update(1, "a", 1), update(1, "a", 2), update(1, "b", 1), update(2, "a", 1)}
    assert len(updates) == 4


def test_without_a_seed_every_trainer_draws_its_own():
    model, arrays = models.dense()
    plan = sent(model, batch_size=8)
    start = plan.vector_of(model)
    one, other = (Trainer(plan, arrays).train(start, round_number=1).weights for _ in range(2))
    assert not np.array_equal(one, other)


def test_rows_stay_in_order_without_shuffling():
    model, arrays = classifier(), rows(30)
    plan = sent(model, batch_size=10, shuffle=False)
    result = Trainer(plan, arrays).train(plan.vector_of(model), round_number=1)
    for at in range(0, 30, 10):
        model.train_on_batch(arrays.inputs[""][at : at + 10], arrays.targets[""][at : at + 10])
    np.testing.assert_allclose(result.weights, plan.vector_of(model), atol=1e-6)


def test_an_epoch_visits_every_row_once():
    seeds = ClientSeeds(1, rows(30).checksum())
    one, other = seeds.order(1, 0, 30), seeds.order(1, 1, 30)
    assert sorted(one) == sorted(other) == list(range(30))
    assert not np.array_equal(one, other)


# ---- learning rate --------------------------------------------------------------------------------------------------


def test_a_learning_rate_given_holds_for_one_round():
    model, arrays = classifier(keras.optimizers.SGD(0.25)), rows(30)
    plan = sent(model, batch_size=100, shuffle=False)
    start, trainer = plan.vector_of(model), Trainer(plan, arrays)
    step = trainer.train(start, round_number=1).weights - start
    halved = trainer.train(start, round_number=2, learning_rate=0.125).weights - start
    np.testing.assert_allclose(halved, step / 2, atol=1e-6)
    np.testing.assert_array_equal(trainer.train(start, round_number=3).weights - start, step)


def test_a_schedule_goes_on_from_round_to_round():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([7], [0.4, 0.1])
    model, arrays = classifier(keras.optimizers.SGD(schedule)), rows(30)
    plan = sent(model, batch_size=10, local_epochs=2)  # six steps a round
    trainer = Trainer(plan, arrays)
    rates = []
    for number in (1, 2, 3):
        trainer.train(plan.vector_of(model), round_number=number)
        rates.append(float(trainer._training._model.optimizer.learning_rate))
    np.testing.assert_allclose(rates, [0.4, 0.4, 0.1])


# ---- it can be stopped and says what went wrong ---------------------------------------------------------------------


@pytest.mark.parametrize("keras_own", [False, True])
def test_training_stops_between_batches(keras_own):
    model, arrays = classifier(), rows(100)
    plan = sent(model, batch_size=1, local_epochs=1000)
    trainer = Trainer(plan, arrays)
    if keras_own:
        y = arrays.targets[""].astype("float32")[:, None]
        trainer._training._run_epoch = local._keras_epoch(trainer._training._model, arrays.inputs[""], y, 1)
    asked = 0

    def third_time() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    start = plan.vector_of(model)
    with pytest.raises(Aborted) as error:
        trainer.train(start, round_number=1, should_stop=third_time)
    assert error.value.code == "training-stopped"
    assert asked == 3


@pytest.mark.parametrize("rate", [1e38, 1e30])
def test_an_update_that_is_not_finite_is_not_handed_over(rate):
    with pytest.raises(InvalidInput, match="round 2") as error:
        trained(classifier(keras.optimizers.SGD(rate), loss="mse"), rows(30), local_epochs=5, round_number=2)
    assert error.value.code == "non-finite-update"
    assert "learning rate" in error.value.hint


def test_a_custom_layer_trains_only_where_it_is_allowed():
    model, arrays = models.custom()
    plan = sent(model)
    with pytest.raises(NotAllowed) as error:
        Trainer(plan, arrays)
    assert error.value.code == "custom-layer"
    Trainer(plan, arrays, allowed_custom=("tests>Scale",)).train(plan.vector_of(model), round_number=1)


# ---- does it fit ----------------------------------------------------------------------------------------------------


def does_not_fit(model: keras.Model, arrays: Arrays) -> InvalidInput:
    with pytest.raises(InvalidInput) as error:
        Trainer(sent(model), arrays)
    assert error.value.code == "model-does-not-fit", error.value
    assert "'loans'" in error.value.message
    return error.value


def test_other_features_are_named():
    columns = ("age", "income", "debt", "rate", "years", "calls", "late", "region")
    arrays = Arrays("loans", {"": np.ones((9, 8), "float32")}, {"": np.zeros(9, "int32")}, columns)
    told = does_not_fit(classifier(), arrays)
    assert "expects (None, 6); the data set has 8 features: age, income, debt, rate, years, …" in told.message
    assert (told.details["expected"], told.details["received"]) == ("(None, 6)", "(None, 8)")


def test_other_shapes_are_named():
    arrays = Arrays("loans", {"": np.ones((9, 4, 4), "float32")}, {"": np.zeros(9, "int32")})
    assert "expects (None, 6); the data set has (None, 4, 4)" in does_not_fit(classifier(), arrays).message


def test_a_last_axis_of_one_may_be_left_out():
    model, arrays = models.convolutional()
    flat = Arrays("loans", {"": arrays.inputs[""][..., 0]}, arrays.targets)
    np.testing.assert_array_equal(trained(model, flat, seed=1).weights, trained(model, arrays, seed=1).weights)


def five_classes() -> Arrays:
    return Arrays("loans", {"": models.features(6)}, {"": (np.arange(models.ROWS) % 5).astype("int32")})


def test_more_classes_than_a_sigmoid_knows():
    told = does_not_fit(classifier(), five_classes())
    assert "labels are 0..4" in told.message
    assert "'out', which has 1 unit," in told.message
    assert 'Dense(5, activation="softmax")' in told.hint


def test_more_classes_than_units():
    told = does_not_fit(classifier(units=3, loss="sparse_categorical_crossentropy"), five_classes())
    assert "labels are 0..4, and output 'out' has 3 units" in told.message
    trained(classifier(units=5, loss="sparse_categorical_crossentropy"), five_classes())


def test_integer_labels_for_a_loss_that_wants_one_hot():
    told = does_not_fit(classifier(units=5, loss="categorical_crossentropy"), five_classes())
    assert "(None, 5)" in told.message
    assert "sparse_categorical_crossentropy" in told.hint


@pytest.mark.parametrize("loss", ["binary_crossentropy", "sparse_categorical_crossentropy"])
def test_a_quantity_for_a_loss_of_classes(loss):
    arrays = Arrays("loans", {"": models.features(6)}, {"": np.linspace(-3, 9, models.ROWS, dtype="float32")})
    assert "quantity" in does_not_fit(classifier(units=2 if "sparse" in loss else 1, loss=loss), arrays).message


def test_a_target_of_another_shape():
    told = does_not_fit(classifier(units=3, loss="mse"), rows(20))
    assert "output 'out' has shape (None, 3); the target has (None,)" in told.message


@pytest.mark.parametrize("loss", [keras.losses.BinaryCrossentropy(), keras.losses.binary_crossentropy, "bce"])
def test_losses_are_recognised_however_they_are_given(loss):
    model = classifier()
    model.compile("sgd", loss)
    assert "0..4" in does_not_fit(model, five_classes()).message


def test_inputs_are_matched_by_name():
    model, arrays = models.two_inputs_two_outputs()
    swapped = Arrays("loans", dict(reversed(arrays.inputs.items())), dict(reversed(arrays.targets.items())))
    np.testing.assert_array_equal(trained(model, arrays, seed=1).weights, trained(model, swapped, seed=1).weights)
    renamed = Arrays("loans", {"picture": arrays.inputs["image"], "table": arrays.inputs["table"]}, arrays.targets)
    assert "inputs image, table; the data set has x_picture, x_table" in does_not_fit(model, renamed).message
    assert "inputs image, table; the data set has x" in does_not_fit(model, rows(20)).message


def test_names_that_the_owner_withholds_are_not_told():
    columns = ("age", "income", "debt", "rate", "years", "calls", "late", "region")
    table = Arrays("loans", {"": np.ones((9, 8), "float32")}, {"": np.zeros(9, "int32")}, columns)
    model, arrays = models.two_inputs_two_outputs()
    renamed = Arrays("loans", {"picture": arrays.inputs["image"], "scan": arrays.inputs["table"]}, arrays.targets)
    for fitted, data, names in ((classifier(), table, columns), (model, renamed, ("picture", "scan"))):
        with pytest.raises(InvalidInput) as error:
            Trainer(sent(fitted), data, named=False)
        assert error.value.code == "model-does-not-fit"
        told = f"{error.value.message} {error.value.hint} {error.value.details}"
        assert not [name for name in names if name in told]


def test_inputs_in_a_dictionary_are_matched_by_name():
    b, a = layers.Input((3,), name="b"), layers.Input((2,), name="a")
    net = layers.Concatenate()([a, b])
    outputs = {"z": layers.Dense(1, name="risk")(net), "y": layers.Dense(2, name="cost")(net)}
    model = keras.Model({"b": b, "a": a}, outputs)
    model.compile("sgd", {"z": "mse", "y": "mse"})
    arrays = Arrays(
        "loans",
        {"a": models.features(2), "b": models.features(3)},
        {"risk": models.features(1), "cost": models.features(2)},
    )
    assert np.isfinite(trained(model, arrays).weights).all()


def test_indices_beyond_an_embedding_are_noticed_before_training():
    model, arrays = models.embedding()
    beyond = Arrays("loans", {"": arrays.inputs[""] + 1}, arrays.targets)
    told = does_not_fit(model, beyond)
    assert "20 entries" in told.message
    fractions = Arrays("loans", {"": arrays.inputs[""] + 0.5}, arrays.targets)
    assert "expects integers" in does_not_fit(model, fractions).message
    whole = Arrays("loans", {"": arrays.inputs[""].astype("float32")}, arrays.targets)
    Trainer(sent(model), whole)


def test_data_beyond_the_range_of_the_inputs_dtype():
    inputs = layers.Input((6,), dtype="float16")
    model = keras.Model(inputs, layers.Dense(1)(inputs))
    model.compile("sgd", "mse")
    arrays = Arrays("loans", {"": np.full((9, 6), 1e6, "float32")}, {"": np.zeros(9, "float32")})
    assert "float16" in does_not_fit(model, arrays).message


def proximal_step(mu: float) -> tuple[np.ndarray, np.ndarray]:
    model = classifier()
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="binary_crossentropy")
    plan = sent(model, batch_size=5, local_epochs=3, seed=1)
    start = plan.vector_of(model)
    return start, Trainer(plan, rows(30)).train(start, round_number=1, proximal=mu).weights


def test_the_proximal_term_holds_a_client_to_the_global_weights():
    (start, free), (_, held), (_, nailed) = (proximal_step(mu) for mu in (0.0, 2.0, 10.0))
    distances = [np.linalg.norm(w - start) for w in (free, held, nailed)]
    assert distances[0] > distances[1] > distances[2] > 0


def test_the_first_proximal_step_is_that_of_the_plain_objective():
    # At the global weights the term's gradient is zero, so one full-batch step does not know it.
    model = classifier()
    model.compile(optimizer=keras.optimizers.SGD(0.1), loss="binary_crossentropy")
    plan = sent(model, batch_size=30, seed=1)
    start, trainer = plan.vector_of(model), Trainer(plan, rows(30))
    plain = trainer.train(start, round_number=1).weights
    np.testing.assert_array_equal(trainer.train(start, round_number=1, proximal=5.0).weights, plain)
    np.testing.assert_array_equal(trainer.train(start, round_number=1).weights, plain)
