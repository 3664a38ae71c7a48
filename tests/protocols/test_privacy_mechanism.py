"""What a round of differential privacy does: clipping, noise, cohorts; statistical tests at fixed seeds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.stats import kstest, norm

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.privacy import (
    add_noise,
    clip_update,
    clip_updates,
    epsilon_spent,
    sample_poisson,
    secure_normal,
)

FINITE = st.floats(-1e200, 1e200, allow_subnormal=False)


@given(
    update=hnp.arrays(np.float64, st.integers(0, 20), elements=FINITE),
    clip=st.floats(1e-6, 1e6),
)
def test_a_clipped_update_keeps_its_direction_and_is_no_longer_than_the_bound(update, clip):
    clipped, norm_before = clip_update(update, clip)
    # scaled, since squares of such values overflow
    size = max(np.abs(update).max(initial=0.0), 1e-300)
    length = size * np.linalg.norm(update / size)
    assert norm_before == pytest.approx(length, rel=1e-9)
    assert np.linalg.norm(clipped) <= clip * (1 + 1e-9)
    if length <= clip:
        np.testing.assert_array_equal(clipped, update)
    else:
        np.testing.assert_allclose(clipped, update * (clip / length), rtol=1e-9)


def test_rows_are_clipped_each_for_itself():
    rows = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], np.float32)
    clipped, norms = clip_updates(rows, 1.0)
    np.testing.assert_allclose(clipped, [[0.6, 0.8], [0.3, 0.4], [0, 0]], rtol=1e-6)
    np.testing.assert_allclose(norms, [5, 0.5, 0], rtol=1e-6)
    assert clipped.dtype == np.float64


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_update_that_clipping_cannot_bound_is_refused(value):
    with pytest.raises(InvalidInput) as refused:
        clip_update(np.array([1.0, value]), 1.0)
    assert refused.value.code == "non-finite-update"


@pytest.mark.parametrize("rng", [np.random.default_rng(0), None], ids=["generator", "cryptographic"])
@pytest.mark.parametrize("sigma", [0.3, 5.0])
def test_noise_is_normal_with_the_width_asked_for(rng, sigma):
    values = np.linspace(-1, 1, 200_001)
    noise = add_noise(values, sigma, rng) - values
    assert abs(noise.mean()) < 5 * sigma / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * noise.size))
    assert kstest(noise / sigma, norm.cdf).pvalue > 1e-4
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.015  # coordinates are independent


def test_noise_of_the_same_generator_is_the_same_and_cryptographic_noise_never_is():
    values = np.zeros((3, 4), np.float32)
    np.testing.assert_array_equal(
        add_noise(values, 1.0, np.random.default_rng(1)), add_noise(values, 1.0, np.random.default_rng(1))
    )
    assert not np.array_equal(add_noise(values, 1.0), add_noise(values, 1.0))
    assert add_noise(values, 1.0).shape == (3, 4)
    assert not values.any()


@pytest.mark.parametrize("count", [0, 1, 2, 7, 65_536, 65_537, 200_000])
def test_cryptographic_noise_goes_on_over_blocks(count):
    key = bytes(range(32))
    normal = secure_normal(count, key)
    assert normal.shape == (count,)
    assert np.isfinite(normal).all()
    np.testing.assert_array_equal(normal, secure_normal(200_000, key)[:count])
    assert len(np.unique(normal)) == count  # no block comes twice


def test_cryptographic_noise_is_box_muller_of_the_keystream():
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    key = b"k" * 32
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor().update(bytes(16))
    first, second = (int.from_bytes(stream[at : at + 8], "little") >> 11 for at in (0, 8))
    radius = np.sqrt(-2 * np.log((first + 1) / 2**53))
    angle = 2 * np.pi * (second + 1) / 2**53
    np.testing.assert_allclose(secure_normal(2, key), [radius * np.cos(angle), radius * np.sin(angle)])


def test_noise_reaches_beyond_six_deviations_at_most_as_often_as_it_should():
    noise = secure_normal(1_000_000, bytes(32))
    for bound in (2, 3, 4):
        expected = 2 * norm.sf(bound) * noise.size
        assert np.count_nonzero(np.abs(noise) > bound) == pytest.approx(expected, abs=5 * np.sqrt(expected))


def test_cohorts_have_every_client_at_the_rate_and_independently():
    rng = np.random.default_rng(0)
    drawn = np.zeros((4000, 50))
    for row in drawn:
        row[sample_poisson(50, 0.1, rng)] = 1
    np.testing.assert_allclose(drawn.mean(axis=0), 0.1, atol=5 * np.sqrt(0.09 / 4000))
    sizes = drawn.sum(axis=1)
    assert sizes.var() == pytest.approx(50 * 0.09, rel=0.1)  # a cohort of fixed size would have none
    assert (sizes == 0).mean() == pytest.approx(0.9**50, abs=0.004)


def test_cohorts_are_ascending_and_by_the_seed():
    first, again = (sample_poisson(100, 0.3, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (np.diff(first) > 0).all()
    assert first.dtype == np.int64
    assert sample_poisson(10, 0, np.random.default_rng(0)).size == 0
    assert sample_poisson(10, 1, np.random.default_rng(0)).tolist() == list(range(10))


@pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
def test_a_rate_that_is_no_probability_is_refused(rate):
    with pytest.raises(InvalidInput, match="rate"):
        sample_poisson(10, rate, np.random.default_rng(0))


def test_the_noise_of_a_run_hides_one_client_as_far_as_the_budget_says():
    """The likelihood of the released sums with and without one client differs by more than e^ε with probability δ."""
    pytest.importorskip("dp_accounting", reason="the extra `privacy` is not installed")
    noise_multiplier, rounds, delta = 4.0, 20, 1e-2
    epsilon = epsilon_spent(noise_multiplier, rounds, 1, delta)
    rng = np.random.default_rng(0)
    trials, clip = 200_000, 0.5
    sigma = noise_multiplier * clip
    # Worst case: the client pushes the sum by its clip along one axis, in every round.
    released = np.full((trials, rounds), clip) + sigma * rng.standard_normal((trials, rounds))
    loss = ((released**2 - (released - clip) ** 2) / (2 * sigma**2)).sum(axis=1)  # ln p(with) / p(without)
    exceeding = np.mean(np.maximum(0, 1 - np.exp(epsilon - loss)))
    assert exceeding == pytest.approx(delta, rel=0.1)
