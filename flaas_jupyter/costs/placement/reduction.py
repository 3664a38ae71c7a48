"""Making a placement smaller without losing its optimum: equal nodes become one, hopeless labels go.

Twins are nodes with equal costs whose exchange leaves the traffic as it is. What they cost together depends on how many
of them stand at each site only. If the symmetric part of the prices is negative semidefinite on vectors that sum to
zero (true of every price list in which sharing a provider or a region saves money), that cost is concave in these
counts, so some optimum has all twins at one site, and one node can stand for all of them.

A label goes if another of the same node is at least as cheap whatever the others choose (Goldstein's criterion for
dead-end elimination, Biophysical Journal 66, 1994, applied to clouds).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .energy import Energy, Ints


@dataclass(frozen=True)
class Merged:
    """An energy in which each node stands for a class of twins, and the class of every node before."""

    energy: Energy
    classes: list[int]


def merge_twins(energy: Energy) -> Merged:
    """Return the energy with classes of twins merged."""
    traffic = energy.traffic
    members: list[list[int]] = []
    classes: list[int] = []
    concave: dict[bytes, bool] = {}
    for node in range(energy.size):
        for index, group in enumerate(members):
            first = group[0]
            if not (
                np.array_equal(energy.site[node], energy.site[first])
                and np.array_equal(energy.unary[node], energy.unary[first])
                and _exchangeable(traffic, node, first)
            ):
                continue
            if traffic[node, first] > 0:
                key = energy.site[node].tobytes()
                if key not in concave:
                    concave[key] = _sharing_saves(energy, energy.site[node])
                if not concave[key]:
                    continue
            group.append(node)
            classes.append(index)
            break
        else:
            classes.append(len(members))
            members.append([node])
    if len(members) == energy.size:
        return Merged(energy, classes)
    belongs = np.zeros((len(members), energy.size))
    belongs[classes, np.arange(energy.size)] = 1
    merged = belongs @ traffic @ belongs.T
    unary = [
        len(group) * energy.unary[group[0]] + merged[k, k] * np.diag(energy.price)[energy.site[group[0]]]
        for k, group in enumerate(members)
    ]
    np.fill_diagonal(merged, 0)
    return Merged(Energy(unary, [energy.site[group[0]] for group in members], merged, energy.price), classes)


def drop_dominated(energy: Energy, *, work: float = 2e8) -> list[Ints]:
    """Return for each node the labels that some optimum may need.

    `work` limits the arithmetic: a pass over nodes of k labels takes about n² k³ steps.
    """
    keep = [np.arange(len(u)) for u in energy.unary]
    neighbours: list[list[int]] = [[] for _ in range(energy.size)]
    for i, j in energy.edges():
        neighbours[i].append(j)
        neighbours[j].append(i)
    changed = True
    while changed and work > 0:
        changed = False
        for i in range(energy.size):
            count = len(keep[i])
            if count == 1:
                continue
            at = energy.site[i][keep[i]]
            advantage = energy.unary[i][keep[i]][:, None] - energy.unary[i][keep[i]][None, :]
            for j in neighbours[i]:
                there = energy.site[j][keep[j]]
                joint = energy.traffic[i, j] * energy.price[np.ix_(at, there)]
                joint = joint + energy.traffic[j, i] * energy.price[np.ix_(there, at)].T
                advantage = advantage + (joint[:, None, :] - joint[None, :, :]).min(axis=2)
                work -= count * count * len(there)
            stays = np.ones(count, dtype=bool)
            for p in range(count):
                rivals = stays.copy()
                rivals[p] = False
                if (advantage[p, rivals] >= 0).any():
                    stays[p] = False
            if not stays.all():
                keep[i] = keep[i][stays]
                changed = True
            if work <= 0:
                break
    return keep


def _exchangeable(traffic: np.ndarray, a: int, b: int) -> bool:
    """Whether exchanging two nodes leaves the traffic as it is."""
    if traffic[a, b] != traffic[b, a]:
        return False
    others = np.ones(len(traffic), dtype=bool)
    others[[a, b]] = False
    return bool(
        np.array_equal(traffic[a, others], traffic[b, others])
        and np.array_equal(traffic[others, a], traffic[others, b])
    )


def _sharing_saves(energy: Energy, site: Ints) -> bool:
    """Whether the symmetric part of the prices is negative semidefinite on vectors that sum to zero."""
    block = energy.price[np.ix_(site, site)]
    block = (block + block.T) / 2
    centre = np.eye(len(site)) - 1 / len(site)
    return bool(np.linalg.eigvalsh(centre @ block @ centre).max() <= 1e-12 * max(1e-3, float(np.abs(block).max())))
