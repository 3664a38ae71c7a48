"""Sharded rounds around one table: every participant opens a part of the sum, and nobody receives all vectors."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from round_table import PARAMETERS, Table, led, together

from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput
from flaas_jupyter.execution.pieces import PIECE, Pieces

pytestmark = pytest.mark.usefixtures("fake_plan")

ROWS = [10, 20, 70, 40, 30]
LENGTH = PARAMETERS + 6 * 4  # parameters, and the limbs of examples, clipped, loss and rate


def sharded(tmp_path, rows=ROWS, **run) -> Table:
    return Table(tmp_path, rows, secure=True, **({"sharded": True, "rounds": 1} | run))


@pytest.mark.parametrize("rule", ["fedavg", "fedavgm"])
def test_a_sharded_round_is_the_round(tmp_path, rule):
    async def scenario():
        table = sharded(tmp_path, rounds=3, aggregation=rule)
        one = Table(tmp_path / "one", ROWS, secure=True, rounds=3, aggregation=rule)
        steps = dict(zip(table.ids, one.ids, strict=True))
        assert [table.trainers[n].step for n in table.ids] == [one.trainers[steps[n]].step for n in table.ids]
        for reply, other in zip(await led(table, 3), await led(one, 3), strict=True):
            np.testing.assert_allclose(reply.tensors["weights"], other.tensors["weights"], atol=1e-6)
            report, plain = reply.body["reports"][0], other.body["reports"][0]
            assert report["error_bound"] == plain["error_bound"]
            assert report["metrics"] == pytest.approx(plain["metrics"])
            assert report["shards"]["count"] == 5
            assert plain["shards"] is None

    together(scenario())


def test_every_node_sends_its_share_of_the_vector_once_and_nobody_receives_a_whole_one(tmp_path):
    async def scenario():
        table = sharded(tmp_path)
        to_leader, ask = [], table.aggregator._ask_one

        async def watch(node, message, limit):
            reply = await ask(node, message, limit)
            to_leader.extend(tensor.size for tensor in reply.tensors.values())
            return reply

        table.aggregator._ask_one = watch
        await led(table)
        lengths = {(node, part.size) for (_, node), part in table.parts["part"].items()}
        assert {size for _, size in lengths} == {LENGTH // 5}
        assert len(table.parts["part"]) == 5 * 4
        sent = {
            node: sum(part.size for (sender, _), part in table.parts["part"].items() if sender == node)
            for node in table.ids
        }
        assert set(sent.values()) == {LENGTH * 4 // 5}
        assert to_leader == [LENGTH // 5] * 5, "what the leader collects is one vector in all"
        pieces = table.parts["piece"]
        assert len(pieces) == 5 * 4
        assert sum(piece.size for (sender, _), piece in pieces.items() if sender == table.ids[0]) == 3 * 4

    together(scenario())


def test_a_node_lost_before_it_has_shared_its_keys_is_left_out(tmp_path):
    async def scenario():
        table = sharded(tmp_path, [*ROWS, 50])
        gone = table.ids[3]
        table.cut_at[gone] = "round/share"
        [reply] = await led(table)
        left = [node for node in table.ids if node != gone]
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(left), atol=1e-6)
        assert reply.body["reports"][0]["shards"]["count"] == 5

    together(scenario())


def test_who_lacks_a_piece_of_the_weights_gets_the_whole(tmp_path):
    async def scenario():
        table = sharded(tmp_path, [*ROWS, 50])
        for node, participant in table.participants.items():
            nodes = [entry["node"] for entry in table.run["participants"]]
            participant._pieces = Pieces(node, nodes, PARAMETERS, np.dtype("float32"), patience=0.2)
        gone = table.ids[3]
        table.cut_at[gone] = "round/begin"
        [reply] = await led(table)
        left = [node for node in table.ids if node != gone]
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(left), atol=1e-6)
        assert [each["node"] for each in reply.body["reports"][0]["dropped"]] == [gone]

    together(scenario())


def test_a_piece_of_a_round_to_come_crowds_out_nobody(tmp_path):
    async def scenario():
        table = sharded(tmp_path)
        where = {"run": "run-1", "term": 9, "round": 1000, "attempt": 7}
        early = Message(PIECE, where, {"piece": np.zeros(3, "float32")})
        for node in table.ids[1:]:
            await table.participants[node].of_peer(table.ids[0], early)
        [reply] = await led(table)
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(table.ids), atol=1e-6)
        with pytest.raises(InvalidInput) as caught:
            await table.participants[table.ids[0]].of_peer("ab" * 32, early)
        assert caught.value.code == "secagg-unknown-member"
        for wrong in (np.zeros(3, "float64"), np.zeros((2, 2), "float32"), np.zeros(100, "float32")):
            with pytest.raises(InvalidInput) as bad:
                await table.participants[table.ids[0]].of_peer(table.ids[1], Message(PIECE, where, {"piece": wrong}))
            assert bad.value.code == "secagg-malformed"

    together(scenario())


def test_a_forged_piece_is_noticed(tmp_path):
    async def scenario():
        table = sharded(tmp_path)
        liar = table.participants[table.ids[1]]
        send = liar._send

        async def forge(node, message):
            if message.type == PIECE:
                message = Message(message.type, message.body, {"piece": message.tensors["piece"] + 1})
            return await send(node, message)

        liar._send = forge
        [reply] = await led(table)
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(table.ids), atol=1e-6)

    together(scenario())


@pytest.mark.parametrize("phase", ["round/update", "round/collected"])
def test_a_node_lost_before_the_sum_opens_stops_the_attempt_and_the_next_does_without(tmp_path, phase):
    async def scenario():
        table = sharded(tmp_path, [*ROWS, 50])
        gone = table.ids[3]
        table.cut_at[gone] = phase
        [reply] = await led(table)
        left = [node for node in table.ids if node != gone]
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(left), atol=1e-6)
        assert {table.trainers[node].trained for node in left} == {1}

    together(scenario())


@pytest.mark.parametrize(("phase", "times"), [("update", 9), ("collected", 9), ("open", 1)])
def test_one_node_that_answers_something_else_stops_the_attempt_and_the_next_succeeds(tmp_path, phase, times):
    async def scenario():
        table = sharded(tmp_path, [*ROWS, 50])
        bad, ask, lies = table.ids[3], table.ask, [Message("ok")] * times

        async def lie(node, message, limit):
            reply = await ask(node, message, limit)
            return lies.pop() if lies and (node, message.type) == (bad, f"round/{phase}") else reply

        table.aggregator._ask_one = lie
        [reply] = await led(table)
        # What was unmasked once can be opened for the same members only; before, the next attempt does without.
        left = [node for node in table.ids if phase == "open" or node != bad]
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(left), atol=1e-6)

    together(scenario())


def test_a_part_that_was_changed_on_the_way_spoils_the_sum_noticeably(tmp_path):
    async def scenario():
        table = sharded(tmp_path)
        victim, liar = table.participants[table.ids[0]], table.ids[1]
        of_peer = victim.of_peer

        async def forge(node, message):
            if node == liar and "part" in message.tensors:
                part = message.tensors["part"] + np.uint32(1 << 31)
                message = Message(message.type, message.body, {"part": part})
            return await of_peer(node, message)

        victim.of_peer = forge
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        reply = await table.follow(0)
        assert reply.body["state"] == "failed"
        assert FlaasError.from_dict(reply.body["reason"]).code == "secagg-implausible-sum"
        await lead

    together(scenario())


def test_strangers_and_second_parts_are_refused(tmp_path):
    async def scenario():
        table = sharded(tmp_path)
        where = {"run": "run-1", "round": 1, "attempt": 1}
        body = {
            **where, "term": 1, "members": table.ids, "clip": 8.0, "maximum_examples": 100, "rule": {},
            "learning_rate": None, "plan": "d1",
        }  # fmt: skip
        one = table.participants[table.ids[0]]
        part = Message("round/part", where, {"part": np.zeros(7, np.uint32)})
        with pytest.raises(FlaasError) as early:
            await one.of_peer(table.ids[1], part)
        assert early.value.code == "round-over"
        await one.begin(Message("round/begin", body, {"weights": table.start}))
        await one.of_peer(table.ids[1], part)
        for sender, code in ((table.ids[1], "secagg-wrong-phase"), ("ab" * 32, "secagg-unknown-member")):
            with pytest.raises(FlaasError) as caught:
                await one.of_peer(sender, part)
            assert caught.value.code == code
        with pytest.raises(InvalidInput):
            await one.of_peer(table.ids[2], Message("round/part", where))
        for kind in ("round/collected", "round/open"):
            with pytest.raises(Conflict) as soon:
                await one.answer(Message(kind, {**where, "survivors": [], "signatures": {}, "reveals": {}}))
            assert soon.value.code == "secagg-wrong-phase"

    together(scenario())


def test_a_run_that_is_not_sharded_takes_no_parts(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True)
        where = {"run": "run-1", "round": 1, "attempt": 1}
        body = {
            **where, "term": 1, "members": table.ids, "clip": 8.0, "maximum_examples": 100, "rule": {},
            "learning_rate": None, "plan": "d1",
        }  # fmt: skip
        one = table.participants[table.ids[0]]
        await one.begin(Message("round/begin", body, {"weights": table.start}))
        with pytest.raises(Conflict) as caught:
            await one.of_peer(table.ids[1], Message("round/part", where, {"part": np.zeros(7, np.uint32)}))
        assert caught.value.code == "not-sharded"

    together(scenario())


@pytest.mark.parametrize("rule", ["fedqv", "median", "krum"])
def test_other_rules_are_refused_by_name(tmp_path, rule):
    with pytest.raises(InvalidInput, match=rule) as caught:
        sharded(tmp_path, aggregation=rule, group_size=3)
    assert caught.value.code in ("secagg-not-sharded", "aggregation-needs-updates")
