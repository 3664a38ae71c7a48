"""Checkpoints: atomic, private, torn ones noticed, old ones removed."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.execution import rule_state
from flaas_jupyter.execution.checkpoint import KEPT_RUNS, Checkpoint, CheckpointStore


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(tmp_path / "runs")


def checkpoint(round=1, **more):
    return Checkpoint({"layers": []}, np.arange(5, dtype="float32") * round, round, [{"number": round}], **more)


MEMORY = {"budgets": {"ab": 28.5}, "step": 3, "moments": [np.arange(5.0), {"second": np.ones((2, 2), "float32")}]}


def test_a_checkpoint_comes_back_as_it_was(store):
    store.save("run-1", checkpoint(1))
    store.save("run-1", checkpoint(2))
    found = store.load("run-1")
    assert (found.round, found.reports, found.plan, found.state) == (2, [{"number": 2}], {"layers": []}, "running")
    np.testing.assert_array_equal(found.weights, np.arange(5) * 2)


def test_what_a_rule_remembers_comes_back_as_it_was(store):
    store.save("run-1", checkpoint(rule_state=MEMORY))
    found = store.load("run-1").rule_state
    assert (found["budgets"], found["step"]) == ({"ab": 28.5}, 3)
    np.testing.assert_array_equal(found["moments"][0], np.arange(5.0))
    np.testing.assert_array_equal(found["moments"][1]["second"], np.ones((2, 2)))
    assert found["moments"][1]["second"].dtype == np.float32


def test_a_memory_of_another_moment_is_not_used(store, tmp_path):
    store.save("run-1", checkpoint(rule_state={"momentum": np.zeros(5)}))
    old = (tmp_path / "runs" / "run-1" / "rule.npz").read_bytes()
    store.save("run-1", checkpoint(rule_state={"momentum": np.ones(5)}))
    (tmp_path / "runs" / "run-1" / "rule.npz").write_bytes(old)
    assert store.load("run-1") is None


def test_a_checkpoint_of_before_rules_had_a_memory_is_read(store, tmp_path):
    store.save("run-1", checkpoint())
    path = tmp_path / "runs" / "run-1" / "state.json"
    state = json.loads(path.read_text())
    path.write_text(json.dumps({name: state[name] for name in ("round", "reports", "state", "digest")}))
    (tmp_path / "runs" / "run-1" / "rule.npz").unlink()
    assert store.load("run-1").rule_state == {}


def test_only_a_small_memory_goes_with_every_round():
    assert rule_state.travels(MEMORY)
    assert not rule_state.travels({"momentum": np.zeros(rule_state.TRAVELS_BELOW // 8)})
    assert not rule_state.travels({"text": "x" * rule_state.TRAVELS_BELOW})


def test_a_memory_travels_among_other_tensors_of_a_message():
    values, tensors = rule_state.to_message(MEMORY)
    assert json.loads(json.dumps(values)) == values
    back = rule_state.from_message(values, {"weights": np.zeros(3), **tensors})
    assert back["budgets"] == MEMORY["budgets"]
    np.testing.assert_array_equal(back["moments"][0], np.arange(5.0))
    assert rule_state.from_message(*rule_state.to_message(None)) is None


def test_there_is_none_of_an_unknown_run(store):
    assert store.load("run-9") is None


def test_a_torn_checkpoint_is_not_used(store, tmp_path):
    store.save("run-1", checkpoint())
    weights = tmp_path / "runs" / "run-1" / "weights.npy"
    np.save(weights, np.zeros(5, "float32"))
    assert store.load("run-1") is None
    weights.write_bytes(b"\x93NUMPY garbage")
    assert store.load("run-1") is None


def test_a_pickle_in_place_of_weights_is_not_loaded(store, tmp_path):
    store.save("run-1", checkpoint())
    np.save(tmp_path / "runs" / "run-1" / "weights.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    assert store.load("run-1") is None


def test_files_are_private(store, tmp_path):
    store.save("run-1", checkpoint())
    for path in (tmp_path / "runs" / "run-1").iterdir():
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("run", ["../other", "a/b", "", "x" * 65])
def test_a_run_id_is_no_path(store, run):
    with pytest.raises(InvalidInput):
        store.save(run, checkpoint())


def test_old_runs_are_removed(store, tmp_path):
    for number in range(KEPT_RUNS + 3):
        store.save(f"run-{number}", checkpoint())
        os.utime(tmp_path / "runs" / f"run-{number}", (number, number))
    kept = {path.name for path in (tmp_path / "runs").iterdir()}
    assert len(kept) == KEPT_RUNS
    assert f"run-{KEPT_RUNS + 2}" in kept
    assert "run-0" not in kept
