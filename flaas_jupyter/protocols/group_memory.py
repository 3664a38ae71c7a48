"""What a rule remembers of clients (budgets, opinions, histories), when it sees groups of them that change every round.

A group comes with the mean of what is remembered of its members, and what the round makes of the group is credited to
each of them. One round says little about one member; over many reshuffles those whose groups stand out again and again
are told apart. That is why rules with such a memory are marked experimental in group mode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def pooled_memory(state: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Return a rule's memory of clients as its memory of groups: the mean over a group's members.

    Parameters
    ----------
    state : mapping
        `Rule.state_dict` by client: mappings of client to number or to list of numbers (newest last), or ``clients``
        with an array of a row for each.
    groups : mapping of str to sequence of str
        Group id to its members.

    Returns
    -------
    dict
        The same, by group; what is not about clients is left as it is.
    """
    about, rest = _by_client(state)
    pooled = {name: _pooled(entries, groups) for name, entries in about.items()}
    return {**rest, **_as_state(pooled, state)}


def credited_memory(
    before: Mapping[str, Any], pooled: Mapping[str, Any], after: Mapping[str, Any], groups: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """Return a rule's memory of clients after a round that it saw in groups: each member is credited as its group was.

    Parameters
    ----------
    before : mapping
        By client, before the round.
    pooled, after : mapping
        By group, before and after the round.
    groups : mapping of str to sequence of str
        Those that the rule saw.

    Returns
    -------
    dict
        By client. To a number or row the group's change is added, numbers not falling below 0; to a list the group's
        newest number is appended. A client without memory takes over its group's.
    """
    known, _ = _by_client(before)
    was, _ = _by_client(pooled)
    told, rest = _by_client(after)
    credited = {}
    for name, entries in told.items():
        clients = dict(known.get(name, {}))
        for group, value in entries.items():
            for member in groups.get(group, ()):
                clients[member] = _credited(clients.get(member), was.get(name, {}).get(group), value)
        credited[name] = clients
    return {**rest, **_as_state(credited, after)}


def _by_client(state: Mapping[str, Any]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Split a state in what it says by client, and the rest."""
    if "clients" in state:
        names = [str(client) for client in state["clients"]]
        return {key: dict(zip(names, rows, strict=True)) for key, rows in state.items() if key != "clients"}, {}
    about = {key: dict(value) for key, value in state.items() if isinstance(value, Mapping)}
    return about, {key: value for key, value in state.items() if key not in about}


def _as_state(about: dict[str, dict[str, Any]], like: Mapping[str, Any]) -> dict[str, Any]:
    if "clients" not in like:
        return dict(about)
    clients = sorted({client for entries in about.values() for client in entries})
    if not clients:
        return {}
    return {"clients": clients, **{key: np.stack([rows[c] for c in clients]) for key, rows in about.items()}}


def _pooled(entries: Mapping[str, Any], groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    pooled = {}
    for group, members in groups.items():
        held = [entries[member] for member in members if member in entries]
        if held:
            pooled[group] = _mean(held)
    return pooled


def _mean(values: list[Any]) -> Any:
    if not isinstance(values[0], list | tuple):
        return sum(values) / len(values)
    means = []
    for age in range(1, max(map(len, values)) + 1):
        aged = [float(each[-age]) for each in values if len(each) >= age]
        if aged:
            means.append(sum(aged) / len(aged))
    return means[::-1]


def _credited(mine: Any, before: Any, after: Any) -> Any:
    if isinstance(after, list | tuple):
        return [*(mine or []), after[-1]] if after else list(mine or [])
    if mine is None or before is None:
        return after
    changed = mine + (after - before)
    return max(0.0, changed) if isinstance(changed, float) else changed
