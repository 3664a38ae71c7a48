"""Rounds with compressed updates around one table: in the clear, under masks, in groups, and with memory."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from round_table import PARAMETERS, FakePlan, Table, led, together

from flaas_jupyter.errors import FlaasError
from flaas_jupyter.execution.residuals import Residuals
from flaas_jupyter.protocols.compression import ErrorFeedback, compression

pytestmark = pytest.mark.usefixtures("fake_plan")

ROWS = [10, 20, 70, 40, 30]


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Return what makes a table whose plan asks for a compression."""

    def make(name: str | None, rows=ROWS, *, secure: bool = False, options=None, **run) -> Table:
        plan = None if name is None else compression(name, **(options or {})).to_dict()
        monkeypatch.setattr(FakePlan, "compression", plan)
        return Table(tmp_path / str(name), rows, secure=secure, **({"rounds": 2} | run))

    return make


def of_round(reply):
    return reply.tensors["weights"], reply.body["reports"][0]


@pytest.mark.parametrize("rule", ["fedavg", "median"])
def test_lossless_gives_the_same_model_bit_for_bit(table, rule):
    async def scenario():
        plain, packed = [await led(table(name, aggregation=rule), 2) for name in (None, "lossless")]
        for one, other in zip(plain, packed, strict=True):
            np.testing.assert_array_equal(of_round(one)[0], of_round(other)[0])
            assert of_round(one)[1]["compression"] is None
            assert of_round(other)[1]["compression"]["error"] == 0.0

    together(scenario())


@pytest.mark.parametrize(("name", "within"), [("int8", 5e-3), ("int16", 2e-5), ("float16", 6e-4), ("bfloat16", 5e-3)])
def test_quantised_updates_give_the_mean_within_their_steps(table, name, within):
    async def scenario():
        made = table(name)
        weights, report = of_round((await led(made, 2))[0])
        np.testing.assert_allclose(weights, made.start + made.mean_step(made.ids), atol=within)
        told = report["compression"]
        assert told["name"] == name
        assert told["plain"] == 5 * PARAMETERS * 4
        assert 0 < told["error"] < 0.02
        arrived = {"int8": 11 + 4, "int16": 22 + 4, "float16": 22 + 4, "bfloat16": 22}
        assert told["bytes"] == 5 * arrived[name], "what was measured of the replies"

    together(scenario())


@pytest.mark.parametrize(("name", "bits"), [("int8", 8), ("int16", 16)])
@pytest.mark.parametrize("rule", ["fedavg", "fedavgm"])
def test_under_masks_few_bits_give_the_mean_within_the_bound_that_is_told(table, name, bits, rule):
    async def scenario():
        plain = of_round((await led(table(None, aggregation=rule), 2))[0])[0]
        made = table(name, secure=True, clip=1.0, aggregation=rule)
        weights, report = of_round((await led(made, 2))[0])
        assert np.abs(weights - plain).max() <= report["error_bound"] + 1e-6
        assert report["error_bound"] > 2.0 / (1 << bits)
        head, sum_bits = 4 * 6 * 4, bits + 3
        assert report["compression"]["bytes"] == 5 * (head + -(-PARAMETERS * sum_bits // 8))
        assert report["compression"]["error"] is None, "which nobody may know"

    together(scenario())


def test_the_range_follows_the_sums_so_that_eight_bits_get_finer(table):
    async def scenario():
        made = table("int8", secure=True, rounds=4)
        bounds = [of_round(reply)[1]["error_bound"] for reply in await led(made, 4)]
        assert bounds[0] > 0.1
        assert bounds[-1] < bounds[0] / 4

    together(scenario())


def test_in_group_mode_the_rule_sees_means_of_quantised_groups(table):
    async def scenario():
        rows = [10] * 9
        made = table("int16", rows, secure=True, aggregation="median", group_size=3, clip=1.0, rounds=1)
        weights, report = of_round((await led(made, 1))[0])
        steps = sorted(trainer.step for trainer in made.trainers.values())
        moved = (weights - made.start) / np.arange(1, PARAMETERS + 1)
        assert steps[0] < moved.min()
        assert moved.max() < steps[-1]
        assert report["groups"]["opened"] == 3
        assert report["compression"]["bytes"] > 0

    together(scenario())


@pytest.mark.parametrize("secure", [False, True])
def test_random_k_moves_its_coordinates_only_and_sends_the_rest_later(table, secure):
    async def scenario():
        made = table("randomk", secure=secure, options={"fraction": 0.3}, rounds=12)
        replies = await led(made, 12)
        before, expected = made.start, made.mean_step(made.ids)
        for reply in replies:
            weights, report = of_round(reply)
            assert np.count_nonzero(np.abs(weights - before) > 1e-5) <= 4
            before = weights
            plain = report["compression"]["plain"]
            assert report["compression"]["bytes"] < plain if not secure else report["error_bound"] > 0
        left = np.zeros(PARAMETERS)
        total = sum(ROWS)
        for node in made.ids:
            feedback = made.participants[node]._residuals.of("run-1", (PARAMETERS,))
            left += feedback.carried(13, 12) * made.trainers[node].examples / total
        np.testing.assert_allclose(before + left, made.start + 12 * expected, atol=1e-4)

    together(scenario())


def test_top_k_loses_nothing_when_a_node_is_left_out_of_a_round(table):
    """A node that trained but was not counted keeps its residual as it was, as its update is lost with the round."""

    async def scenario():
        made = table("topk", options={"fraction": 0.2}, rounds=3)
        gone = made.ids[2]
        lead = asyncio.create_task(made.aggregator.lead())
        await made.seat()
        await made.submit()
        await made.follow(0)
        first = made.participants[gone]._residuals.of("run-1", (PARAMETERS,)).carried(1, None)
        assert first is None
        made.cut_at[gone] = "round/update"
        await made.follow(1)
        made.cut.clear()
        made.cut_at.clear()
        await made.seat(gone)
        await made.follow(2)
        feedback = made.participants[gone]._residuals.of("run-1", (PARAMETERS,))
        reports = made.aggregator._reports
        assert gone not in [client["node"] for client in reports[1]["clients"]]
        kept = feedback.to_arrays()
        if "round" in kept and int(kept["round"]) == 3:
            # Round 1's residual, carried into round 3, not round 2's.
            step = made.trainers[gone].step * np.arange(1, PARAMETERS + 1)
            sent_first = np.zeros(PARAMETERS)
            sent_first[-3:] = step[-3:]
            np.testing.assert_allclose(kept["residual"], step - sent_first, atol=1e-6)
        await made.follow(3)
        await lead

    together(scenario())


def test_whoever_sends_what_is_no_compressed_update_is_out_of_the_round(table):
    async def scenario():
        made = table("int8", rounds=1)
        liar, ask = made.ids[1], made.aggregator._ask_one

        async def forge(node, message, limit):
            reply = await ask(node, message, limit)
            if node == liar and message.type == "round/update":
                reply.tensors["scales"] = np.array([np.nan], "f4")
            return reply

        made.aggregator._ask_one = forge
        weights, report = of_round((await led(made))[0])
        assert [dropped["node"] for dropped in report["dropped"]] == [liar]
        others = [node for node in made.ids if node != liar]
        np.testing.assert_allclose(weights, made.start + made.mean_step(others), atol=5e-3)

    together(scenario())


def test_with_central_privacy_the_aggregator_clips_what_it_restores(table):
    async def scenario():
        privacy = {"epsilon": 1e6, "delta": 1e-5, "clip": 0.01, "mode": "central", "noise_multiplier": None}
        made = table("int8", rounds=1, privacy=privacy)
        weights, report = of_round((await led(made))[0])
        assert np.linalg.norm(weights - made.start) < 0.011
        assert report["compression"]["error"] is None, "it is of the data, and carries no noise"

    together(scenario())


def test_residuals_survive_a_restart_and_go_with_the_run(tmp_path):
    kept = Residuals(tmp_path / "residuals")
    feedback = kept.of("run-1", (3,))
    feedback.sent(4, np.ones(3, "f4"))
    kept.save("run-1", feedback)
    again = Residuals(tmp_path / "residuals")
    np.testing.assert_array_equal(again.of("run-1", (3,)).carried(5, 4), np.ones(3))
    assert (tmp_path / "residuals" / "run-1.npz").stat().st_mode & 0o077 == 0
    assert Residuals(tmp_path / "residuals").of("run-1", (5,)).carried(5, 4) is None, "another model's"
    again.keep_only({"run-1"})
    np.testing.assert_array_equal(again.of("run-1", (3,)).carried(5, 4), np.ones(3))
    again.keep_only(())
    assert list((tmp_path / "residuals").iterdir()) == []
    Residuals(tmp_path / "residuals").save("../../outside", ErrorFeedback(np.ones(3)))
    assert not (tmp_path.parent / "outside.npz").exists()


def test_residuals_of_runs_that_ended_while_the_node_was_away_go_when_it_is_back(tmp_path):
    for run in ("run-1", "run-2"):
        Residuals(tmp_path).save(run, ErrorFeedback(np.ones(3)))
    (tmp_path / ".run-2.npz.x1y2z3").write_bytes(b"PK\x03\x04 half written")
    Residuals(tmp_path).keep_only({"run-2"})
    assert [file.name for file in tmp_path.iterdir()] == ["run-2.npz"]


def test_a_training_that_ends_after_its_run_brings_no_residual_back(tmp_path):
    kept = Residuals(tmp_path)
    before = kept.of("run-1", (3,))
    kept.keep_only(())
    for feedback in (before, kept.of("run-1", (3,))):  # it had begun to compress, or begins to only now
        feedback.sent(4, np.ones(3))
        kept.save("run-1", feedback)
    assert list(tmp_path.iterdir()) == []
    assert kept.of("run-1", (3,)).to_arrays() == {}
    kept.keep_only({"run-1"})
    kept.save("run-1", ErrorFeedback(np.ones(3)))
    assert [file.name for file in tmp_path.iterdir()] == ["run-1.npz"], "if it is open again"


def test_a_residual_that_is_torn_begins_anew(tmp_path):
    (tmp_path / "run-1.npz").write_bytes(b"PK\x03\x04 torn")
    assert Residuals(tmp_path).of("run-1", (3,)).carried(2, 1) is None


def test_an_unknown_compression_ends_the_run_before_anybody_trains(table, monkeypatch):
    async def scenario():
        made = table(None)
        monkeypatch.setattr(FakePlan, "compression", {"name": "magic", "options": {}})
        lead = asyncio.create_task(made.aggregator.lead())
        await made.seat()
        await made.submit()
        reply = await made.follow(0)
        assert FlaasError.from_dict(reply.body["reason"]).code == "unknown-compression"
        await lead
        assert all(trainer.trained == 0 for trainer in made.trainers.values())

    together(scenario())
