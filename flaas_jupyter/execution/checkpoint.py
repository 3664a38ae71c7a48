"""What an aggregator keeps on disk of a run: plan, newest weights, round reports.

From it the node resumes after a restart and the final weights stay at hand when the notebook has gone. One folder
per run: ``plan.json``, ``weights.npy`` (no pickle) and ``state.json``, which is written last and names the others'
digest, so that a crash between two writes is noticed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..home import write_private

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
    """

    plan: dict[str, Any]
    weights: NDArray[Any]
    round: int
    reports: list[dict[str, Any]]
    state: str = "running"


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
        state = {
            "round": checkpoint.round,
            "reports": checkpoint.reports,
            "state": checkpoint.state,
            "digest": digest(checkpoint.weights),
        }
        write_private(folder / "state.json", json.dumps(state).encode())

    def load(self, run: str) -> Checkpoint | None:
        """Return the run's checkpoint, or None where there is none or a crash left it torn."""
        folder = self._of(run)
        try:
            state = json.loads((folder / "state.json").read_text())
            plan = json.loads((folder / "plan.json").read_text())
            weights = np.load(folder / "weights.npy", allow_pickle=False)
        except (OSError, ValueError):
            return None
        if digest(weights) != state["digest"]:
            return None
        return Checkpoint(plan, weights, int(state["round"]), state["reports"], state["state"])

    def _of(self, run: str) -> Path:
        if not _RUN.fullmatch(run):
            raise InvalidInput(f"{run!r} is not a run id.", code="bad-run-id")
        return self._folder / run

    def _prune(self, keep: Path) -> None:
        others = [path for path in self._folder.iterdir() if path.is_dir() and path != keep]
        for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_RUNS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)
