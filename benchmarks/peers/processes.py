"""Run one script in a process of its own, and watch the memory of all the processes that it starts. Linux."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from environments import last_words

HERE = Path(__file__).parent
RUN_SECONDS = 900
# Of the caller's environment nothing may choose a peer's backend, its number of threads, or where its modules are.
UNSET = ("PYTHON", "JAX_", "XLA_", "KERAS_", "TF_", "OMP_", "RAY_", "FLWR_", "FLAAS_")


class Failed(Exception):
    """The script ended without figures, for the reason given."""


def run(
    python: Path, script: Path, arguments: Sequence[str], home: Path, *, watch_memory: bool = False
) -> dict[str, Any]:
    """Run a peer's script and return the figures that it prints; with `peak_mb` if its memory was watched.

    `home` is its home folder, where it finds what it kept there the last time.

    Raises
    ------
    Failed
        With the script's last words.
    """
    with tempfile.TemporaryDirectory() as folder:
        outputs = [(Path(folder) / name).open("w+") for name in ("stdout", "stderr")]
        command = [python, script, *arguments, "--started", repr(time.monotonic())]
        process = subprocess.Popen(
            command, cwd=folder, env=_environment(home), stdout=outputs[0], stderr=outputs[1], start_new_session=True
        )
        try:
            peak = _wait(process, watch_memory)
        finally:
            _end(process)
        for one in outputs:
            one.seek(0)
        stdout, stderr = (one.read() for one in outputs)
    if process.returncode:
        raise Failed(last_words(stderr or stdout))
    figures: dict[str, Any] = json.loads(stdout.strip().splitlines()[-1])
    return figures | ({"peak_mb": peak / 2**20} if watch_memory else {})


def _environment(home: Path) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(UNSET)}
    quiet = {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "TF_CPP_MIN_LOG_LEVEL": "3"}
    return kept | quiet | {"PYTHONPATH": str(HERE), "HOME": str(home)}


def _wait(process: subprocess.Popen[bytes], watch_memory: bool) -> int:
    """Wait for the process, and return the most memory seen, in bytes."""
    peak, deadline = 0, time.monotonic() + RUN_SECONDS
    while process.poll() is None:
        if time.monotonic() > deadline:
            raise Failed(f"not done after {RUN_SECONDS} s")
        if watch_memory:
            peak = max(peak, sum(map(_memory, _family(process.pid))))
        time.sleep(0.05)
    return peak


def _family(root: int) -> list[int]:
    """Return a process and all that descend from it."""
    children = defaultdict(list)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                # The name in brackets may hold anything; the parent is the second field behind it.
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError):
                continue
            children[parent].append(int(entry.name))
    family = [root]
    for one in family:
        family += children[one]
    return family


def _memory(process: int) -> int:
    """Return its proportional set size: pages shared by k processes count 1/k in each, so that a sum is fair."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what a run has left behind, so that the next one has the machine to itself."""
    if process.poll() is None:
        for one in _family(process.pid):
            try:
                os.kill(one, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()
