"""What a party keeps of a vertical run on disk: the plan, its own part of the model, the report. Nothing of others.

One folder a run under ``FLAAS_HOME/vertical``: ``plan.json``, ``part.npz`` (no pickle), ``run.json``, which is written
last and has the other files' digests, and at the label holder a folder ``predictions`` of CSV files.
"""

from __future__ import annotations

import csv
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

from ..errors import InvalidInput, NotFound
from ..home import write_private
from ..training.vertical.plan import VerticalPlan
from ..training.vertical.state import PartyState

_RUN = re.compile(r"[A-Za-z0-9_-]{1,64}")
KEPT_RUNS = 20


@dataclass(frozen=True)
class KeptRun:
    """A run that has ended well, as one of its parties keeps it.

    Parameters
    ----------
    run : dict
        As the coordination API told of it and its developer has signed it.
    plan : VerticalPlan
    part : PartyState
        This party's part of the model.
    reports : list of dict
        One for each epoch; at the label holder.
    report : dict
        How the run went, figures only.
    """

    run: dict[str, Any]
    plan: VerticalPlan = field(repr=False)
    part: PartyState = field(repr=False)
    reports: list[dict[str, Any]]
    report: dict[str, Any]


class VerticalStore:
    """Runs under one folder; the `KEPT_RUNS` newest are kept."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, kept: KeptRun) -> None:
        """Write a run; files are written whole or not at all."""
        folder = self._of(str(kept.run["id"]))
        plan = json.dumps(kept.plan.to_dict()).encode()
        part = kept.part.to_bytes()
        write_private(folder / "plan.json", plan)
        write_private(folder / "part.npz", part)
        entry = {
            "run": {name: value for name, value in kept.run.items() if not name.startswith("_")},
            "reports": kept.reports,
            "report": kept.report,
            "plan_sha256": hashlib.sha256(plan).hexdigest(),
            "part_sha256": hashlib.sha256(part).hexdigest(),
        }
        write_private(folder / "run.json", json.dumps(entry).encode())
        self._prune(keep=folder)

    def load(self, run: str) -> KeptRun:
        """Return a run.

        Raises
        ------
        NotFound
            Code ``no-such-run``: there is none, or a crash left it torn.
        """
        folder = self._of(run)
        try:
            entry = json.loads((folder / "run.json").read_text(encoding="utf-8"))
            plan, part = (folder / "plan.json").read_bytes(), (folder / "part.npz").read_bytes()
            for name, data in (("plan", plan), ("part", part)):
                if hashlib.sha256(data).hexdigest() != entry[f"{name}_sha256"]:
                    raise ValueError(f"the {name} is not of the same moment")
            return KeptRun(
                dict(entry["run"]),
                VerticalPlan.from_dict(json.loads(plan)),
                PartyState.from_bytes(part),
                list(entry["reports"]),
                dict(entry["report"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise NotFound(
                f"This node keeps no part of a model of run {run!r}.",
                code="no-such-run",
                hint="Only runs that have completed leave one; the newest of them are kept.",
            ) from error

    def write_scores(self, run: str, name: str, ids: NDArray[np.str_], scores: NDArray[Any]) -> Path:
        """Write scores with the ids that they are of, for the label holder alone.

        Parameters
        ----------
        run, name : str
            The run, and a name for the prediction.
        ids : ndarray of shape (n,)
        scores : ndarray of shape (n,) or (n, k)

        Returns
        -------
        Path
            A CSV file with the columns ``id`` and ``score``, or ``score_0`` to ``score_<k - 1>``.
        """
        path = self._of(run) / "predictions" / f"{name}.csv"
        columns = scores.reshape(len(scores), -1)
        names = ["score"] if columns.shape[1] == 1 else [f"score_{i}" for i in range(columns.shape[1])]
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["id", *names])
        writer.writerows([identifier, *row] for identifier, row in zip(ids.tolist(), columns.tolist(), strict=True))
        write_private(path, text.getvalue().encode())
        return path

    def _of(self, run: str) -> Path:
        if not _RUN.fullmatch(run):
            raise InvalidInput(f"{run[:80]!r} is not a run id.", code="bad-run-id")
        return self._folder / run

    def _prune(self, keep: Path) -> None:
        others = [path for path in self._folder.iterdir() if path.is_dir() and path != keep]
        for old in sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[KEPT_RUNS - 1 :]:
            shutil.rmtree(old, ignore_errors=True)
