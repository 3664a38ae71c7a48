"""Runs of a simulation: the same numbers from the same seed, interrupted or not, killed or not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import Aborted, Conflict, FlaasError, InvalidInput, NotFound

from . import child
from .conftest import classifier, fitted, rows, vector

TESTS = Path(__file__).parents[1]


class InterruptAfter(keras.callbacks.Callback):
    """Presses the stop button of the notebook after some rounds."""

    def __init__(self, rounds: int, error: type[BaseException] = KeyboardInterrupt) -> None:
        super().__init__()
        self.rounds, self.error = rounds, error

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 == self.rounds:
            raise self.error


def newest(home: Path) -> dict[str, Any]:
    """The header of the simulation that was started last."""
    headers = [json.loads(path.read_text()) for path in home.glob("simulations/*/simulation.json")]
    return max(headers, key=lambda header: header["created"])


def figures(report: pd.DataFrame) -> pd.DataFrame:
    """What of a report does not depend on time."""
    return pd.DataFrame(report[[name for name in report.columns if not name.startswith("seconds")]])


# ---- the same run ----------------------------------------------------------------------------------------------


def test_one_full_batch_step_of_every_client_is_one_step_on_all_rows(federation):
    x, y = rows(100)
    parts = [np.arange(0, 20), np.arange(20, 90), np.arange(90, 100)]
    federated = fitted(classifier(), federation(x, y, clients=None, partition=parts), rounds=1, batch_size=100)
    central = classifier()
    central.train_on_batch(x, y)
    np.testing.assert_allclose(federated, vector(central), atol=1e-6)


def test_the_same_seed_gives_the_same_bits_and_another_does_not(federation):
    made = federation()
    weights = [
        fitted(classifier(dropout=0.5), made, clients_per_round=5, seed=seed, local_epochs=2) for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(weights[0], weights[1])
    assert not np.allclose(weights[0], weights[2])


def test_a_journal_changes_no_number(federation):
    np.testing.assert_array_equal(
        fitted(classifier(dropout=0.5), federation()), fitted(classifier(dropout=0.5), federation(journal=False))
    )


# ---- interrupted and resumed -----------------------------------------------------------------------------------

RULES = {
    "fedavg": {},
    "fedadam": {"eta": 0.05},
    "fedqv_reputation": {},
}


@pytest.mark.parametrize(
    "name", ["fedqv_reputation", *(pytest.param(name, marks=pytest.mark.long) for name in ("fedavg", "fedadam"))]
)
def test_an_interrupted_run_goes_on_bit_for_bit(name, federation, home):
    def model():
        return classifier(aggregation=flaas.aggregation(name, **RULES[name]), dropout=0.3)

    options = {"rounds": 6, "clients_per_round": 6, "validation_data": rows(40, seed=2)}
    whole, parts = model(), model()
    attack = flaas.attacks.LabelFlip(fraction=0.25)
    fitted(whole, federation(attack=attack), **options)
    with pytest.raises(KeyboardInterrupt):
        fitted(parts, federation(attack=attack), callbacks=[InterruptAfter(3)], **options)
    header = newest(home)
    assert (header["state"], header["round"]) == ("interrupted", 3)

    resumed = model()
    fitted(resumed, federation(attack=attack), resume=header["id"], **options)
    np.testing.assert_array_equal(vector(resumed), vector(whole))
    pd.testing.assert_frame_equal(figures(resumed.federated_report), figures(whole.federated_report))
    assert newest(home)["state"] == "completed"
    assert resumed.history.history["val_loss"] == whole.history.history["val_loss"]


def test_a_changed_learning_rate_outlives_the_interruption(federation, home):
    def schedule():
        return keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.2 / (1 + epoch))

    whole = fitted(classifier(), federation(), rounds=5, callbacks=[schedule()])
    with pytest.raises(KeyboardInterrupt):
        fitted(classifier(), federation(), rounds=5, callbacks=[schedule(), InterruptAfter(2)])
    resumed = fitted(classifier(), federation(), rounds=5, callbacks=[schedule()], resume=newest(home)["id"])
    np.testing.assert_array_equal(resumed, whole)


def test_a_callback_that_fails_leaves_a_run_to_go_on_with(federation, home):
    whole = fitted(classifier(), federation(), rounds=4)
    with pytest.raises(ZeroDivisionError):
        fitted(classifier(), federation(), rounds=4, callbacks=[InterruptAfter(2, ZeroDivisionError)])
    header = newest(home)
    assert header["state"] == "interrupted"
    np.testing.assert_array_equal(fitted(classifier(), federation(), resume=header["id"]), whole)


def interrupted(federation, home, **options) -> str:
    with pytest.raises(KeyboardInterrupt):
        fitted(classifier(), federation, callbacks=[InterruptAfter(2)], **options)
    return newest(home)["id"]


def refused(error: type[FlaasError], code: str, model, federation, run: str) -> FlaasError:
    with pytest.raises(error) as caught:
        fitted(model, federation, resume=run)
    assert caught.value.code == code
    return caught.value


def test_a_run_goes_on_with_its_own_model_only(federation, home):
    run = interrupted(federation(), home)
    refused(Conflict, "other-model", classifier(hidden=5), federation(), run)
    refused(Conflict, "other-model", classifier(activation="relu"), federation(), run)


@pytest.mark.parametrize(
    "other",
    [
        {"clients": 7},
        pytest.param({"seed": 1}, marks=pytest.mark.long),
        pytest.param({"attack": flaas.attacks.SignFlip(fraction=0.25)}, marks=pytest.mark.long),
        pytest.param({"behaviour": flaas.Behaviour(dropout=0.1)}, marks=pytest.mark.long),
        {"root": rows(20)},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_run_goes_on_with_its_own_federation_only(other, federation, home):
    run = interrupted(federation(), home)
    refused(Conflict, "other-federation", classifier(), federation(**other), run)


def test_other_data_are_another_federation(federation, home):
    run = interrupted(federation(), home)
    x, y = rows()
    x[0, 0] += 1
    refused(Conflict, "other-federation", classifier(), federation(x, y), run)


@pytest.mark.parametrize("run", ["sim-000000000000", "../../etc", "run-1", ""])
def test_a_run_that_there_is_not_is_not_found(run, federation):
    with pytest.raises((NotFound, InvalidInput)):
        fitted(classifier(), federation(), resume=run or "sim-")


def test_a_run_without_a_checkpoint_says_so(federation, home):
    run = interrupted(federation(), home)
    (home / "simulations" / run / "checkpoint.npz").unlink()
    refused(NotFound, "no-checkpoint", classifier(), federation(), run)


@pytest.mark.parametrize(
    ("name", "contents"),
    [
        ("checkpoint.npz", b"PK not a checkpoint"),
        pytest.param("rounds.jsonl", b'{"number": 1}\n', marks=pytest.mark.long),
        ("rounds.jsonl", b'{"number": 1}\n{"number": \n'),
        pytest.param("simulation.json", b"{", marks=pytest.mark.long),
        pytest.param("plan.json", b"{}", marks=pytest.mark.long),
    ],
)
def test_a_damaged_run_is_refused(name, contents, federation, home):
    run = interrupted(federation(), home)
    (home / "simulations" / run / name).write_bytes(contents)
    refused(InvalidInput, "damaged-simulation", classifier(), federation(), run)


def test_half_a_line_at_the_journals_end_does_no_harm(federation, home):
    whole = fitted(classifier(), federation(), rounds=4)
    run = interrupted(federation(), home, rounds=4)
    with (home / "simulations" / run / "rounds.jsonl").open("a") as file:
        file.write('{"number": 3, "met')
    np.testing.assert_array_equal(fitted(classifier(), federation(), resume=run), whole)
    assert len((home / "simulations" / run / "rounds.jsonl").read_text().splitlines()) == 4


def test_a_run_that_another_process_is_at_is_left_to_it(federation, home):
    run = interrupted(federation(), home)
    path = home / "simulations" / run / "simulation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "running", "pid": os.getppid()}))
    refused(Conflict, "simulation-running", classifier(), federation(), run)


def test_a_stop_file_ends_the_run_with_the_last_rounds_weights(federation, home):
    class AskToStop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                (home / "simulations" / newest(home)["id"] / "stop").touch()

    model = classifier()
    with pytest.raises(Aborted) as caught:
        fitted(model, federation(), rounds=5, callbacks=[AskToStop()])
    assert caught.value.code == "run-cancelled"
    assert (newest(home)["state"], newest(home)["round"]) == ("cancelled", 2)
    np.testing.assert_array_equal(vector(model), fitted(classifier(), federation(), rounds=2))
    run = max(home.glob("simulations/*/stop")).parent.name
    resumed = fitted(classifier(), federation(), resume=run)
    np.testing.assert_array_equal(resumed, fitted(classifier(), federation(), rounds=5))


def run_child(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "simulation.child", *arguments],
        cwd=TESTS,
        env={**os.environ, "FLAAS_HOME": str(home)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_killed_run_goes_on_in_another_process(home, federation, tmp_path):
    process = run_child(home)
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == "round 5":
            break
    process.kill()
    process.wait()
    header = newest(home)
    assert header["state"] == "running"
    assert run_child(home, header["id"], str(tmp_path / "found.npz")).wait(timeout=120) == 0
    _, model = child.made()
    child.fit(model, federation(seed=4))
    with np.load(tmp_path / "found.npz") as found:
        np.testing.assert_array_equal(found["weights"], vector(model))
        np.testing.assert_array_equal(found["loss"], model.federated_report["loss"])


# ---- clients that run away -------------------------------------------------------------------------------------


def runaway(clients: list[int]):
    """The model and data of a federation in which some clients' training overflows."""
    x, y = rows()
    parts = np.array_split(np.arange(len(x)), 8)
    for client in clients:
        x[parts[client]] *= 1e30
    return x, y, list(parts)


@pytest.mark.parametrize("rule", ["fedavg", "median"])
def test_a_client_that_runs_away_is_dropped_by_name(rule, federation):
    x, y, parts = runaway([3])
    model = classifier(aggregation=rule, activation="linear")
    made = federation(x, y, clients=None, partition=parts)
    weights = fitted(model, made, local_epochs=3)
    assert model.federated_report["left_out"].tolist() == [{"client-3": "update"}] * 3
    assert "client-3" not in model.federated_report.by_client()
    assert np.isfinite(model.federated_report["loss"]).all()
    without = [part for client, part in enumerate(parts) if client != 3]
    others = federation(x, y, clients=None, partition=without)
    np.testing.assert_allclose(
        weights, fitted(classifier(aggregation=rule, activation="linear"), others, local_epochs=3), atol=1e-6
    )


def test_when_everybody_runs_away_the_run_fails_and_names_them(federation, home):
    x, y, parts = runaway(list(range(8)))
    made = federation(x, y, clients=None, partition=parts)
    with pytest.raises(InvalidInput, match="0, 1, 2, 3, 4, 5, 6, 7") as caught:
        fitted(classifier(activation="linear"), made, local_epochs=3)
    assert caught.value.code == "non-finite-update"
    assert newest(home)["state"] == "failed"
    assert newest(home)["error"]["code"] == "non-finite-update"


def test_an_attack_that_raises_ends_the_run_as_failed(federation, home):
    class Broken(flaas.attacks.SignFlip):
        def craft(self, view):
            raise RuntimeError("out of ideas")

    with pytest.raises(RuntimeError):
        fitted(classifier(), federation(attack=Broken()))
    assert newest(home)["state"] == "failed"
    assert "out of ideas" in newest(home)["error"]["message"]


def test_a_failed_round_charges_nobody(federation, home):
    """The budget of a round that fails after the vote is as before it."""

    class BrokenInRound3(flaas.attacks.SignFlip):
        broken = True

        def craft(self, view):
            if view.round == 3 and type(self).broken:
                raise RuntimeError("not now")
            return super().craft(view)

    attack = BrokenInRound3(fraction=0.25)
    with pytest.raises(RuntimeError):
        fitted(classifier(aggregation="fedqv"), federation(attack=attack), rounds=5)
    BrokenInRound3.broken = False
    resumed = classifier(aggregation="fedqv")
    fitted(resumed, federation(attack=attack), resume=newest(home)["id"])
    whole = classifier(aggregation="fedqv")
    fitted(whole, federation(attack=attack), rounds=5)
    np.testing.assert_array_equal(vector(resumed), vector(whole))
    assert resumed.federated_report["budget"].tolist() == whole.federated_report["budget"].tolist()
