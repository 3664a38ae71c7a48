"""What a placement is asked: nodes with candidates, traffic, time, prices of egress; checked on entry."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ...errors import InvalidInput
from ..egress import Candidate, EgressTable
from .energy import Bools, Floats, Ints

OWN_MACHINES = ("local", "ssh")
"""Providers whose machines may cost nothing, and that no limit per provider counts."""

MACHINE_KEYS = frozenset(
    (
        *("usd_hour", "instance_type", "vcpus", "memory_gib", "gpu_count", "gpu_name", "gpu_memory_gib", "arch"),
        *("burstable", "market", "family", "quota_key", "round_seconds", "storage_usd", "disk_usd_hour", "free"),
        *("price_usd_hour", "spot_usd_hour", "on_demand_available", "as_of", "source"),
    )
)
"""Keys of a candidate that its egress price does not depend on; it may depend on all others."""

_TABLE_KEYS = ("provider", "region", "country", "zone", "account")


@dataclass(frozen=True)
class Node:
    """One node and the machines it may run on."""

    name: str
    candidates: tuple[Candidate, ...]


@dataclass
class Prices:
    """USD per GB between sites, asked of the egress price once per pair and only for pairs that may carry traffic."""

    ask: Callable[[Candidate, Candidate], float]
    keys: Callable[[Candidate], tuple[Any, ...]]
    _index: dict[tuple[Any, ...], int] = field(default_factory=dict)
    _examples: list[Candidate] = field(default_factory=list)
    _known: Floats = field(default_factory=lambda: np.full((0, 0), np.nan))

    @property
    def count(self) -> int:
        """Number of sites so far."""
        return len(self._examples)

    def site(self, candidate: Candidate) -> int:
        """Return the index of the candidate's site."""
        key = self.keys(candidate)
        if key not in self._index:
            self._index[key] = len(self._examples)
            self._examples.append(candidate)
        return self._index[key]

    def matrix(self, needed: Bools) -> Floats:
        """Return the prices; 0 where they are neither needed nor known.

        Raises
        ------
        InvalidInput
            ``bad-egress-price``: the pair and the price.
        """
        size = len(self._examples)
        if len(self._known) < size:
            grown = np.full((size, size), np.nan)
            grown[: len(self._known), : len(self._known)] = self._known
            self._known = grown
        for s, t in zip(*(axis.tolist() for axis in np.nonzero(needed & np.isnan(self._known))), strict=True):
            self._known[s, t] = self._ask(self._examples[s], self._examples[t])
        return np.nan_to_num(self._known, nan=0.0)

    def _ask(self, source: Candidate, target: Candidate) -> float:
        price = self.ask(source, target)
        if not is_number(price) or not math.isfinite(price) or price < 0:
            raise InvalidInput(
                f"The egress price from {place_of(source)} to {place_of(target)} is {price!r}; it must be a finite "
                "number of USD per GB, at least 0.",
                code="bad-egress-price",
                hint="Mend the egress price of this pair, or use EgressTable.embedded().",
                source=place_of(source),
                target=place_of(target),
            )
        return float(price)


@dataclass(frozen=True)
class Problem:
    """A placement to be solved.

    Parameters
    ----------
    nodes : tuple of Node
    traffic : array (n, n)
        GB from node to node; zero diagonal.
    hours : float or None
        Hours every machine runs; None if they follow from `rounds` and the slowest node.
    rounds : int or None
    prices : Prices
    table : EgressTable or None
        Where the prices come from, if from a table.
    time_limit : float
        Seconds for one optimum.
    """

    nodes: tuple[Node, ...]
    traffic: Floats
    hours: float | None
    rounds: int | None
    prices: Prices
    table: EgressTable | None
    time_limit: float

    @cached_property
    def usd_hour(self) -> list[Floats]:
        """USD per hour of each candidate of each node, disk included."""
        return [
            np.array([c["usd_hour"] + c.get("disk_usd_hour", 0.0) for c in n.candidates], dtype=float)
            for n in self.nodes
        ]

    @cached_property
    def storage(self) -> list[Floats]:
        """USD of storage over the project of each candidate of each node, apart from disks by the hour."""
        return [np.array([c.get("storage_usd", 0.0) for c in n.candidates], dtype=float) for n in self.nodes]

    @cached_property
    def seconds(self) -> list[Floats]:
        """Seconds that a round takes on each candidate of each node."""
        return [np.array([c["round_seconds"] for c in n.candidates], dtype=float) for n in self.nodes]

    @cached_property
    def sites(self) -> list[Ints]:
        """Site of each candidate of each node."""
        return [np.array([self.prices.site(c) for c in n.candidates], dtype=np.int64) for n in self.nodes]


def checked_problem(
    nodes: Sequence[Mapping[str, Any]],
    traffic_gb: Any,
    hours: float | None,
    egress: Callable[[Candidate, Candidate], float] | EgressTable | None,
    rounds: int | None,
    time_limit: float,
) -> Problem:
    """Return the problem.

    Raises
    ------
    InvalidInput
        What is wrong, in which node, key or pair, and what is allowed.
    """
    checked = _nodes(nodes)
    if rounds is None and hours is None:
        raise _bad(
            "bad-hours", "Neither hours nor rounds are given.", "Give hours, or rounds and round_seconds per candidate."
        )
    if rounds is not None and hours is not None:
        raise _bad(
            "bad-hours",
            f"Both hours ({hours!r}) and rounds ({rounds!r}) are given.",
            "Give hours=None to let rounds decide.",
        )
    if hours is not None and not (is_number(hours) and math.isfinite(hours) and hours > 0):
        raise _bad(
            "bad-hours", f"hours is {hours!r}; it must be a finite number above 0.", "Give the hours of the project."
        )
    if rounds is not None and not (
        isinstance(rounds, numbers.Integral) and not isinstance(rounds, bool) and rounds > 0
    ):
        raise _bad(
            "bad-rounds", f"rounds is {rounds!r}; it must be a whole number above 0.", "Give the rounds of the project."
        )
    if not (is_number(time_limit) and time_limit > 0):
        raise _bad("bad-time-limit", f"time_limit is {time_limit!r}; it must be seconds above 0.", "The default is 60.")
    if rounds is not None:
        for node in checked:
            for position, candidate in enumerate(node.candidates):
                _amount(node.name, position, candidate, "round_seconds", required=True, above=True)
    table = EgressTable.embedded() if egress is None else egress if isinstance(egress, EgressTable) else None
    if egress is not None and not callable(egress):
        raise _bad(
            "bad-egress-price",
            f"egress is a {type(egress).__name__}; it must be callable(candidate_from, candidate_to) -> USD per GB, or "
            "an EgressTable.",
            "Leave it out to use EgressTable.embedded().",
        )
    ask: Callable[[Candidate, Candidate], float] = table.price if table is not None else egress  # type: ignore[assignment]
    return Problem(
        checked,
        _traffic(traffic_gb, checked),
        None if hours is None else float(hours),
        None if rounds is None else int(rounds),
        Prices(ask, _table_key if table is not None else _any_key),
        table,
        float(time_limit),
    )


def place_of(candidate: Candidate) -> str:
    """Return provider and region in words."""
    return f"{candidate['provider']} {candidate['region']}"


def _nodes(nodes: Any) -> tuple[Node, ...]:
    if not isinstance(nodes, Sequence) or isinstance(nodes, (str, bytes)) or not nodes:
        raise _bad(
            "no-nodes",
            f"nodes is {nodes!r}; it must be a list with at least one node.",
            'A node is {"name": ..., "candidates": [{"provider", "region", "instance_type", "usd_hour"}, ...]}.',
        )
    checked: list[Node] = []
    names: set[str] = set()
    for position, node in enumerate(nodes):
        if not isinstance(node, Mapping):
            raise _bad("bad-node", f"Node {position} is a {type(node).__name__}; it must be a mapping.", "See place.")
        for key in ("name", "candidates"):
            if key not in node:
                raise _bad("bad-node", f"Node {position} has no key {key!r}.", "A node needs name and candidates.")
        name = node["name"]
        if not isinstance(name, str) or not name:
            raise _bad("bad-node", f"Node {position}, key 'name': {name!r}; it must be a text.", "Name every node.")
        if name in names:
            raise _bad("duplicate-node", f"Two nodes are named {name!r}.", "Give every node a name of its own.")
        names.add(name)
        candidates = node["candidates"]
        if not isinstance(candidates, Sequence) or isinstance(candidates, (str, bytes)) or not candidates:
            raise _bad(
                "no-candidates",
                f"Node {name!r}, key 'candidates': {candidates!r}; it must be a list with at least one candidate.",
                "Ask the catalog for a smaller need or a wider area.",
            )
        for at, candidate in enumerate(candidates):
            _candidate(name, at, candidate)
        checked.append(Node(name, tuple(candidates)))
    return tuple(checked)


def _candidate(name: str, position: int, candidate: Any) -> None:
    where = f"Node {name!r}, candidate {position}"
    if not isinstance(candidate, Mapping):
        raise _bad("bad-candidate", f"{where} is a {type(candidate).__name__}; it must be a mapping.", "See place.")
    for key in ("provider", "region", "instance_type"):
        if not isinstance(candidate.get(key), str) or not candidate[key]:
            raise _bad(
                "bad-candidate",
                f"{where}, key {key!r}: {candidate.get(key)!r}; it must be a text.",
                "A candidate needs provider, region, instance_type and usd_hour.",
            )
    price = _amount(name, position, candidate, "usd_hour", required=True)
    if price == 0 and candidate["provider"] not in OWN_MACHINES and candidate.get("free") is not True:
        raise _bad(
            "bad-candidate",
            f"{where}, key 'usd_hour': 0. A price of 0 means that none is published; allowed are numbers above 0.",
            f'Leave the candidate out, or say "free": True. Machines of {" and ".join(OWN_MACHINES)} may cost 0.',
        )
    for key in ("storage_usd", "disk_usd_hour", "vcpus"):
        _amount(name, position, candidate, key, required=False)


def _amount(
    name: str, position: int, candidate: Candidate, key: str, *, required: bool, above: bool = False
) -> float | None:
    if key not in candidate and not required:
        return None
    value: Any = candidate.get(key)
    if not is_number(value) or not math.isfinite(value) or value < 0 or (above and value == 0):
        allowed = "above 0" if above else "at least 0"
        raise _bad(
            "bad-candidate",
            f"Node {name!r}, candidate {position}, key {key!r}: {value!r}; it must be a finite number, {allowed}.",
            "Mend the candidate or leave it out.",
        )
    return float(value)


def _traffic(traffic_gb: Any, nodes: Sequence[Node]) -> Floats:
    size = len(nodes)
    try:
        traffic = np.array(traffic_gb, dtype=float)
    except (TypeError, ValueError):
        traffic = np.zeros(0)
    if traffic.shape != (size, size):
        shape = "x".join(map(str, traffic.shape)) if traffic.size or traffic.ndim > 1 else "no array of numbers"
        raise _bad(
            "bad-traffic",
            f"traffic_gb is {shape}; {size} nodes need {size}x{size} numbers.",
            "traffic_gb[i][j] is the GB that node i sends to node j.",
        )
    wrong = np.argwhere(~(np.isfinite(traffic) & (traffic >= 0)))
    if len(wrong):
        i, j = wrong[0].tolist()
        raise _bad(
            "bad-traffic",
            f"traffic_gb from node {nodes[i].name!r} to node {nodes[j].name!r} is {traffic[i, j]}; it must be a finite "
            "number of GB, at least 0.",
            "traffic_gb[i][j] is the GB that node i sends to node j.",
        )
    np.fill_diagonal(traffic, 0.0)
    return traffic


def is_number(value: Any) -> bool:
    """Return whether a value is a real number; a truth value is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _table_key(candidate: Candidate) -> tuple[Any, ...]:
    return tuple(candidate.get(key) for key in _TABLE_KEYS)


def _any_key(candidate: Candidate) -> tuple[Any, ...]:
    return tuple((key, repr(candidate[key])) for key in sorted(candidate.keys() - MACHINE_KEYS))


def _bad(code: str, message: str, hint: str) -> InvalidInput:
    return InvalidInput(message, code=code, hint=hint)
