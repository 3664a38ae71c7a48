"""Where clients train: in a worker process of its own, which may die, or on a Ray cluster; never with other numbers."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import Aborted, FlaasError
from flaas_jupyter.simulation import shared_files
from flaas_jupyter.simulation.process import ProcessExecutor
from flaas_jupyter.simulation.shared_files import MEMORY, SharedFiles

from .conftest import classifier, fitted, rows, vector


def worker_of(federation: Any) -> ProcessExecutor:
    executor = federation._executor[1]
    assert isinstance(executor, ProcessExecutor)
    return executor


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


@pytest.fixture(scope="module")
def on_jax() -> Iterator[Any]:
    """A federation whose clients train in a worker process, on JAX."""
    x, y = rows()
    federation = flaas.simulate(x, y, clients=8, backend="jax", workers=2)
    yield federation
    federation.close()


@pytest.fixture(scope="module")
def on_tensorflow() -> Iterator[Any]:
    """The same federation on TensorFlow."""
    x, y = rows()
    federation = flaas.simulate(x, y, clients=8, backend="tensorflow", workers=2)
    yield federation
    federation.close()


class At(keras.callbacks.Callback):
    """Does something after a round."""

    def __init__(self, rounds: int, act: Callable[[], Any]) -> None:
        super().__init__()
        self.rounds, self.act = rounds, act

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        if epoch + 1 == self.rounds:
            self.act()


def test_the_backends_agree(on_jax, on_tensorflow):
    np.testing.assert_allclose(fitted(classifier(), on_jax), fitted(classifier(), on_tensorflow), atol=1e-5)


def test_a_worker_that_dies_ends_the_run_which_goes_on_with_another(on_jax):
    whole = fitted(classifier(), on_jax, rounds=6)
    model = classifier()
    kill = At(3, lambda: os.kill(worker_of(on_jax)._process.pid, signal.SIGKILL))
    with pytest.raises(Aborted) as caught:
        fitted(model, on_jax, rounds=6, callbacks=[kill, At(3, lambda: time.sleep(0.5))])
    assert caught.value.code == "worker-died"
    assert "resume" in caught.value.hint
    runs = sorted((Path(os.environ["FLAAS_HOME"]) / "simulations").iterdir(), key=lambda path: path.stat().st_ctime)
    assert np.array_equal(fitted(classifier(), on_jax, resume=runs[-1].name), whole)


@pytest.mark.long
def test_a_worker_that_died_between_fits_is_replaced(on_jax):
    before = fitted(classifier(), on_jax)
    worker = worker_of(on_jax)
    worker._process.kill()
    worker._process.wait()
    np.testing.assert_array_equal(fitted(classifier(), on_jax), before)
    assert worker_of(on_jax) is not worker


def test_an_interrupt_in_the_middle_of_a_round_leaves_no_answer_for_the_next(on_jax, monkeypatch):
    whole = fitted(classifier(), on_jax)
    worker = worker_of(on_jax)

    class Pipe:
        """Is interrupted when the answer is waited for, once."""

        def __init__(self, pipe: Any) -> None:
            self._pipe = pipe

        def recv_bytes(self) -> bytes:
            raise KeyboardInterrupt

        def __getattr__(self, name: str) -> Any:
            return getattr(self._pipe, name)

    worker._pipe = Pipe(worker._pipe)  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        fitted(classifier(), on_jax, seed=99)
    np.testing.assert_array_equal(fitted(classifier(), on_jax), whole)


@pytest.mark.long
def test_a_federation_that_is_forgotten_takes_worker_and_shared_memory_along():
    x, y = rows()
    federation = flaas.simulate(x, y, clients=8, backend="jax", workers=1)
    fitted(classifier(), federation, rounds=1)
    worker = worker_of(federation)
    pid, folders = worker._process.pid, worker._files.folders
    assert worker._files.path("values").parent == folders[0]
    assert folders[0].parent == (MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir()))
    del federation, worker
    gc.collect()
    assert not is_running(pid)
    assert not any(folder.exists() for folder in folders)


@pytest.mark.long
def test_a_worker_removes_its_memory_when_the_notebook_was_killed():
    """It notices by the end of the pipe."""
    x, y = rows()
    federation = flaas.simulate(x, y, clients=8, backend="jax", workers=1)
    fitted(classifier(), federation, rounds=1)
    worker = worker_of(federation)
    worker._pipe.close()
    worker._process.wait(timeout=30)
    assert not any(folder.exists() for folder in worker._files.folders)
    federation.close()


@pytest.fixture
def little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A memory of 8 KiB, such as a container has one of 64 MB."""
    folder = tmp_path / "memory"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8k", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"A file system in memory cannot be mounted here: {mounted.stderr.strip()}")
    monkeypatch.setattr(shared_files, "MEMORY", folder)
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_what_memory_has_no_room_for_goes_to_the_disk(on_tensorflow, little_memory):
    """Writing to a mapped file with no memory behind it would end the notebook's process (SIGBUS)."""
    expected = fitted(classifier(), on_tensorflow)
    x, y = rows()
    little = flaas.simulate(x, y, clients=8, backend="tensorflow", workers=2)
    np.testing.assert_array_equal(fitted(classifier(), little), expected)
    files = worker_of(little)._files
    assert files.path("weights").parent.parent == little_memory
    assert files.path("inputs0.npy").parent.parent == Path(tempfile.gettempdir())
    little.close()
    assert not any(folder.exists() for folder in files.folders)


def test_a_file_moves_to_the_disk_when_it_outgrows_memory(little_memory):
    files = SharedFiles.create()
    small = files.array("values", (1, 1_000), np.float32)
    small[:] = 1
    large = files.array("values", (80, 1_000), np.float32)
    large[:] = 2
    assert small.min() == small.max() == 1  # what is still mapped stays
    assert files.path("values") == files.folders[1] / "values"
    assert not (files.folders[0] / "values").exists()
    np.testing.assert_array_equal(np.memmap(files.path("values"), np.float32, "r"), np.full(80_000, 2, np.float32))
    files.remove()


def test_room_nowhere_is_said(little_memory, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(little_memory))
    files = SharedFiles.create()
    many = np.ones(80_000, np.float32)
    for put in (lambda: files.array("values", many.shape, many.dtype), lambda: files.save("rows.npy", many)):
        with pytest.raises(FlaasError) as caught:
            put()
        assert caught.value.code == "simulation-no-room"
        assert str(little_memory) in caught.value.message
    assert not any(path.is_file() for folder in files.folders for path in folder.iterdir())
    files.remove()


def test_another_seed_needs_no_other_worker(on_jax):
    fitted(classifier(), on_jax, seed=1, rounds=1)
    worker = worker_of(on_jax)
    fitted(classifier(), on_jax, seed=2, rounds=1)
    assert worker_of(on_jax) is worker


@pytest.mark.long
def test_a_run_that_stops_early_leaves_a_federation_to_go_on_with(on_jax):
    whole = fitted(classifier(), on_jax, rounds=2)
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(model, "stop_training", epoch == 1))
    model = classifier()
    fitted(model, on_jax, rounds=5, callbacks=[stop])
    np.testing.assert_array_equal(vector(model), whole)
    np.testing.assert_array_equal(fitted(classifier(), on_jax, rounds=2), whole)


def test_a_learning_rate_told_between_rounds_counts_in_the_next(on_jax, on_tensorflow):
    """The next round has been started by then, with the old one."""
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch, rate: 0.3 / (1 + epoch))
    ahead = fitted(classifier(), on_jax, callbacks=[schedule])
    np.testing.assert_allclose(ahead, fitted(classifier(), on_tensorflow, callbacks=[schedule]), atol=1e-5)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """A Ray cluster of two cores."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.long
@pytest.mark.parametrize("rule", ["fedavg", "median"])
def test_a_ray_cluster_gives_the_same_bits(rule, cluster, on_jax):
    x, y = rows()
    federation = flaas.simulate(x, y, clients=8, backend="ray")
    weights = fitted(classifier(aggregation=rule), federation)
    federation.close()
    np.testing.assert_array_equal(weights, fitted(classifier(aggregation=rule), on_jax))
