"""From a budget to a run: how much noise its rounds take, and what ε each of them has spent."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .accounting import (
    epsilon_by_renyi,
    epsilon_spent,
    interval_for,
    noise_multiplier_for,
    renyi_of_one_round,
    rounds_within,
)
from .distributed import epsilon_of, rho_for
from .settings import DifferentialPrivacy

_CHECKPOINTS = 20


@dataclass(frozen=True)
class PrivacyPlan:
    """The noise of a run and what it spends.

    Attributes
    ----------
    privacy : DifferentialPrivacy
        What was asked for.
    rounds : int
        Rounds of the run.
    noise_multiplier : float
        Standard deviation of the noise in units of the sensitivity.
    sampling_rate : float
        Probability with which a client takes part in a round, as far as it counts for privacy: 1 without
        amplification.
    expected_clients : int
        What the noised sum is divided by, whoever turns up: the number itself must tell nothing about one client.
    """

    privacy: DifferentialPrivacy
    rounds: int
    noise_multiplier: float
    sampling_rate: float
    expected_clients: int

    @property
    def sigma(self) -> float:
        """Standard deviation of the noise on every coordinate: of the sum (central) or of one update (local)."""
        return self.noise_multiplier * self.privacy.sensitivity

    def epsilon_after(self, number: int) -> float:
        """Return ε spent after `number` rounds, an upper bound that never falls.

        Exact without sampling; of distributed noise the bound of its concentrated privacy. With sampling it is the
        Rényi bound, or the tighter one by privacy loss distributions at the next twentieth of the run, whichever is
        lower; so it costs little, and at the end it is the tight one.

        Parameters
        ----------
        number : int
            Rounds in which noise was released; for one client in local mode, the rounds it took part in.
        """
        if number == 0 or self.sampling_rate == 1:
            return self._spent_after(number)
        step = math.ceil(self.rounds / _CHECKPOINTS)
        following = number if number > self.rounds else min(self.rounds, math.ceil(number / step) * step)
        if following not in self._checkpoints:
            self._checkpoints[following] = self._spent_after(following)
        return min(self._checkpoints[following], epsilon_by_renyi(number * self._renyi, self.privacy.delta))

    def _spent_after(self, number: int) -> float:
        if self.privacy.mode == "distributed":
            return epsilon_of(number * _rho(self.noise_multiplier), self.privacy.delta)
        epsilon, delta = self.privacy.epsilon, self.privacy.delta
        return epsilon_spent(self.noise_multiplier, number, self.sampling_rate, delta, interval=interval_for(epsilon))

    @cached_property
    def _checkpoints(self) -> dict[int, float]:
        return {}

    @cached_property
    def _renyi(self) -> NDArray[np.float64]:
        return renyi_of_one_round(self.noise_multiplier, self.sampling_rate)


def plan_privacy(
    privacy: DifferentialPrivacy, *, rounds: int, clients: int, clients_per_round: int | None, amplified: bool
) -> PrivacyPlan:
    """Find the noise that keeps a run to its budget, or check the noise that was asked for.

    Parameters
    ----------
    privacy : DifferentialPrivacy
        Budget, clipping, and perhaps the noise.
    rounds : int
        Rounds of the run. Without amplification every client is taken to be in all of them.
    clients : int
        Clients of the federation.
    clients_per_round : int or None
        Clients expected in a round; all by default.
    amplified : bool
        Whether cohorts are drawn by `sample_poisson` at the rate clients_per_round / clients and stay secret, which
        lets a client hide among those not drawn. Only a simulation can promise this; in local mode it counts for
        nothing, because whoever receives a noised update knows whose it is.

    Raises
    ------
    InvalidInput
        ``privacy-budget``: the noise multiplier given is too small for so many rounds; the message says how many would
        fit and how much noise is needed. ``bad-privacy``: no such number of rounds or clients.
    """
    expected = clients if clients_per_round is None else clients_per_round
    for number, name in ((rounds, "rounds"), (clients, "clients"), (expected, "clients_per_round")):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise InvalidInput(f"{name} is {number!r}; it must be a whole number from 1.", code="bad-privacy")
    if expected > clients:
        raise InvalidInput(f"{expected} clients per round were asked for; there are {clients}.", code="bad-privacy")
    rate = expected / clients if amplified and privacy.mode == "central" else 1.0
    noise = privacy.noise_multiplier
    if privacy.mode == "distributed":
        return PrivacyPlan(privacy, rounds, _distributed_noise(privacy, noise, rounds), 1.0, expected)
    if noise is None:
        noise = noise_multiplier_for(privacy.epsilon, privacy.delta, rounds, rate)
    else:
        _require_budget(privacy, noise, rounds, rate)
    return PrivacyPlan(privacy, rounds, noise, rate, expected)


def _rho(noise_multiplier: float) -> float:
    """ρ of zero-concentrated privacy that one round of distributed noise costs; see `distributed`."""
    return 1.0 / (2.0 * noise_multiplier**2)


def _distributed_noise(privacy: DifferentialPrivacy, noise: float | None, rounds: int) -> float:
    """Return the noise multiplier of distributed shares, or check the one that was asked for."""
    allowed = rho_for(privacy.epsilon, privacy.delta)
    needed = math.sqrt(rounds / (2.0 * allowed))
    if noise is None:
        return needed
    spent = epsilon_of(rounds * _rho(noise), privacy.delta)
    if spent > privacy.epsilon:
        raise _over_budget(privacy, noise, rounds, spent, math.floor(allowed / _rho(noise)), needed)
    return noise


def _require_budget(privacy: DifferentialPrivacy, noise: float, rounds: int, rate: float) -> None:
    epsilon, delta = privacy.epsilon, privacy.delta
    spent = epsilon_spent(noise, rounds, rate, delta, interval=interval_for(epsilon))
    if spent <= epsilon:
        return
    fitting = rounds_within(epsilon, delta, noise, rate, most=rounds)
    needed = noise_multiplier_for(epsilon, delta, rounds, rate)
    raise _over_budget(privacy, noise, rounds, spent, fitting, needed)


def _over_budget(
    privacy: DifferentialPrivacy, noise: float, rounds: int, spent: float, fitting: int, needed: float
) -> InvalidInput:
    epsilon, delta = privacy.epsilon, privacy.delta
    return InvalidInput(
        f"{rounds} rounds with noise multiplier {noise:g} would spend ε = {spent:.3g} at δ = {delta:g}; the budget is "
        f"ε = {epsilon:g}.",
        code="privacy-budget",
        hint=f"{f'{fitting} rounds fit' if fitting else 'Not one round fits'}; {rounds} rounds need "
        f"noise_multiplier={_rounded_up(needed)}, which is also what leaving it away takes.",
        spent=spent,
        rounds_that_fit=fitting,
        noise_multiplier_needed=needed,
    )


def _rounded_up(number: float) -> str:
    """Return `number` with four digits, not below it."""
    unit = 10.0 ** (math.floor(math.log10(number)) - 3)
    return f"{math.ceil(number / unit) * unit:.4g}"
