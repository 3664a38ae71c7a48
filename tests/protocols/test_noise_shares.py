"""Distributed differential privacy: budgets, shares of noise in the encoding, and what a sum of them is."""

from __future__ import annotations

import math

import numpy as np
import pytest

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols import noise_shares
from flaas_jupyter.protocols.privacy import DifferentialPrivacy, plan_privacy
from flaas_jupyter.protocols.secure_aggregation import decode_sum, default_threshold, encode_update, rounding_norm

DISTRIBUTED = DifferentialPrivacy(epsilon=8.0, delta=1e-5, clip=1.0, mode="distributed")


def plan_of(privacy=DISTRIBUTED, rounds=10):
    return plan_privacy(privacy, rounds=rounds, clients=1, clients_per_round=1, amplified=False)


def test_a_budget_becomes_noise_that_spends_it():
    plan = plan_of()
    assert plan.epsilon_after(0) == 0
    spent = [plan.epsilon_after(number) for number in range(1, 11)]
    assert spent == sorted(spent)
    assert spent[-1] == pytest.approx(8.0, rel=1e-4)
    assert spent[-1] <= 8.0
    central = plan_of(DifferentialPrivacy(epsilon=8.0, delta=1e-5, clip=1.0))
    # The bound by concentrated privacy is a little above the exact one of central noise.
    assert central.sigma < plan.sigma < 1.2 * central.sigma
    assert plan.sampling_rate == 1.0


def test_too_little_noise_is_refused_with_what_would_do():
    with pytest.raises(InvalidInput, match="would spend") as caught:
        plan_of(DifferentialPrivacy(epsilon=1.0, delta=1e-5, clip=1.0, mode="distributed", noise_multiplier=3.0))
    details = caught.value.details
    assert details["spent"] > 1.0
    needed, fitting = details["noise_multiplier_needed"], details["rounds_that_fit"]
    assert plan_of(
        DifferentialPrivacy(epsilon=1.0, delta=1e-5, clip=1.0, mode="distributed", noise_multiplier=needed * 1.0001)
    )
    enough = DifferentialPrivacy(epsilon=1.0, delta=1e-5, clip=1.0, mode="distributed", noise_multiplier=3.0)
    assert fitting >= 0
    if fitting:
        assert plan_of(enough, rounds=fitting).epsilon_after(fitting) <= 1.0


@pytest.mark.parametrize("members", [3, 4, 5, 10, 50, 64, 100, 1000])
def test_the_honest_survivors_noise_is_enough_by_itself(members):
    plan = plan_of()
    threshold, bad = default_threshold(members), noise_shares.colluding(members)
    honest = threshold - bad
    assert honest >= 2
    assert bad <= max(1, 2 * threshold - members - 1)
    assert honest * noise_shares.share_of(plan, members) ** 2 == pytest.approx(plan.sigma**2)


@pytest.mark.parametrize(("members", "lost"), [(3, 0), (10, 3)])
def test_the_opened_mean_has_the_noise_of_the_shares_that_are_in_it(settings_for, members, lost):
    size, plan = 40_000, plan_of()
    settings = settings_for(members, clip=noise_shares.range_for(plan, members))
    steps = noise_shares.share_in_steps(plan, settings)
    rng = np.random.default_rng(5)
    deltas = rng.normal(size=(members, size))
    deltas *= (1.0 - rounding_norm(size, settings)) / np.linalg.norm(deltas, axis=1)[:, None]
    total, left = np.uint32(0), members - lost
    for place in range(left):
        encoded = encode_update(deltas[place], 5, 10, {}, settings, rng, share=1.0)
        noise_shares.add_share(encoded, size, steps, bytes([place]) * 32)
        total = total + encoded
    opened = decode_sum(total, left, [], settings, size, 10, shares=float(left))
    assert (opened.clipped, opened.examples) == (0, 5 * left)
    noise = opened.mean * left - deltas[:left].sum(axis=0)
    expected = noise_shares.share_of(plan, members) * math.sqrt(left)
    assert expected >= plan.sigma
    # 40,000 draws: the standard deviation of their standard deviation is 0.35 %.
    assert noise.std() == pytest.approx(expected, rel=0.02)
    assert abs(noise.mean()) < 5 * expected / math.sqrt(size)


def test_the_same_key_gives_the_same_share(settings_for):
    settings, plan = settings_for(5, clip=10.0), plan_of()
    steps = noise_shares.share_in_steps(plan, settings)
    first, again, other = (np.zeros(100, np.uint32) for _ in range(3))
    for vector, key in ((first, bytes(32)), (again, bytes(32)), (other, b"1" * 32)):
        noise_shares.add_share(vector, 90, steps, key)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not first[:10].any(), "scalars carry no noise"


def test_a_range_in_which_the_noise_would_vanish_is_refused(settings_for):
    with pytest.raises(InvalidInput, match="steps of the fixed point") as caught:
        noise_shares.share_in_steps(plan_of(), settings_for(5, clip=1e9))
    assert caught.value.code == "noise-too-small"
