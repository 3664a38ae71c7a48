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


def dot(a, b):
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def cosine(a, b):
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def minmax(values):
    low, high = min(values), max(values)
    return [0.0 if high == low else (value - low) / (high - low) for value in values]


class Voting:
    """FedQV, client by client."""

    def __init__(self, budget, theta):
        self.budget, self.theta, self.left = budget, theta, {}

    def __call__(self, rows, counts, names, reference):
        votes = []
        similar = minmax([cosine(row, reference) for row in rows])
        for name, count, sbar in zip(names, counts, similar, strict=True):
            credit = 1 - math.log(sbar) if self.theta < sbar < 1 - self.theta else 0.0
            left = self.left.get(name, self.budget)
            credit = min(credit, left)
            self.left[name] = left - credit
            votes.append(math.sqrt(credit * count))
        return (mean(rows, votes) if sum(votes) else list(reference)), votes


def regress(rows, lam):
    """Return per parameter, per client: confidence, and the line's value at the client's rank."""
    m = len(rows)
    confidences, lines = [[] for _ in rows], [[] for _ in rows]
    for j in range(len(rows[0])):
        ranked = sorted(range(m), key=lambda i: rows[i][j])
        y = [rows[i][j] for i in ranked]
        slope = statistics.median(
            statistics.median((y[i] - y[k]) / (i - k) for k in range(m) if k != i) for i in range(m)
        )
        intercept = statistics.median(y) - slope * (m - 1) / 2
        residuals = [y[x] - (intercept + slope * x) for x in range(m)]
        tau = 1.4826 * (1 + 5 / (m - 1)) * statistics.median(sorted(abs(r) for r in residuals)[1:]) + 1e-7
        centre = (m - 1) / 2
        spread = sum((x - centre) ** 2 for x in range(m))
        for x, i in enumerate(ranked):
            e = residuals[x] / tau
            room = math.sqrt(1 - (1 / m + (x - centre) ** 2 / spread))
            bound = lam * math.sqrt(2 / m)
            confidences[i].append(1.0 if e == 0 else room / e * min(max(e / room, -bound), bound))
            lines[i].append(intercept + slope * x)
    return confidences, lines


def corrected(rows, confidences, lines, delta):
    return [
        [y if c >= delta else line for y, c, line in zip(row, conf, fit, strict=True)]
        for row, conf, fit in zip(rows, confidences, lines, strict=True)
    ]


def residual(rows, lam, delta):
    confidences, lines = regress(rows, lam)
    spreads = [statistics.pstdev(column) for column in zip(*confidences, strict=True)]
    sums = [dot(conf, spreads) for conf in confidences]
    weights = [(s / max(sums)) ** 2 for s in sums]
    return mean(corrected(rows, confidences, lines, delta), weights), weights


def opinions(confidences, delta, kappa=0.3, w=2.0, a=0.5, swap=False):
    result = []
    for conf in confidences:
        pos = sum(c >= delta for c in conf)
        neg = len(conf) - pos
        if swap:
            pos, neg = neg, pos
        den = kappa * pos + (1 - kappa) * neg + w
        result.append(kappa * pos / den + a * w / den)
    return result


def significant(values):
    return [0.0 if value < 1 / len(values) else value for value in minmax(values)]


class Reputations:
    """NDSS 2023, client by client."""

    def __init__(self, lam=2.0, delta=0.1, z=0.5, s=10):
        self.lam, self.delta, self.z, self.s, self.past = lam, delta, z, s, {}

    def __call__(self, rows, names):
        confidences, lines = regress(rows, self.lam)
        decayed = []
        for name, opinion in zip(names, opinions(confidences, self.delta), strict=True):
            self.past.setdefault(name, []).insert(0, opinion)
            recent = self.past[name][: self.s]
            thetas = [math.exp(-self.z * j) for j in range(len(recent))]
            decayed.append(dot(thetas, recent) / sum(thetas))
        weights = significant(decayed)
        if not any(weights):
            weights = [1.0] * len(rows)
        return mean(corrected(rows, confidences, lines, self.delta), weights), weights, decayed


class VotingWithReputation:
    """FedQV + REP, client by client."""

    def __init__(self, budget=30.0, theta=0.2):
        self.budget, self.theta, self.left = budget, theta, {}

    def __call__(self, rows, counts, names, reference):
        confidences, lines = regress(rows, 2.0)
        reputation = significant(opinions(confidences, 0.05))
        similar = minmax([cosine(row, reference) for row in rows])
        votes = []
        for i, name in enumerate(names):
            credit = 1 - math.log(similar[i]) if self.theta < similar[i] < 1 - self.theta else 0.0
            left = self.left.get(name, self.budget)
            if any(reputation) and reputation[i] > 0.9:
                left, credit = left + reputation[i], credit + reputation[i]
            elif any(reputation) and reputation[i] == 0:
                left = credit = 0.0
            credit = min(credit, left)
            self.left[name] = left - credit
            votes.append(math.sqrt(credit * counts[i]))
        models = corrected(rows, confidences, lines, 0.05)
        return (mean(models, votes) if sum(votes) else list(reference)), votes, reputation


def fltrust(rows, reference, trusted):
    g0 = [x - r for x, r in zip(trusted, reference, strict=True)]
    updates = [[x - r for x, r in zip(row, reference, strict=True)] for row in rows]
    trust = [max(0.0, cosine(g, g0)) for g in updates]
    if not any(trust):
        return list(reference), trust
    length = math.sqrt(dot(g0, g0))
    scaled = [[x * length / math.sqrt(dot(g, g)) for x in g] for g in updates]
    return [r + s for r, s in zip(reference, mean(scaled, trust), strict=True)], trust


class FoolsGold:
    def __init__(self):
        self.sums = {}

    def __call__(self, rows, names, reference):
        n = len(rows)
        updates = [[x - r for x, r in zip(row, reference, strict=True)] for row in rows]
        for name, update in zip(names, updates, strict=True):
            before = self.sums.get(name, [0.0] * len(update))
            self.sums[name] = [b + u for b, u in zip(before, update, strict=True)]
        cs = [[cosine(self.sums[a], self.sums[b]) if a != b else 0.0 for b in names] for a in names]
        mu = [max(line) for line in cs]
        for i in range(n):
            for j in range(n):
                if i != j and mu[i] < mu[j]:
                    cs[i][j] *= mu[i] / mu[j]
        alphas = [min(1.0, max(0.0, 1 - max(line))) for line in cs]
        top = max(alphas)
        final = []
        for alpha in alphas:
            share = alpha / top
            share = 0.99 if share == 1 else share
            logit = math.log(share / (1 - share)) + 0.5 if share > 0 else 0.0
            final.append(min(1.0, max(0.0, logit)))
        moved = [math.fsum(a * u[j] for a, u in zip(final, updates, strict=True)) / n for j in range(len(reference))]
        return [r + m for r, m in zip(reference, moved, strict=True)], final
