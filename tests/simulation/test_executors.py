"""Wherever clients train, they train alike: the compiled program, Keras on JAX, Keras on TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from flaas_jupyter.simulation.executors import inside
from flaas_jupyter.simulation.jax_executor import unfit
from flaas_jupyter.simulation.keras_executor import KerasExecutor
from flaas_jupyter.simulation.work import ClientData

from . import executor_cases
from .executor_cases import CASES, Case

TESTS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def on_jax(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the compiled program and Keras on JAX make of every case; Keras has one backend a process."""
    path = tmp_path_factory.mktemp("jax") / "found.npz"
    environment = {**os.environ, "KERAS_BACKEND": "jax"}
    command = [sys.executable, "-m", "simulation.executor_cases", str(path)]
    done = subprocess.run(command, cwd=TESTS, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(path) as found:
        return dict(found)


def metrics_of(found: dict[str, Any], start: str) -> dict[str, Any]:
    return {name.removeprefix(start): values for name, values in found.items() if name.startswith(start)}


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"dropout", "embedding"}))
def test_the_compiled_program_trains_and_measures_as_keras_does_on_tensorflow(name, on_jax):
    case = CASES[name]()
    output = KerasExecutor(case.plan, case.data, 1).run(case.work())
    np.testing.assert_allclose(on_jax[f"{name}/program/weights"], output.values, rtol=1e-3, atol=2e-5)
    measured = metrics_of(on_jax, f"{name}/program/metric/")
    assert measured.keys() == output.metrics.keys()
    for metric in measured.keys() - {"ill_loss", "days_loss"}:
        np.testing.assert_allclose(measured[metric], output.metrics[metric], rtol=1e-3, atol=1e-4, err_msg=metric)


@pytest.mark.parametrize("name", executor_cases.BY_KERAS)
def test_the_compiled_program_trains_and_measures_as_keras_does_on_jax(name, on_jax):
    program, by_keras = (metrics_of(on_jax, f"{name}/{kind}/") for kind in ("program", "keras"))
    assert program.keys() == by_keras.keys()
    for what, values in by_keras.items():
        np.testing.assert_allclose(program[what], values, rtol=1e-4, atol=1e-5, err_msg=what)


@pytest.mark.parametrize("workers", [1, 3])
def test_the_number_of_workers_changes_no_bit_on_jax(workers, on_jax):
    for what in ("each", "sum"):
        np.testing.assert_array_equal(on_jax[f"workers/{workers}/{what}"], on_jax[f"workers/2/{what}"])


@pytest.mark.parametrize("each", [True, False])
def test_the_number_of_workers_changes_no_bit_on_tensorflow(each):
    case = CASES["dropout"]()
    one, two, three = (
        KerasExecutor(case.plan, case.data, workers).run(case.work(each=each)).values for workers in (1, 2, 3)
    )
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, three)


@pytest.mark.parametrize("name", executor_cases.SUMMED)
def test_the_sum_is_that_of_the_single_updates(name, on_jax):
    start = CASES[name]().work().weights
    changes = on_jax[f"{name}/program/weights"].astype("float64") - start
    np.testing.assert_allclose(on_jax[f"{name}/sum"], 0.2 * changes.sum(axis=0), atol=1e-6)


def test_coordinates_that_may_not_move_do_not(on_jax):
    work = CASES["frozen"]().work()
    changes = on_jax["frozen/program/weights"] - work.weights
    assert not changes[:, ~work.free].any()
    assert changes[:, work.free].any()


def changed(case: Case, **changes: Any) -> str | None:
    for name, value in changes.items():
        setattr(case, name, value)
    return unfit(case.plan, case.data)


def dense_case(optimizer: Any = "sgd", loss: Any = "binary_crossentropy", **options: Any) -> Case:
    return Case(*executor_cases.dense(optimizer, loss=loss, **options))


def test_batch_normalization_is_compiled_only_for_whole_batches():
    assert changed(CASES["batch_normalization"]()) is None
    assert "BatchNormalization" in str(changed(CASES["batch_normalization"](), sizes=executor_cases.RAGGED))


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        (lambda: dense_case(keras.optimizers.SGD(0.1, use_ema=True)), "moving averages"),
        (
            lambda: dense_case(net=lambda x: keras.layers.Dense(4, activity_regularizer="l2")(x)),
            "activity regularizer",
        ),
        (lambda: dense_case(loss=keras.losses.BinaryCrossentropy(reduction="sum")), "not a mean"),
    ],
)
def test_what_fillings_would_change_is_left_to_keras(case, reason):
    assert reason in str(unfit(case().plan, case().data))


def test_a_model_in_double_precision_is_left_to_keras():
    keras.utils.set_random_seed(2)
    inputs = keras.layers.Input((5,), dtype="float64")
    model = keras.Model(inputs, keras.layers.Dense(1, dtype="float64", activation="sigmoid")(inputs))
    model.compile("sgd", "binary_crossentropy")
    case = Case(model, dense_case().arrays)
    assert "float64" in str(unfit(case.plan, case.data))
    executor = inside(case.plan, case.data, "jax", 1)
    assert isinstance(executor, KerasExecutor)
    assert executor.run(case.work()).values.dtype == np.float64


def poisoned() -> tuple[Case, ClientData]:
    """Client 2's rows are so large that training runs away."""
    keras.utils.set_random_seed(2)
    inputs = keras.layers.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(1)(inputs))
    model.compile(keras.optimizers.SGD(0.01), "mse")
    case = Case(model, dense_case().arrays)
    data = case.data
    data.arrays.inputs[""][data.rows[2]] *= 1e30
    return case, data


@pytest.mark.parametrize("each", [True, False])
def test_a_client_that_runs_away_has_failed_and_spoils_no_other(each):
    case, data = poisoned()
    executor = KerasExecutor(case.plan, data, 2)
    output = executor.run(case.work(each=each))
    assert output.failed == (2,)
    work = case.work(each=each)
    alone = executor.run(replace(work, tasks=[task for task in work.tasks if task.client != 2], lanes=0))
    if each:
        np.testing.assert_array_equal(np.delete(output.values, 2, axis=0), alone.values)
    else:
        np.testing.assert_allclose(output.total(), alone.total(), atol=1e-6)
    assert np.isnan(output.metrics["loss"][2])
