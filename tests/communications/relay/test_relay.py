"""What nodes see of a relay: who may come in, what goes where, what they are told at the end, and what bounds them."""

from __future__ import annotations

import asyncio
import contextlib
import struct
import time
from types import SimpleNamespace

import aiohttp
import pytest
import trustme
from mesh_domain import Domain
from relay_client import RelayClient, answer_to, arrived, datagram
from relay_lab import Api, StartRelay, eventually
from tls_server import server_context

from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.relay.admission import EVERY
from flaas_jupyter.communications.relay.frames import FRAME_LIMIT
from flaas_jupyter.communications.relay.limits import Limits
from flaas_jupyter.errors import InvalidInput, Unreachable

pytestmark = pytest.mark.anyio

REVOKED_WITHIN = 5.0


def member(domain: Domain, roles: tuple[str, ...] = ("node",), **changes: object) -> Identity:
    identity = Identity.generate()
    domain.admit(identity.node_id, roles, **changes)
    return identity


async def refusal(url: str, identity: Identity) -> tuple[str, int | None]:
    """Return what a relay tells `identity`, which it does not let in, and the code it closes with."""
    async with await RelayClient.open(url) as client:
        challenge = await client.frame()
        await client.send(answer_to(challenge[1:], identity))
        frames, code, _ = await client.frames_until_end()
        assert len(frames) == 1
        denied = frames[0]
        assert denied[0] == 3
        assert denied[1] == len(denied) - 2
        return denied[2:].decode(), code


# -- passing on --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 1200, FRAME_LIMIT - 34])
async def test_a_datagram_reaches_the_key_that_it_is_for(start_relay: StartRelay, domain: Domain, size: int) -> None:
    relay = await start_relay(domain)
    a, b = member(domain), member(domain, ("developer",))
    await relay._admission.refresh()
    content = bytes(size)
    async with await RelayClient.join(relay.url, a) as sender, await RelayClient.join(relay.url, b) as receiver:
        await sender.send(datagram(b, content))
        assert await receiver.frame() == arrived(a, content)


async def test_batches_keep_their_segments(start_relay: StartRelay, domain: Domain) -> None:
    a, b = member(domain), member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, a) as sender, await RelayClient.join(relay.url, b) as receiver:
        await sender.send(b"\x05" + bytes.fromhex(b.node_id) + b"\x02" + struct.pack(">H", 3) + b"abcdef")
        assert await receiver.frame() == b"\x07" + bytes.fromhex(a.node_id) + b"\x02\x00\x03" + b"abcdef"


async def test_frames_of_a_sender_stay_in_order(start_relay: StartRelay, domain: Domain) -> None:
    a, b = member(domain), member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, a) as sender, await RelayClient.join(relay.url, b) as receiver:
        for number in range(500):
            await sender.send(datagram(b, number.to_bytes(2)))
        assert [int.from_bytes((await receiver.frame())[34:]) for _ in range(500)] == list(range(500))


@pytest.mark.parametrize("version", ["iroh-relay-v2", "iroh-relay-v1"])
async def test_pings_are_answered_in_both_versions(start_relay: StartRelay, domain: Domain, version: str) -> None:
    a = member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, a, (version,)) as client:
        assert client.socket.protocol == version
        await client.send(b"\x09" + b"12345678")
        assert await client.frame() == b"\x0a" + b"12345678"


async def test_keys_of_different_domains_cannot_reach_each_other(start_relay: StartRelay) -> None:
    one, other = Domain("cardiology"), Domain("credit")
    a, b, both = member(one), member(other), member(one)
    other.admit(both.node_id)
    relay = await start_relay(one, other)
    async with (
        await RelayClient.join(relay.url, a) as in_one,
        await RelayClient.join(relay.url, b) as in_other,
        await RelayClient.join(relay.url, both) as in_both,
    ):
        await in_one.send(datagram(b, b"over the border"))
        await in_one.sync()
        await in_one.send(datagram(both, b"hello"))
        assert await in_both.frame() == arrived(a, b"hello")
        await in_both.send(datagram(b, b"hello too"))
        assert await in_other.frame() == arrived(both, b"hello too"), "and nothing came before it"
    assert b'dropped_frames_total{reason="other-domain"} 1.0' in relay.counters.render()


async def test_who_was_written_to_is_told_when_the_sender_leaves(start_relay: StartRelay, domain: Domain) -> None:
    a, b = member(domain), member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, b) as receiver:
        async with await RelayClient.join(relay.url, a) as sender:
            await sender.send(datagram(b, b"x"))
            assert await receiver.frame() == arrived(a, b"x")
        assert await receiver.frame() == b"\x08" + bytes.fromhex(a.node_id)


async def test_the_newest_connection_of_a_key_is_served_and_then_the_one_before(
    start_relay: StartRelay, domain: Domain
) -> None:
    a, b = member(domain), member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, a) as sender, await RelayClient.join(relay.url, b) as first:
        second = await RelayClient.join(relay.url, b)
        assert await first.frame() == b"\x0d\x01"
        await sender.send(datagram(b, b"to the second"))
        assert await second.frame() == arrived(a, b"to the second")
        await second.leave()
        assert await first.frame() == b"\x0d\x00"
        await sender.send(datagram(b, b"to the first"))
        assert await first.frame() == arrived(a, b"to the first")


async def test_version_1_is_told_in_its_own_words(start_relay: StartRelay, domain: Domain) -> None:
    b = member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, b, ("iroh-relay-v1",)) as first:
        async with await RelayClient.join(relay.url, b):
            told = await first.frame()
            assert told[0] == 11
            assert told[1:].decode()
        await first.sync()


# -- who may come in ---------------------------------------------------------------------------------------------


async def test_strangers_are_denied_with_a_reason(start_relay: StartRelay, domain: Domain) -> None:
    relay = await start_relay(domain)
    assert await refusal(relay.url, Identity.generate()) == ("unknown-peer", aiohttp.WSCloseCode.POLICY_VIOLATION)
    assert b'connections_refused_total{reason="unknown-peer"} 1.0' in relay.counters.render()


async def test_memberships_that_are_over_or_for_relays_do_not_count(start_relay: StartRelay, domain: Domain) -> None:
    over = member(domain, not_after=int(time.time()) - 1)
    later = member(domain, not_before=int(time.time()) + 600)
    relay_itself = member(domain, ("relay",))
    relay = await start_relay(domain)
    assert (await refusal(relay.url, over))[0] == "membership-expired"
    assert (await refusal(relay.url, later))[0] == "membership-not-yet"
    assert (await refusal(relay.url, relay_itself))[0] == "role-missing"


async def test_a_signature_of_another_key_is_denied(start_relay: StartRelay, domain: Domain) -> None:
    a = member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.open(relay.url) as client:
        challenge = await client.frame()
        forged = bytearray(answer_to(challenge[1:], Identity.generate()))
        forged[1:33] = bytes.fromhex(a.node_id)
        await client.send(bytes(forged))
        frames, code, _ = await client.frames_until_end()
        assert frames == [b"\x03\x0dbad-signature"]
        assert code == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_an_answer_is_worth_nothing_on_another_connection(start_relay: StartRelay, domain: Domain) -> None:
    a = member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.open(relay.url) as first, await RelayClient.open(relay.url) as second:
        one, other = await first.frame(), await second.frame()
        assert one != other
        replayed = answer_to(one[1:], a)
        await second.send(replayed)
        assert (await second.frames_until_end())[0] == [b"\x03\x0dbad-signature"]
        await first.send(replayed)
        assert await first.frame() == b"\x02"


async def test_a_member_admitted_later_comes_in(start_relay: StartRelay, domain: Domain) -> None:
    relay = await start_relay(domain)
    a = Identity.generate()
    assert (await refusal(relay.url, a))[0] == "unknown-peer"
    domain.admit(a.node_id)

    async def comes_in() -> None:
        while True:
            with contextlib.suppress(AssertionError):
                async with await RelayClient.join(relay.url, a):
                    return
            await asyncio.sleep(0.1)

    await asyncio.wait_for(comes_in(), REVOKED_WITHIN)


@pytest.mark.parametrize("how", ["signed anew, in the past", "not listed any more"])
async def test_a_revoked_key_is_cut_within_seconds(start_relay: StartRelay, domain: Domain, how: str) -> None:
    a, b = member(domain), member(domain)
    relay = await start_relay(domain, every=EVERY)
    async with await RelayClient.join(relay.url, a) as revoked, await RelayClient.join(relay.url, b) as other:
        if how == "not listed any more":
            del domain.memberships[a.node_id]
        else:
            domain.admit(a.node_id, serial=2, not_after=int(time.time()) - 1)
        async with asyncio.timeout(REVOKED_WITHIN):
            _, code, reason = await revoked.frames_until_end()
        assert code == aiohttp.WSCloseCode.POLICY_VIOLATION
        assert "not a member any more" in reason
        await other.sync()
    assert (await refusal(relay.url, a))[0] in ("membership-expired", "unknown-peer")


async def test_a_membership_that_ends_while_connected_ends_the_connection(
    start_relay: StartRelay, domain: Domain, monkeypatch: pytest.MonkeyPatch
) -> None:
    a = member(domain, not_after=int(time.time()) + 3600)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, a) as client:
        later = SimpleNamespace(time=lambda: time.time() + 3601)
        monkeypatch.setattr("flaas_jupyter.communications.directory.time", later)
        _, code, reason = await client.frames_until_end()
    assert (code, reason) == (aiohttp.WSCloseCode.POLICY_VIOLATION, "not a member any more: membership-expired")


async def test_without_the_api_members_stay_and_come_back(start_relay: StartRelay, domain: Domain) -> None:
    a, b = member(domain), member(domain)
    api = Api(domain)
    relay = await start_relay(api=api)
    async with await RelayClient.join(relay.url, a) as sender:
        api.failure = Unreachable("down", code="api-unreachable")
        asked = api.asked
        await eventually(lambda: api.asked >= asked + 2)
        async with await RelayClient.join(relay.url, b) as receiver:
            await sender.send(datagram(b, b"still"))
            assert await receiver.frame() == arrived(a, b"still")


async def test_the_api_can_neither_add_a_member_nor_bring_one_back(start_relay: StartRelay, domain: Domain) -> None:
    before = member(domain)
    old = domain.memberships[before.node_id]
    domain.admit(before.node_id, serial=2, not_after=int(time.time()) - 1)
    api = Api(domain)
    relay = await start_relay(api=api)
    forger, mallory = Domain(domain.name), Identity.generate()
    domain.memberships[before.node_id] = old
    domain.memberships[mallory.node_id] = forger.admit(mallory.node_id)
    asked = api.asked
    await eventually(lambda: api.asked >= asked + 2)
    assert (await refusal(relay.url, mallory))[0] == "unknown-peer"
    assert (await refusal(relay.url, before))[0] == "membership-expired"


# -- what bounds a node ------------------------------------------------------------------------------------------


async def test_more_than_the_rate_is_read_more_slowly_not_lost(start_relay: StartRelay, domain: Domain) -> None:
    rate, extra = 128 << 10, 256 << 10
    a, b = member(domain), member(domain)
    relay = await start_relay(domain, limits=Limits(rate=rate, queue=16 << 20))
    content = bytes(32 << 10)
    count = ((1 << 20) + extra) // len(content)  # the burst, and what takes its time
    async with await RelayClient.join(relay.url, a) as sender, await RelayClient.join(relay.url, b) as receiver:
        start = time.monotonic()

        async def send() -> None:
            for _ in range(count):
                await sender.send(datagram(b, content))

        sending = asyncio.create_task(send())
        for _ in range(count):
            assert len(await receiver.frame()) == 34 + len(content)
        took = time.monotonic() - start
        await sending
    assert took >= 0.9 * extra / rate
    assert b"flaas_relay_throttled_seconds_total 0.0" not in relay.counters.render()


async def test_two_connections_of_a_key_share_its_rate(start_relay: StartRelay, domain: Domain) -> None:
    a = member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, a), await RelayClient.join(relay.url, a):
        sessions = list(relay._exchange)
        assert len(sessions) == 2
        assert sessions[0].bucket is sessions[1].bucket


async def test_the_oldest_connection_of_a_key_makes_room(start_relay: StartRelay, domain: Domain) -> None:
    a = member(domain)
    relay = await start_relay(domain, limits=Limits(connections_per_key=2))
    oldest, second, third = [await RelayClient.join(relay.url, a) for _ in range(3)]
    _, code, reason = await oldest.frames_until_end()
    assert (code, reason) == (aiohttp.WSCloseCode.POLICY_VIOLATION, "too many connections of this key")
    await third.sync()
    for client in (oldest, second, third):
        await client.leave()


async def test_a_full_relay_says_so(start_relay: StartRelay, domain: Domain) -> None:
    a, b = member(domain), member(domain)
    relay = await start_relay(domain, limits=Limits(connections=1))
    async with await RelayClient.join(relay.url, a) as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await RelayClient.open(relay.url)
        assert refused.value.status == 503
        await client.sync()
    await eventually(lambda: len(relay._exchange) == 0)
    async with await RelayClient.join(relay.url, b):
        pass


async def test_strangers_who_say_nothing_are_cut_and_cannot_take_every_place(
    start_relay: StartRelay, domain: Domain
) -> None:
    a = member(domain)
    relay = await start_relay(domain, limits=Limits(strangers=3, handshake=0.5))
    host, port = relay.url.removeprefix("http://").split(":")
    async with await RelayClient.join(relay.url, a) as client:
        silent = [await asyncio.open_connection(host, int(port)) for _ in range(4)]
        ends = await asyncio.wait_for(
            asyncio.gather(*(reader.read() for reader, _ in silent), return_exceptions=True), 5
        )
        assert len(ends) == 4
        await client.sync()
        for _, writer in silent:
            writer.close()
    async with await RelayClient.join(relay.url, a):
        pass
    metrics = relay.counters.render()
    assert b'refused_total{reason="handshake-timeout"} 3.0' in metrics
    assert b'refused_total{reason="strangers"} 1.0' in metrics


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_strangers_who_leave_free_their_places(start_relay: StartRelay, domain: Domain, scheme: str) -> None:
    a = member(domain)
    tls = server_context(trustme.CA()) if scheme == "https" else None
    relay = await start_relay(domain, limits=Limits(strangers=2, handshake=60.0), tls=tls)
    assert relay.url.startswith(f"{scheme}://")
    host, port = relay.url.removeprefix(f"{scheme}://").split(":")
    for _ in range(3):  # while there is no answer yet, and in TLS no handshake
        writers = [(await asyncio.open_connection(host, int(port)))[1] for _ in range(2)]
        await eventually(lambda: len(relay._unproved) == 2)
        for writer in writers:
            writer.close()
        await eventually(lambda: not relay._unproved)
    async with await RelayClient.join(relay.url, a, ssl=False), aiohttp.ClientSession() as client:
        for _ in range(6):  # and with one
            async with client.get(f"{relay.url}/ping", ssl=False) as answer:
                assert answer.status == 200
            await eventually(lambda: not relay._unproved)
    assert b'reason="strangers"' not in relay.counters.render()


async def test_what_a_stranger_owes_is_not_waited_for(start_relay: StartRelay, domain: Domain) -> None:
    relay = await start_relay(domain, limits=Limits(handshake=60.0))
    host, port = relay.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")  # and never the nine bytes
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 405 ")
    await eventually(lambda: not relay._unproved)
    writer.close()


async def test_who_does_not_answer_the_challenge_is_cut(start_relay: StartRelay, domain: Domain) -> None:
    relay = await start_relay(domain, limits=Limits(handshake=0.3))
    async with await RelayClient.open(relay.url) as client:
        frames, code, _ = await client.frames_until_end()
        assert [frame[0] for frame in frames] == [0]
        assert code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
    assert relay.counters.render().count(b'refused_total{reason="') == 1


async def test_a_node_that_reads_nothing_costs_bounded_memory_and_is_cut(
    start_relay: StartRelay, domain: Domain
) -> None:
    a, slow, other = member(domain), member(domain), member(domain)
    limits = Limits(rate=0, queue=1 << 20, stalled=1.0)
    relay = await start_relay(domain, limits=limits)
    content = bytes(60_000)
    reader = await RelayClient.join(relay.url, slow)
    transport = reader.socket._response.connection.transport  # type: ignore[union-attr]
    transport.pause_reading()
    most = 0
    async with await RelayClient.join(relay.url, a) as sender, await RelayClient.join(relay.url, other) as fine:
        for number in range(300):  # 18 MB
            await sender.send(datagram(slow, content))
            most = max(most, relay._exchange.memory.taken)
            if number % 30 == 0:
                await sender.send(datagram(other, b"on time"))
                assert await fine.frame() == arrived(a, b"on time"), "others are served as ever"
        await eventually(lambda: len(relay._exchange) == 2)
    assert most <= limits.queue + (256 << 10)
    await eventually(lambda: relay._exchange.memory.taken == 0)
    metrics = relay.counters.render()
    assert b'closed_total{reason="stalled"} 1.0' in metrics
    assert b'dropped_frames_total{reason="queue-full"}' in metrics
    await reader.session.close()


async def test_all_queues_together_are_bounded(start_relay: StartRelay, domain: Domain) -> None:
    a, slow = member(domain), [member(domain) for _ in range(4)]
    relay = await start_relay(domain, limits=Limits(rate=0, queue=2 << 20, memory=3 << 20, stalled=30.0))
    readers = [await RelayClient.join(relay.url, each) for each in slow]
    for reader in readers:
        reader.socket._response.connection.transport.pause_reading()  # type: ignore[union-attr]
    async with await RelayClient.join(relay.url, a) as sender:
        for _ in range(250):
            for each in slow:
                await sender.send(datagram(each, bytes(60_000)))
                assert relay._exchange.memory.taken <= 3 << 20
    for reader in readers:
        await reader.session.close()


async def test_silent_nodes_are_pinged_and_dead_ones_cut(start_relay: StartRelay, domain: Domain) -> None:
    alive, dead = member(domain), member(domain)
    relay = await start_relay(domain, limits=Limits(idle=0.4))
    async with await RelayClient.join(relay.url, alive) as living, await RelayClient.join(relay.url, dead) as silent:

        async def answer() -> None:
            while True:
                frame = await living.frame()
                if frame[0] == 9:
                    await living.send(b"\x0a" + frame[1:])
                else:
                    return  # the answer to a ping of ours

        answering = asyncio.create_task(answer())
        frames, code, _ = await silent.frames_until_end()
        assert [frame[0] for frame in frames] == [9]
        assert code == aiohttp.WSCloseCode.ABNORMAL_CLOSURE
        await eventually(lambda: len(relay._exchange) == 1)
        await living.send(b"\x09" + b"still in")
        await answering
    assert b'closed_total{reason="silent"} 1.0' in relay.counters.render()


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        (b"", 1002),
        (b"\x04" + bytes(32), 1002),
        (b"\x05" + bytes(34), 1002),
        (b"\x09short", 1002),
        (b"\x06" + bytes(40), 1002),
        (b"\x0d\x01", 1002),
        (b"\x00" + bytes(16), 1002),
        (b"\x04" + bytes(FRAME_LIMIT), 1009),
    ],
    ids=["empty", "short-datagram", "short-batch", "short-ping", "relays-frame", "status", "challenge", "too-long"],
)
async def test_a_frame_that_is_wrong_ends_the_connection_with_a_code(
    start_relay: StartRelay, domain: Domain, frame: bytes, code: int
) -> None:
    a, b = member(domain), member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, a) as wrong, await RelayClient.join(relay.url, b) as other:
        await wrong.send(frame)
        _, closed_with, _ = await wrong.frames_until_end()
        assert closed_with == code
        await other.sync()


async def test_text_is_refused_and_frames_of_later_versions_are_ignored(
    start_relay: StartRelay, domain: Domain
) -> None:
    a = member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, a) as client:
        await client.send(b"\x0e later")
        await client.send(b"\x40\x04 in two bytes")
        await client.sync()
        await client.socket.send_str("hello")
        assert (await client.frames_until_end())[1] == aiohttp.WSCloseCode.UNSUPPORTED_DATA


async def test_a_client_of_no_common_version_is_told(start_relay: StartRelay, domain: Domain) -> None:
    relay = await start_relay(domain)
    async with await RelayClient.open(relay.url, ("iroh-relay-v9",)) as client:
        _, code, reason = await client.frames_until_end()
    assert (code, reason) == (aiohttp.WSCloseCode.PROTOCOL_ERROR, "speak iroh-relay-v2")


@pytest.mark.parametrize("wrong", [{"rate": 1000.0}, {"queue": 1000}], ids=["rate", "queue"])
def test_limits_that_carry_nothing_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match="Allow at least"):
        Limits(**wrong)


# -- restarting, probes ------------------------------------------------------------------------------------------


async def test_a_restart_is_announced_and_what_waits_is_sent_first(start_relay: StartRelay, domain: Domain) -> None:
    a, b = member(domain), member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, a) as sender, await RelayClient.join(relay.url, b) as receiver:
        for number in range(50):
            await sender.send(datagram(b, bytes([number])))
        await sender.sync()
        url = relay.url
        stopping = asyncio.create_task(relay.close())
        frames, code, reason = await receiver.frames_until_end()
        await stopping
    assert [frame[34] for frame in frames[:50]] == list(range(50))
    assert frames[50][0] == 12
    reconnect_in, try_for = struct.unpack(">II", frames[50][1:])
    assert 0 <= reconnect_in <= 2000
    assert try_for == 60_000
    assert (code, reason) == (aiohttp.WSCloseCode.GOING_AWAY, "the relay restarts")
    with pytest.raises(aiohttp.ClientConnectorError):
        await RelayClient.open(url)


async def test_probes_are_answered_without_a_key(start_relay: StartRelay, domain: Domain) -> None:
    relay = await start_relay(domain)
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{relay.url}/ping") as answer:
            assert (answer.status, await answer.text()) == (200, "pong")
        async with http.get(f"{relay.url}/generate_204", headers={"X-Iroh-Challenge": "ts_a.b-1"}) as answer:
            assert (answer.status, answer.headers["X-Iroh-Response"]) == (204, "response ts_a.b-1")
        async with http.get(f"{relay.url}/generate_204", headers={"X-Iroh-Challenge": "<script>"}) as answer:
            assert answer.status == 204
            assert "X-Iroh-Response" not in answer.headers
        async with http.get(f"{relay.url}/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok", "connections": 0})
        async with http.get(f"{relay.url}/relay") as answer:
            assert answer.status == 400
        async with http.get(f"{relay.url}/metrics") as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    "request_line",
    [b"GET / HTTP/9.9", b"GET /relay HTTP/1.1\r\nbad header", b"POST /relay HTTP/1.1"],
    ids=["version", "header", "method"],
)
async def test_a_wrong_request_is_answered_and_does_not_fill_the_log(
    start_relay: StartRelay, domain: Domain, caplog: pytest.LogCaptureFixture, request_line: bytes
) -> None:
    relay = await start_relay(domain)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(relay.url.rpartition(":")[2]))
    writer.write(request_line + b"\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    assert answer.split()[1] in (b"400", b"405")
    assert not caplog.records


async def test_a_relay_without_a_directory_is_not_healthy_and_lets_nobody_in(
    start_relay: StartRelay, domain: Domain
) -> None:
    a = member(domain)
    api = Api(domain)
    api.failure = Unreachable("down", code="api-unreachable")
    relay = await start_relay(api=api)
    assert (await refusal(relay.url, a))[0] == "unknown-peer"
    async with aiohttp.ClientSession() as http, http.get(f"{relay.url}/healthz") as answer:
        assert answer.status == 503
    api.failure = None
    await eventually(lambda: relay.health[0])
    async with await RelayClient.join(relay.url, a):
        pass


async def test_a_relay_that_follows_its_directory_no_more_says_so(
    start_relay: StartRelay, domain: Domain, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    relay = await start_relay(domain)
    assert relay.health[0]

    async def broken() -> bool:
        raise RuntimeError("a defect")

    monkeypatch.setattr(relay._admission, "refresh", broken)
    await eventually(lambda: not relay.health[0])
    async with aiohttp.ClientSession() as http, http.get(f"{relay.url}/healthz") as answer:
        assert answer.status == 503
    assert "the relay's task relay-admission failed" in caplog.text
    assert "a defect" in caplog.text


async def test_nothing_that_is_counted_names_a_node(start_relay: StartRelay, domain: Domain) -> None:
    a, b = member(domain), member(domain)
    relay = await start_relay(domain)
    async with await RelayClient.join(relay.url, a) as sender, await RelayClient.join(relay.url, b) as receiver:
        await sender.send(datagram(b, b"x" * 1000))
        await receiver.frame()
        metrics = relay.counters.render().decode()
    assert "flaas_relay_connections 2.0" in metrics
    assert "flaas_relay_forwarded_frames_total 1.0" in metrics
    assert f"flaas_relay_forwarded_bytes_total {float(34 + 1000)}" in metrics
    assert not any(identity.node_id[:8] in metrics for identity in (a, b))
    assert domain.name not in metrics


async def test_a_port_that_is_taken_is_told(start_relay: StartRelay, domain: Domain) -> None:
    relay = await start_relay(domain)
    with pytest.raises(Unreachable, match="cannot listen"):
        await start_relay(domain, port=int(relay.url.rpartition(":")[2]))
