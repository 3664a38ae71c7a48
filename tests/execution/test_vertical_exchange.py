"""The line between the parties of a vertical run: order, room, repetition, strangers, loss."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest

from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import Aborted, Conflict, InvalidInput, NotAllowed, NotFound, Unreachable
from flaas_jupyter.execution import vertical_exchange
from flaas_jupyter.execution.vertical_exchange import ALIVE, SEND, MeshExchange


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(test(*args, **kwargs))

    return run


NODES = {"bank": "b" * 64, "telco": "c" * 64, "shop": "d" * 64}


class Network:
    """Carries requests between the ends of one line; connections can be broken, before or after the request arrives."""

    def __init__(self, patience: float = 0.3) -> None:
        self.ends = {name: MeshExchange("run-1", name, NODES, self.poster(name), patience) for name in NODES}
        self.gone: set[str] = set()
        self.lose_answers = 0
        self.posted: list[tuple[str, str, str]] = []

    def poster(self, sender: str) -> Any:
        async def post(node: str, message: Message, limit: float | None) -> Message:
            receiver = next(name for name, known in NODES.items() if known == node)
            self.posted.append((sender, receiver, message.type))
            if receiver in self.gone:
                raise Unreachable("gone", code="peer-lost")
            if message.type == ALIVE:
                return Message("ok")
            assert message.type == SEND
            reply = await self.ends[receiver].take(NODES[sender], message)
            if self.lose_answers:
                self.lose_answers -= 1
                raise Unreachable("the answer was lost", code="call-dropped")
            return reply

        return post

    def __getitem__(self, name: str) -> MeshExchange:
        return self.ends[name]


def array(value: float, count: int = 3) -> dict[str, np.ndarray]:
    return {"x": np.full(count, value, "float32")}


@on_a_loop
async def test_messages_of_a_kind_arrive_in_order_and_kinds_do_not_wait_for_each_other():
    net = Network()
    for number in range(3):
        await net["telco"].send("bank", "a", {"n": number}, array(number))
    await net["telco"].send("bank", "b", {"n": 9}, {})
    assert (await net["bank"].receive("telco", "b"))[0] == {"n": 9}
    for number in range(3):
        body, tensors = await net["bank"].receive("telco", "a")
        assert body == {"n": number}
        np.testing.assert_array_equal(tensors["x"], array(number)["x"])
    assert (net["bank"].label_holder, net["bank"].parties, net["telco"].me) == ("bank", tuple(NODES), "telco")
    assert net["telco"].bytes_sent == net["bank"].bytes_received == 36


@on_a_loop
async def test_a_message_whose_answer_is_lost_is_sent_again_and_counts_once():
    net = Network()
    net.lose_answers = 1
    await net["telco"].send("bank", "a", {"n": 1}, array(1))
    await net["telco"].send("bank", "a", {"n": 2}, array(2))
    assert [(await net["bank"].receive("telco", "a"))[0]["n"] for _ in range(2)] == [1, 2]
    assert net["bank"].bytes_received == 24


@on_a_loop
async def test_who_sends_faster_than_the_other_reads_waits(monkeypatch):
    monkeypatch.setattr(vertical_exchange, "INBOX_LIMIT", 100)
    net = Network()
    await net["telco"].send("bank", "a", {}, array(1, 30))  # larger than all the room: one may always
    second = asyncio.create_task(net["telco"].send("bank", "a", {}, array(2, 10)))
    await asyncio.sleep(0)
    done, _ = await asyncio.wait([second], timeout=0.05)
    assert not done
    await net["bank"].receive("telco", "a")
    await second
    other = net["shop"].send("bank", "a", {}, array(3, 30))
    await asyncio.wait_for(other, 1)  # each party has room of its own


@on_a_loop
async def test_strangers_and_oneself_get_no_word_in():
    net = Network()
    message = Message(SEND, {"line": "run-1", "number": 1, "kind": "a", "body": {}})
    for node in ("e" * 64, NODES["bank"]):
        with pytest.raises(NotAllowed) as error:
            await net["bank"].take(node, message)
        assert error.value.code == "not-a-party"
    with pytest.raises(InvalidInput, match="'nobody'"):
        await net["bank"].send("nobody", "a", {}, {})
    with pytest.raises(InvalidInput, match="'bank'"):
        await net["bank"].receive("bank", "a")


@pytest.mark.parametrize(
    "body", [{"number": "1", "kind": "a", "body": {}}, {"number": 1, "kind": 3, "body": {}},
             {"number": 1, "kind": "a" * 65, "body": {}}, {"number": 1, "kind": "a", "body": []}, {}],
)  # fmt: skip
@on_a_loop
async def test_what_is_no_message_is_refused(body):
    with pytest.raises(InvalidInput) as error:
        await Network()["bank"].take(NODES["telco"], Message(SEND, body))
    assert error.value.code == "bad-message"


@on_a_loop
async def test_a_message_that_leaves_one_out_is_refused():
    with pytest.raises(Conflict, match="Message 2 of telco came after 0"):
        await Network()["bank"].take(NODES["telco"], Message(SEND, {"number": 2, "kind": "a", "body": {}}))


@on_a_loop
async def test_a_lost_party_ends_the_line_for_who_waits_on_it_with_its_name():
    net = Network()
    waiting = asyncio.create_task(net["bank"].receive("telco", "a"))
    net.gone.add("telco")
    net["bank"].lost(NODES["telco"])
    with pytest.raises(Aborted, match="Party telco was lost") as error:
        await asyncio.wait_for(waiting, 2)
    assert (error.value.code, error.value.details["party"]) == ("party-lost", "telco")
    with pytest.raises(Aborted):
        await net["bank"].send("shop", "a", {}, {})
    assert not net["bank"].is_open


@on_a_loop
async def test_a_party_that_only_lost_its_connection_is_not_lost():
    net = Network(patience=5)
    net.gone.add("telco")
    net["bank"].lost(NODES["telco"])
    await asyncio.sleep(0)
    net.gone.clear()
    net["bank"].lost(NODES["telco"])
    await net["telco"].send("bank", "a", {"n": 1}, {})
    assert (await net["bank"].receive("telco", "a"))[0] == {"n": 1}
    net["bank"].close()


@on_a_loop
async def test_a_party_that_does_not_know_the_line_any_more_is_lost():
    net = Network()

    async def restarted(node: str, message: Message, limit: float | None) -> Message:
        raise NotFound("no such run", code="no-such-run")

    line = MeshExchange("run-1", "bank", NODES, restarted, patience=5)
    with pytest.raises(Aborted, match="Party telco was lost: no such run"):
        await line.send("telco", "a", {}, {})
    await net["telco"].send("bank", "a", {}, {})


@on_a_loop
async def test_work_on_the_line_is_given_up_when_it_fails():
    net = Network()
    work = asyncio.create_task(net["bank"].while_open(asyncio.sleep(60)))
    await asyncio.sleep(0)
    net["bank"].fail(Aborted("stopped", code="run-cancelled"))
    net["bank"].fail(Aborted("later", code="later"))
    with pytest.raises(Aborted, match="stopped"):
        await asyncio.wait_for(work, 1)
