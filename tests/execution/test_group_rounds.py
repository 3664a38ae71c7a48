"""Rounds in group mode around one table: what is computed, what a lost or lying member does, what is refused."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from round_table import PARAMETERS, Table, led, together

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import Conflict, FlaasError, InvalidInput, NotAllowed
from flaas_jupyter.execution import run_request
from flaas_jupyter.execution.run_request import RunRequest
from flaas_jupyter.protocols.aggregation import aggregation
from flaas_jupyter.protocols.groups import DRAWS

pytestmark = pytest.mark.usefixtures("fake_plan")

MEDIAN = {"aggregation": "median", "group_size": 3}
KRUM = {"aggregation": "krum", "aggregation_options": {"byzantine": 1}, "group_size": 3}


def table_of(tmp_path, count: int, **run) -> Table:
    table = Table(tmp_path, [10 + 5 * place for place in range(count)], secure=True, **({"rounds": 1} | run))
    rng = np.random.default_rng(7)
    for trainer in table.trainers.values():
        trainer.step = float(rng.normal(0.05, 0.01))
    return table


def groups_of(report) -> dict[int, list[str]]:
    groups: dict[int, list[str]] = {}
    for client in report["clients"]:
        groups.setdefault(int(client["columns"]["group"]), []).append(client["node"])
    return groups


def in_the_clear(table: Table, report, weights: np.ndarray) -> np.ndarray:
    """The rule on the means of the groups that the report names."""
    groups = groups_of(report)
    means = np.stack([weights + table.mean_step(members) for _, members in sorted(groups.items())])
    totals = [sum(table.trainers[node].examples for node in members) for _, members in sorted(groups.items())]
    rule = aggregation(table.run["aggregation"], **table.run["aggregation_options"])
    return rule(means, totals, reference=weights).weights


@pytest.mark.parametrize(("count", "rule"), [(11, MEDIAN), (15, KRUM)], ids=["median", "krum"])
def test_a_round_is_the_rule_on_the_means_of_its_groups(tmp_path, count, rule):
    async def scenario():
        table = table_of(tmp_path, count, rounds=3, **rule)
        weights, divisions = table.start, set()
        for reply in await led(table, 3):
            report = reply.body["reports"][0]
            wanted = in_the_clear(table, report, weights)
            np.testing.assert_allclose(reply.tensors["weights"], wanted, atol=report["error_bound"] + 1e-6)
            weights = reply.tensors["weights"]
            groups = groups_of(report)
            assert sorted(node for members in groups.values() for node in members) == table.ids
            assert min(map(len, groups.values())) >= 3
            assert report["groups"] == {"size": 3, "formed": count // 3, "opened": count // 3}
            assert sum(c["weight"] for c in report["clients"]) == pytest.approx(1.0)
            assert report["metrics"]["loss"] > 0
            divisions.add(frozenset(map(frozenset, groups.values())))
        assert len(divisions) == 3, "groups are drawn anew each round"

    together(scenario())


def test_the_aggregator_opens_sums_of_groups_and_nothing_else(tmp_path):
    async def scenario():
        table = table_of(tmp_path, 9, **MEDIAN)
        tensors, ask = [], table.aggregator._ask_one

        async def watch(node, message, limit):
            reply = await ask(node, message, limit)
            tensors.extend(reply.tensors.values())
            return reply

        table.aggregator._ask_one = watch
        await led(table)
        assert len(tensors) == 9
        assert all(tensor.dtype == np.uint32 for tensor in tensors)

    together(scenario())


@pytest.mark.parametrize("phase", ["round/groups", "round/share", "round/update"])
def test_a_member_lost_on_the_way_voids_its_group_and_the_rest_go_on(tmp_path, phase):
    async def scenario():
        table = table_of(tmp_path, 12, **MEDIAN)
        gone = table.ids[4]
        table.cut_at[gone] = phase
        [reply] = await led(table)
        report = reply.body["reports"][0]
        assert report["groups"] == {"size": 3, "formed": 4, "opened": 3}
        dropped = {each["node"]: each["reason"] for each in report["dropped"]}
        assert gone in dropped
        assert len(dropped) == 3
        assert sum("void" in reason for reason in dropped.values()) == 2
        assert {c["node"] for c in report["clients"]} == set(table.ids) - set(dropped)
        wanted = in_the_clear(table, report, table.start)
        np.testing.assert_allclose(reply.tensors["weights"], wanted, atol=report["error_bound"] + 1e-6)

    together(scenario())


@pytest.mark.parametrize("phase", ["round/survivors", "round/unmask"])
def test_a_group_of_three_stands_no_loss_while_it_opens(tmp_path, phase):
    async def scenario():
        table = table_of(tmp_path, 12, **MEDIAN)
        table.cut_at[table.ids[4]] = phase
        [reply] = await led(table)
        assert reply.body["reports"][0]["groups"]["opened"] == 3

    together(scenario())


def test_a_group_of_four_stands_one(tmp_path):
    async def scenario():
        table = table_of(tmp_path, 12, **(MEDIAN | {"group_size": 4}))
        table.cut_at[table.ids[4]] = "round/update"
        [reply] = await led(table)
        report = reply.body["reports"][0]
        assert report["groups"]["opened"] == 3
        assert [each["node"] for each in report["dropped"]] == [table.ids[4]]
        assert len(report["clients"]) == 11

    together(scenario())


@pytest.mark.parametrize("phase", ["round/groups", "round/share", "round/update", "round/survivors"])
def test_below_the_bound_nobody_is_asked_to_unmask(tmp_path, phase):
    async def scenario():
        table = table_of(tmp_path, 9, **MEDIAN)
        table.cut_at[table.ids[4]] = phase
        lead = asyncio.create_task(table.aggregator.lead())
        await table.seat()
        await table.submit()
        reply = await table.follow(0)
        assert reply.body["state"] == "failed"
        error = FlaasError.from_dict(reply.body["reason"])
        assert error.code == "too-few-nodes"
        assert not [kind for _, kind in table.asked if kind == "round/unmask"]
        await lead

    together(scenario())


def test_too_few_for_the_rule_end_the_run_before_anybody_trains(tmp_path):
    async def scenario():
        table = table_of(tmp_path, 14, **KRUM)
        await table.aggregator.lead()
        error = table.aggregator.reason
        assert error.code == "aggregation-needs-updates"
        assert error.details["reason"] == "SECAGG_INCOMPATIBLE_AGGREGATOR"
        assert (error.details["clients"], error.details["needed"]) == (14, 15)
        assert table.asked == []

    together(scenario())


def test_krum_in_groups_survives_one_of_fifteen(tmp_path):
    async def scenario():
        table = table_of(tmp_path, 15, rounds=3, **KRUM)
        bad = table.ids[6]
        table.trainers[bad].step = -5.0
        weights = table.start
        for reply in await led(table, 3):
            report = reply.body["reports"][0]
            chosen = {c["node"] for c in report["clients"] if c["weight"] > 0}
            assert bad not in chosen
            moved = (reply.tensors["weights"] - weights) / np.arange(1, PARAMETERS + 1)
            assert 0.0 < moved.min() <= moved.max() < 0.1, "an honest group's step"
            weights = reply.tensors["weights"]

    together(scenario())


def test_a_member_whose_encoding_is_none_voids_its_group(tmp_path):
    async def scenario():
        table = table_of(tmp_path, 12, **MEDIAN)
        liar = table.participants[table.ids[2]]
        update = liar.update

        async def lie(message):
            reply = await update(message)
            masked = reply.tensors["masked"].copy()
            masked[:6] += np.uint32(1 << 30)  # limbs of its number of examples
            return Message("ok", reply.body, {"masked": masked})

        liar.update = lie
        [reply] = await led(table)
        report = reply.body["reports"][0]
        assert report["groups"]["opened"] == 3
        assert all("void" in each["reason"] for each in report["dropped"])

    together(scenario())


# ---- the draw -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["withheld", "changed", "lost"])
def test_who_does_not_reveal_its_seed_is_out_of_the_round(tmp_path, how):
    async def scenario():
        table = table_of(tmp_path, 10, rounds=2, **MEDIAN)
        bad = table.ids[3]
        liar, honest = table.participants[bad], table.participants[bad].draw

        async def lie(message):
            reply = await honest(message)
            if int(message.body["round"]) == 2:
                return reply
            if how == "withheld":
                raise Conflict("I would rather not.", code="no")
            return Message("ok", {"seed": bytes(32)})

        if how == "lost":
            table.cut_at[bad] = "round/draw"
        else:
            liar.draw = lie
        replies = await led(table, 2)
        report = replies[0].body["reports"][0]
        assert {c["node"] for c in report["clients"]} == set(table.ids) - {bad}
        assert report["groups"]["opened"] == 3
        again = {c["node"] for c in replies[1].body["reports"][0]["clients"]}
        assert (bad in again) is (how != "lost"), "out of the round, not of the run"

    together(scenario())


async def begun(table: Table, attempt: int = 1) -> tuple[dict, dict]:
    """Let everybody begin; return where, and their commitments."""
    where = {"run": "run-1", "round": 1, "attempt": attempt}
    body = {
        **where, "term": 1, "members": table.ids, "clip": 8.0, "maximum_examples": 100, "rule": {},
        "learning_rate": None, "plan": "d1",
    }  # fmt: skip
    return where, {
        node: (await one.begin(Message("round/begin", body, {"weights": table.start}))).body["commitment"]
        for node, one in table.participants.items()
    }


def test_no_participant_sends_an_update_before_it_has_a_group(tmp_path):
    async def scenario():
        table = table_of(tmp_path, 9, **MEDIAN)
        where, commitments = await begun(table)
        one = table.participants[table.ids[0]]
        for message in (
            Message("round/update", where),
            Message("round/update", {**where, "inbox": {}}),
            Message("round/share", {**where, "advertisements": {}}),
            Message("round/unmask", {**where, "signatures": {}}),
            Message("round/groups", {**where, "seeds": {}}),
        ):
            with pytest.raises(Conflict) as caught:
                await one.answer(message)
            assert caught.value.code == "secagg-wrong-phase"
        await one.answer(Message("round/draw", {**where, "commitments": commitments}))
        with pytest.raises(Conflict):
            await one.answer(Message("round/update", {**where, "inbox": {}}))

    together(scenario())


def test_a_participant_is_not_surrounded_by_a_few(tmp_path):
    async def scenario():
        table = table_of(tmp_path, 10, **MEDIAN)
        body = {
            "run": "run-1", "round": 1, "attempt": 1, "term": 1, "members": table.ids[:8], "clip": 8.0,
            "maximum_examples": 100, "rule": {}, "learning_rate": None, "plan": "d1",
        }  # fmt: skip
        with pytest.raises(Conflict) as caught:
            await table.participants[table.ids[0]].begin(Message("round/begin", body, {"weights": table.start}))
        assert caught.value.code == "too-few-members"

    together(scenario())


def test_an_aggregator_cannot_draw_until_the_groups_suit_it(tmp_path):
    async def scenario():
        table = table_of(tmp_path, 9, **MEDIAN)
        one = table.participants[table.ids[0]]
        for attempt in range(1, DRAWS + 2):
            where, commitments = await begun(table, attempt)
            ask = Message("round/draw", {**where, "commitments": commitments})
            if attempt <= DRAWS:
                await one.answer(ask)
                await one.answer(ask)  # the same question again is no other draw
                continue
            with pytest.raises(Conflict) as caught:
                await one.answer(ask)
            assert caught.value.code == "group-draws-spent"

    together(scenario())


def test_a_participant_has_one_group_a_round(tmp_path):
    async def scenario():
        table = table_of(tmp_path, 9, **MEDIAN)
        where, commitments = await begun(table)
        ask = Message("round/draw", {**where, "commitments": commitments})
        seeds = {node: (await one.answer(ask)).body["seed"] for node, one in table.participants.items()}
        one = table.participants[table.ids[0]]
        tell = Message("round/groups", {**where, "seeds": seeds})
        with pytest.raises(InvalidInput):
            await one.answer(Message("round/groups", {**where, "seeds": {**seeds, table.ids[1]: bytes(32)}}))
        await one.answer(tell)
        with pytest.raises(Conflict) as caught:
            await one.answer(tell)
        assert caught.value.code == "secagg-wrong-phase"

    together(scenario())


def test_a_participant_refuses_a_run_whose_rule_would_see_its_update(tmp_path):
    with pytest.raises(InvalidInput) as caught:
        table_of(tmp_path, 9, **(MEDIAN | {"group_size": None}))
    assert caught.value.code == "aggregation-needs-updates"


# ---- what is signed -------------------------------------------------------------------------------------------------

RUN = {
    "dataset": "loans", "rounds": 5, "local_epochs": 1, "batch_size": 32, "secure_aggregation": True, "clip": 8.0,
    "aggregation": "median", "aggregation_options": {}, "privacy": None, "clients_per_round": None,
    "minimum_nodes": None, "seed": 1, "parameters": 11, "model_digest": "ab" * 32, "start_digest": "cd" * 32,
}  # fmt: skip


@pytest.mark.parametrize(
    ("signed", "told"),
    [
        ({"group_size": 5, "sharded": False}, {"group_size": 3, "sharded": False}),
        ({"group_size": 5, "sharded": False}, {"group_size": None, "sharded": False}),
        ({"group_size": None, "sharded": False}, {"group_size": None, "sharded": True}),
        ({}, {"group_size": 3}),
        ({}, {"sharded": True}),
    ],
)
def test_how_updates_are_masked_is_signed(signed, told):
    developer = Identity.generate()
    where = {"project": "demo", "submitter": developer.node_id}
    request = RunRequest.parse(run_request.sign(developer, "demo", RUN | signed, 1000.0))
    request.require_same(RUN | signed | where)
    with pytest.raises(NotAllowed) as caught:
        request.require_same(RUN | signed | told | where)
    assert caught.value.code == "run-altered"
    assert caught.value.details["field"] in ("group_size", "sharded")


def test_a_request_of_before_is_one_of_a_plain_sum():
    developer = Identity.generate()
    request = RunRequest.parse(run_request.sign(developer, "demo", RUN, 1000.0))
    where = {"project": "demo", "submitter": developer.node_id, "group_size": None, "sharded": False}
    request.require_same(RUN | where)
