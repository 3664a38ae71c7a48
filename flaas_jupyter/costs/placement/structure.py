"""How egress prices are built: what a site pays for all it sends, less what sharing a provider or a region saves.

    price[s, t] = out[s] - sum of weight_C over the clusters C that hold both s and t

With clusters and weights >= 0 a placement needs one variable per edge and cluster (the savings form) rather than one
per edge and pair of labels. Price lists of clouds have this form where they treat all destinations alike: the internet
price of the sender, a provider's price between its regions, nothing within a region. Other prices are kept pair by
pair, between groups of sites whose rows and columns are equal.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .energy import Bools, Energy, Floats, Ints

_TOLERANCE = 1e-13


@dataclass(frozen=True)
class Structure:
    """Prices taken apart.

    Parameters
    ----------
    out : array (sites,)
        USD per GB a site pays for what it sends.
    clusters, weights : arrays (clusters, sites), (clusters,)
        USD per GB saved when both ends are in the cluster.
    group : integer array (sites,)
        Group of each site.
    between : array (groups, groups) or None
        USD per GB from group to group on top; None if the clusters say it all.
    """

    out: Floats
    clusters: Bools
    weights: Floats
    group: Ints
    between: Floats | None


def structure_of(energy: Energy) -> Structure:
    """Take the prices of an energy apart, exactly."""
    price = energy.price
    met = _meeting(energy)
    filled = np.where(met, price, np.nan)
    for rows in (filled, filled.T):  # a pair that never meets is whatever its row says of the others
        everything = np.where(np.isnan(rows), -np.inf, rows).max(axis=1)
        gaps = np.isnan(rows) & np.isfinite(everything)[:, None]
        gaps[np.diag_indices(len(rows))] = False
        rows[gaps] = np.broadcast_to(everything[:, None], rows.shape)[gaps]
    off = ~np.eye(len(price), dtype=bool)
    filled[np.isnan(filled) & off] = 0.0
    unmet = np.isnan(filled)  # now on the diagonal only
    filled[unmet] = 0.0
    out = np.maximum(filled.max(axis=1), 0.0) if len(price) else np.zeros(0)
    saved = out[:, None] - filled
    if np.array_equal(energy.traffic, energy.traffic.T):
        saved = (saved + saved.T) / 2
    if np.allclose(saved, saved.T, rtol=0, atol=_TOLERANCE):
        nested = _laminar((saved + saved.T) / 2)
        if nested is not None:
            return Structure(out, *nested, np.zeros(len(price), dtype=np.int64), None)
    return _grouped(filled, unmet)


def _meeting(energy: Energy) -> Bools:
    """Return which ordered pairs of sites may carry traffic."""
    stands = np.zeros((energy.size, len(energy.price)))
    for i, s in enumerate(energy.site):
        stands[i, s] = 1
    return np.asarray((stands.T @ (energy.traffic > 0) @ stands) > 0)


def _laminar(saved: Floats) -> tuple[Bools, Floats] | None:
    """Return nested clusters and weights whose sums are the savings; None if there are none."""
    size = len(saved)
    clusters: list[Bools] = []
    weights: list[float] = []
    levels = np.unique(np.round(saved, 12))
    if levels.min() < -_TOLERANCE:
        return None
    below = 0.0
    for level in levels[levels > _TOLERANCE]:
        near = saved >= level - 1e-12
        inside = np.diag(near)
        if not np.array_equal(near, near & inside[:, None] & inside[None, :]):
            return None  # sharing a provider would save more than sharing the region
        left = inside.copy()
        while left.any():
            first = int(left.argmax())
            cluster = near[first]
            if not near[np.ix_(cluster, cluster)].all() or near[np.ix_(cluster, ~cluster)].any():
                return None
            clusters.append(cluster)
            weights.append(float(level - below))
            left &= ~cluster
        below = float(level)
    if not clusters:
        return np.zeros((0, size), dtype=bool), np.zeros(0)
    matrix, weight = np.array(clusters), np.array(weights)
    same, place = np.unique(matrix, axis=0, return_inverse=True)
    total: Floats = np.bincount(place.reshape(-1), weights=weight, minlength=len(same)).astype(np.float64)
    # exact to rounding, or not used
    rebuilt = (same.T.astype(float) * total) @ same
    return (same, total) if np.allclose(rebuilt, saved, rtol=0, atol=1e-11) else None


def _grouped(price: Floats, unmet: Bools) -> Structure:
    """Return the prices pair by pair between groups of sites that differ in nothing but their own diagonal."""
    size = len(price)
    group = np.full(size, -1, dtype=np.int64)
    firsts: list[int] = []
    inner: list[float | None] = []  # price between two sites of the group
    for s in range(size):
        for g, f in enumerate(firsts):
            others = np.ones(size, dtype=bool)
            others[[s, f]] = False
            within = price[s, f]
            if (
                price[f, s] == within
                and (inner[g] is None or inner[g] == within)
                and np.array_equal(price[s, others], price[f, others])
                and np.array_equal(price[others, s], price[others, f])
                and (price[s, s] <= within or unmet[s, s])
                and (price[f, f] <= within or unmet[f, f])
            ):
                group[s], inner[g] = g, float(within)
                break
        else:
            group[s] = len(firsts)
            firsts.append(s)
            inner.append(None)
    between = price[np.ix_(firsts, firsts)].copy()
    for g, within in enumerate(inner):
        if within is not None:
            between[g, g] = within
    own = between[group, group] - np.diag(price)
    own[unmet.diagonal()] = 0.0
    sharing = np.flatnonzero(own > 0)
    clusters = np.zeros((len(sharing), size), dtype=bool)
    clusters[np.arange(len(sharing)), sharing] = True
    return Structure(np.zeros(size), clusters, own[sharing], group, between)
