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

from flaas_jupyter.home import Home
from flaas_jupyter.simulation import kept_programs

TESTS = Path(__file__).parents[1]


@pytest.fixture
def train(tmp_path: Path) -> Any:
    """Train in a process of its own; return what JAX's cache did, and the weights."""

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
    return sorted(home.glob("programs/*/jit_program-*"))


def test_a_program_is_loaded_by_the_next_process(train, tmp_path):
    home = tmp_path / "home"
    first, weights = train(home)
    second, again = train(home)
    assert first["hits"] == 0
    assert first["misses"] > 0
    assert second == {"hits": first["misses"], "misses": 0, "changed": []}
    np.testing.assert_array_equal(again, weights)
    assert programs(home)[0].parent.stat().st_mode & 0o777 == 0o700


def test_a_damaged_program_is_compiled_again(train, tmp_path):
    home = tmp_path / "home"
    _, weights = train(home)
    (file,) = programs(home)
    file.write_bytes(file.read_bytes()[:1000])
    _, again = train(home)
    np.testing.assert_array_equal(again, weights)


def test_a_home_that_cannot_be_written_to_costs_time_only(train, tmp_path):
    home = tmp_path / "home"
    _, weights = train(tmp_path / "another")
    home.mkdir()
    home.joinpath("programs").write_text("in the way")
    found, again = train(home)
    assert found == {"hits": 0, "misses": 0, "changed": []}
    np.testing.assert_array_equal(again, weights)


def test_a_cache_of_the_user_s_own_serves(train, tmp_path):
    own = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "own"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    train(tmp_path / "home", **own)
    found, _ = train(tmp_path / "home", **own)
    assert found["hits"] > 0
    assert not programs(tmp_path / "home")
    train(tmp_path / "home", JAX_ENABLE_COMPILATION_CACHE="0")
    assert not programs(tmp_path / "home")


def test_old_programs_go(tmp_path, monkeypatch):
    monkeypatch.setattr(kept_programs, "_MOST", 3)
    home = Home(tmp_path)
    with kept_programs.kept(home):
        pass
    (folder,) = home.programs.iterdir()
    for age in range(5):
        file = folder / f"jit_program-{age}"
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    with kept_programs.kept(home):
        pass
    assert sorted(file.name for file in folder.iterdir()) == ["jit_program-0", "jit_program-1", "jit_program-2"]
