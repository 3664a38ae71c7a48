"""Which versions a data set has had, and which runs have used which: two files that only the node's owner sees.

`FLAAS_HOME/versions.jsonl` has a line when a version of a data set is first seen, `FLAAS_HOME/lineage.jsonl` one when a
run takes rows. With the run's id the model is found in the project's registry of models, and with the model's run the
version it was trained on at each node that will tell.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..journal import append, entries, instant

VERSIONS, USES = "versions.jsonl", "lineage.jsonl"


def note_version(home: Path, dataset: str, version: str, rows: int) -> None:
    """Write down that a data set has this version now; again changes nothing."""
    last = [entry for entry in _lines(home / VERSIONS) if entry["dataset"] == dataset][-1:]
    if not last or last[0]["version"] != version:
        append(home / VERSIONS, {"time": time.time(), "dataset": dataset, "version": version, "rows": rows})


def note_use(home: Path, dataset: str, version: str, rows: int, *, run: dict[str, Any], recipe: str | None) -> None:
    """Write down that a run takes the rows of a version; again, for a run that is resumed, changes nothing.

    Parameters
    ----------
    home : Path
        `FLAAS_HOME`.
    dataset, version : str
    rows : int
    run : dict
        As the coordination API tells of it.
    recipe : str, optional
        Digest of the preprocessing.
    """
    entry = {
        "dataset": dataset,
        "version": version,
        "run": str(run["id"]),
        "project": str(run["project"]),
        "operation": str(run.get("operation") or "train"),
        "model": run.get("model_digest"),
        "recipe": recipe,
        "rows": rows,
    }
    if not any(all(known.get(key) == value for key, value in entry.items()) for known in _lines(home / USES)):
        append(home / USES, {"time": time.time(), **entry})


def versions_of(home: Path, dataset: str) -> list[dict[str, Any]]:
    """Return the versions that a data set has had, oldest first: ``time``, ``version``, ``rows``, ``runs``."""
    runs: dict[str, set[str]] = {}
    for entry in _lines(home / USES):
        if entry["dataset"] == dataset:
            runs.setdefault(entry["version"], set()).add(entry["run"])
    return [
        {
            "time": instant(entry["time"]),
            "version": entry["version"],
            "rows": entry["rows"],
            "runs": len(runs.get(entry["version"], ())),
        }
        for entry in _lines(home / VERSIONS)
        if entry["dataset"] == dataset
    ]


def lineage_of(home: Path, dataset: str) -> list[dict[str, Any]]:
    """Return which runs have used which versions of a data set, oldest first."""
    return [
        {key: value for key, value in entry.items() if key != "dataset"} | {"time": instant(entry["time"])}
        for entry in _lines(home / USES)
        if entry["dataset"] == dataset
    ]


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    return entries(path, ("time", "dataset", "version"))
