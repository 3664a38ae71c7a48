"""Where the nodes of a project run so that machines, storage and egress together cost least."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import Aborted
from ..egress import Candidate, EgressTable
from .conflict import conflict
from .constraints import QuotaKey, checked_constraints
from .optimum import optimum
from .plan import Alternative, Plan, plan_of
from .problem import checked_problem
from .spot import effective_spot_price

__all__ = ["Alternative", "Plan", "effective_spot_price", "place"]


def place(
    nodes: Sequence[Mapping[str, Any]],
    traffic_gb: Any,
    hours: float | None = None,
    egress: Callable[[Candidate, Candidate], float] | EgressTable | None = None,
    budget: float | None = None,
    *,
    deadline_hours: float | None = None,
    quota: Mapping[QuotaKey, float] | None = None,
    pins: Mapping[str, Mapping[str, Any]] | None = None,
    max_per_provider: int | None = None,
    rounds: int | None = None,
    time_limit: float = 60.0,
) -> Plan:
    """Return the cheapest placement: one candidate per node, proven to the cent.

    The total is the sum over nodes of hours × usd_hour + storage, and over pairs i ≠ j of traffic_gb[i][j] × the price
    of egress from i's pick to j's.

    Parameters
    ----------
    nodes : list of mappings
        ``{"name": ..., "candidates": [{"provider", "region", "instance_type", "usd_hour"}, ...]}``. Candidates may also
        carry ``storage_usd`` (USD over the project), ``disk_usd_hour``, ``round_seconds``, ``vcpus``, ``family``,
        ``account``, ``country``, ``zone`` and whatever else the egress price reads.
    traffic_gb : array-like (n, n)
        GB that node i sends to node j over the project; the diagonal does not count.
    hours : float, optional
        Hours every machine runs. None: they follow from `rounds`.
    egress : callable or EgressTable, optional
        USD per GB from one candidate to another, `EgressTable.embedded` by default. A callable need not be symmetric
        nor metric. It may depend on every key of a candidate but those of the machine itself
        (`problem.MACHINE_KEYS`: price, type, vCPUs and the like); it is asked once per pair of places, and only for
        pairs that may carry traffic.
    budget : float, optional
        USD; a dearer optimum is no placement.
    deadline_hours : float, optional
        Longest time.
    quota : mapping, optional
        {(account or provider, region or "*", family or "*"): vCPUs}.
    pins : mapping, optional
        {node: {"provider" | "region" | "country" | "area": text or several}}.
    max_per_provider : int, optional
        Nodes that may stand at one provider together; own machines (``local``, ``ssh``) do not count.
    rounds : int, optional
        Instead of `hours`: all machines run until the slowest, by ``round_seconds``, has done its rounds.
    time_limit : float
        Seconds; if they pass, the best plan found comes back with ``gap`` above 0 and a warning.

    Raises
    ------
    InvalidInput
        What is wrong, in which node, key or pair, and what is allowed.
    Conflict
        ``no-placement``: nothing satisfies all constraints; ``details["conflict"]`` is a smallest set of them that
        cannot be met.
    Aborted
        ``placement-timeout``: the time passed before any choice within the constraints was found.

    Examples
    --------
    >>> here = {"provider": "aws", "region": "eu-west-1", "instance_type": "m5.large", "usd_hour": 0.107}
    >>> there = {"provider": "gcp", "region": "europe-west1", "instance_type": "n1-standard-2", "usd_hour": 0.104}
    >>> nodes = [{"name": "a", "candidates": [here, there]}, {"name": "b", "candidates": [here]}]
    >>> plan = place(nodes, [[0, 5], [5, 0]], 24)
    >>> [pick["provider"] for pick in plan.picks], round(plan.total, 3), plan.egress
    (['aws', 'aws'], 5.136, 0.0)
    """
    problem = checked_problem(nodes, traffic_gb, hours, egress, rounds, time_limit)
    active = checked_constraints(problem, budget, deadline_hours, quota, pins, max_per_provider)
    try:
        found = optimum(problem, active)
    except TimeoutError:
        raise Aborted(
            f"No placement within the constraints was found in {time_limit:g} s.",
            code="placement-timeout",
            hint="Give a larger time_limit or fewer candidates.",
        ) from None
    if found is None:
        raise conflict(problem, active)
    return plan_of(problem, active, found)
