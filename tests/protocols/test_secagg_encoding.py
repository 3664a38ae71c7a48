"""Fixed point and limbs: what is exact is exact, what is rounded stays within the documented bound."""

from __future__ import annotations

import math
import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.secure_aggregation import (
    decode_sum,
    encode_update,
    encode_update_blocks,
    encoded_length,
    error_bound,
    mean_error_bound,
)
from flaas_jupyter.protocols.secure_aggregation.encoding import LIMBS, scalar_limit, step, value_bits


def plain_sum(encoded):
    total = np.zeros_like(encoded[0])
    for vector in encoded:
        total += vector
    return total


@pytest.mark.parametrize(
    ("members", "bits"),
    [(3, 30), (4, 30), (5, 29), (8, 29), (9, 28), (10, 28), (50, 26), (64, 26), (65, 25), (1000, 22)],
)
def test_value_bits_are_those_of_the_formula(members, bits):
    assert value_bits(members) == bits == 32 - math.ceil(math.log2(members))
    assert members * (2**bits - 1) < 2**32


def test_the_bound_is_small():
    # For a clip of 8, sums of 10 and 50 members are good to these.
    assert error_bound(8.0, 10) == pytest.approx(6.0e-7, rel=0.01)
    assert error_bound(8.0, 50) == pytest.approx(1.2e-5, rel=0.01)


@settings(max_examples=60, deadline=None)
@given(
    members=st.integers(3, 12),
    clip=st.sampled_from([0.01, 1.0, 8.0, 1e4]),
    size=st.sampled_from([0, 1, 2, 33]),
    seed=st.integers(0, 2**32 - 1),
    data=st.data(),
)
def test_the_mean_is_within_its_bound(settings_for, members, clip, size, seed, data):
    rng = np.random.default_rng(seed)
    here = settings_for(members, clip=clip)
    counts = data.draw(st.lists(st.integers(1, 5000), min_size=members, max_size=members))
    survivors = data.draw(st.integers(here.threshold, members))
    largest = max(counts)
    deltas = rng.normal(0, clip, (members, size))  # a third of them is clipped
    losses = rng.normal(0, 100, members)
    encoded = [
        encode_update(delta, count, largest, {"loss": loss}, here, rng)
        for delta, count, loss in zip(deltas, counts, losses, strict=True)
    ][:survivors]
    opened = decode_sum(plain_sum(encoded), survivors, ["loss"], here, size, largest)

    counts, deltas, losses = counts[:survivors], deltas[:survivors], losses[:survivors]
    expected = np.array(counts) @ np.clip(deltas, -clip, clip) / sum(counts)
    assert opened.error_bound == mean_error_bound(here, survivors, sum(counts) / largest)
    assert opened.error_bound <= step(clip, members) * survivors * largest / sum(counts) * 1.000001
    assert np.abs(opened.mean - expected).max(initial=0.0) < opened.error_bound
    assert opened.examples == sum(counts)
    assert opened.clipped == np.count_nonzero(np.abs(deltas) > clip)
    weighted = sum(Fraction(loss) * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
    assert abs(Fraction(opened.metrics["loss"]) - weighted) < Fraction(1, 2**32)


@settings(max_examples=40, deadline=None)
@given(shares=st.lists(st.floats(0, 1), min_size=3, max_size=12), seed=st.integers(0, 2**32 - 1))
def test_shares_of_their_own_take_the_place_of_examples(settings_for, shares, seed):
    shares = [1.0, *shares]  # somebody counts in full
    rng = np.random.default_rng(seed)
    here = settings_for(len(shares), clip=1.0)
    deltas = rng.uniform(-1, 1, (len(shares), 20))
    counts = rng.integers(1, 100, len(shares))
    encoded = [
        encode_update(delta, int(count), 100, {"loss": 1.0}, here, rng, share=share)
        for delta, count, share in zip(deltas, counts, shares, strict=True)
    ]
    opened = decode_sum(plain_sum(encoded), len(shares), ["loss"], here, 20, 100, shares=sum(shares))
    assert np.abs(opened.mean - np.array(shares) @ deltas / sum(shares)).max() < opened.error_bound
    assert opened.error_bound == mean_error_bound(here, len(shares), sum(shares))
    assert (opened.examples, opened.metrics["loss"]) == (counts.sum(), 1.0), "metrics go by examples"


def test_a_share_of_nothing_is_a_vector_of_nothing(settings_for):
    here = settings_for(3, clip=1.0)
    vectors = [encode_update(np.full(1000, 0.9), 5, 5, {}, here, np.random.default_rng(s), share=0.0) for s in (1, 2)]
    middle = (2 ** value_bits(3) - 1) // 2
    assert {int(value) for vector in vectors for value in vector[2 * LIMBS :]} == {middle, middle + 1}


@pytest.mark.parametrize("share", [-1e-9, 1.0000001, math.nan, math.inf])
def test_a_share_outside_of_0_to_1_is_refused(settings_for, share):
    with pytest.raises(InvalidInput) as caught:
        encode_update(np.zeros(2), 1, 1, {}, settings_for(3), np.random.default_rng(0), share=share)
    assert caught.value.code == "bad-share"


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2**49), st.integers(-(2**40), 2**40)), min_size=3, max_size=64))
def test_limbs_of_up_to_64_members_add_up_exactly(settings_for, numbers):
    here, largest = settings_for(64), max(count for count, _ in numbers)
    rng = np.random.default_rng(0)
    # Thirty-two binary places are exact, so a metric that has no more of them loses nothing.
    metrics = [Fraction(value, 2**33) for _, value in numbers]
    encoded = [
        encode_update(np.zeros(0), count, largest, {"m": float(metric)}, here, rng)
        for (count, _), metric in zip(numbers, metrics, strict=True)
    ]
    opened = decode_sum(plain_sum(encoded), len(numbers), ["m"], here, 0, largest)
    examples = sum(count for count, _ in numbers)
    assert opened.examples == examples
    products = (Fraction(round(m * c * 2**32), 2**32) for m, (c, _) in zip(metrics, numbers, strict=True))
    assert opened.metrics["m"] == float(sum(products) / examples)


def test_the_largest_scalars_of_64_members_keep_their_sign(settings_for):
    here, rng = settings_for(64), np.random.default_rng(0)
    limit = scalar_limit(64)
    assert limit == 2**57
    for value in (limit - 2**10, -(limit - 2**10)):
        encoded = [encode_update(np.zeros(1), 1, 1, {"m": float(value)}, here, rng) for _ in range(64)]
        assert decode_sum(plain_sum(encoded), 64, ["m"], here, 1, 1).metrics["m"] == value


def test_both_ends_of_the_range_survive_every_rounding(settings_for):
    for members in (3, 5, 64):
        here = settings_for(members, clip=0.1)
        ends = np.tile(np.array([0.1, -0.1, np.nextafter(0.1, 1), -np.nextafter(0.1, 1)]), 50_000)
        rng = np.random.default_rng(5)
        encoded = [encode_update(ends, 7, 7, {}, here, rng) for _ in range(members)]
        opened = decode_sum(plain_sum(encoded), members, [], here, ends.size, 7)
        assert np.abs(opened.mean - np.clip(ends, -0.1, 0.1)).max() < opened.error_bound
        assert opened.clipped == members * 100_000


@pytest.mark.parametrize("draw", [0.0, np.nextafter(1.0, 0.0)])
def test_the_most_extreme_draws_stay_on_the_scale(settings_for, draw):
    class Extreme(np.random.Generator):
        def random(self, size=None, dtype=np.float64, out=None):
            out.fill(draw)
            return out

    rng = Extreme(np.random.PCG64(0))
    for members in (3, 10, 64):
        for clip in (0.1, 0.7, 8.0, 1e4 / 3):
            here = settings_for(members, clip=clip)
            vector = encode_update(np.array([clip, -clip]), 1, 1, {}, here, rng)[-2:].astype(np.int64)
            levels = 2 ** value_bits(members) - 1
            assert levels - 1 <= vector[0] <= levels
            assert 0 <= vector[1] <= 1


def test_rounding_is_right_on_average(settings_for):
    here = settings_for(3)
    value = 0.3 * step(8.0, 3)
    delta = np.full(200_000, value)
    rng = np.random.default_rng(6)
    opened = decode_sum(
        plain_sum([encode_update(delta, 1, 1, {}, here, rng) for _ in range(3)]), 3, [], here, delta.size, 1
    )
    assert abs(opened.mean.mean() - value) < 0.01 * step(8.0, 3)  # plain rounding would be off by 0.2 to 0.5 steps


def test_float32_updates_are_encoded_as_the_same_float64_ones(settings_for):
    here = settings_for(4, clip=0.1)
    delta = np.random.default_rng(7).normal(0, 0.1, 100_000).astype(np.float32)
    one, other = (encode_update(d, 3, 4, {}, here, np.random.default_rng(8)) for d in (delta, delta.astype(np.float64)))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("size", [0, 1, 32_768, 100_000])
def test_an_update_in_blocks_is_the_update_at_once(settings_for, size):
    here = settings_for(5, clip=0.1)
    delta = np.random.default_rng(1).normal(0, 0.1, size).astype(np.float32)
    blocks = encode_update_blocks(delta, 3, 9, {"loss": 0.5}, here, np.random.default_rng(2))
    whole = encode_update(delta, 3, 9, {"loss": 0.5}, here, np.random.default_rng(2))
    np.testing.assert_array_equal(np.concatenate([block.copy() for block in blocks]), whole)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 40_000, -1])
def test_nan_and_infinity_are_refused(settings_for, bad, place):
    delta = np.zeros(100_000, np.float32)
    delta[place] = bad
    with pytest.raises(InvalidInput) as caught:
        encode_update(delta, 1, 1, {}, settings_for(3), np.random.default_rng(0))
    assert caught.value.code == "non-finite-update"


@pytest.mark.parametrize(
    ("delta", "examples", "metrics", "code"),
    [
        (np.zeros((2, 2)), 1, {}, "wrong-shape"),
        (np.zeros(2, int), 1, {}, "wrong-shape"),
        ([0.0], 1, {}, "wrong-shape"),
        (np.zeros(2), 0, {}, "bad-example-counts"),
        (np.zeros(2), 11, {}, "bad-example-counts"),
        (np.zeros(2), 1.5, {}, "bad-example-counts"),
        (np.zeros(2), 1, {"loss": math.nan}, "metric-out-of-range"),
        (np.zeros(2), 1, {"loss": math.inf}, "metric-out-of-range"),
        (np.zeros(2), 2, {"loss": 2.0**60}, "metric-out-of-range"),
    ],
)
def test_bad_contributions_are_refused(settings_for, delta, examples, metrics, code):
    with pytest.raises(InvalidInput) as caught:
        encode_update(delta, examples, 10, metrics, settings_for(3), np.random.default_rng(0))
    assert caught.value.code == code


def test_a_sum_that_no_members_can_make_is_refused(settings_for):
    here, rng = settings_for(3), np.random.default_rng(9)
    encoded = [encode_update(np.ones(50), 2, 2, {"loss": 1.0}, here, rng) for _ in range(3)]
    good = plain_sum(encoded)
    assert decode_sum(good, 3, ["loss"], here, 50, 2).examples == 6
    noise = rng.integers(0, 1 << 32, good.size, dtype=np.uint32)
    for total, members in ((noise, 3), (good, 2), (np.zeros_like(good), 3), (good, 0), (good, 4)):
        with pytest.raises(InvalidInput) as caught:
            decode_sum(total, members, ["loss"], here, 50, 2)
        assert caught.value.code == "secagg-implausible-sum"
    with pytest.raises(InvalidInput) as caught:
        decode_sum(good, 3, [], here, 50, 2)
    assert caught.value.code == "wrong-shape"


def test_layout_is_scalars_then_values(settings_for):
    vector = encode_update(np.zeros(5), 3, 10, {"loss": 1.0}, settings_for(3), np.random.default_rng(0))
    assert vector.dtype == np.uint32
    assert vector.shape == (encoded_length(5, 1),) == (3 * LIMBS + 5,)
    # Three examples: fixed point with 32 binary places in limbs of 16 bits, the lowest first.
    assert vector[:LIMBS].tolist() == [0, 0, 3, 0, 0, 0]


def test_encoding_needs_little_beyond_its_result(settings_for):
    delta = np.zeros(20_000_000, np.float32)
    tracemalloc.start()
    vector = encode_update(delta, 1, 1, {}, settings_for(3), np.random.default_rng(0))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < vector.nbytes + (2 << 20)
