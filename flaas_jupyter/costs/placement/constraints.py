"""What a placement must keep to: pins of single nodes, limits on several together, budget and deadline."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InvalidInput
from ..egress import Candidate
from .energy import Bools, Floats
from .problem import OWN_MACHINES, Problem, is_number

PIN_KEYS = ("provider", "region", "country", "area")
QuotaKey = tuple[str, str, str]


@dataclass(frozen=True)
class Constraint:
    """One constraint.

    Parameters
    ----------
    kind : str
        ``"pin"``, ``"quota"``, ``"max_per_provider"``, ``"deadline"`` or ``"budget"``.
    text : str
        In words, to stand in a sentence.
    node : str
        The node that is pinned.
    rule : object
        What is asked: a mapping for a pin, (key, limit) for a quota, a number otherwise.
    """

    kind: str
    text: str
    node: str = ""
    rule: Any = None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        named = {"node": self.node} if self.node else {}
        return {"kind": self.kind, **named, "text": self.text}


def checked_constraints(
    problem: Problem,
    budget: float | None,
    deadline_hours: float | None,
    quota: Mapping[QuotaKey, float] | None,
    pins: Mapping[str, Mapping[str, Any]] | None,
    max_per_provider: int | None,
) -> tuple[Constraint, ...]:
    """Return the constraints.

    Raises
    ------
    InvalidInput
        A constraint that names an unknown node or key, or is no amount.
    """
    found: list[Constraint] = []
    names = {node.name for node in problem.nodes}
    for name, pin in (pins or {}).items():
        if name not in names:
            raise _bad("unknown-node", f"pins name a node {name!r}; the nodes are {', '.join(sorted(names))}.")
        if not isinstance(pin, Mapping) or not pin or set(pin) - set(PIN_KEYS):
            raise _bad("bad-pin", f"The pin of node {name!r} is {pin!r}; allowed are the keys {', '.join(PIN_KEYS)}.")
        for key, value in pin.items():
            if not all(isinstance(one, str) and one for one in _several(value)) or not _several(value):
                raise _bad(
                    "bad-pin", f"The pin of node {name!r}, key {key!r}: {value!r}; it must be a text or several."
                )
            if key == "area":
                _area(value)  # an unknown area is refused here
        words = ", ".join(f"{key} {' or '.join(_several(value))}" for key, value in pin.items())
        found.append(Constraint("pin", f"pinning {name} to {words}", name, dict(pin)))
    for quota_key, limit in (quota or {}).items():
        if not (
            isinstance(quota_key, tuple) and len(quota_key) == 3 and all(isinstance(one, str) for one in quota_key)
        ):
            raise _bad(
                "bad-quota",
                f"A quota has the key {quota_key!r}; it must be (account or provider, region or '*', family or '*').",
            )
        _amount("bad-quota", f"The quota of {' '.join(quota_key)}", limit)
        _quota_weights(problem, quota_key)
        words = " ".join(quota_key)
        found.append(Constraint("quota", f"the quota of {limit:g} vCPUs in {words}", "", (quota_key, float(limit))))
    if max_per_provider is not None:
        if (
            not isinstance(max_per_provider, numbers.Integral)
            or isinstance(max_per_provider, bool)
            or max_per_provider < 1
        ):
            raise _bad("bad-limit", f"max_per_provider is {max_per_provider!r}; it must be a whole number, at least 1.")
        text = f"at most {max_per_provider} node{'s' if max_per_provider > 1 else ''} per provider"
        found.append(Constraint("max_per_provider", text, "", int(max_per_provider)))
    if deadline_hours is not None:
        _amount("bad-deadline", "deadline_hours", deadline_hours)
        found.append(Constraint("deadline", f"the deadline of {deadline_hours:g} h", "", float(deadline_hours)))
    if budget is not None:
        _amount("bad-budget", "budget", budget)
        found.append(Constraint("budget", f"the budget of {budget:.2f} USD", "", float(budget)))
    return tuple(found)


def meets_pin(candidate: Candidate, pin: Mapping[str, Any]) -> bool:
    """Return whether a candidate is where a pin wants it; a country or region that is not known never is."""
    for key, value in pin.items():
        wanted = {one.lower() for one in _several(value)}
        if key == "country":
            country = str(candidate.get("country") or _country(candidate)).lower()
            if not country or country not in wanted:
                return False
        elif key == "area":
            if not _inside(candidate, value):
                return False
        elif str(candidate[key]).lower() not in wanted:
            return False
    return True


def allowed_by_pins(problem: Problem, active: Sequence[Constraint]) -> list[Bools]:
    """Return for each node which candidates its pins allow."""
    pins = {one.node: one.rule for one in active if one.kind == "pin"}
    return [
        np.array([node.name not in pins or meets_pin(c, pins[node.name]) for c in node.candidates], dtype=bool)
        for node in problem.nodes
    ]


def coupling_weights(problem: Problem, active: Sequence[Constraint]) -> list[tuple[str, list[Floats], float]]:
    """Return the limits on several nodes: name, weight of each candidate of each node, limit."""
    found: list[tuple[str, list[Floats], float]] = []
    for one in active:
        if one.kind == "quota":
            key, limit = one.rule
            found.append((one.text, _quota_weights(problem, key), limit))
        elif one.kind == "max_per_provider":
            providers = {c["provider"] for node in problem.nodes for c in node.candidates} - set(OWN_MACHINES)
            for provider in sorted(providers):
                weights = [
                    np.array([float(c["provider"] == provider) for c in node.candidates]) for node in problem.nodes
                ]
                found.append((one.text, weights, float(one.rule)))
    return found


def _quota_weights(problem: Problem, key: QuotaKey) -> list[Floats]:
    who, region, family = key
    weights = []
    for node in problem.nodes:
        row = np.zeros(len(node.candidates))
        for position, c in enumerate(node.candidates):
            if who not in (c.get("account"), c["provider"]) or region not in ("*", c["region"]):
                continue
            own = c.get("family", c.get("quota_key"))
            for needed, value in (("vcpus", c.get("vcpus")), ("family", own if family != "*" else "")):
                if value is None:
                    raise _bad(
                        "bad-quota",
                        f"Node {node.name!r}, candidate {position} has no key {needed!r}, needed by the quota of "
                        f"{' '.join(key)}.",
                    )
            if family in ("*", own):
                row[position] = float(c["vcpus"])
        weights.append(row)
    return weights


def _country(candidate: Candidate) -> str:
    from ..regions import Regions

    region = Regions.embedded().find(candidate["provider"], candidate["region"])
    return region.country if region is not None else ""


def _area(area: Any) -> frozenset[tuple[str, str]]:
    from ..regions import Regions

    return Regions.embedded().within(area)


def _inside(candidate: Candidate, area: Any) -> bool:
    inside = _area(area)
    if (candidate["provider"], candidate["region"]) in inside:
        return True
    from ..regions import Regions

    if Regions.embedded().find(candidate["provider"], candidate["region"]) is not None or not candidate.get("country"):
        return any(one.lower() == "all" for one in _several(area))
    country = str(candidate["country"]).upper()  # an own machine that says where it stands
    wholly = [one for one in Regions.embedded() if one.country == country]
    return bool(wholly) and all(one.key in inside for one in wholly)


def _several(value: Any) -> list[Any]:
    return (
        [value] if isinstance(value, str) else list(value) if isinstance(value, (list, tuple, set, frozenset)) else []
    )


def _amount(code: str, what: str, value: Any) -> None:
    if not (is_number(value) and math.isfinite(value) and value >= 0):
        raise _bad(code, f"{what} is {value!r}; it must be a finite number, at least 0.")


def _bad(code: str, message: str) -> InvalidInput:
    return InvalidInput(message, code=code, hint="Mend the constraint or leave it out.")
