"""What a simulation leaves on disk: a journal for whoever watches, a checkpoint to go on from.

A folder per simulation under ``FLAAS_HOME/simulations``: ``simulation.json`` says what it is and how far it is,
``rounds.jsonl`` has a line for each round, ``checkpoint.npz`` is written every few seconds and at the end. Nothing
else is needed to go on, bit for bit, after the process was killed: rounds after the checkpoint are made again. A file
``stop`` that somebody puts there asks the simulation to stop.
"""

from __future__ import annotations

import io
import json
import os
import secrets
import socket
import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput, NotFound
from ..home import Home, write_private
from ..plan import TrainingPlan

CHECKPOINT_SECONDS = 2.0
FLUSH_SECONDS = 0.25
# Writing checkpoints may take this share of the time.
_CHECKPOINT_SHARE = 0.05


@dataclass(frozen=True)
class SavedState:
    """Everything a simulation goes on from.

    Attributes
    ----------
    round : int
        Rounds done.
    weights : ndarray, shape (p,)
    previous : ndarray, shape (p,), or None
        Weights one round earlier.
    rule : dict
        The aggregation rule's state.
    run : dict
        JSON values: seed, learning rate, …
    residuals : dict of int to ndarray of shape (p,)
        Client to what it has not sent yet, with error feedback.
    """

    round: int
    weights: NDArray[Any]
    previous: NDArray[Any] | None
    rule: dict[str, Any] = field(default_factory=dict)
    run: dict[str, Any] = field(default_factory=dict)
    residuals: dict[int, NDArray[Any]] = field(default_factory=dict)


class Journal:
    """One simulation's folder.

    Parameters
    ----------
    folder : Path
        `create` and `open` find it.
    header : dict
        What stands in ``simulation.json``.
    """

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self.folder, self.header = folder, header
        self._lines: list[str] = []
        self._flushed = self._saved = time.monotonic()
        self._save_cost = 0.0

    @classmethod
    def create(cls, header: dict[str, Any], home: Home | None = None) -> Journal:
        """Begin a journal under a new id."""
        root = (home or Home.default()).simulations
        number = f"sim-{secrets.token_hex(6)}"
        now = _now()
        header = {"id": number, "created": now, "updated": now, "state": "running", "round": 0, "error": None} | header
        journal = cls(root / number, {**header, "pid": os.getpid(), "host": socket.gethostname()})
        journal.folder.mkdir(parents=True, mode=0o700)
        (journal.folder / "rounds.jsonl").touch(mode=0o600)
        journal.write_header()
        return journal

    @classmethod
    def open(cls, number: str, home: Home | None = None) -> Journal:
        """Open the journal of a simulation of this user.

        Raises
        ------
        NotFound
            Code ``unknown-simulation``.
        InvalidInput
            Code ``damaged-simulation``.
        """
        folder = (home or Home.default()).simulations / number
        if not number.startswith("sim-") or Path(number).name != number or not (folder / "simulation.json").is_file():
            raise NotFound(
                f"There is no simulation {number[:80]!r} in {folder.parent}.",
                code="unknown-simulation",
                hint="The Federated learning panel lists them.",
            )
        try:
            header = json.loads((folder / "simulation.json").read_text())
            return cls(folder, {**header, "id": header["id"]})
        except (ValueError, KeyError, TypeError) as error:
            raise _damaged(number, "its simulation.json cannot be read") from error

    @property
    def id(self) -> str:
        """The simulation's id."""
        return str(self.header["id"])

    def save_plan(self, plan: TrainingPlan) -> None:
        """Keep what is trained."""
        write_private(self.folder / "plan.json", json.dumps(plan.to_dict()).encode())

    def plan(self) -> TrainingPlan:
        """Return what is trained.

        Raises
        ------
        InvalidInput
            Code ``damaged-simulation``.
        """
        try:
            return TrainingPlan.from_dict(json.loads((self.folder / "plan.json").read_text()))
        except (OSError, ValueError, InvalidInput) as error:
            raise _damaged(self.id, "its plan.json cannot be read") from error

    # ---- rounds ------------------------------------------------------------------------------------------------

    def append(self, report: Mapping[str, Any]) -> None:
        """Note a round; it is on disk a moment later."""
        self._lines.append(json.dumps(report, separators=(",", ":"), default=_number))
        self.header["round"] = report["number"]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Put what was noted on disk."""
        if self._lines:
            with (self.folder / "rounds.jsonl").open("a") as file:
                file.write("".join(f"{line}\n" for line in self._lines))
            self._lines.clear()
        self.write_header()
        self._flushed = time.monotonic()

    def reports(self, rounds: int) -> list[dict[str, Any]]:
        """Return the reports of the first `rounds` rounds, and forget later ones.

        Raises
        ------
        InvalidInput
            Code ``damaged-simulation``.
        """
        path = self.folder / "rounds.jsonl"
        try:
            kept = path.read_text().splitlines()[:rounds]
            found: list[dict[str, Any]] = [json.loads(line) for line in kept]
        except (OSError, ValueError) as error:
            raise _damaged(self.id, "its rounds.jsonl cannot be read") from error
        if len(found) < rounds:
            raise _damaged(self.id, f"its journal ends after {len(found)} of {rounds} rounds")
        write_private(path, "".join(f"{line}\n" for line in kept).encode())
        return found

    # ---- header ------------------------------------------------------------------------------------------------

    def write_header(self, **changes: Any) -> None:
        """Replace ``simulation.json``."""
        self.header |= changes | {"updated": _now()}
        # Replaced several times a second, so not forced to the disk as the checkpoint is.
        temporary = self.folder / ".simulation.json"
        temporary.write_text(json.dumps(self.header, default=_number))
        temporary.replace(self.folder / "simulation.json")

    @property
    def stop_asked(self) -> bool:
        """Whether somebody asks the simulation to stop."""
        return (self.folder / "stop").exists()

    @property
    def runs_elsewhere(self) -> bool:
        """Whether another process is at it."""
        pid = int(self.header.get("pid") or 0)
        return self.header.get("state") == "running" and pid not in (0, os.getpid()) and _is_alive(pid)

    def running(self, round_number: int) -> None:
        """Take the simulation up again in this process, after `round_number` rounds."""
        (self.folder / "stop").unlink(missing_ok=True)
        self.write_header(state="running", error=None, pid=os.getpid(), host=socket.gethostname(), round=round_number)

    # ---- checkpoint --------------------------------------------------------------------------------------------

    @property
    def checkpoint_due(self) -> bool:
        """Whether it is time to write a checkpoint."""
        since = time.monotonic() - self._saved
        return since > max(CHECKPOINT_SECONDS, self._save_cost / _CHECKPOINT_SHARE)

    def save(self, state: SavedState) -> None:
        """Write a checkpoint of what has been noted."""
        began = time.monotonic()
        self.flush()
        arrays = {f"rule/{name}": value for name, value in state.rule.items() if isinstance(value, np.ndarray)}
        plain = {name: value for name, value in state.rule.items() if not isinstance(value, np.ndarray)}
        meta = json.dumps({"round": state.round, "rule": plain, "run": state.run}, default=_number)
        arrays |= {"weights": state.weights, "meta": np.frombuffer(meta.encode(), np.uint8)}
        arrays |= {f"residual/{client}": value for client, value in state.residuals.items()}
        if state.previous is not None:
            arrays["previous"] = state.previous
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_private(self.folder / "checkpoint.npz", buffer.getvalue())
        self._saved = time.monotonic()
        self._save_cost = self._saved - began

    def load(self) -> SavedState:
        """Read the checkpoint.

        Raises
        ------
        NotFound
            Code ``no-checkpoint``: it was killed before its first one.
        InvalidInput
            Code ``damaged-simulation``.
        """
        path = self.folder / "checkpoint.npz"
        if not path.is_file():
            raise NotFound(
                f"Simulation {self.id} has no checkpoint to go on from.",
                code="no-checkpoint",
                hint="Start it again.",
            )
        try:
            with np.load(path, allow_pickle=False) as saved:
                meta = json.loads(saved["meta"].tobytes())
                rule = dict(meta["rule"])
                rule |= {name[5:]: saved[name] for name in saved.files if name.startswith("rule/")}
                previous = saved["previous"] if "previous" in saved.files else None
                left = {int(name[9:]): saved[name] for name in saved.files if name.startswith("residual/")}
                return SavedState(int(meta["round"]), saved["weights"], previous, rule, meta["run"], left)
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile, zlib.error) as error:
            raise _damaged(self.id, "its checkpoint cannot be read") from error


def _damaged(simulation: str, what: str) -> InvalidInput:
    return InvalidInput(
        f"Simulation {simulation} cannot go on: {what}.", code="damaged-simulation", hint="Start it again."
    )


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _number(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
