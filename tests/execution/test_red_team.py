import keras
import numpy as np
import pytest
from keras import layers

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.execution.red_team import RedTeamTrainer
from flaas_jupyter.execution.trainer import Trainer
from flaas_jupyter.plan import TrainingPlan
from flaas_jupyter.protocols import attacks
from flaas_jupyter.training.arrays import Arrays


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 9)).astype("float32")
    return Arrays("loans", {"": x}, {"": (x[:, 0] > 0).astype("int32") + (x[:, 1] > 0)})


@pytest.fixture(scope="module")
def plan():
    keras.utils.set_random_seed(1)
    inputs = layers.Input((9,))
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(inputs))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    return TrainingPlan.from_model(model, batch_size=8, seed=4)


@pytest.fixture(scope="module")
def start(plan):
    return np.random.default_rng(5).normal(0, 0.1, plan.parameters).astype("float32")


@pytest.fixture(scope="module")
def honest(plan, arrays, start):
    return Trainer(plan, arrays).train(start, round_number=1)


OPTIONS = {name: {"target": 2} for name in ("backdoor", "model_replacement", "neurotoxin")}


@pytest.mark.parametrize("name", attacks.names())
def test_every_attack_runs_on_a_node_by_its_name(name, plan, arrays, start, honest):
    attack = attacks.attack(name, **OPTIONS.get(name, {}))
    trainer = RedTeamTrainer(plan, arrays, attack, rounds=2)
    first = trainer.train(start, round_number=1)
    second = trainer.train(first.weights, round_number=2)
    assert first.examples == honest.examples
    assert np.isfinite(first.weights).all()
    assert np.isfinite(second.weights).all()
    assert not np.array_equal(second.weights, Trainer(plan, arrays).train(first.weights, round_number=2).weights)


def test_a_flipped_sign_is_the_honest_update_turned_round(plan, arrays, start, honest):
    sent = RedTeamTrainer(plan, arrays, attacks.SignFlip(), rounds=1).train(start, round_number=1).weights
    np.testing.assert_allclose(sent - start, start - honest.weights, atol=1e-6)


def test_a_round_that_is_tried_again_sends_the_same(plan, arrays, start):
    trainer = RedTeamTrainer(plan, arrays, attacks.Neurotoxin(target=2), rounds=3)
    first = trainer.train(start, round_number=1).weights
    once = trainer.train(first, round_number=2).weights
    np.testing.assert_array_equal(trainer.train(first, round_number=2).weights, once)


def test_the_adaptive_attack_forges_its_similarity(plan, arrays, start):
    reported = RedTeamTrainer(plan, arrays, attacks.QVAdaptive(), rounds=1).train(start, round_number=1).reported
    assert reported is not None
    assert -1 <= reported <= 1
    assert RedTeamTrainer(plan, arrays, attacks.SignFlip(), rounds=1).train(start, round_number=1).reported is None


def test_the_nodes_own_rows_stay_as_they_are(plan, arrays):
    before = arrays.checksum()
    RedTeamTrainer(plan, arrays, attacks.LabelFlip(), rounds=1)
    assert arrays.checksum() == before


def test_data_attacks_need_one_input_and_one_target(plan, arrays):
    two = Arrays("two", {"a": arrays.inputs[""], "b": arrays.inputs[""]}, arrays.targets)
    with pytest.raises(InvalidInput) as caught:
        RedTeamTrainer(plan, two, attacks.LabelFlip(), rounds=1)
    assert caught.value.code == "attack-needs-one-array"
