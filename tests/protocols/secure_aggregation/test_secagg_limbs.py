"""Exact sums of integers, and of reals up to their rounding, for up to 1,000 members."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.protocols.secure_aggregation import (
    decode_integers,
    decode_reals,
    encode_integers,
    encode_reals,
    integer_limit,
    real_error_bound,
    real_limit,
)
from flaas_jupyter.protocols.secure_aggregation.limbs import LIMBS

LIMIT = integer_limit(1000)


def raises(code):
    return pytest.raises(InvalidInput, check=lambda error: error.code == code)


def plain_sum(encoded):
    return np.sum(encoded, axis=0, dtype=np.uint32)


@pytest.mark.parametrize(("members", "bits"), [(3, 93), (4, 93), (5, 92), (64, 89), (512, 86), (513, 85), (1000, 85)])
def test_the_limit_leaves_room_for_the_sum_and_its_sign(members, bits):
    assert integer_limit(members) == 1 << bits
    assert members * ((1 << bits) - 1) < 1 << 95
    assert real_limit(members) == 2.0 ** (bits - 32)
    assert members * (2**16 - 1) < 2**32


@settings(max_examples=60, deadline=None)
@given(columns=st.lists(st.lists(st.integers(1 - LIMIT, LIMIT - 1), min_size=3, max_size=3), min_size=1, max_size=40))
def test_sums_of_long_integers_are_exact(settings_for, columns):
    here = settings_for(1000)
    encoded = [encode_integers(column, here) for column in columns]
    opened = decode_integers(plain_sum(encoded), here, summed=len(columns))
    assert opened.tolist() == [sum(numbers) for numbers in zip(*columns, strict=True)]


@pytest.mark.parametrize("value", [LIMIT - 1, 1 - LIMIT, 1, -1, 0])
def test_a_thousand_equal_extremes_add_up(settings_for, value):
    here = settings_for(1000)
    total = encode_integers([value] * 2, here) * np.uint32(1000)
    assert decode_integers(total, here).tolist() == [1000 * value] * 2


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), members=st.integers(3, 64), size=st.integers(0, 50))
def test_the_fast_path_gives_what_long_integers_give(settings_for, seed, members, size):
    rng, here = np.random.default_rng(seed), settings_for(members)
    vectors = rng.integers(-(2**62), 2**62, (members, size))
    encoded = [encode_integers(vector, here) for vector in vectors]
    for vector, limbs in zip(vectors, encoded, strict=True):
        np.testing.assert_array_equal(limbs, encode_integers(vector.astype(object), here))
    opened = decode_integers(plain_sum(encoded), here)
    assert opened.tolist() == vectors.astype(object).sum(axis=0).tolist()


def test_sums_that_fit_are_int64_and_others_are_long(settings_for):
    here = settings_for(3)
    ends = np.array([np.iinfo(np.int64).min, -1, 0, 1, np.iinfo(np.int64).max])
    alone = decode_integers(encode_integers(ends, here), here, summed=1)
    assert alone.dtype == np.int64
    np.testing.assert_array_equal(alone, ends)
    twice = decode_integers(plain_sum([encode_integers(ends, here)] * 2), here)
    assert twice.dtype == object
    assert twice.tolist() == [2 * int(end) for end in ends]


@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.uint8, np.uint32, np.uint64])
def test_other_integers_are_taken_as_they_are(settings_for, dtype):
    values = np.array([0, 1, np.iinfo(dtype).max], dtype)
    here = settings_for(3)
    assert decode_integers(encode_integers(values, here), here, summed=1).tolist() == values.tolist()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.floats(-(2.0**53) + 1, 2.0**53 - 1), min_size=4, max_size=4),
        min_size=1,
        max_size=20,
    )
)
def test_sums_of_reals_are_within_their_bound(settings_for, rows):
    here = settings_for(1000)
    opened = decode_reals(plain_sum([encode_reals(np.array(row), here) for row in rows]), here, summed=len(rows))
    for column, value in enumerate(opened):
        exact = sum(Fraction(row[column]) for row in rows)
        assert abs(Fraction(value) - exact) <= Fraction(real_error_bound(len(rows), value))


def test_multiples_of_the_smallest_step_are_exact(settings_for):
    here = settings_for(10)
    values = np.array([2.0**-32, -(2.0**-32), 1.5, -1.25, 2.0**58 - 2.0**6, 1e15 + 0.125, 0.0])
    np.testing.assert_array_equal(decode_reals(encode_reals(values, here), here, summed=1), values)
    assert encode_reals(values.astype(np.float32), here).size == LIMBS * values.size


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 2), int), np.zeros(2), np.zeros(2, bool), [1.5], ["1"], np.array([1, None])]
)
def test_what_is_no_row_of_integers_is_refused(settings_for, bad):
    with raises("wrong-shape"):
        encode_integers(bad, settings_for(3))


@pytest.mark.parametrize("bad", [LIMIT, -LIMIT, 2**200])
def test_integers_that_might_not_keep_their_sign_are_refused(settings_for, bad):
    with raises("secagg-value-out-of-range"):
        encode_integers([0, bad], settings_for(1000))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2.0**53])
def test_reals_out_of_range_are_refused(settings_for, bad):
    with raises("secagg-value-out-of-range"):
        encode_reals(np.array([0.0, bad]), settings_for(1000))
    for shapeless in (np.zeros((1, 1)), np.zeros(1, int), [0.5]):
        with raises("wrong-shape"):
            encode_reals(shapeless, settings_for(1000))


def test_noise_is_no_sum(settings_for):
    here = settings_for(3)
    noise = np.random.default_rng(0).integers(0, 1 << 32, 60, dtype=np.uint32)
    for total, summed in ((noise, 3), (np.zeros(6, np.uint32), 0), (np.zeros(6, np.uint32), 4)):
        with raises("secagg-implausible-sum"):
            decode_integers(total, here, summed=summed)
    for total in (np.zeros(5, np.uint32), np.zeros(6, np.int64), np.zeros((1, 6), np.uint32), [0] * 6):
        with raises("wrong-shape"):
            decode_reals(total, here)


def test_a_sum_of_numbers_goes_through_a_round(begin):
    here = begin(5)
    rng = np.random.default_rng(1)
    numbers = rng.integers(-(2**40), 2**40, (5, 7))
    vectors = [encode_integers(row, here.settings) for row in numbers]
    total = here.advertise().share().mask(vectors, {2}).confirm().unmask().open()
    assert decode_integers(total, here.settings, summed=4).tolist() == numbers[[0, 1, 3, 4]].sum(axis=0).tolist()
