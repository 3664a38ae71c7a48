"""Programs are compiled once and loaded by later processes, which train to the same bits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flaas_jupyter.simulation import kept_programs

TESTS = Path(__file__).parents[1]


@pytest.fixture
def train(tmp_path: Path) -> Any:
    """Train in a process of its own; return whether it compiled, and what it has trained."""

    def run(home: Path, **environment: str) -> tuple[dict[str, Any], np.ndarray]:
        file = tmp_path / "weights.npy"
        done = subprocess.run(
            [sys.executable, "-m", "simulation.kept_programs_run", str(file)],
            cwd=TESTS,
            env={**os.environ, "KERAS_BACKEND": "jax", "FLAAS_HOME": str(home), **environment},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout), np.load(file)

    return run


def programs(home: Path) -> list[Path]:
    return sorted(home.glob("programs/*"))


@pytest.mark.long
def test_a_program_is_loaded_by_the_next_process(train, tmp_path):
    home = tmp_path / "home"
    first, weights = train(home)
    second, again = train(home)
    assert (first["compiled"], second["compiled"]) == (1, 0)
    np.testing.assert_array_equal(again, weights)
    (file,) = programs(home)
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.long
def test_another_processor_or_other_flags_of_xla_need_another_program(train, tmp_path):
    home = tmp_path / "home"
    train(home)
    found, _ = train(home, XLA_FLAGS="--xla_cpu_enable_fast_math=false")
    assert found["compiled"] == 1
    assert len(programs(home)) == 2


@pytest.mark.parametrize(
    "damage",
    [lambda stored: stored[:1000], lambda stored: b"", lambda stored: stored[:-1] + b"x"],
)
@pytest.mark.long
def test_a_damaged_program_is_compiled_again(train, tmp_path, damage):
    home = tmp_path / "home"
    _, weights = train(home)
    (file,) = programs(home)
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    found, again = train(home)
    assert found["compiled"] == 1
    np.testing.assert_array_equal(again, weights)
    assert file.read_bytes() != damage(whole)


@pytest.mark.long
def test_a_home_that_cannot_be_written_to_costs_time_only(train, tmp_path):
    home = tmp_path / "home"
    _, weights = train(tmp_path / "another")
    home.mkdir()
    home.joinpath("programs").write_text("in the way")
    found, again = train(home)
    assert found["compiled"] == 1
    np.testing.assert_array_equal(again, weights)


@pytest.mark.long
def test_a_cache_of_the_user_s_own_is_left_alone(train, tmp_path):
    own = tmp_path / "own"
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str(own),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
    }
    first, weights = train(tmp_path / "one", **environment)
    second, again = train(tmp_path / "two", **environment)
    assert (first["compiled"], second["compiled"]) == (1, 1)
    assert (first["enabled"], first["double"]) == (True, [3.0, 3.0, 3.0])
    np.testing.assert_array_equal(again, weights)
    assert any(own.iterdir())
    assert not list(own.glob("jit_program*"))


def test_old_programs_go(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_programs, "_MOST", 3)
    for age in range(5):
        file = tmp_path / f"{age}"
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    kept_programs._forget_oldest(tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["0", "1", "2"]
