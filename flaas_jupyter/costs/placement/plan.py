"""A placement that was found, and why it looks as it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ..egress import Candidate, Quote, Schedule
from .constraints import Constraint
from .optimum import Optimum, optimum
from .problem import Problem, place_of

HOURS_PER_MONTH = 730.0


@dataclass(frozen=True)
class Alternative:
    """Another placement: its picks in node order, its total, and how much dearer than the plan it is, USD."""

    total: float
    extra: float
    picks: list[Candidate]


@dataclass(frozen=True)
class Plan:
    """The cheapest placement. Figures are USD over the whole project and are not rounded.

    Parameters
    ----------
    total, compute, egress, storage : float
        ``total`` is the sum of the other three.
    hours : float
        Hours each machine runs.
    picks : list of mappings
        One candidate per node, in node order: the objects that were given.
    by_node : list of dict
        Per node: ``name``, ``pick``, ``compute``, ``egress_out``, ``storage``, ``total``.
    gap : float
        0 when the plan is proven to be the cheapest; otherwise the most by which it may be too dear.
    warnings : list of str
        What limits the figures: a time that ran out, volume tiers, prices that were assumed.
    """

    total: float
    compute: float
    egress: float
    storage: float
    hours: float
    picks: list[Candidate]
    by_node: list[dict[str, Any]]
    gap: float
    warnings: list[str]
    _problem: Problem = field(repr=False)
    _active: tuple[Constraint, ...] = field(repr=False)

    @cached_property
    def egress_tiered(self) -> float | None:
        """USD of this plan's egress with volume tiers and free parts, None if prices are not from an `EgressTable`.

        Tiers count per billing account (key ``"account"``, else the provider) and month; the volume is taken as even
        over the months, and over the destinations where an account's have different prices.
        """
        flows = self._flows()
        if flows is None:
            return None
        months = max(1, math.ceil(self.hours / HOURS_PER_MONTH))
        cost = math.fsum(gb * quote.usd_per_gb for _, quote, gb in flows if not _tiered(quote))
        for by_schedule in _accounts(flows).values():
            volume = math.fsum(by_schedule.values())
            for schedule, gb in by_schedule.items():
                cost += months * schedule.cost(volume / months) * gb / volume
        return cost

    @cached_property
    def price_of_constraints(self) -> dict[str, float]:
        """How much cheaper the project would be without each constraint, USD, by the constraint in words.

        Each is left out alone, the others stay; a budget costs nothing while it is kept. Solves once per constraint.
        """
        prices = {}
        for one in self._active:
            without = optimum(self._problem, [other for other in self._active if other != one])
            prices[one.text] = 0.0 if without is None else max(0.0, _clean(self.total - without.value))
        return prices

    @cached_property
    def runner_up(self) -> dict[str, Alternative | None]:
        """By provider the cheapest placement with every node there, None where it is not possible."""
        nodes = self._problem.nodes
        providers = sorted({c["provider"] for node in nodes for c in node.candidates})
        return {
            provider: self._alternative([np.array([c["provider"] == provider for c in n.candidates]) for n in nodes])
            for provider in providers
        }

    @cached_property
    def next_best(self) -> dict[str, Alternative | None]:
        """By node the cheapest placement with that node in another region or at another provider, None if none."""
        nodes = self._problem.nodes
        found = {}
        for position, (node, pick) in enumerate(zip(nodes, self.picks, strict=True)):
            here = (pick["provider"], pick["region"])
            only = [np.ones(len(n.candidates), dtype=bool) for n in nodes]
            only[position] = np.array([(c["provider"], c["region"]) != here for c in node.candidates])
            found[node.name] = self._alternative(only)
        return found

    @cached_property
    def cheapest_machines(self) -> Alternative:
        """The placement of who looks at machine prices alone: each node's cheapest that its pins allow."""
        from .constraints import allowed_by_pins

        problem = self._problem
        choice = []
        for i, allowed in enumerate(allowed_by_pins(problem, self._active)):
            cost = np.where(allowed, self.hours * problem.usd_hour[i] + problem.storage[i], np.inf)
            choice.append(int(cost.argmin()))
        hours = hours_of(problem, choice)
        total = math.fsum(figures(problem, choice, hours)[:3])
        return Alternative(
            total, total - self.total, [n.candidates[c] for n, c in zip(problem.nodes, choice, strict=True)]
        )

    def explain(self) -> str:
        """Return the plan in words: costs per node, what each constraint costs, what the alternatives would cost."""
        lines = [
            f"{self.total:.2f} USD for {self.hours:g} h: compute {self.compute:.2f}, egress {self.egress:.2f}, "
            f"storage {self.storage:.2f}."
        ]
        lines.append(
            "Proven to be the cheapest."
            if self.gap == 0
            else f"Not proven: it may be up to {self.gap:.2f} USD too dear."
        )
        for row in self.by_node:
            pick = row["pick"]
            lines.append(
                f"  {row['name']}: {place_of(pick)} {pick['instance_type']}, compute {row['compute']:.2f} + egress "
                f"{row['egress_out']:.2f} + storage {row['storage']:.2f} = {row['total']:.2f} USD"
            )
        naive = self.cheapest_machines
        lines.append(f"The cheapest machine for each node, without regard to traffic: {naive.total:.2f} USD.")
        lines += [
            f"{text[0].upper()}{text[1:]} costs {usd:.2f} USD." for text, usd in self.price_of_constraints.items()
        ]
        for provider, other in self.runner_up.items():
            lines.append(
                f"Everything at {provider}: "
                + ("not possible." if other is None else f"{other.total:.2f} USD, {other.extra:+.2f}.")
            )
        return "\n".join([*lines, *self.warnings])

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values, without what takes another solve."""
        names = ("total", "compute", "egress", "storage", "hours", "gap", "egress_tiered", "warnings")
        told = {name: getattr(self, name) for name in names}
        return {**told, "by_node": [{**row, "pick": dict(row["pick"])} for row in self.by_node]}

    def _alternative(self, only: list[Any]) -> Alternative | None:
        found = optimum(self._problem, self._active, only=only, budget=False)
        if found is None:
            return None
        picks = [n.candidates[c] for n, c in zip(self._problem.nodes, found.choice, strict=True)]
        return Alternative(found.value, _clean(found.value - self.total), picks)

    def _flows(self) -> list[tuple[str, Quote, float]] | None:
        return flows(self._problem, self.picks)


def plan_of(problem: Problem, active: tuple[Constraint, ...], found: Optimum) -> Plan:
    """Return the plan of a choice."""
    compute, egress, storage, rows = figures(problem, found.choice, found.hours)
    picks = [n.candidates[c] for n, c in zip(problem.nodes, found.choice, strict=True)]
    warnings = []
    if found.gap > 0:
        warnings.append(
            f"The time limit of {problem.time_limit:g} s passed: the plan is the best found and may be up to "
            f"{found.gap:.2f} USD above the optimum."
        )
    warnings += _egress_warnings(problem, picks, found.hours)
    total = compute + egress + storage
    return Plan(total, compute, egress, storage, found.hours, picks, rows, found.gap, warnings, problem, active)


def figures(problem: Problem, choice: Sequence[int], hours: float) -> tuple[float, float, float, list[dict[str, Any]]]:
    """Return compute, egress and storage of a choice in USD, and the same per node; a sender pays its egress."""
    sites = np.array([problem.sites[i][c] for i, c in enumerate(choice)])
    needed = np.zeros((problem.prices.count, problem.prices.count), dtype=bool)
    senders, receivers = np.nonzero(problem.traffic)
    needed[sites[senders], sites[receivers]] = True
    price = problem.prices.matrix(needed)[np.ix_(sites, sites)]
    rows: list[dict[str, Any]] = []
    for i, (node, c) in enumerate(zip(problem.nodes, choice, strict=True)):
        pick = node.candidates[c]
        compute = hours * float(pick["usd_hour"])
        storage = hours * float(pick.get("disk_usd_hour", 0.0)) + float(pick.get("storage_usd", 0.0))
        out = math.fsum((problem.traffic[i] * price[i]).tolist())
        rows.append(
            {
                "name": node.name,
                "pick": pick,
                "compute": compute,
                "egress_out": out,
                "storage": storage,
                "total": compute + out + storage,
            }
        )
    compute, out, storage = (math.fsum(float(row[key]) for row in rows) for key in ("compute", "egress_out", "storage"))
    return compute, out, storage, rows


def hours_of(problem: Problem, choice: Sequence[int]) -> float:
    """Return the hours all machines run: as given, or until the slowest has done its rounds."""
    if problem.hours is not None:
        return problem.hours
    assert problem.rounds is not None
    return problem.rounds * max(float(problem.seconds[i][c]) for i, c in enumerate(choice)) / 3600


def flows(problem: Problem, picks: Sequence[Candidate]) -> list[tuple[str, Quote, float]] | None:
    """Return account, price and GB of everything sent, None if prices are not from a table."""
    if problem.table is None:
        return None
    senders, receivers = np.nonzero(problem.traffic)
    return [
        (
            f"{picks[i]['provider']} {picks[i].get('account') or ''}".strip(),
            problem.table.quote(picks[i], picks[j]),
            float(problem.traffic[i, j]),
        )
        for i, j in zip(senders.tolist(), receivers.tolist(), strict=True)
    ]


def _tiered(quote: Quote) -> bool:
    return quote.schedule is not None and quote.scope in ("internet", "internet_standard")


def _accounts(found: list[tuple[str, Quote, float]]) -> dict[tuple[str, str], dict[Schedule, float]]:
    """Return GB over the internet by account and scope, and there by schedule."""
    accounts: dict[tuple[str, str], dict[Schedule, float]] = {}
    for account, quote, gb in found:
        if _tiered(quote) and quote.schedule is not None:
            mine = accounts.setdefault((account, quote.scope), {})
            mine[quote.schedule] = mine.get(quote.schedule, 0.0) + gb
    return accounts


def _egress_warnings(problem: Problem, picks: Sequence[Candidate], hours: float) -> list[str]:
    found = flows(problem, picks)
    if found is None:
        return []
    months = max(1, math.ceil(hours / HOURS_PER_MONTH))
    warnings = []
    for (account, _), by_schedule in _accounts(found).items():
        volume = math.fsum(by_schedule.values()) / months
        if volume > min(schedule.first_paid_end for schedule in by_schedule):
            warnings.append(
                f"{account} sends {volume:,.0f} GB a month over the internet, beyond the first paid tier. The plan "
                "was chosen, and egress counted, at the price of that tier; egress_tiered has the cost with all tiers."
            )
    assumed = sorted({quote.assumed for _, quote, _ in found if quote.assumed})
    return warnings + [f"Assumed: {text}." for text in assumed]


def _clean(amount: float) -> float:
    """Return the amount without the rounding noise of two sums."""
    return 0.0 if abs(amount) < 1e-6 else amount
