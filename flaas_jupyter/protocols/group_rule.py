"""An aggregation rule on the means of groups: what real nodes and simulations both make of a round in group mode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .aggregation import Rule
from .group_memory import credited_memory, pooled_memory


@dataclass(frozen=True)
class GroupsCombined:
    """What a rule makes of groups.

    Attributes
    ----------
    weights : ndarray of float64, shape (p,)
        The new global weights.
    contributions : dict of str to float
        Client to its weight: its share of its group's examples times the weight that the rule gave the group.
    columns : dict of str to dict of str to float
        Client to what the rule says of its group, and ``group``, its number from 1.
    state : dict
        What the rule remembers, of clients.
    """

    weights: NDArray[np.float64]
    contributions: dict[str, float]
    columns: dict[str, dict[str, float]]
    state: dict[str, Any]


def combine_groups(
    rule: Rule,
    start: NDArray[Any],
    means: Mapping[int, NDArray[Any]],
    members: Mapping[int, Sequence[str]],
    examples: Mapping[str, int],
    state: Mapping[str, Any],
    *,
    trusted: NDArray[Any] | None = None,
) -> GroupsCombined:
    """Apply a rule to the means of groups as if each were one client with all examples of its members.

    Parameters
    ----------
    rule : Rule
        Changed by the call; what it remembers is taken from `state`.
    start : ndarray, shape (p,)
        The global weights that everybody started from.
    means : mapping of int to ndarray, shape (p,)
        Group, from 0, to the mean of its members' updates by their examples.
    members : mapping of int to sequence of str
        Group to the clients in its mean.
    examples : mapping of str to int
        Client to its number of examples.
    state : mapping
        What the rule remembers, of clients.
    trusted : ndarray, shape (p,), optional
        See `Cohort.trusted`.

    Raises
    ------
    InvalidInput
        What the rule refuses.
    """
    places = sorted(means)
    names = {place: f"group {place + 1}" for place in places}
    by_name = {names[place]: tuple(members[place]) for place in places}
    rule = rule.on_groups(len(places))
    pooled = pooled_memory(state, by_name)
    rule.load_state_dict(pooled)
    totals = [sum(examples[client] for client in members[place]) for place in places]
    made = rule(
        np.stack([start + means[place] for place in places]),
        totals,
        client_ids=[names[place] for place in places],
        reference=start,
        trusted=trusted,
    )
    contributions: dict[str, float] = {}
    columns: dict[str, dict[str, float]] = {}
    for row, (place, total) in enumerate(zip(places, totals, strict=True)):
        weight = min(max(float(made.contributions[row]), 0.0), 1.0)  # sums may step over 1 by a hair
        told = {name: float(values[row]) for name, values in made.columns.items()}
        for client in members[place]:
            contributions[client] = weight * examples[client] / total
            columns[client] = {"group": float(place + 1), **told}
    remembered = credited_memory(state, pooled, rule.state_dict(), by_name)
    return GroupsCombined(made.weights, contributions, columns, remembered)
