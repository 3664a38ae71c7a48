"""The fuzzing targets run, for a moment here and for long with `make fuzz` (FLAAS_FUZZ_SECONDS for each of them)."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")
SECONDS = int(os.environ.get("FLAAS_FUZZ_SECONDS", "2"))
MEMORY_MIB = 1024
TARGETS = ("messages", "headers", "relay_frames", "relay_handshake", "streams")

pytestmark = [
    pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed"),
    pytest.mark.timeout(SECONDS + 120),
]


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found(target: str, tmp_path: Path) -> None:
    options = [f"-max_total_time={SECONDS}", f"-rss_limit_mb={MEMORY_MIB}", "-max_len=70000", "-seed=1", "-timeout=10"]
    # A child begins with its parent's peak of memory, which the limit is held against: so a small one starts it.
    start = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[1:]))"
    command = [sys.executable, "-c", start, sys.executable, str(FUZZ), target, *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "Done " in done.stderr, done.stderr[-4000:]
    assert list(tmp_path.glob("crash-*")) == []


def test_every_target_is_run() -> None:
    module = ast.parse(FUZZ.read_text())
    functions = {node.name for node in module.body if isinstance(node, ast.FunctionDef)} - {"finished"}
    assert functions == set(TARGETS)
