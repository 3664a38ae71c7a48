"""What the figures say: the thresholds that we hold ourselves to, and the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

OURS = "flaas"
FLOWER = ("flower", "flower-legacy")
PFL, FEDJAX = ("pfl",), ("fedjax",)
OTHERS = (*FLOWER, *PFL, *FEDJAX, "fedml")

# Figures by workload, then by peer.
Figures = Mapping[str, Mapping[str, Mapping[str, Any]]]


@dataclass(frozen=True)
class Threshold:
    """A ratio to reach, as in "at least so many times"; memory is limited from above."""

    says: str
    required: float
    measured: float | None

    @property
    def met(self) -> bool | None:
        return None if self.measured is None else self.measured >= self.required

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"met": self.met}


def thresholds(figures: Figures) -> list[Threshold]:
    """Return every threshold with what was measured; None where a side of the comparison is missing."""

    def faster(workload: str, peers: Iterable[str], required: float, whom: str) -> Threshold:
        best = _best(figures, workload, peers, "rounds_per_second", max)
        return Threshold(
            f"{workload}: rounds per second, times {whom}",
            required,
            _over(_figure(figures, workload, OURS, "rounds_per_second"), best),
        )

    def sooner(peers: Iterable[str], required: float, whom: str) -> Threshold:
        best = _best(figures, "W1", peers, "fifty_seconds", min)
        return Threshold(
            f"W1: 50 rounds with start-up, times quicker than {whom}",
            required,
            _over(best, _figure(figures, "W1", OURS, "fifty_seconds")),
        )

    def smaller(workload: str, peers: Iterable[str], whom: str) -> Threshold:
        best = _best(figures, workload, peers, "peak_mb", min)
        return Threshold(
            f"{workload}: peak memory of {whom}, times ours",
            1.0,
            _over(best, _figure(figures, workload, OURS, "peak_mb")),
        )

    flower = "Flower's fastest runtime"
    return [
        faster("W1", FLOWER, 25, flower),
        faster("W1", PFL, 5, "pfl-research"),
        faster("W1", FEDJAX, 3, "FedJAX"),
        faster("W2", FLOWER, 35, flower),
        faster("W2", PFL, 12, "pfl-research"),
        faster("W2", FEDJAX, 4, "FedJAX"),
        faster("W3", OTHERS, 1.05, "the fastest peer"),
        sooner(FLOWER, 5, flower),
        sooner(PFL, 2.5, "pfl-research"),
        *(smaller(one, FLOWER, "Flower") for one in ("W1", "W2")),
        *(smaller(one, PFL, "pfl-research") for one in ("W1", "W2")),
        Threshold(
            "10,000 clients, 100 per round: 4 GB, times our peak memory",
            1.0,
            _over(4000, _figure(figures, "scale", OURS, "peak_mb")),
        ),
    ]


def table(figures: Figures, skipped: Mapping[str, str]) -> str:
    """Return one table a workload, ours first; "ours ×" is how many times as many rounds per second we train."""
    lines = []
    for workload, peers in figures.items():
        ours = _figure(figures, workload, OURS, "rounds_per_second")
        heads = "rounds/s   ours ×  start-up s  50 rounds s  first time s  peak MB    loss  as the reference"
        lines += ["", f"{workload:<15} {heads}"]
        for name in sorted(peers, key=lambda one: (one != OURS, one)):
            one = peers[name]
            columns = (
                _cell(one.get("rounds_per_second"), 10, 2),
                _cell(_over(ours, one.get("rounds_per_second")), 9, 2),
                _cell(one.get("startup_seconds"), 12, 2),
                _cell(one.get("fifty_seconds"), 13, 2),
                _cell(one.get("first_fifty_seconds"), 14, 2),
                _cell(one.get("peak_mb"), 9, 0),
                _cell(one.get("loss"), 8, 4),
            )
            lines.append(f"{name:<13}{''.join(columns)}  {_YES_NO[one.get('agrees')]}")
    lines += [f"{name}: skipped, {reason}" for name, reason in skipped.items()]
    return "\n".join(lines)


def verdicts(all_thresholds: Iterable[Threshold]) -> str:
    verdict = {True: "met", False: "NOT MET", None: "not measured"}
    return "\n".join(
        f"{verdict[one.met]:<13}{one.says}: {_cell(one.measured, 0, 2)} (required {one.required:g})"
        for one in all_thresholds
    )


_YES_NO = {True: "yes", False: "NO", None: "–"}


def _figure(figures: Figures, workload: str, peer: str, name: str) -> float | None:
    value = figures.get(workload, {}).get(peer, {}).get(name)
    return None if value is None else float(value)


def _best(
    figures: Figures, workload: str, peers: Iterable[str], name: str, choose: Callable[[list[float]], float]
) -> float | None:
    values = [value for peer in peers if (value := _figure(figures, workload, peer, name)) is not None]
    return choose(values) if values else None


def _over(numerator: float | None, denominator: float | None) -> float | None:
    return numerator / denominator if numerator is not None and denominator else None


def _cell(value: float | None, width: int, digits: int) -> str:
    return f"{'–' if value is None else format(value, f'.{digits}f'):>{width}}"
