"""Compare this project's simulation with its peers on one machine, one process at a time: `make bench-peers`.

Repetitions go round all peers, so that a disturbance of the machine falls on everybody; figures are medians. Before
them everybody runs once in an empty home, as on a new machine; that start-up is shown beside. A peer that cannot be
installed or fails is left out with the reason. See docs/benchmarks.md for what is measured and why.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import environments
import processes
import report
import workload
from workload import SPECS, Workload

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
WORK = ROOT / ".bench"
# Peers train the workload's cohorts in the workload's order: the same model to rounding. Ours draws cohorts itself.
SAME, ALIKE = 0.01, 0.05


@dataclass(frozen=True)
class Peer:
    name: str
    script: str

    @property
    def folder(self) -> str:
        return self.script.partition("/")[0]

    def python(self) -> Path:
        requirements = HERE / self.folder / "requirements.txt"
        return environments.python_of(requirements, WORK / "peers" / self.folder, ROOT / "pyproject.toml")


@dataclass(frozen=True)
class Plan:
    """Rounds of one workload; the slow take fewer, which is enough for them."""

    warmup: int
    rounds: int
    slow_rounds: int


PEERS = (
    Peer(report.OURS, "flaas/run.py"),
    Peer("fedjax", "fedjax/run.py"),
    Peer("fedml", "fedml/run.py"),
    Peer("pfl", "pfl/run.py"),
    Peer("flower", "flower/run.py"),
    Peer("flower-legacy", "flower/run_legacy.py"),
)
PLANS = {
    "W1": Plan(warmup=5, rounds=200, slow_rounds=50),
    "W2": Plan(warmup=2, rounds=30, slow_rounds=7),
    "W3": Plan(warmup=2, rounds=12, slow_rounds=12),
    "scale": Plan(warmup=2, rounds=20, slow_rounds=20),
}


class Comparison:
    """The figures so far, and why some are missing."""

    def __init__(self, peers: list[Peer], homes: Path) -> None:
        self._homes = homes
        self.first: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        self.runs: dict[str, dict[str, list[dict[str, Any]]]] = defaultdict(lambda: defaultdict(list))
        self.peaks: dict[str, dict[str, float]] = defaultdict(dict)
        self.skipped: dict[str, str] = {}
        self.pythons: dict[str, Path] = {}
        for peer in peers:
            try:
                self.pythons[peer.name] = peer.python()
            except environments.NotInstallable as error:
                self.skipped[peer.name] = f"not installable: {error}"

    def run(self, peer: Peer, work: Workload, plan: Plan, *, watch_memory: bool) -> None:
        """Run a peer once; of a run whose memory is watched only that is kept, as watching takes time.

        The first run of a workload finds an empty home, and is kept apart from those that find what it left there.
        """
        if peer.name in self.skipped:
            return
        name, rounds = work.spec.name, plan.slow_rounds if peer.folder == "flower" else plan.rounds
        print(f"{name}: {peer.name}, {rounds} rounds{', memory' if watch_memory else ''}", file=sys.stderr, flush=True)
        home = self._homes / name / peer.name
        first = not home.exists()
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.npz"
            arguments = [
                str(work.folder),
                "--rounds",
                str(rounds),
                "--warmup",
                str(plan.warmup),
                "--weights",
                str(weights),
            ]
            try:
                figures = processes.run(
                    self.pythons[peer.name], HERE / peer.script, arguments, home, watch_memory=watch_memory
                )
            except processes.Failed as error:
                self.skipped[peer.name] = f"failed on {name}: {error}"
                return
            if watch_memory:
                self.peaks[name][peer.name] = figures["peak_mb"]
            elif first:
                self.first[name][peer.name] = figures
            else:
                figures["loss"], figures["accuracy"] = workload.evaluate(work, workload.load_weights(weights))
                self.runs[name][peer.name].append(figures)

    def figures(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return medians by workload and peer, with the runs that they are of."""
        result: dict[str, dict[str, dict[str, Any]]] = {}
        for name in PLANS:
            peers = {
                **self.runs.get(name, {}),
                **{one: self.runs[name].get(one, []) for one in self.peaks.get(name, {})},
            }
            result |= {name: {peer: self._summary(name, peer, runs) for peer, runs in peers.items()}} if peers else {}
        return result

    def _summary(self, name: str, peer: str, runs: list[dict[str, Any]]) -> dict[str, Any]:
        first = self.first.get(name, {}).get(peer, {})
        summary: dict[str, Any] = {
            "peak_mb": self.peaks.get(name, {}).get(peer),
            "first_fifty_seconds": first.get("fifty_seconds"),
        }
        for key in ("rounds_per_second", "startup_seconds", "fifty_seconds", "loss", "accuracy"):
            values = [one[key] for one in runs if one[key] is not None]
            summary[key] = statistics.median(values) if values else None
        if runs:
            summary["reference_loss"] = self._reference(name, runs[0]["rounds"])
            tolerance = (ALIKE if peer == report.OURS else SAME) * summary["reference_loss"]
            summary["agrees"] = abs(summary["loss"] - summary["reference_loss"]) <= tolerance
        return summary | {"runs": runs}

    def _reference(self, name: str, rounds: int) -> float:
        """Return the loss to compare with: the NumPy loop's, which has no convolutions: there the median."""
        if SPECS[name].model == "mlp":
            return reference_loss(name, rounds)
        return statistics.median(
            one["loss"] for runs in self.runs[name].values() for one in runs if one["rounds"] == rounds
        )


def reference_loss(name: str, rounds: int) -> float:
    """Return the loss of the NumPy loop after so many rounds, computed once."""
    folder = workload.prepare(SPECS[name], WORK / "peers" / "workloads")
    cache = folder / f"reference-{rounds}.json"
    if not cache.exists() or cache.stat().st_mtime < (folder / "spec.json").stat().st_mtime:
        work = workload.load(folder)
        cache.write_text(json.dumps(workload.evaluate(work, workload.train(work, rounds))[0]))
    return float(json.loads(cache.read_text()))


def compare(peers: list[Peer], names: list[str], repetitions: int, homes: Path) -> Comparison:
    comparison = Comparison(peers, homes)
    for name in names:
        plan, work = PLANS[name], workload.load(workload.prepare(SPECS[name], WORK / "peers" / "workloads"))
        taking_part = [one for one in peers if name != "scale" or one.name == report.OURS]
        for _ in range(1 + (repetitions if name != "scale" else 1)):
            for peer in taking_part:
                comparison.run(peer, work, plan, watch_memory=False)
        for peer in taking_part:
            comparison.run(peer, work, plan, watch_memory=True)
    return comparison


def main() -> int:
    quick = os.environ.get("BENCH_QUICK", "") not in ("", "0")
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", nargs="+", choices=[one.name for one in PEERS], default=[one.name for one in PEERS])
    parser.add_argument("--workloads", nargs="+", choices=list(PLANS), default=list(PLANS))
    parser.add_argument("--repetitions", type=int, default=1 if quick else 3, help="1 with BENCH_QUICK=1")
    parser.add_argument("--output", type=Path, default=WORK / "peers.json")
    options = parser.parse_args()

    peers = [one for one in PEERS if one.name in options.peers]
    with tempfile.TemporaryDirectory() as homes:
        comparison = compare(peers, options.workloads, options.repetitions, Path(homes))
    figures = comparison.figures()
    judged = report.thresholds(figures)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(
        json.dumps(
            {
                "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "machine": {"cpu": platform.processor() or platform.machine(), "cores": os.cpu_count()},
                "repetitions": options.repetitions,
                "workloads": figures,
                "skipped": comparison.skipped,
                "thresholds": [one.to_dict() for one in judged],
            },
            indent=2,
        )
    )
    print(report.table(figures, comparison.skipped), report.verdicts(judged), sep="\n\n")
    print(f"\nAll figures: {options.output}")
    # A peer may be missing. We may not.
    return int(report.OURS in comparison.skipped)


if __name__ == "__main__":
    sys.exit(main())
