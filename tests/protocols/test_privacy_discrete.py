"""Integer noise: the distributions it claims, in shares that add up, and the accounting of their sum."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.privacy import (
    DistributedNoise,
    discrete_gaussian,
    discrete_laplace,
    epsilon_of,
    rho_for,
    round_within,
    rounded_norm,
    share_sigma,
    sigma_for,
)
from flaas_jupyter.protocols.privacy.discrete import _digits, _gaussian_table
from flaas_jupyter.protocols.privacy.distributed import sum_gap

KEY = bytes(range(32))


def chi_square(draws, weight, most):
    """p-value of the draws under Pr[x] ~ weight(x), with both tails in a bin each."""
    x = np.arange(-20 * most - 50, 20 * most + 51)
    probability = weight(x.astype(float))
    probability /= probability.sum()
    inner = np.abs(x) <= most
    expected = np.concatenate(([probability[x < -most].sum()], probability[inner], [probability[x > most].sum()]))
    clipped = np.clip(draws, -most - 1, most + 1) + most + 1
    counts = np.bincount(clipped, minlength=2 * most + 3)
    keep = expected * draws.size >= 5
    expected, counts = expected[keep] * draws.size, counts[keep]
    return stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 20.0, 255.0, 256.5, 400.0])
def test_gaussian_draws_follow_the_discrete_gaussian(sigma):
    draws = discrete_gaussian(200_000, sigma, KEY)
    p = chi_square(draws, lambda x: np.exp(-(x**2) / (2 * sigma**2)), math.ceil(4 * sigma))
    assert 1e-4 < p < 1 - 1e-4


@pytest.mark.parametrize("sigma", [1000.0, 123_456.7, 2.0**40, 2.0**57])
def test_wide_gaussian_draws_follow_the_gaussian(sigma):
    draws = discrete_gaussian(200_000, sigma, KEY)
    assert draws.dtype == np.int64
    assert stats.kstest(draws / sigma, "norm").pvalue > 1e-4
    assert draws.std() / sigma == pytest.approx(1, abs=0.01)
    # Every remainder comes as often: nothing of the way in which they are put together is left.
    assert 1e-4 < stats.chisquare(np.bincount(draws % 32, minlength=32)).pvalue < 1 - 1e-4


def test_far_draws_are_as_rare_as_they_should_be():
    draws = discrete_gaussian(2_000_000, 1.0, KEY)
    weights = np.exp(-(np.arange(-30, 31) ** 2) / 2.0)
    for x in (4, 5):
        expected = draws.size * 2 * weights[30 + x :].sum() / weights.sum()
        assert abs(np.count_nonzero(np.abs(draws) >= x) - expected) < 5 * math.sqrt(expected) + 1


@pytest.mark.parametrize("scale", [0.2, 1.0, 7.3, 50.0])
def test_laplace_draws_follow_the_discrete_laplace(scale):
    draws = discrete_laplace(200_000, scale, KEY)
    p = chi_square(draws, lambda x: np.exp(-np.abs(x) / scale), math.ceil(8 * scale))
    assert 1e-4 < p < 1 - 1e-4


@pytest.mark.parametrize("scale", [1e5, 2.0**40, 2.0**55])
def test_wide_laplace_draws_follow_the_laplace(scale):
    draws = discrete_laplace(100_000, scale, KEY)
    assert stats.kstest(draws / scale, "laplace").pvalue > 1e-4


def test_tables_are_exact_to_the_last_of_128_bits():
    middle, (highs, lows) = _gaussian_table(3.0)
    thresholds = [int(high) << 64 | int(low) for high, low in zip(highs, lows, strict=True)]
    assert thresholds == sorted(thresholds)
    # Symmetric: below -x lies as much as above x, to a unit of rounding.
    for x in range(1, middle):
        assert abs(thresholds[middle - x] + thresholds[middle + x - 1] - (1 << 128)) <= 1
    # The ratio of neighbouring probabilities is exp(-(2x + 1) / 2σ²).
    widths = np.diff([0, *thresholds]).astype(object)
    ratio = widths[middle + 1] / widths[middle]
    assert ratio == pytest.approx(math.exp(-1 / 18), rel=1e-12)
    assert len(_digits(1.0)) == 7


def test_ties_are_decided_by_the_lower_bits():
    # A threshold whose upper half is a draw's: the lower half decides. With one-word tables these would be biased.
    from flaas_jupyter.protocols.privacy import discrete

    word = int.from_bytes(discrete._keystream(KEY, 0, 0).update(bytes(8)), "little")
    low = int.from_bytes(discrete._keystream(KEY, 1, 0).update(bytes(8)), "little")
    for threshold, counted in (((word << 64) + low, 1), ((word << 64) + low + 1, 0), ((word - 1) << 64, 1)):
        assert discrete._invert(1, discrete._split([threshold]), KEY, 0)[0] == counted
    both = discrete._split([(word << 64) + low, (word << 64) + low + 1])
    assert discrete._invert(1, both, KEY, 0)[0] == 1


def test_a_key_makes_one_vector_and_keys_make_different_ones():
    for draw, parameter in ((discrete_gaussian, 5000.0), (discrete_laplace, 5.0)):
        np.testing.assert_array_equal(draw(1000, parameter, KEY), draw(1000, parameter, KEY))
        assert (draw(1000, parameter, KEY) != draw(1000, parameter, bytes(32))).mean() > 0.5
        # A longer vector begins as a shorter one.
        np.testing.assert_array_equal(draw(70_000, parameter, KEY)[:100], draw(100, parameter, KEY))
        assert draw(0, parameter, KEY).size == 0


@pytest.mark.parametrize(
    ("n", "sigma", "key"),
    [
        (-1, 1.0, KEY),
        (1.5, 1.0, KEY),
        (1, 0.0, KEY),
        (1, -1.0, KEY),
        (1, math.nan, KEY),
        (1, math.inf, KEY),
        (1, 2.0**58, KEY),
        (1, "1", KEY),
        (1, 1.0, b"short"),
        (1, 1.0, "text"),
    ],
)
def test_bad_noise_is_refused(n, sigma, key):
    for draw in (discrete_gaussian, discrete_laplace):
        with pytest.raises(InvalidInput, check=lambda error: error.code == "bad-noise"):
            draw(n, sigma, key)


class TestShares:
    def test_shares_of_the_honest_make_the_noise(self):
        assert share_sigma(12.0, 10, 1) == pytest.approx(4.0)
        for bad in ((1.0, 3, 3), (1.0, 0, 0), (1.0, 3, -1), (0.0, 3, 1), (math.nan, 3, 1)):
            with pytest.raises(InvalidInput, check=lambda error: error.code == "bad-noise"):
                share_sigma(*bad)
            with pytest.raises(InvalidInput, check=lambda error: error.code == "bad-noise"):
                DistributedNoise(*bad)

    def test_their_sum_is_as_wide_as_promised(self):
        noise = DistributedNoise(sigma=30.0, threshold=9, colluding=2)
        total = sum(noise.draw(50_000, bytes([i]) * 32) for i in range(7))
        assert total.std() == pytest.approx(30.0, rel=0.02)
        assert 1e-4 < chi_square(total, lambda x: np.exp(-(x**2) / 1800), 110) < 1 - 1e-4
        assert (noise.draw(100) != noise.draw(100)).any(), "a fresh key each time"

    def test_a_sum_of_wide_shares_costs_what_one_gaussian_does(self):
        noise = DistributedNoise(sigma=100.0, threshold=50, colluding=10)
        assert sum_gap(noise.share, 40) < 1e-30
        assert noise.rho(20.0, 10**6) == pytest.approx(20.0**2 / (2 * 100.0**2))
        assert sigma_for(noise.rho(20.0, 10**6), 20.0) == pytest.approx(100.0)

    def test_a_sum_of_narrow_shares_costs_more(self):
        narrow = DistributedNoise(sigma=2.0, threshold=16)
        tau = 10 * sum(math.exp(-2 * math.pi**2 * 0.25 * j / (j + 1)) for j in range(1, 16))
        assert sum_gap(0.5, 16) == pytest.approx(tau)
        by_hand = [0.5 * (0.25 + 2 * tau * 1 / 2.0 + tau**2 * 100), 0.5 * (0.5 + tau * 10) ** 2]
        assert narrow.rho(1.0, 100) == pytest.approx(min(by_hand))
        assert narrow.rho(1.0, 100) > 0.125

    def test_the_gap_bounds_what_a_sum_of_two_really_differs_by(self):
        # Two shares of s against one discrete Gaussian of s√2, in logarithms, wherever both are not negligible.
        for s in (0.6, 0.8, 1.0):
            x = np.arange(-60, 61)
            one = np.exp(-(x**2) / (2 * s**2))
            both = np.convolve(one / one.sum(), one / one.sum(), mode="same")
            ideal = np.exp(-(x**2) / (4 * s**2))
            near = np.abs(x) <= 6 * s
            gap = np.abs(np.log(both[near] / (ideal / ideal.sum())[near])).max()
            assert gap <= sum_gap(s, 2)


class TestRounding:
    @settings(max_examples=60, deadline=None)
    @given(size=st.integers(1, 200), norm=st.floats(0.1, 1000), seed=st.integers(0, 2**32 - 1))
    def test_the_norm_bound_always_holds(self, size, norm, seed):
        rng = np.random.default_rng(seed)
        values = rng.normal(size=size)
        values *= norm / np.linalg.norm(values)
        rounded = round_within(values, norm * (1 + 1e-9), rng)
        assert rounded.dtype == np.int64
        assert np.abs(rounded - values).max() < 1
        assert np.linalg.norm(rounded) <= rounded_norm(norm * (1 + 1e-9), size)

    def test_it_is_right_on_average(self):
        rng = np.random.default_rng(0)
        values = np.full(50, 0.3)
        mean = np.mean([round_within(values, 3.0, rng) for _ in range(4000)], axis=0)
        assert np.abs(mean - 0.3).max() < 0.05

    def test_the_bound_is_the_papers(self):
        assert rounded_norm(10.0, 100) == pytest.approx(math.sqrt(100 + 25 + (10 + 5)))
        assert rounded_norm(0.0, 4, beta=1e-300) == pytest.approx(2.0)

    @pytest.mark.parametrize("bad", [[2.0, 0.0], [math.nan, 0.0], [math.inf, 0.0]])
    def test_longer_values_are_refused(self, bad):
        with pytest.raises(InvalidInput, check=lambda error: error.code == "bad-noise"):
            round_within(np.array(bad), 1.5, np.random.default_rng(0))
        with pytest.raises(InvalidInput, check=lambda error: error.code == "bad-noise"):
            round_within(np.array([1.0]), 2.0**53, np.random.default_rng(0))


class TestConversion:
    @pytest.mark.parametrize("rho", [1e-4, 0.01, 0.5, 5.0])
    @pytest.mark.parametrize("delta", [1e-9, 1e-5])
    def test_epsilon_is_between_the_gaussians_and_the_simple_bound(self, rho, delta):
        epsilon = epsilon_of(rho, delta)
        assert epsilon <= rho + 2 * math.sqrt(rho * math.log(1 / delta))
        # A Gaussian of this ρ has exactly: δ = Φ(a - ε/2a) - e^ε Φ(-a - ε/2a) with 2a = √(2ρ); it must be private so.
        spread = math.sqrt(2 * rho)
        exact = stats.norm.cdf(spread / 2 - epsilon / spread) - math.exp(epsilon) * stats.norm.cdf(
            -spread / 2 - epsilon / spread
        )
        assert exact <= delta

    def test_there_and_back(self):
        for epsilon in (0.1, 1.0, 8.0):
            rho = rho_for(epsilon, 1e-6)
            assert epsilon * 0.999 < epsilon_of(rho, 1e-6) <= epsilon
        assert epsilon_of(0.0, 1e-6) == 0.0
