"""How much privacy rounds of Gaussian noise cost, and how much noise a budget takes.

A round is a Gaussian mechanism whose noise has `noise_multiplier` times the sensitivity as its standard deviation, on a
cohort into which every client comes with probability `rate`, independently (Poisson sampling).

* Without sampling (rate 1), k rounds are one Gaussian mechanism with noise_multiplier / √k, whose ε is known exactly:
  Balle and Wang, "Improving the Gaussian Mechanism for Differential Privacy", ICML 2018, theorem 8.
* With sampling, two upper bounds: by privacy loss distributions (PLD), tight up to a discretisation that rounds up
  (Koskela, Jälkö and Honkela, AISTATS 2020), and by Rényi divergences of integer orders (RDP; Mironov, Talwar and
  Zhang, 2019), 5 to 15 % higher and much cheaper. Budgets are held to the PLD.

Distributions and conversions are those of Google's ``dp-accounting``, which the extra ``privacy`` installs.
"""

from __future__ import annotations

import importlib
import math
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

ORDERS = (*range(2, 65), 80, 96, 128, 192, 256, 384, 512)
"""Rényi orders: integers have a closed form under sampling."""

_PRECISION = 1e-3
"""Relative precision of a calibrated noise multiplier; it is rounded up."""


def epsilon_spent(noise_multiplier: float, rounds: int, rate: float, delta: float, *, interval: float = 1e-3) -> float:
    """Return ε of `rounds` rounds: exact without sampling, by PLD with sampling.

    Parameters
    ----------
    noise_multiplier : float
        Standard deviation of the noise in units of the sensitivity.
    rounds : int
        0 gives 0.
    rate : float
        Probability with which a client takes part in a round, above 0 to 1.
    delta : float
    interval : float
        Step of the discretised privacy loss; smaller is tighter and slower.
    """
    if rounds == 0:
        return 0.0
    if rate == 1:
        spent = _dp_accounting().get_epsilon_gaussian(noise_multiplier / math.sqrt(rounds), delta)
    else:
        spent = _one_round(noise_multiplier, rate, interval).self_compose(rounds).get_epsilon_for_delta(delta)
    return float(spent)


def renyi_of_one_round(noise_multiplier: float, rate: float) -> NDArray[np.float64]:
    """Return the Rényi divergences of one sampled round at `ORDERS`; those of k rounds are k times as large.

    For an integer order α: ln Σ_j C(α, j) (1 − q)^{α−j} q^j exp(j (j − 1) / 2σ²) / (α − 1), with q the rate and σ the
    noise multiplier.
    """
    return np.array([_log_moment(order, noise_multiplier, rate) / (order - 1) for order in ORDERS])


def epsilon_by_renyi(divergences: NDArray[np.float64], delta: float) -> float:
    """Return the smallest ε that Rényi divergences at `ORDERS` give for `delta`."""
    finite = np.isfinite(divergences)
    if not finite.any():
        return math.inf
    orders = np.array(ORDERS)[finite]
    return float(_dp_accounting("rdp").compute_epsilon(orders, divergences[finite], delta)[0])


@lru_cache(maxsize=64)
def noise_multiplier_for(epsilon: float, delta: float, rounds: int, rate: float) -> float:
    """Return the smallest noise multiplier with which `rounds` rounds keep to (ε, δ), to 0.1 %, and never below it."""
    enough = float(_dp_accounting().get_sigma_gaussian(epsilon, delta)) * math.sqrt(rounds)
    if rate == 1:
        return enough * (1 + 1e-9)  # above the root that was searched
    interval = interval_for(epsilon)
    while epsilon_spent(enough / 2, rounds, rate, delta, interval=8 * interval) <= epsilon:
        enough /= 2

    def excess(log_noise: float) -> float:  # nearly linear, so that few evaluations are needed
        spent = epsilon_spent(math.exp(log_noise), rounds, rate, delta, interval=interval)
        return math.log(max(spent, 1e-9) / epsilon)

    low, high = math.log(enough / 2), math.log(enough)
    while excess(low) <= 0:  # the finer interval may permit a little less
        low -= 0.1
    while excess(high) > 0:  # near rate 1 the exact bound without sampling is below the rounded one with it
        high += 0.1
    root = float(importlib.import_module("scipy.optimize").brentq(excess, low, high, xtol=_PRECISION / 4))
    while excess(root) > 0:
        root += _PRECISION / 4
    return math.exp(root)


def rounds_within(epsilon: float, delta: float, noise_multiplier: float, rate: float, *, most: int) -> int:
    """Return how many rounds, up to `most`, this noise allows before ε is exceeded."""
    fitting, exceeding = 0, most + 1
    while exceeding - fitting > 1:
        middle = (fitting + exceeding) // 2
        if epsilon_spent(noise_multiplier, middle, rate, delta, interval=interval_for(epsilon)) <= epsilon:
            fitting = middle
        else:
            exceeding = middle
    return fitting


def interval_for(epsilon: float) -> float:
    """Return a step of the discretised privacy loss that is fine enough for ε of this size."""
    return min(0.05, max(1e-5, epsilon / 500))


@lru_cache(maxsize=4)
def _one_round(noise_multiplier: float, rate: float, interval: float) -> Any:
    distribution = _dp_accounting("pld.privacy_loss_distribution")
    return distribution.from_gaussian_mechanism(
        noise_multiplier, value_discretization_interval=interval, sampling_prob=rate
    )


def _log_moment(order: int, noise_multiplier: float, rate: float) -> float:
    if rate == 1:
        return order * (order - 1) / (2 * noise_multiplier**2)
    j = np.arange(order + 1)
    choose = np.array([math.lgamma(order + 1) - math.lgamma(i + 1) - math.lgamma(order - i + 1) for i in j])
    terms = choose + (order - j) * math.log1p(-rate) + j * math.log(rate) + j * (j - 1) / (2 * noise_multiplier**2)
    largest = terms.max()
    return float(largest + np.log(np.exp(terms - largest).sum()))


def _dp_accounting(module: str = "") -> Any:
    try:
        return importlib.import_module(f"dp_accounting.{module}" if module else "dp_accounting")
    except ImportError as error:
        raise InvalidInput(
            "Differential privacy needs the package dp-accounting, which is not installed.",
            code="extra-missing",
            hint='pip install "flaas_jupyter[privacy]"',
        ) from error
