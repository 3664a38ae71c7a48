"""Simulations as their engine writes them down, written by the test."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

CREATED = "2026-01-02T03:04:05.000+00:00"


def header(name: str, **changes: Any) -> dict[str, Any]:
    """What `simulation.json` says: a run of this process, so that it is alive."""
    return {
        "id": name, "name": None, "created": CREATED, "updated": "2100-01-01T00:00:00.000+00:00", "state": "running",
        "rounds": 20, "round": 2, "aggregation": "krum", "aggregation_options": {"byzantine": 2},
        "attack": {"name": "label_flip", "options": {"fraction": 0.3}}, "privacy": None, "partition": "iid",
        "backend": "jax", "error": None, "pid": os.getpid(),
        "clients": [{"id": str(i), "name": f"client-{i}", "rows": 60, "attacker": i < 3} for i in range(10)],
        **changes,
    }  # fmt: skip


def report(number: int, clients: int = 3, **changes: Any) -> dict[str, Any]:
    """A line of `rounds.jsonl`."""
    return {
        "number": number,
        "metrics": {"loss": 1 / number, "val_attack_success_rate": 0.5},
        "clients": [
            {"node": str(i), "examples": 60, "weight": 1 / clients, "columns": {"votes": i + number / 1000}}
            for i in range(clients)
        ],
        "dropped": [],
        "seconds": {"training": 0.1},
        "epsilon": None,
        **changes,
    }


def write(home: Path, body: dict[str, Any], reports: list[dict[str, Any]] | None = None) -> Path:
    """Write a simulation's folder; return it."""
    folder = home / "simulations" / body["id"]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "simulation.json").write_text(json.dumps(body))
    append(folder, reports or [])
    return folder


def append(folder: Path, reports: list[dict[str, Any]]) -> None:
    """Go on in the journal."""
    with (folder / "rounds.jsonl").open("a") as file:
        file.writelines(json.dumps(each) + "\n" for each in reports)
