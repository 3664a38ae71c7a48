"""A good placement without proof: coordinate descent from many starts, and moves of all that share a site.

Its cost is an upper bound, which lets the integer programme set labels aside by their reduced costs.
"""

from __future__ import annotations

import numpy as np

from .energy import Energy, Floats, Ints


class _Descent:
    """Costs of all labels given the present choices, on a padded table (n, k)."""

    def __init__(self, energy: Energy) -> None:
        widest = max(len(u) for u in energy.unary)
        self.energy = energy
        self.unary: Floats = np.full((energy.size, widest), np.inf)
        self.site: Ints = np.zeros((energy.size, widest), dtype=np.int64)
        for i, (u, s) in enumerate(zip(energy.unary, energy.site, strict=True)):
            self.unary[i, : len(u)] = u
            self.site[i, : len(s)] = s
        self.rows = np.arange(energy.size)
        # label_at[i, s]: the cheapest label of node i at site s, -1 where it has none
        self.label_at: Ints = np.full((energy.size, len(energy.price)), -1, dtype=np.int64)
        for i, (u, s) in enumerate(zip(energy.unary, energy.site, strict=True)):
            order = np.argsort(-u, kind="stable")
            self.label_at[i, s[order]] = order

    def field(self, labels: Ints) -> Floats:
        """Return what traffic costs each node at each site while the others stay, shape (n, sites)."""
        at = self.site[self.rows, labels]
        t, e = self.energy.traffic, self.energy.price
        return np.asarray(t @ e[:, at].T + t.T @ e[at, :])

    def descend(self, labels: Ints) -> Ints:
        """Return the choices after no single node can do better."""
        labels, t, e = labels.copy(), self.energy.traffic, self.energy.price
        field = self.field(labels)
        for _ in range(50):
            costs = self.unary + np.take_along_axis(field, self.site, axis=1)
            gain = costs[self.rows, labels] - costs.min(axis=1)
            moving = np.flatnonzero(gain > 1e-9)
            if not len(moving):
                break
            for i in moving[np.argsort(-gain[moving], kind="stable")]:
                own = self.unary[i] + field[i, self.site[i]]
                best = int(own.argmin())
                if own[best] < own[labels[i]] - 1e-9:
                    old, new = self.site[i, labels[i]], self.site[i, best]
                    field += np.outer(t[:, i], e[:, new] - e[:, old]) + np.outer(t[i], e[new] - e[old])
                    labels[i] = best
        return labels

    def value(self, labels: Ints) -> float:
        return self.energy.value(labels.tolist())


def search(energy: Energy) -> tuple[tuple[int, ...], float]:
    """Return one label per node and what it costs."""
    descent = _Descent(energy)
    outward, inward = energy.traffic.sum(axis=1), energy.traffic.sum(axis=0)
    starts = [np.asarray(descent.unary.argmin(axis=1))]
    for s in np.unique(np.concatenate(list(energy.site))):
        pull = outward[:, None] * energy.price[descent.site, s] + inward[:, None] * energy.price[s, descent.site]
        starts.append(np.asarray((descent.unary + pull).argmin(axis=1)))
    seen: dict[bytes, float] = {}
    best, cost = starts[0], np.inf
    for start in starts:
        if (key := start.tobytes()) in seen:
            continue
        labels = descent.descend(start)
        seen[key] = value = descent.value(labels)
        if value < cost - 1e-9:
            best, cost = labels, value
    best, cost = _move_together(descent, best, cost)
    return tuple(int(label) for label in best), cost


def _move_together(descent: _Descent, labels: Ints, cost: float) -> tuple[Ints, float]:
    """Return better choices found by moving all nodes of one site to another and descending from there."""
    improved = True
    while improved:
        improved = False
        at = descent.site[descent.rows, labels]
        for old in np.unique(at):
            for new in range(descent.label_at.shape[1]):
                together = (at == old) & (descent.label_at[:, new] >= 0)
                if new == old or not together.any():
                    continue
                trial = np.where(together, descent.label_at[:, new], labels)
                if descent.value(trial) > cost + 0.2 * abs(cost):
                    continue
                trial = descent.descend(trial)
                value = descent.value(trial)
                if value < cost - 1e-9:
                    labels, cost, improved = trial, value, True
                    break
            if improved:
                break
    return labels, cost
