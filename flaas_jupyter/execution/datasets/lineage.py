"""Which versions a data set has had, and which runs have used which: two files that only the node's owner sees.

`FLAAS_HOME/versions.jsonl` has a line when a version of a data set is first seen, `FLAAS_HOME/lineage.jsonl` one when a
run takes rows. With the run's id the model is found in the project's registry of models, and with the model's run the
version it was trained on at each node that will tell.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

VERSIONS, USES = "versions.jsonl", "lineage.jsonl"


def note_version(home: Path, dataset: str, version: str, rows: int) -> None:
    """Write down that a data set has this version now; again changes nothing."""
    last = [entry for entry in _lines(home / VERSIONS) if entry["dataset"] == dataset][-1:]
    if not last or last[0]["version"] != version:
        _append(home / VERSIONS, {"time": time.time(), "dataset": dataset, "version": version, "rows": rows})


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
        _append(home / USES, {"time": time.time(), **entry})


def versions_of(home: Path, dataset: str) -> list[dict[str, Any]]:
    """Return the versions that a data set has had, oldest first: ``time``, ``version``, ``rows``, ``runs``."""
    runs: dict[str, set[str]] = {}
    for entry in _lines(home / USES):
        if entry["dataset"] == dataset:
            runs.setdefault(entry["version"], set()).add(entry["run"])
    return [
        {
            "time": _instant(entry["time"]),
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
        {key: value for key, value in entry.items() if key != "dataset"} | {"time": _instant(entry["time"])}
        for entry in _lines(home / USES)
        if entry["dataset"] == dataset
    ]


def _instant(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Entries of a file; a line that a crash has cut off is passed over."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and {"time", "dataset", "version"} <= set(entry):
            yield entry


def _append(path: Path, entry: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        cut = False
        if size:
            file.seek(size - 1)
            cut = file.read(1) != b"\n"
        file.write((b"\n" if cut else b"") + json.dumps(entry).encode() + b"\n")
