"""Why nothing satisfies all constraints: a smallest set of them that already does not go together."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Sequence

from ...errors import Conflict
from .constraints import Constraint, allowed_by_pins, coupling_weights
from .optimum import optimum
from .problem import Problem

SEARCH = 5.0
"""Seconds spent on finding a smaller conflict than the first; there are exponentially many sets."""

_NAMED = 6
"""Constraints of a conflict that the message names; all are in its details."""


class _Trials:
    """Whether sets of constraints can be satisfied, each solved once; a subset of what can, can."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._possible: list[frozenset[int]] = []
        self._impossible: list[frozenset[int]] = []
        self.unsure = False

    def possible(self, constraints: Sequence[Constraint], chosen: frozenset[int]) -> bool:
        if any(chosen <= known for known in self._possible):
            return True
        if any(known <= chosen for known in self._impossible):
            return False
        try:
            answer = optimum(self.problem, [constraints[i] for i in sorted(chosen)]) is not None
        except TimeoutError:
            answer, self.unsure = True, True
        (self._possible if answer else self._impossible).append(chosen)
        return answer


def conflict(problem: Problem, active: Sequence[Constraint]) -> Conflict:
    """Return the error that names a conflict of least size and what would do instead.

    Sets that are smaller than the first one found are searched for `SEARCH` seconds; ``details["smallest"]`` is False
    if that did not suffice. The set named is always one of which no part can be left out.
    """
    trials = _Trials(problem)
    core = frozenset(range(len(active)))
    for one in range(len(active)):  # leave out one after another what is not needed for the conflict
        if not trials.possible(active, core - {one}):
            core = core - {one}
    smallest = not trials.unsure
    until = time.monotonic() + min(SEARCH, problem.time_limit)
    for size in range(1, len(core)):
        for chosen in itertools.combinations(range(len(active)), size):
            if time.monotonic() > until:
                smallest = False
                break
            if not trials.possible(active, frozenset(chosen)):
                return _error(problem, active, frozenset(chosen), smallest)
        if not smallest:
            break
    return _error(problem, active, core, smallest)


def _error(problem: Problem, active: Sequence[Constraint], core: frozenset[int], smallest: bool) -> Conflict:
    culprits = [active[i] for i in sorted(core)]
    names = [one.text for one in culprits]
    if len(names) > _NAMED:
        names = [*names[: _NAMED - 2], f"{len(names) - _NAMED + 1} more", names[-1]]
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
    together = "cannot be met" if len(names) == 1 else "cannot be met together"
    remedies, details = _remedies(problem, active, culprits)
    return Conflict(
        f"No placement: {listed} {together}.{' ' if remedies else ''}{' '.join(remedies)}",
        code="no-placement",
        hint="Loosen one of them, or offer the nodes other candidates.",
        conflict=[one.to_dict() for one in culprits],
        smallest=smallest,
        **details,
    )


def _remedies(
    problem: Problem, active: Sequence[Constraint], culprits: Sequence[Constraint]
) -> tuple[list[str], dict[str, float]]:
    """Return for each constraint of the conflict what would do, the others of the conflict kept."""
    texts: list[str] = []
    details: dict[str, float] = {}
    for one in culprits:
        others = [other for other in culprits if other != one]
        if one.kind == "budget":
            everything = [other for other in active if other.kind != "budget"]
            best = optimum(problem, everything)
            if best is not None:
                needed = math.ceil(round(best.value * 100, 6)) / 100
                details["smallest_budget"] = needed
                texts.append(f"A budget of {needed:.2f} USD would do.")
        elif one.kind == "deadline":
            least = problem.hours if problem.hours is not None else _least_hours(problem, others)
            if least is not None:
                details["smallest_deadline_hours"] = least
                texts.append(f"A deadline of {least:.4g} h would do.")
        elif one.kind == "max_per_provider":
            for limit in range(one.rule + 1, len(problem.nodes) + 1):
                if optimum(problem, [*others, Constraint(one.kind, one.text, "", limit)]) is not None:
                    details["smallest_max_per_provider"] = limit
                    texts.append(f"At most {limit} nodes per provider would do.")
                    break
        elif one.kind == "quota" and not others:
            weights = coupling_weights(problem, [one])[0][1]
            needed = sum(float(w.min()) for w in weights)
            details["smallest_quota"] = needed
            texts.append(f"{needed:g} vCPUs would do.")
        elif one.kind == "pin":
            node = next(n for n in problem.nodes if n.name == one.node)
            places = sorted({f"{c['provider']} {c['region']}" for c in node.candidates})
            shown = ", ".join(places[:5]) + (f" and {len(places) - 5} more" if len(places) > 5 else "")
            if not others:
                texts.append(f"{one.node} has candidates in {shown} only.")
    return texts, details


def _least_hours(problem: Problem, others: Sequence[Constraint]) -> float | None:
    """Return the shortest running time that the pins allow."""
    assert problem.rounds is not None
    allowed = allowed_by_pins(problem, others)
    if not all(a.any() for a in allowed):
        return None
    slowest = max(float(s[a].min()) for s, a in zip(problem.seconds, allowed, strict=True))
    return problem.rounds * slowest / 3600
