"""A rate, with short bursts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flaas_jupyter.communications.token_bucket import TokenBucket


def test_it_earns_at_its_rate_and_keeps_no_more_than_its_burst() -> None:
    now = 0.0
    bucket = TokenBucket(8.0, 2.0, lambda: now)
    assert bucket.spend(2) == 0
    assert bucket.spend(4) == pytest.approx(0.5)
    now = 0.5
    assert bucket.spend(0) == 0
    now = 1000.0
    assert bucket.spend(2) == 0
    assert bucket.spend(1) > 0


def test_what_is_not_there_cannot_be_taken_and_costs_nothing() -> None:
    now = 0.0
    bucket = TokenBucket(1.0, 3.0, lambda: now)
    assert [bucket.take(1) for _ in range(5)] == [True, True, True, False, False]
    now = 1.0
    assert bucket.take(1)
    assert not bucket.take(1)


def test_no_rate_is_no_limit() -> None:
    bucket = TokenBucket(0.0, 1.0)
    assert bucket.spend(1e12) == 0
    assert bucket.take(1e12)


@given(steps=st.lists(st.tuples(st.floats(0, 2), st.floats(0, 50)), max_size=60), rate=st.floats(0.5, 20))
def test_over_any_time_no_more_passes_than_burst_and_rate(steps: list[tuple[float, float]], rate: float) -> None:
    now, passed = 0.0, 0.0
    bucket = TokenBucket(rate, 10.0, lambda: now)
    for pause, amount in steps:
        now += pause
        if bucket.take(amount):
            passed += amount
        assert passed <= 10.0 + rate * now + 1e-6
