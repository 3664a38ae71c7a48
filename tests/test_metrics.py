"""Attack metrics: Keras metrics for compile and evaluate, and the figures of a round."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from flaas_jupyter.metrics import AttackSuccessRate, SourceRecall, attack_metrics
from flaas_jupyter.protocols.attacks import AttackTest, Backdoor, LabelFlip

TRUE = np.array([1, 1, 1, 7, 0, 7])
PREDICTED = np.array([7, 1, 7, 7, 7, 1])
OUTPUTS = np.eye(10, dtype=np.float32)[PREDICTED] + 0.05


@pytest.mark.parametrize("labels", [TRUE, TRUE[:, None], TRUE.astype("float32"), np.eye(10)[TRUE]], ids=str)
@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (AttackSuccessRate(target=7, source=1), 2 / 3),
        (AttackSuccessRate(target=7), 3 / 4),
        (AttackSuccessRate(target=7, source=5), 0),
        (SourceRecall(1), 1 / 3),
        (SourceRecall(7), 1 / 2),
        (SourceRecall(3), 0),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_share_of_rows_is_counted_over_batches(metric, expected, labels):
    metric.reset_state()
    for batch in (slice(0, 4), slice(4, 6)):
        metric.update_state(labels[batch], OUTPUTS[batch])
    assert float(metric.result()) == pytest.approx(expected)
    metric.reset_state()
    assert float(metric.result()) == 0


@pytest.mark.parametrize(("threshold", "scores"), [(0.5, [0.9, 0.2, 0.6, 0.4]), (0.0, [2.0, -1.0, 0.4, -0.1])])
def test_a_single_output_is_cut_at_the_threshold(threshold, scores):
    metric = AttackSuccessRate(target=1, source=0, threshold=threshold)
    metric.update_state(np.array([[0], [0], [1], [0]]), np.array(scores)[:, None])
    assert float(metric.result()) == pytest.approx(1 / 3)


def test_weights_of_rows_count():
    metric = AttackSuccessRate(target=7, source=1)
    metric.update_state(TRUE, OUTPUTS, sample_weight=[2, 1, 1, 9, 9, 9])
    assert float(metric.result()) == pytest.approx(3 / 4)


def small_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, activation="softmax")])
    model.compile(
        optimizer="sgd",
        loss="sparse_categorical_crossentropy",
        metrics=[AttackSuccessRate(target=2, source=1, name="asr"), SourceRecall(1)],
    )
    return model


def test_they_are_metrics_of_a_compiled_model():
    x, y = np.random.default_rng(0).normal(size=(40, 4)).astype("float32"), np.arange(40) % 3
    model = small_model()
    measured = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    predicted = model.predict(x, verbose=0).argmax(axis=1)
    assert measured["asr"] == pytest.approx(np.mean(predicted[y == 1] == 2), abs=1e-6)
    assert measured["source_recall"] == pytest.approx(np.mean(predicted[y == 1] == 1), abs=1e-6)


def test_they_are_saved_with_the_model(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(40, 4)).astype("float32"), np.arange(40) % 3
    model = small_model()
    model.fit(x, y, verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    expected, measured = (each.evaluate(x, y, verbose=0, return_dict=True) for each in (model, loaded))
    assert measured == pytest.approx(expected)


@pytest.mark.parametrize("metric", [AttackSuccessRate(7, 1, threshold=0.2, name="a"), SourceRecall(3, threshold=0.1)])
def test_a_metric_is_made_again_from_its_configuration(metric):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.get_config() == metric.get_config()


class TestAttackMetrics:
    def test_a_round_reports_success_and_what_is_left_of_the_source(self):
        test = AttackTest(np.zeros((6, 4)), expected=np.full(6, 7), source=TRUE)
        figures = attack_metrics(lambda x: OUTPUTS, test)
        assert figures == {"val_attack_success_rate": 4 / 6, "val_source_accuracy": 2 / 6}

    @pytest.mark.parametrize("shape", [(4,), (4, 1)])
    def test_a_model_with_one_output_is_measured_too(self, shape):
        test = LabelFlip(classes=2).tests(np.zeros((4, 2)), np.array([0, 1, 1, 0]), np.random.default_rng(0))
        scores = np.array([0.9, 0.9, 0.1, 0.2]).reshape(shape)
        assert attack_metrics(lambda x: scores, test, prefix="") == {
            "attack_success_rate": 0.5,
            "source_accuracy": 0.5,
        }

    def test_the_model_sees_the_trigger(self):
        x, y = np.zeros((20, 8, 8)), np.arange(20) % 10
        test = Backdoor(target=5, value=1.0).tests(x, y, np.random.default_rng(0))

        def predict(inputs):  # five wherever the corner is white, else zero
            return np.eye(10)[np.where(inputs[:, 7, 7] == 1, 5, 0)]

        figures = attack_metrics(predict, test)
        assert figures == {"val_attack_success_rate": 1.0, "val_source_accuracy": 0.0}

    def test_nothing_to_measure_gives_no_figures(self):
        nothing = LabelFlip(source=1, target=7).tests(np.zeros((2, 4)), np.array([0, 2]), np.random.default_rng(0))
        assert attack_metrics(lambda x: OUTPUTS, nothing) == {}
        assert attack_metrics(lambda x: OUTPUTS, None) == {}
