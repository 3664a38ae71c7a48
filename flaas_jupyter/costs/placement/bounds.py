"""Lower bounds of what any placement costs, without a linear programme, and what each label adds to them."""

from __future__ import annotations

import time

import numpy as np

from .energy import PROVEN, Energy, Floats, Ints


def alone_and_pairwise(energy: Energy) -> tuple[float, list[Floats]]:
    """Return a bound in which every label and every pair costs its least, and what each label adds to it."""
    extra = [np.asarray(u, dtype=float).copy() for u in energy.unary]
    bound = 0.0
    for i, j in energy.edges():
        pair = energy.pair(i, j)
        least = float(pair.min())
        bound += least
        extra[i] += pair.min(axis=1) - least
        extra[j] += pair.min(axis=0) - least
    bound += sum(float(u.min()) for u in energy.unary)
    return bound, [e - float(u.min()) for e, u in zip(extra, energy.unary, strict=True)]


def stars(energy: Energy, known: float, until: float, *, sweeps: int = 30) -> tuple[float, list[Floats]]:
    """Return a bound that is the sum of the optima of n stars, and what each label adds to it.

    The star around a node has all edges of that node. Every edge lies in two stars, with half its cost in each, and a
    node's own cost is shared out among all stars. Whatever the nodes choose costs each star at least its optimum.
    Sharing out evenly is tight where all nodes gather in one place; then node after node the shares are moved so that a
    label costs the same in every star, which only raises the bound. (Tree-reweighted bounds: Wainwright, Jaakkola and
    Willsky, IEEE Transactions on Information Theory 51, 2005; averaging in sequence: Kolmogorov, IEEE TPAMI 28, 2006.)

    Sweeps end early when the bound reaches `known`, the cost of a known choice, when it hardly rises, or at `until`
    (`time.monotonic`).
    """
    n = energy.size
    widest = max(len(u) for u in energy.unary)
    site = np.zeros((n, widest), dtype=np.int64)
    own: Floats = np.full((n, widest), np.inf)
    for i, (u, s) in enumerate(zip(energy.unary, energy.site, strict=True)):
        own[i, : len(u)] = u / n
        site[i, : len(s)] = s
    share: Floats = np.repeat(own[None], n, axis=0)  # (star, node, label)
    leaf: Floats = np.zeros((n, n, widest))  # (star, node, label of the hub): the least the node costs there
    for i in range(n):
        leaf[:, i] = (share[:, i, None, :] + _half(energy, site, i)).min(axis=2)
        leaf[i, i] = 0.0
    cost: Floats = own + leaf.sum(axis=1)  # (star, label of its hub)
    forced: Floats = np.full((n, widest), -np.inf)  # the bound with this label of this node
    bound = -np.inf
    for _ in range(sweeps):
        before = bound
        for i in range(n):
            half = _half(energy, site, i)
            marginal = ((cost - leaf[:, i])[:, :, None] + half).min(axis=1) + share[:, i]
            marginal[i] = cost[i]
            mean = marginal.mean(axis=0)
            forced[i] = np.maximum(forced[i], n * mean)
            bound = max(bound, n * float(mean.min()))
            used = np.isfinite(mean)
            change = np.zeros((n, widest))
            change[:, used] = mean[used] - marginal[:, used]
            share[:, i] += change
            fresh = (share[:, i, None, :] + half).min(axis=2)
            fresh[i] = 0.0
            cost += fresh - leaf[:, i]
            cost[i] += change[i]
            leaf[:, i] = fresh
        if bound >= known - PROVEN / 2 or bound - before < 0.05 * (known - bound) or time.monotonic() > until:
            break
    return bound, [forced[i, : len(u)] - bound for i, u in enumerate(energy.unary)]


def _half(energy: Energy, site: Ints, node: int) -> Floats:
    """Return half of what the labels of every node and of this one cost together, shape (n, labels, labels)."""
    there = energy.price[site[:, :, None], site[node]]
    back = energy.price[site[node][None, None, :], site[:, :, None]]
    traffic = energy.traffic
    return np.asarray((traffic[:, node, None, None] * there + traffic[node, :, None, None] * back) / 2)
