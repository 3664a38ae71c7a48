"""Keras callbacks on a federation: once per round, on the newest global weights, and they steer the run."""

from __future__ import annotations

import csv

import keras
import numpy as np
import pandas as pd
import pytest

from flaas_jupyter import FederatedModel
from flaas_jupyter.errors import Aborted, InvalidInput
from flaas_jupyter.federation import Federation, RoundResult, Training, report_frame


class ScriptedTraining:
    """A run whose losses are given; the weights of round r are all r."""

    id = "run-1"

    def __init__(self, losses, fails_after=None):
        self.losses, self.fails_after, self.number = losses, fails_after, 0
        self.verdicts, self.cancelled, self.rounds = [], False, len(losses)

    def next(self, *, stop=False, learning_rate=None):
        self.verdicts.append((stop, learning_rate))
        if stop or self.number == len(self.losses):
            return None
        if self.number == self.fails_after:
            raise Aborted("The run was cancelled.", code="run-cancelled")
        self.number += 1
        report = {
            "number": self.number,
            "metrics": {"loss": self.losses[self.number - 1]},
            "clients": [{"node": "aa", "examples": 3, "weight": 0.75}, {"node": "bb", "examples": 1, "weight": 0.25}],
            "dropped": [{"node": "cc", "phase": "update", "reason": "lost"}],
            "seconds": {"total": 0.5, "train": 0.4},
            "bytes": {"up": 10, "down": 20},
            "clipped": 0,
        }
        return RoundResult(self.number, np.full(self.size, self.number, "float32"), report)

    def evaluated(self, number, metrics):
        self.measured = getattr(self, "measured", {}) | {number: dict(metrics)}

    def cancel(self):
        self.cancelled = True


class ScriptedFederation:
    def __init__(self, losses, **options):
        self.training = ScriptedTraining(losses, **options)

    @property
    def clients(self):
        return pd.DataFrame({"id": ["aa", "bb", "cc"], "name": ["north", "south", "west"]})

    schema = clients

    @property
    def names(self):
        return {"aa": "north", "bb": "south", "cc": "west"}

    def train(self, plan, weights, options):
        self.plan, self.options, self.training.size = plan, options, plan.parameters
        return self.training

    def resume(self, run, plan, weights):
        return self.train(plan, weights, None)


@pytest.fixture
def model():
    inputs = keras.Input((2,))
    made = FederatedModel(inputs=inputs, outputs=keras.layers.Dense(1)(inputs))
    made.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
    return made


def fit(model, federation, rounds=5, **options):
    return model.fit(federation, rounds=rounds, verbose=0, **options)


def test_the_scripted_federation_is_a_federation():
    assert isinstance(ScriptedFederation([]), Federation)
    assert isinstance(ScriptedTraining([]), Training)


def test_history_has_one_entry_per_round(model):
    history = fit(model, ScriptedFederation([3.0, 2.0, 1.0]))
    assert history.history["loss"] == [3.0, 2.0, 1.0]
    assert history.epoch == [0, 1, 2]
    assert all((array == 3).all() for array in model.get_weights())


def test_early_stopping_stops_the_run_and_restores_the_best_weights(model):
    federation = ScriptedFederation([3.0, 1.0, 2.0, 2.0, 2.0, 0.0])
    stop = keras.callbacks.EarlyStopping(monitor="loss", patience=2, restore_best_weights=True)
    history = fit(model, federation, rounds=6, callbacks=[stop])
    assert len(history.epoch) == 4
    assert federation.training.verdicts[-1] == (True, None)
    assert all((array == 2).all() for array in model.get_weights()), "round 2 was the best"


def test_learning_rates_of_callbacks_reach_the_federation(model):
    federation = ScriptedFederation([1.0, 1.0, 1.0])
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.5 if epoch == 0 else 0.1 * epoch)
    fit(model, federation, rounds=3, callbacks=[schedule])
    rates = [rate for _, rate in federation.training.verdicts[:3]]
    assert rates[0] is None, "nothing has changed yet"
    assert rates[1:] == pytest.approx([0.1, 0.2])


def test_reduce_on_plateau_lowers_the_rate_at_the_nodes(model):
    federation = ScriptedFederation([1.0] * 4)
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.1, patience=1, min_delta=0.01)
    fit(model, federation, rounds=4, callbacks=[plateau])
    assert any(rate == pytest.approx(0.05) for _, rate in federation.training.verdicts)


def test_checkpoints_and_logs_are_written_per_round(model, tmp_path):
    callbacks = [
        keras.callbacks.ModelCheckpoint(tmp_path / "round-{epoch}.weights.h5", save_weights_only=True),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        keras.callbacks.TensorBoard(tmp_path / "tensorboard"),
    ]
    fit(model, ScriptedFederation([2.0, 1.0]), callbacks=callbacks)
    assert {path.name for path in tmp_path.glob("*.h5")} == {"round-1.weights.h5", "round-2.weights.h5"}
    with (tmp_path / "log.csv").open() as file:
        assert [float(row["loss"]) for row in csv.DictReader(file)] == [2.0, 1.0]
    assert list((tmp_path / "tensorboard").rglob("events*"))
    model.load_weights(tmp_path / "round-1.weights.h5")
    assert all((array == 1).all() for array in model.get_weights())


def test_validation_data_are_evaluated_after_each_round(model):
    x = np.ones((4, 2), "float32")
    history = fit(model, ScriptedFederation([1.0, 1.0]), validation_data=(x, np.zeros(4, "float32")))
    # Weights are all r: the prediction is 3r, the squared error 9r².
    assert history.history["val_loss"] == pytest.approx([9.0, 36.0])


def test_the_report_tells_what_each_round_did(model):
    fit(model, ScriptedFederation([2.0, 1.0]))
    report = model.federated_report
    assert list(report.index) == [1, 2]
    assert report.clients[1] == 2
    assert report.dropped[1] == 1
    assert report.weights[1] == {"north": 0.75, "south": 0.25}
    assert report.left_out[1] == {"west": "update"}
    assert report.seconds_train[2] == 0.4
    assert (report.bytes_up[1], report.bytes_down[1]) == (10, 20)


def test_the_report_draws_the_metrics(model):
    import matplotlib

    matplotlib.use("Agg")
    fit(model, ScriptedFederation([2.0, 1.0]))
    axes = np.ravel(model.federated_report.plot())
    assert [line.get_label() for axis in axes for line in axis.get_lines()] == ["loss"]
    bytes_axis = model.federated_report.plot(y="bytes_up")
    assert len(bytes_axis.get_lines()) == 1


def test_a_run_that_fails_leaves_model_and_report_at_the_last_round(model):
    with pytest.raises(Aborted, match="cancelled"):
        fit(model, ScriptedFederation([3.0, 2.0, 1.0], fails_after=2))
    assert all((array == 2).all() for array in model.get_weights())
    assert len(model.federated_report) == 2


def test_an_interrupt_cancels_the_run(model):
    federation = ScriptedFederation([3.0, 2.0, 1.0])

    def interrupt(epoch, logs):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(model, federation, callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=interrupt)])
    assert federation.training.cancelled
    assert len(model.federated_report) == 1


def test_options_reach_the_federation(model):
    federation = ScriptedFederation([1.0])
    fit(model, federation, rounds=9, local_epochs=3, batch_size=7, clients_per_round=2, minimum_nodes=2, seed=5)
    assert (federation.plan.local_epochs, federation.plan.batch_size, federation.plan.seed) == (3, 7, 5)
    options = federation.options
    assert (options.rounds, options.clients_per_round, options.minimum_nodes, options.seed) == (9, 2, 2, 5)


def test_rounds_are_told_as_they_come(model, capsys):
    model.fit(ScriptedFederation([2.0, 1.0]), rounds=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Round 1/2  loss 2.0000")
    assert "2 nodes (1 dropped)" in lines[0]


def test_clipping_is_warned_of(model):
    federation = ScriptedFederation([1.0])
    original = federation.training.next

    def clipped(**verdict):
        result = original(**verdict)
        if result is not None:
            result.report["clipped"] = 12
        return result

    federation.training.next = clipped
    with pytest.warns(UserWarning, match="12 coordinates"):
        fit(model, federation, rounds=1)


def test_arrays_train_locally_as_keras_does(model):
    x, y = np.ones((8, 2), "float32"), np.zeros(8, "float32")
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.compile(optimizer=keras.optimizers.SGD(0.5), loss="mse")
    ours = model.fit(x, y, epochs=2, batch_size=8, verbose=0).history["loss"]
    theirs = twin.fit(x, y, epochs=2, batch_size=8, verbose=0).history["loss"]
    assert ours == pytest.approx(theirs)


def test_rounds_make_no_sense_with_arrays(model):
    with pytest.raises(InvalidInput, match="rounds"):
        model.fit(np.ones((8, 2)), np.zeros(8), rounds=3)


def test_an_empty_report_is_an_empty_table():
    assert len(report_frame([], {})) == 0
