"""Distributed differential privacy in a run's rounds: clipped, noised before masking, never drawn twice."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from round_table import PARAMETERS, Table, led, together

from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError, InvalidInput
from flaas_jupyter.protocols import noise_shares

pytestmark = pytest.mark.usefixtures("fake_plan")

ROWS = [10, 20, 70, 40, 30, 60]
HARDLY = {"epsilon": 1e12, "delta": 1e-5, "clip": 0.1, "mode": "distributed", "noise_multiplier": 1e-4}


@pytest.mark.parametrize("sharded", [False, True], ids=["one sum", "sharded"])
def test_updates_are_clipped_count_alike_and_are_accounted_for(tmp_path, sharded):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True, rounds=2, privacy=HARDLY, sharded=sharded)
        first, second = await led(table, 2)
        deltas = np.array([table.trainers[n].step for n in table.ids])[:, None] * np.arange(1, PARAMETERS + 1)
        clipped = deltas / np.maximum(1.0, np.linalg.norm(deltas, axis=1) / 0.1)[:, None]
        wanted = table.start + clipped.mean(axis=0)
        np.testing.assert_allclose(first.tensors["weights"], wanted, atol=1e-4)
        reports = [reply.body["reports"][0] for reply in (first, second)]
        np.testing.assert_allclose([c["weight"] for c in reports[0]["clients"]], 1 / 6)
        assert [report["metrics"] for report in reports] == [{}, {}]
        assert 0 < reports[0]["epsilon"] < reports[1]["epsilon"] <= HARDLY["epsilon"]
        assert [report["clipped"] for report in reports] == [0, 0]

    together(scenario())


def test_the_noise_of_all_shares_is_in_the_mean(tmp_path):
    async def scenario():
        privacy = {**HARDLY, "clip": 1.0, "noise_multiplier": 5.0}
        table = Table(tmp_path, [20] * 6, secure=True, rounds=9, privacy=privacy)
        steps = np.array([table.trainers[n].step for n in table.ids])[:, None] * np.arange(1, PARAMETERS + 1)
        mean = (steps / np.maximum(1.0, np.linalg.norm(steps, axis=1))[:, None]).mean(axis=0)
        before, noise = table.start.astype(float), []
        for reply in await led(table, 9):
            noise.append(reply.tensors["weights"] - before - mean)
            before = reply.tensors["weights"].astype(float)
        plan = table.participants[table.ids[0]]._privacy_plan
        expected = noise_shares.share_of(plan, 6) * 6**0.5 / 6
        assert expected >= 5.0 / 6
        # 99 draws: their standard deviation is within 30 % of the true one, but for once in 10^5.
        assert np.std(noise) == pytest.approx(expected, rel=0.3)

    together(scenario())


def test_a_round_that_is_tried_again_has_the_same_noise(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True, privacy={**HARDLY, "noise_multiplier": 5.0})
        participant = table.participants[table.ids[0]]
        seen = []
        for attempt in (1, 2):
            where = {"run": "run-1", "round": 1, "attempt": attempt}
            body = {**where, "term": attempt, "members": table.ids, "clip": 3.0, "maximum_examples": 70, "rule": {}}
            body |= {"learning_rate": None, "plan": "d1"}
            await participant.begin(Message("round/begin", body, {"weights": table.start}))
            current = participant._current
            trained = await current.training
            seen.append(participant._encoded(trained, {}, 70, current.settings, 1.0))
        np.testing.assert_array_equal(*seen)

    together(scenario())


def test_an_aggregator_that_widens_the_range_until_the_noise_vanishes_gets_nothing(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True, rounds=1, privacy=HARDLY)
        table.aggregator._range.factor = 1e4
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        reply = await table.follow(0)
        assert FlaasError.from_dict(reply.body["reason"]).code == "noise-too-small"
        await lead

    together(scenario())


@pytest.mark.parametrize("mode", ["central", "local", "distributed"])
def test_a_range_in_which_clipped_updates_would_vanish_is_refused(tmp_path, mode):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True, rounds=1, privacy={**HARDLY, "mode": mode})
        table.aggregator._range.factor = 1e15
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        reply = await table.follow(0)
        assert FlaasError.from_dict(reply.body["reason"]).code == "range-too-wide"
        await lead

    together(scenario())


@pytest.mark.parametrize(
    ("run", "code"),
    [
        ({"secure": False}, "privacy-needs-secure-aggregation"),
        ({"secure": True, "aggregation": "fedqv"}, "aggregation-with-privacy"),
        ({"secure": True, "aggregation": "median", "group_size": 3}, "aggregation-with-privacy"),
    ],
)
def test_what_does_not_go_with_shares_of_noise_is_refused(tmp_path, run, code):
    with pytest.raises(InvalidInput) as caught:
        Table(tmp_path, ROWS * 2, privacy=HARDLY, **run)
    assert caught.value.code == code
