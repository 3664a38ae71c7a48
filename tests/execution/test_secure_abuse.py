"""Secure rounds over the messages that nodes exchange, with an aggregator or a member that does not keep to them."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from round_table import Table, together

from flaas_jupyter.communications.identity import SECAGG
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError
from flaas_jupyter.protocols.secure_aggregation import Advertisement

pytestmark = pytest.mark.usefixtures("fake_plan")

ROWS = [10, 20, 30, 40, 50]


async def follow_to_the_end(table: Table) -> Message:
    lead = asyncio.create_task(table.aggregator.lead())
    await table.seat()
    await table.submit()
    reply = await table.follow(0)
    if not reply.body["ended"]:
        await table.follow(1)
    await lead
    return reply


def begin(table: Table, attempt: int = 1, **changes) -> Message:
    body = {
        "run": "run-1", "round": 1, "attempt": attempt, "term": 1, "members": table.ids, "clip": 8.0,
        "maximum_examples": max(ROWS), "rule": {}, "learning_rate": None, "plan": "d1",
    } | changes  # fmt: skip
    return Message("round/begin", body, {"weights": table.start})


class ByHand:
    """An aggregator that asks what it likes; keeps what it was answered."""

    def __init__(self, table: Table, attempt: int = 1) -> None:
        self.table, self.where = table, {"run": "run-1", "round": 1, "attempt": attempt}
        self.keys: dict = {}
        self.inboxes: dict = {}

    async def ask(self, node: str, kind: str, **body) -> Message:
        return await self.table.participants[node].answer(Message(kind, {**self.where, **body}))

    async def until_shared(self, nodes=None, **changes) -> ByHand:
        nodes = list(nodes or self.table.ids)
        for node in nodes:
            message = begin(self.table, self.where["attempt"], **changes)
            self.keys[node] = (await self.table.participants[node].answer(message)).body["advertisement"]
        sealed = {n: (await self.ask(n, "round/share", advertisements=self.keys)).body["shares"] for n in nodes}
        self.inboxes = {n: {s: blobs[n] for s, blobs in sealed.items() if s != n} for n in nodes}
        return self

    async def until_masked(self) -> ByHand:
        for node, inbox in self.inboxes.items():
            await self.ask(node, "round/update", inbox=inbox)
        return self

    async def refused(self, code: str, node: str, kind: str, **body) -> None:
        with pytest.raises(FlaasError) as caught:
            await self.ask(node, kind, **body)
        assert caught.value.code == code


# ---- the aggregator -------------------------------------------------------------------------------------------------


def test_one_of_two_shares_is_given_and_one_list_signed(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True)
        server = await (await ByHand(table).until_shared()).until_masked()
        everybody, fewer = table.ids, table.ids[:4]
        me, gone = table.ids[0], table.ids[4]
        signatures = {n: (await server.ask(n, "round/survivors", survivors=fewer)).body["signature"] for n in fewer}
        await server.refused("secagg-survivors-changed", me, "round/survivors", survivors=everybody)
        given = (await server.ask(me, "round/unmask", signatures=signatures)).body["reveals"]
        assert {member: reveal["kind"] for member, reveal in given.items()} == {
            member: "key" if member == gone else "seed" for member in everybody
        }
        again = (await server.ask(me, "round/unmask", signatures=signatures)).body["reveals"]
        assert again == given, "the same question, the same answer"
        await server.refused("round-already-opened", me, "round/survivors", survivors=everybody)
        await server.refused("secagg-not-a-survivor", gone, "round/survivors", survivors=fewer)

    together(scenario())


def test_nothing_is_revealed_before_enough_have_signed_the_same_list(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True)
        server = await (await ByHand(table).until_shared()).until_masked()
        me = table.ids[0]
        await server.refused("secagg-wrong-phase", me, "round/unmask", signatures={})
        signed = {
            node: (await server.ask(node, "round/survivors", survivors=survivors)).body["signature"]
            for node, survivors in (
                (table.ids[0], table.ids[:4]),
                (table.ids[1], table.ids[:4]),
                (table.ids[2], table.ids),
                (table.ids[3], table.ids),
            )
        }
        await server.refused("secagg-below-threshold", me, "round/unmask", signatures=signed)
        forged = {node: bytes(64) for node in table.ids[:4]}
        await server.refused("secagg-below-threshold", me, "round/unmask", signatures=forged)

    together(scenario())


def test_a_round_that_is_replayed_reveals_nothing_more(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True)
        server = await (await ByHand(table).until_shared()).until_masked()
        signed = {n: (await server.ask(n, "round/survivors", survivors=table.ids)).body["signature"] for n in table.ids}
        for node in table.ids:
            await server.ask(node, "round/unmask", signatures=signed)
        # Once more from the same weights, without one of them.
        again = await ByHand(table, attempt=2).until_shared(table.ids[:4])
        await again.until_masked()
        await again.refused("round-already-opened", table.ids[0], "round/survivors", survivors=table.ids[:4])
        # What was said in the first attempt is worth nothing in the second.
        await again.refused("secagg-wrong-phase", table.ids[0], "round/unmask", signatures=signed)
        await server.refused("round-over", table.ids[0], "round/unmask", signatures=signed)

    together(scenario())


def test_sealed_shares_of_another_attempt_do_not_open(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True)
        first = await ByHand(table).until_shared()
        second = await ByHand(table, attempt=2).until_shared()
        me = table.ids[0]
        await second.refused("secagg-bad-share", me, "round/update", inbox=first.inboxes[me])
        mixed = second.inboxes[me] | {table.ids[1]: first.inboxes[me][table.ids[1]]}
        await second.refused("secagg-bad-share", me, "round/update", inbox=mixed)
        await second.ask(me, "round/update", inbox=second.inboxes[me])
        await second.refused("secagg-wrong-phase", me, "round/update", inbox=second.inboxes[me])

    together(scenario())


def test_members_told_of_different_members_do_not_share(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True)
        server = ByHand(table)
        for place, node in enumerate(table.ids):
            told = table.ids if place else table.ids[:4]
            message = begin(table, members=told)
            server.keys[node] = (await table.participants[node].answer(message)).body["advertisement"]
        without = {node: key for node, key in server.keys.items() if node != table.ids[4]}
        await server.refused("bad-signature", table.ids[0], "round/share", advertisements=without)
        await server.refused("bad-signature", table.ids[1], "round/share", advertisements=server.keys)

    together(scenario())


@pytest.mark.parametrize("changed", [{"clip": 4.0}, {"maximum_examples": 1000}, {"learning_rate": 0.5}], ids=str)
def test_members_told_of_different_terms_do_not_share(tmp_path, changed):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True)
        server = ByHand(table)
        for place, node in enumerate(table.ids):
            message = begin(table, **({} if place else changed))
            server.keys[node] = (await table.participants[node].answer(message)).body["advertisement"]
        await server.refused("bad-signature", table.ids[1], "round/share", advertisements=server.keys)

    together(scenario())


@pytest.mark.parametrize(("sample", "least"), [(None, 5), (4, 4)])
def test_fewer_members_than_the_developer_signed_for_are_refused(tmp_path, sample, least):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True, minimum_nodes=5, clients_per_round=sample)
        one = table.participants[table.ids[0]]
        with pytest.raises(FlaasError) as caught:
            await one.begin(begin(table, members=table.ids[: least - 1]))
        assert caught.value.code == "too-few-members"
        await one.begin(begin(table, members=table.ids[:least]))

    together(scenario())


def test_a_member_that_comes_in_between_phases_is_a_stranger(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True)
        server = await ByHand(table).until_shared(table.ids[:4])
        me, stranger = table.ids[0], table.ids[4]
        inbox = server.inboxes[me] | {stranger: bytes(148)}
        await server.refused("secagg-unknown-member", me, "round/update", inbox=inbox)
        await server.until_masked()
        await server.refused("secagg-unknown-member", me, "round/survivors", survivors=[*table.ids[:4], stranger])
        await server.refused("secagg-below-threshold", me, "round/survivors", survivors=table.ids[:3])

    together(scenario())


# ---- a member -------------------------------------------------------------------------------------------------------


def low_order(said: dict, signed) -> dict:
    return signed(mask_key=bytes(32))


def same_key_twice(said: dict, signed) -> dict:
    return signed(mask_key=said["seal_key"])


def unsigned(said: dict, signed) -> dict:
    return said | {"signature": bytes(64)}


def of_another_round(said: dict, signed) -> dict:
    return said | {"seal_key": said["mask_key"], "mask_key": said["seal_key"]}


def short(said: dict, signed) -> dict:
    return said | {"seal_key": b"short"}


def nothing(said: dict, signed) -> None:
    return None


@pytest.mark.parametrize("lie", [low_order, same_key_twice, unsigned, of_another_round, short, nothing])
def test_a_member_that_lies_about_its_keys_is_left_out_and_the_rest_go_on(tmp_path, lie):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True, rounds=1)
        liar = table.ids[2]
        honest = table.participants[liar].begin

        async def lying(message):
            said = (await honest(message)).body["advertisement"]
            settings = table.participants[liar]._current.settings
            identity = next(one for one in table.identities if one.node_id == liar)

            def signed(**changes) -> dict:
                keys = {name: value for name, value in (said | changes).items() if name != "signature"}
                return keys | {"signature": identity.sign(SECAGG, Advertisement.payload(settings, **keys))}

            return Message("ok", {"advertisement": lie(said, signed)})

        table.participants[liar].begin = lying
        reply = await follow_to_the_end(table)
        left = [node for node in table.ids if node != liar]
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(left), atol=1e-6)
        assert [(d["node"], d["phase"]) for d in reply.body["reports"][0]["dropped"]] == [(liar, "begin")]

    together(scenario())


@pytest.mark.parametrize("phase", ["begin", "share", "update", "survivors"])
def test_a_member_that_answers_nonsense_is_left_out_and_the_rest_go_on(tmp_path, phase):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True, rounds=1)
        liar = table.ids[2]

        async def nonsense(message):
            return Message("ok", {"nonsense": [1, 2]} | ({"metric_names": []} if phase == "update" else {}))

        setattr(table.participants[liar], phase, nonsense)
        reply = await follow_to_the_end(table)
        summed = table.ids if phase == "survivors" else [node for node in table.ids if node != liar]
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(summed), atol=1e-6)

    together(scenario())


def test_false_shares_open_nothing_rather_than_noise(tmp_path):
    async def scenario():
        table = Table(tmp_path, ROWS, secure=True, rounds=1)
        liar = table.participants[table.ids[0]]
        honest = liar.unmask

        async def lying(message):
            reply = await honest(message)
            reveals = {m: r | {"share": (1).to_bytes(66, "big")} for m, r in reply.body["reveals"].items()}
            return Message("ok", {"reveals": reveals})

        liar.unmask = lying
        reply = await follow_to_the_end(table)
        assert reply.body["state"] == "failed"
        assert FlaasError.from_dict(reply.body["reason"]).code == "secagg-bad-share"
        np.testing.assert_array_equal(reply.tensors["weights"], table.start)

    together(scenario())


def test_a_member_that_drops_in_every_phase_of_one_round_after_another_stops_nobody(tmp_path):
    phases = ["round/begin", "round/share", "round/update", "round/survivors", "round/unmask"]

    async def scenario():
        table = Table(tmp_path, ROWS, secure=True, rounds=len(phases))
        flaky = table.ids[3]
        lead = asyncio.create_task(table.aggregator.lead())
        table.cut_at[flaky] = phases[0]
        await table.seat()
        await table.submit()
        weights = table.start
        for number, phase in enumerate(phases):
            reply = await table.follow(number)
            summed = table.ids if phase in phases[3:] else [node for node in table.ids if node != flaky]
            np.testing.assert_allclose(reply.tensors["weights"], weights + table.mean_step(summed), atol=1e-5)
            weights = reply.tensors["weights"]
            table.cut.clear()
            table.cut_at = {flaky: phases[number + 1]} if number + 1 < len(phases) else {}
            await table.seat(flaky)
        await table.follow(len(phases))
        await lead

    together(scenario())


def test_seventy_members_are_more_than_share_with_everybody(tmp_path):
    async def scenario():
        table = Table(tmp_path, [10] * 70, secure=True, rounds=1)
        table.cut_at[table.ids[5]] = "round/update"
        reply = await follow_to_the_end(table)
        left = [node for node in table.ids if node != table.ids[5]]
        np.testing.assert_allclose(reply.tensors["weights"], table.start + table.mean_step(left), atol=1e-5)

    together(scenario())
