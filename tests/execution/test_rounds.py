"""Aggregator and participants together, without network, API or Keras: the logic of rounds, step by step."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from round_table import NOTEBOOK, PARAMETERS, Table, led, together

from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import Aborted, Conflict, FlaasError, InvalidInput, NotAllowed
from flaas_jupyter.execution.checkpoint import CheckpointStore

pytestmark = pytest.mark.usefixtures("fake_plan")


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "secure"])
def test_rounds_are_the_weighted_mean_and_are_followed_one_by_one(tmp_path, secure):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=secure)
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        for number in (1, 2, 3):
            reply = await table.follow(number - 1)
            assert reply.body["round"] == number
            wanted = table.start + number * table.mean_step(table.ids)
            np.testing.assert_allclose(reply.tensors["weights"], wanted, atol=1e-6)
            report = reply.body["reports"][0]
            assert [c["weight"] for c in report["clients"]] == [0.1, 0.2, 0.7]
            assert report["metrics"]["loss"] == pytest.approx(0.1 * 0.01 + 0.2 * 0.02 + 0.7 * 0.03)
        last = await table.follow(3)
        assert last.body["ended"]
        assert last.body["state"] == "completed"
        await lead
        assert table.reporter.states == ["running", "finishing", "completed"]
        assert table.store.load("run-1").round == 3

    together(scenario())


def test_the_aggregator_sees_only_masked_vectors(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=True, rounds=1)
        seen: list[Message] = []
        ask = table.ask

        async def watch(node, message, limit):
            reply = await ask(node, message, limit)
            seen.append(reply)
            return reply

        table.aggregator._ask_one = watch
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        await table.follow(0)
        await table.follow(1)
        await lead
        vectors = [t for reply in seen for t in reply.tensors.values()]
        assert len(vectors) == 3
        assert all(vector.dtype == np.uint32 for vector in vectors)
        assert not any("metrics" in reply.body or "examples" in reply.body for reply in seen if reply.tensors)

    together(scenario())


@pytest.mark.parametrize("phase", ["round/begin", "round/share", "round/update"])
def test_a_member_lost_in_a_phase_is_not_in_the_sum(tmp_path, phase):
    async def scenario():
        table = Table(tmp_path, [10, 20, 30, 40, 50], secure=True, rounds=1)
        gone = table.ids[3]
        table.cut_at[gone] = phase
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        reply = await table.follow(0)
        left = [node for node in table.ids if node != gone]
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(left), atol=1e-6)
        assert [d["node"] for d in reply.body["reports"][0]["dropped"]] == [gone]
        await table.follow(1)
        await lead

    together(scenario())


@pytest.mark.parametrize("phase", ["round/survivors", "round/unmask"])
def test_a_member_lost_after_its_vector_arrived_is_in_the_sum(tmp_path, phase):
    async def scenario():
        table = Table(tmp_path, [10, 20, 30, 40, 50], secure=True, rounds=1)
        table.cut_at[table.ids[3]] = phase
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        reply = await table.follow(0)
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(table.ids), atol=1e-6)
        await table.follow(1)
        await lead

    together(scenario())


def test_below_the_threshold_nobody_is_asked_to_unmask_and_the_run_fails_when_patience_ends(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=True)
        table.cut_at[table.ids[2]] = "round/update"
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        reply = await table.follow(0)
        assert reply.body["ended"]
        assert reply.body["state"] == "failed"
        error = FlaasError.from_dict(reply.body["reason"])
        assert isinstance(error, Aborted)
        assert error.code == "too-few-nodes"
        assert "n2" in error.message
        assert not [kind for _, kind in table.asked if kind in ("round/survivors", "round/unmask")]
        assert table.reporter.states == ["running", "gathering", "failed"]
        await lead

    together(scenario())


def test_a_member_that_returns_takes_part_again(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=True, rounds=1)
        gone = table.ids[2]
        table.cut_at[gone] = "round/update"
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        following = asyncio.create_task(table.follow(0))
        while "gathering" not in table.reporter.states:
            await asyncio.sleep(0)
        table.cut_at.clear()
        table.cut.clear()
        await table.seat(gone)
        reply = await following
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(table.ids), atol=1e-6)
        assert [trainer.trained for trainer in table.trainers.values()] == [1, 1, 1], (
            "nobody trains twice for one round"
        )
        await table.follow(1)
        await lead

    together(scenario())


def test_opening_a_sum_again_for_other_members_is_refused(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 30, 40, 50], secure=True, rounds=1)
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        await table.follow(0)
        # A second aggregator asks the same participants for the same round, without one of them.
        table.run = table.run | {"term": 2}
        table.store = CheckpointStore(tmp_path / "other")
        second = table.aggregator = table.new_aggregator()
        table.cut.add(table.ids[4])
        again = asyncio.create_task(second.lead())
        await table.seat(*table.ids[:4])
        await table.submit()
        reply = await table.follow(0)
        assert reply.body["state"] == "failed"
        lead.cancel()
        await again

    together(scenario())


def test_one_participant_with_broken_data_is_left_out_and_the_rest_go_on(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=False, rounds=2)
        bad = table.ids[1]
        table.trainers[bad].error = InvalidInput("NaN in the loss", code="non-finite-update")
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        first = await table.follow(0)
        assert [d["node"] for d in first.body["reports"][0]["dropped"]] == [bad]
        second = await table.follow(1)
        assert second.body["reports"][0]["dropped"] == []
        await table.follow(2)
        await lead

    together(scenario())


NOTHING = {"body": {}, "tensors": {}}


@pytest.mark.parametrize(
    ("secure", "phase", "change"),
    [
        (False, "update", NOTHING),
        (False, "update", {"tensors": {}}),
        (False, "update", {"body": {}}),
        (False, "update", {"body": {"examples": 20, "train_seconds": 0.1}}),
        (False, "update", {"body": {"examples": 20, "train_seconds": 0.1, "metrics": ["loss"]}}),
        (False, "update", {"body": {"examples": 20, "train_seconds": 0.1, "metrics": {"loss": "low"}}}),
        (True, "begin", NOTHING),
        (True, "share", NOTHING),
        (True, "update", NOTHING),
        (True, "update", {"body": {}}),
        (True, "update", {"body": {"metric_names": [[]]}}),
        (True, "survivors", NOTHING),
        (True, "unmask", NOTHING),
    ],
    ids=str,
)
def test_one_participant_that_answers_something_else_is_left_out_and_the_rest_go_on(tmp_path, secure, phase, change):
    async def scenario():
        table = Table(tmp_path, [10, 20, 30, 40, 50], secure=secure, rounds=1)
        bad = table.ids[1]
        answer_wrongly(table, bad, phase, lambda reply: dataclasses.replace(reply, **change))
        (reply,) = await led(table)
        assert [(d["node"], d["phase"]) for d in reply.body["reports"][0]["dropped"]] == [(bad, phase)]

    together(scenario())


@pytest.mark.parametrize(
    "told",
    [{"train_seconds": None}, {"train_seconds": "long"}, {"train_seconds": float("nan")}, {"metrics": {"mine": 1.0}}],
    ids=str,
)
def test_what_one_participant_tells_besides_does_not_end_the_run(tmp_path, told):
    async def scenario():
        table = Table(tmp_path, [10, 20, 30], secure=False, rounds=1)
        answer_wrongly(
            table, table.ids[1], "update", lambda reply: dataclasses.replace(reply, body={**reply.body, **told})
        )
        (reply,) = await led(table)
        report = reply.body["reports"][0]
        assert report["dropped"] == []
        assert set(report["metrics"]) == (set() if "metrics" in told else {"loss", "rate"})

    together(scenario())


def answer_wrongly(table: Table, bad: str, phase: str, change: Callable[[Message], Message]) -> None:
    """Have one participant answer something else in one phase."""
    ask = table.ask

    async def lie(node, message, limit):
        reply = await ask(node, message, limit)
        return change(reply) if (node, message.type) == (bad, f"round/{phase}") else reply

    table.aggregator._ask_one = lie


def test_if_nobody_can_train_the_run_fails_at_once_with_their_reason(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=True)
        for trainer in table.trainers.values():
            trainer.error = InvalidInput("NaN in the loss", code="non-finite-update", hint="Lower the rate.")
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        reply = await table.follow(0)
        assert reply.body["state"] == "failed"
        assert reply.body["reason"]["code"] == "non-finite-update"
        assert "n0" in reply.body["reason"]["message"]
        await lead

    together(scenario())


def test_the_notebook_steers_stop_and_learning_rate(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=False, rounds=50)
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        first = await table.follow(0)
        assert first.body["reports"][0]["metrics"]["rate"] == 0.0
        second = await table.follow(1, learning_rate=0.25)
        assert second.body["reports"][0]["metrics"]["rate"] == 0.25
        third = await table.follow(2, learning_rate=None)
        assert third.body["reports"][0]["metrics"]["rate"] == 0.25, "a rate that was set stays"
        end = await table.follow(3, stop=True)
        assert end.body["ended"]
        assert end.body["state"] == "completed"
        assert end.body["round"] == 3
        await lead

    together(scenario())


def test_a_notebook_that_has_gone_is_not_waited_for(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=True, rounds=4)
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        await table.follow(0)
        table.aggregator.lost(NOTEBOOK)
        await lead
        assert table.reporter.states[-1] == "completed"
        found = await table.follow(0)
        assert found.body["round"] == 4
        np.testing.assert_allclose(found.tensors["weights"], table.start + 4 * table.mean_step(table.ids), atol=1e-5)

    together(scenario())


def test_strangers_neither_submit_nor_follow_nor_join(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=True)
        with pytest.raises(NotAllowed):
            await table.aggregator.submit("aa" * 32, Message("run/submit", {"plan": {}}, {"weights": table.start}))
        with pytest.raises(NotAllowed):
            await table.aggregator.follow("aa" * 32, Message("run/follow", {"after": 0}))
        with pytest.raises(NotAllowed):
            await table.aggregator.join("aa" * 32, Message("run/join", {}))

    together(scenario())


@pytest.mark.parametrize("bad", [np.full(PARAMETERS, np.nan, "float32"), np.zeros(3, "float32")], ids=["nan", "shape"])
def test_initial_weights_must_fit_and_be_finite(tmp_path, bad):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=True)
        with pytest.raises(InvalidInput):
            await table.aggregator.submit(NOTEBOOK, Message("run/submit", {"plan": {}}, {"weights": bad}))

    together(scenario())


def test_without_a_plan_a_run_fails_when_patience_ends(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=True)
        await table.aggregator.lead()
        assert table.aggregator.reason.code == "no-plan"
        with pytest.raises(NotAllowed):
            await table.aggregator.follow("aa" * 32, Message("run/follow", {"after": 0}))

    together(scenario())


def test_a_restarted_aggregator_goes_on_from_its_checkpoint(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=True, rounds=4)
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        await table.follow(0)
        await table.follow(1)
        while (saved := table.store.load("run-1")) is None or saved.round < 2:
            await asyncio.sleep(0.01)
        lead.cancel()
        table.aggregator = table.new_aggregator()
        again = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()  # as a notebook does that is told "no plan"; the checkpoint is newer
        while len(table.aggregator._reports) < 2:
            await asyncio.sleep(0.01)
        reply = await table.follow(2)
        np.testing.assert_allclose(reply.tensors["weights"], table.start + 3 * table.mean_step(table.ids), atol=1e-6)
        await table.follow(3)
        await table.follow(4)
        await again

    together(scenario())


def test_a_new_aggregator_takes_the_newest_weights_of_the_participants(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 30, 40], secure=True, rounds=3)
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        await table.follow(0)
        await table.follow(1)
        lead.cancel()
        table.run = table.run | {"term": 2}
        table.store = CheckpointStore(tmp_path / "elsewhere")
        table.cut.add(table.ids[0])
        table.aggregator = table.new_aggregator()
        table.aggregator._my_id = table.ids[1]
        again = asyncio.create_task(table.aggregator.lead())
        await table.seat(*table.ids[1:])
        while table.aggregator._weights is None:
            await asyncio.sleep(0.01)
        assert len(table.aggregator._reports) >= 1
        again.cancel()

    together(scenario())


@pytest.mark.parametrize(
    "change",
    [
        {"body": {}},
        {"body": {"known": True, "round": "last"}},
        {"body": {"known": True, "round": 1 << 40}},
        {"body": {"known": True, "round": 2}},
        {"tensors": {}},
        {"tensors": {"weights": np.full(PARAMETERS, np.nan)}},
    ],
    ids=str,
)
def test_a_new_aggregator_passes_over_a_participant_that_says_something_else(tmp_path, change):
    async def scenario():
        table = Table(tmp_path, [10, 20, 30, 40], secure=True, rounds=3, term=2)
        for participant in table.participants.values():
            participant.weights, participant.round, participant.rule_state = table.start, 2, ({}, {})
        ask = table.ask
        liar = table.ids[1]

        async def lie(node, message, limit):
            reply = await ask(node, message, limit)
            return dataclasses.replace(reply, **change) if (node, message.type) == (liar, "run/status") else reply

        table.aggregator._ask_one = lie
        await table.seat(*table.ids[1:])
        assert await table.aggregator._recover_from_participants()
        assert [report["number"] for report in table.aggregator._reports] == [1, 2]
        np.testing.assert_array_equal(table.aggregator._weights, table.start)

    together(scenario())


def test_a_round_of_before_is_not_answered(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10, 20, 70], secure=True)
        participant = table.participants[table.ids[0]]
        with pytest.raises(Aborted):
            await participant.answer(Message("round/update", {"run": "run-1", "round": 1, "attempt": 1, "inbox": {}}))
        participant.trainer = None
        with pytest.raises(Conflict, match="plan"):
            await participant.answer(Message("round/begin", {}, {"weights": table.start}))

    together(scenario())
