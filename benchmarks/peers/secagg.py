"""Secure sums against Flower's SecAgg+ on the same vectors: `python benchmarks/peers/secagg.py`.

Flower runs in an environment of its own (.bench/peers/flower), ours in this interpreter's. Both hand every message over
in memory, with as many neighbours and as high a threshold; a tenth of the members sends no vector. Turns alternate, so
that what disturbs the machine disturbs both; figures are medians of turns. BENCH_QUICK=1 measures small sums only.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import environments
import processes

from flaas_jupyter.protocols.secure_aggregation import graph

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = ROOT / ".bench"
QUICK = os.environ.get("BENCH_QUICK", "") not in ("", "0")
REQUIRED = 5.0
# Members, values of a vector.
SUMS = ((10, 1_000_000),) if QUICK else ((10, 1_000_000), (30, 1_000_000), (100, 1_000_000), (10, 10_000_000))
TURNS = 1 if QUICK else 3
LARGE = 100  # members from which on one turn has to do: Flower's sharing of secrets takes minutes


def neighbours_of(members: int) -> tuple[int, int]:
    """Return what Flower calls the number of shares, and its threshold: those of our graph."""
    found = None if members <= graph.FULL_UP_TO else graph.choose(members, members // 10, members // 10)
    return (members, 2 * members // 3 + 1) if found is None else (found.degree + 1, found.threshold)


def compare(members: int, values: int, flower: Path) -> dict[str, Any]:
    dropped, (shares, threshold) = members // 10, neighbours_of(members)
    same = ["--members", members, "--values", values, "--dropped", dropped, "--repetitions", 1]
    theirs_too = ["--shares", shares, "--threshold", threshold]
    turns: dict[str, list[dict[str, float]]] = {"flaas": [], "flower": []}
    with tempfile.TemporaryDirectory() as home:
        for _ in range(1 if members >= LARGE else TURNS):
            ours = processes.run(Path(sys.executable), HERE / "flaas/run_secagg.py", list(map(str, same)), Path(home))
            arguments = list(map(str, [*same, *theirs_too]))
            theirs = processes.run(flower, HERE / "flower/run_secagg.py", arguments, Path(home))
            turns["flaas"].append(ours)
            turns["flower"].append(theirs)
    figures = {peer: {k: statistics.median(t[k] for t in some) for k in some[0]} for peer, some in turns.items()}
    times = {side: figures["flower"][side] / figures["flaas"][side] for side in ("client", "server", "seconds")}
    return {"members": members, "values": values, "dropped": dropped, "shares": shares, **figures, "times": times}


def main() -> int:
    requirements = HERE / "flower" / "requirements.txt"
    flower = environments.python_of(requirements, WORK / "peers" / "flower", ROOT / "pyproject.toml")
    results, slow = [], False
    print(
        f"{'members':>8}{'values':>12}{'client s':>10}{'Flower':>10}{'server s':>10}{'Flower':>10}{'whole round':>13}"
    )
    for members, values in SUMS:
        one = compare(members, values, flower)
        results.append(one)
        ours, theirs, times = one["flaas"], one["flower"], one["times"]
        print(
            f"{members:>8}{values:>12,}{ours['client']:>10.3f}{times['client']:>8.1f} x"
            f"{ours['server']:>10.3f}{times['server']:>8.1f} x{times['seconds']:>11.1f} x",
            flush=True,
        )
        slow = slow or times["seconds"] < REQUIRED
        if max(ours["error"], theirs["error"]) > 1e-4:
            print(f"the means are wrong: ours by {ours['error']:g}, Flower's by {theirs['error']:g}")
            slow = True
    WORK.mkdir(exist_ok=True)
    (WORK / "secagg.json").write_text(json.dumps(results, indent=1))
    print(f"required: {REQUIRED:g} x the speed of a whole round; " + ("not met" if slow else "met"))
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
