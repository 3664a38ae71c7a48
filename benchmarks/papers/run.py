"""Run the tables' cells that are not done yet: `make papers`, QUICK=1 for the main claims only.

Each finished cell is appended to .bench/papers/cells.jsonl at once, so an interrupted run goes on where it was. Several
processes can share the work: `python -m benchmarks.papers.run --part 0/2` and `--part 1/2`.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "jax")  # the quickest here; before Keras is imported
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from . import data, grid
from .experiment import measure, train

FINISHED = Path(__file__).resolve().parents[2] / ".bench" / "papers" / "cells.jsonl"


def finished() -> dict[str, dict[str, Any]]:
    """Return the results so far by the cells' keys."""
    if not FINISHED.exists():
        return {}
    lines = [json.loads(line) for line in FINISHED.read_text().splitlines() if line]
    return {line["key"]: line["result"] for line in lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", default=os.environ.get("QUICK") == "1")
    parser.add_argument("--part", default="0/1", help="which share of the cells: number/of how many")
    options = parser.parse_args()
    part, parts = (int(each) for each in options.part.split("/"))
    done = finished()
    todo = [cell for cell in grid.cells(options.quick) if cell.key not in done][part::parts]
    FINISHED.parent.mkdir(parents=True, exist_ok=True)
    splits = {}
    for dataset in dict.fromkeys(cell.dataset for cell in todo):
        try:
            splits[dataset] = data.load(dataset)
        except (OSError, ValueError) as error:  # Keras cannot download it
            print(f"{dataset} is left out: {error}", flush=True)
    todo = [cell for cell in todo if cell.dataset in splits]
    for number, cell in enumerate(todo, 1):
        started = time.perf_counter()
        split = splits[cell.dataset]
        result = cell.settings | measure(train(cell, split))
        with FINISHED.open("a") as file:
            file.write(json.dumps({"key": cell.key, "result": result}) + "\n")
        success = "" if result["asr"] is None else f", attack succeeds {result['asr']:.1%}"
        print(
            f"{number}/{len(todo)} {cell.dataset} · {cell.rule} · {cell.attack} {cell.fraction:.0%} · seed {cell.seed}"
            f": {result['accuracy']:.1%} ± {result['accuracy_spread']:.1%}{success} "
            f"({time.perf_counter() - started:.0f} s)",
            flush=True,
        )


if __name__ == "__main__":
    main()
