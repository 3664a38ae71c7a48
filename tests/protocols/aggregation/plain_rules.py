"""The rules once more, in plain loops over clients and parameters: what the package's own are held against.

Written from the papers' formulas with Python's own arithmetic; slow, and without a word in common with the package.
"""

from __future__ import annotations

import itertools
import math
import statistics


def mean(rows, weights=None):
    weights = weights or [1.0] * len(rows)
    total = math.fsum(weights)
    return [
        math.fsum(weight * row[j] for weight, row in zip(weights, rows, strict=True)) / total
        for j in range(len(rows[0]))
    ]


def median(rows):
    return [statistics.median(row[j] for row in rows) for j in range(len(rows[0]))]


def trimmed_mean(rows, k):
    return [statistics.fmean(sorted(row[j] for row in rows)[k : len(rows) - k]) for j in range(len(rows[0]))]


def squared_distance(a, b):
    return math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True))


def krum_scores(rows, f):
    scores = []
    for i, row in enumerate(rows):
        others = sorted(squared_distance(row, other) for j, other in enumerate(rows) if j != i)
        scores.append(math.fsum(others[: len(rows) - f - 2]))
    return scores


def krum(rows, f):
    scores = krum_scores(rows, f)
    return rows[scores.index(min(scores))]


def multi_krum(rows, f):
    scores = krum_scores(rows, f)
    best = sorted(range(len(rows)), key=lambda i: scores[i])[: len(rows) - f - 2]
    return mean([rows[i] for i in best])


def geometric_median(rows, weights=None, steps=3000, nu=1e-6):
    weights = weights or [1.0] * len(rows)
    point = mean(rows, weights)
    for _ in range(steps):
        betas = [
            weight / max(nu, math.sqrt(squared_distance(point, row))) for weight, row in zip(weights, rows, strict=True)
        ]
        point = mean(rows, betas)
    return point


def sum_of_distances(point, rows):
    return math.fsum(math.sqrt(squared_distance(point, row)) for row in rows)


def norm_clipping(rows, reference, clip, weights):
    clipped = []
    for row in rows:
        norm = math.sqrt(squared_distance(row, reference))
        scale = 1.0 if norm <= clip else clip / norm
        clipped.append([r + scale * (x - r) for x, r in zip(row, reference, strict=True)])
    return mean(clipped, weights)


class Adaptive:
    """Algorithm 2 of Reddi et al., one parameter at a time."""

    def __init__(self, kind, eta, beta1, beta2, tau):
        self.kind, self.eta, self.beta1, self.beta2, self.tau = kind, eta, beta1, beta2, tau
        self.m, self.v = {}, {}

    def __call__(self, rows, weights, reference):
        new = []
        for j, (average, start) in enumerate(zip(mean(rows, weights), reference, strict=True)):
            delta = average - start
            m = self.beta1 * self.m.get(j, 0.0) + (1 - self.beta1) * delta
            v = self.v.get(j, self.tau**2)
            if self.kind == "adam":
                v = self.beta2 * v + (1 - self.beta2) * delta**2
            else:
                sign = (v > delta**2) - (v < delta**2)
                v = v - (1 - self.beta2) * delta**2 * sign
            self.m[j], self.v[j] = m, v
            new.append(start + self.eta * m / (math.sqrt(v) + self.tau))
        return new


def pairs(n):
    return itertools.combinations(range(n), 2)
