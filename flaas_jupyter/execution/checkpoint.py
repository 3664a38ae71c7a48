"""What an aggregator keeps on disk of a run: plan, newest weights, the rule's memory, round reports.

From it the node resumes after a restart and the final weights stay at hand when the notebook has gone. One folder
per run: ``plan.json``, ``weights.npy``, ``rule.npz`` (no pickle) and ``state.json``, which is written last and has the
others' digests, so that a crash between two writes is noticed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..home import write_private
from . import rule_state
from .rule_state import State

_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")
KEPT_RUNS = 20


def digest(weights: NDArray[Any]) -> str:
    """SHA-256 of a weight vector's little-endian bytes, as hex."""
    return hashlib.sha256(np.ascontiguousarray(weights).data).hexdigest()


@dataclass
class Checkpoint:
    """A run after `round` rounds.

    Parameters
    ----------
    plan : dict
        The training plan as JSON values.
    weights : ndarray of shape (p,)
        The global weights after `round` rounds.
    round : int
        Rounds done.
    reports : list of dict
        One report per round done.
    state : str
        ``running`` or the state the run ended in.
    rule_state : dict
        What the aggregation rule remembers after `round` rounds.
    """

    plan: dict[str, Any]
    weights: NDArray[Any]
    round: int
    reports: list[dict[str, Any]]
    state: str = "running"
    rule_state: State = field(default_factory=dict)


class CheckpointStore:
    """Checkpoints under one folder; the `KEPT_RUNS` newest runs are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, run: str, checkpoint: Checkpoint) -> None:
        """Write `checkpoint`, replacing the run's older one."""
        folder = self._of(run)
        buffer = io.BytesIO()
        np.save(buffer, checkpoint.weights, allow_pickle=False)
        if not (folder / "plan.json").exists():
            write_private(folder / "plan.json", json.dumps(checkpoint.plan).encode())
            self._prune(keep=folder)
        write_private(folder / "weights.npy", buffer.getvalue())
        rule, arrays = rule_state.pack(checkpoint.rule_state)
        remembered = io.BytesIO()
        np.savez(remembered, *arrays)  # as arr_0, arr_1, …
        write_private(folder / "rule.npz", remembered.getvalue())
        state = {
            "round": checkpoint.round,
            "reports": checkpoint.reports,
            "state": checkpoint.state,
            "digest": digest(checkpoint.weights),
            "rule": rule,
            "rule_digest": hashlib.sha256(remembered.getvalue()).hexdigest(),
        }
        write_private(folder / "state.json", json.dumps(state).encode())

    def load(self, run: str) -> Checkpoint | None:
        """Return the run's checkpoint, or None where there is none or a crash left it torn."""
        folder = self._of(run)
        try:
            state = json.loads((folder / "state.json").read_text())
            plan = json.loads((folder / "plan.json").read_text())
            weights = np.load(folder / "weights.npy", allow_pickle=False)
            if digest(weights) != state["digest"]:
                return None
            rule = _load_rule(folder / "rule.npz", state)
        except (OSError, ValueError):
            return None
        return Checkpoint(plan, weights, int(state["round"]), state["reports"], state["state"], rule)

    def _of(self, run: str) -> Path:
        if not _RUN.fullmatch(run):
            raise InvalidInput(f"{run!r} is not a run id.", code="bad-run-id")
        return self._folder / run

    def _prune(self, keep: Path) -> None:
        others = [path for path in self._folder.iterdir() if path.is_dir() and path != keep]
        for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_RUNS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)


def _load_rule(path: Path, state: dict[str, Any]) -> State:
    if "rule" not in state:
        return {}  # written before rules had a memory
    stored = path.read_bytes()
    if hashlib.sha256(stored).hexdigest() != state["rule_digest"]:
        raise ValueError("rule.npz is not of the same moment as state.json")
    with np.load(io.BytesIO(stored), allow_pickle=False) as arrays:
        return rule_state.unpack(state["rule"], {int(name.removeprefix("arr_")): arrays[name] for name in arrays})
