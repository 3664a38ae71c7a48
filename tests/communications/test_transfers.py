"""Large messages over real connections: whole, quick beside small ones, and never sent twice for a cut."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_domain import Domain

from flaas_jupyter.communications import arrivals as keeping
from flaas_jupyter.communications import transfers as moving
from flaas_jupyter.communications.arrivals import Arrival, Arrivals, digest_of
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_carrier import IrohCarrier
from flaas_jupyter.communications.mesh import Mesh, Route
from flaas_jupyter.communications.transfers import RANGE, SINGLE_FRAME, Transfers, transfer_id
from flaas_jupyter.communications.wire import Message, Payload, tensors_of
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAllowed, NotFound, Unreachable

pytestmark = pytest.mark.anyio

LIMIT = 1 << 30
SIZE = 12 << 20


def weights(size: int = SIZE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 1 << 32, size // 4, dtype=np.uint32).view("f4")


def message(kind: str = "take", size: int = SIZE) -> Message:
    odd = np.arange(7, dtype=np.int8)
    return Message(kind, {"n": 1}, {"odd": odd, "weights": weights(size), "none": np.empty((0, 3), "f8")})


def require_same(one: Message, other: Message) -> None:
    assert list(one.tensors) == list(other.tensors)
    for name, array in one.tensors.items():
        assert array.dtype == other.tensors[name].dtype
        assert array.tobytes() == other.tensors[name].tobytes()
        assert array.shape == other.tensors[name].shape


class CutCarrier:
    """A carrier whose connections are closed once so many bytes were written or read over them, so many times."""

    def __init__(self, carrier, after: list[int]) -> None:
        self._carrier, self.after, self.moved, self.cuts = carrier, list(after), 0, 0

    def __getattr__(self, name):
        return getattr(self._carrier, name)

    async def dial(self, *where):
        return self._wrapped(await self._carrier.dial(*where))

    async def accept(self):
        return self._wrapped(await self._carrier.accept())

    def _wrapped(self, connection):
        carrier = self

        class CutStream:
            def __init__(self, stream):
                self._stream = stream

            def __getattr__(self, name):
                return getattr(self._stream, name)

            async def write(self, data):
                carrier.count(connection, len(data))
                await self._stream.write(data)

            async def readinto(self, view):
                await self._stream.readinto(view)
                carrier.count(connection, len(view))

        class CutConnection:
            def __getattr__(self, name):
                return getattr(connection, name)

            async def open_stream(self):
                return CutStream(await connection.open_stream())

            async def accept_stream(self):
                return CutStream(await connection.accept_stream())

        return CutConnection()

    def count(self, connection, size: int) -> None:
        self.moved += size
        if self.after and self.moved >= self.after[0]:
            self.after.pop(0)
            self.cuts += 1
            connection.close(0, "cut by the test")


@contextlib.asynccontextmanager
async def two(handlers, *, cut: list[int] = (), spool=None, roles=("node",), peer_timeout: float = 5.0):
    """Open two meshes on loopback; the first one's connections are cut after so many bytes."""
    domain = Domain()
    caller, peer = Identity.generate(), Identity.generate()
    carriers = [CutCarrier(await IrohCarrier.bind(caller), cut), await IrohCarrier.bind(peer)]
    domain.admit(caller.node_id, roles)
    domain.admit(peer.node_id)
    for identity, carrier in zip((caller, peer), carriers, strict=True):
        domain.publish(identity, carrier.whereabouts)
    meshes = [
        await Mesh.open(
            identity, domain.directory(), carrier=carrier, handlers=served, spool=folder, peer_timeout=peer_timeout
        )
        for identity, carrier, served, folder in zip(
            (caller, peer), carriers, ({}, handlers), (None, spool), strict=True
        )
    ]
    try:
        async with asyncio.timeout(60):
            yield (*meshes, carriers[0])
    finally:
        for mesh in meshes:
            await mesh.close()


class Peer:
    """Takes what comes and gives it back."""

    def __init__(self) -> None:
        self.got: list[Message] = []
        self.routes = {
            "take": Route(self.take, limit=LIMIT),
            "echo": Route(self.echo, limit=LIMIT),
            "ping": Route(self.ping),
            "small": Route(self.take, limit=5 << 20),
            "person": Route(self.take, role="developer", limit=LIMIT),
        }

    async def take(self, peer, request: Message) -> Message:
        self.got.append(request)
        return Message("ok", {"bytes": request.nbytes})

    async def echo(self, peer, request: Message) -> Message:
        return Message("back", request.body, request.tensors)

    async def ping(self, peer, request: Message) -> Message:
        return Message("pong")


@pytest.mark.parametrize("size", [1 << 20, SINGLE_FRAME + 8, 34 << 20])
async def test_requests_and_replies_of_any_size_arrive_as_they_were(size, tmp_path):
    peer = Peer()
    async with two(peer.routes, spool=tmp_path / "spool") as (mesh, other, _):
        sent = message("echo", size)
        reply = await mesh.call(other.node_id, sent, limit=LIMIT)
        assert (reply.type, reply.body) == ("back", {"n": 1})
        require_same(reply, sent)
        reply.tensors["weights"][0] = 1.0  # what arrived may be worked with
        assert not mesh._transfers._parked
        assert not other._transfers._parked
        assert list((tmp_path / "spool").iterdir()) == [], "nothing is left of what was delivered"


@pytest.mark.parametrize("spooled", [False, True])
@pytest.mark.parametrize("kind", ["take", "echo"])
@pytest.mark.parametrize("share", [0.2, 0.9])
async def test_a_cut_transfer_goes_on_where_it_was(kind, share, spooled, tmp_path):
    """Whichever way it goes: what is sent twice is what was under way in the window."""
    peer = Peer()
    cut = int(share * SIZE) + (SIZE if kind == "echo" else 0)
    async with two(peer.routes, cut=[cut], spool=tmp_path if spooled else None) as (mesh, other, carrier):
        sent = message(kind)
        reply = await mesh.call(other.node_id, sent, limit=LIMIT)
        assert carrier.cuts == 1
        require_same(reply if kind == "echo" else peer.got[0], sent)
        moved = mesh.bytes_sent + mesh.bytes_received
        once = SIZE * (2 if kind == "echo" else 1)
        assert once <= moved <= once + 5 * RANGE, "of 4 streams"


@given(st.lists(st.floats(0.01, 2.2), max_size=5).map(sorted))
@settings(max_examples=6, deadline=None)
def test_however_often_it_is_cut_every_byte_arrives_and_few_are_sent_twice(cuts):
    async def scenario():
        peer, size = Peer(), 12 << 20
        async with two(peer.routes, cut=[int(cut * size) for cut in cuts]) as (mesh, other, carrier):
            sent = message("echo", size)
            try:
                reply = await mesh.call(other.node_id, sent, limit=LIMIT)
            except Unreachable:  # cut while it was answered: as with a small message, the caller asks again
                reply = await mesh.call(other.node_id, sent, limit=LIMIT)
            require_same(reply, sent)
            again = (carrier.cuts + 1) * 5 * RANGE
            assert mesh.bytes_sent + mesh.bytes_received <= 2 * size + again + (size if carrier.cuts else 0)

    asyncio.run(scenario())


async def test_a_request_that_was_cut_while_it_was_answered_is_not_sent_again(tmp_path):
    """The caller cannot know whether it was answered, and asks again: of the tensors nothing is missing then."""
    peer, answering = Peer(), asyncio.Event()

    async def slow(sender, request):
        if not answering.is_set():
            answering.set()
            await asyncio.Event().wait()
        return await peer.take(sender, request)

    async with two({"slow": Route(slow, limit=LIMIT)}) as (mesh, other, _):
        sent = message("slow")
        first = asyncio.create_task(mesh.call(other.node_id, sent))
        await answering.wait()
        for link in mesh._links[other.node_id]:
            link.close()
        with pytest.raises(Unreachable):
            await first
        before = mesh.bytes_sent
        await mesh.call(other.node_id, sent)
        assert mesh.bytes_sent - before < RANGE
        require_same(peer.got[0], sent)


async def test_a_small_message_does_not_wait_behind_a_large_one():
    peer = Peer()
    async with two(peer.routes) as (mesh, other, _):
        await mesh.call(other.node_id, Message("ping"))
        large = asyncio.create_task(mesh.call(other.node_id, message("take", 160 << 20)))
        waits = []
        while not large.done():
            began = time.perf_counter()
            await mesh.call(other.node_id, Message("ping"))
            waits.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)
        await large
        assert len(waits) >= 10, "many were answered while it went on"
        assert sorted(waits)[len(waits) // 2] < 0.5


async def test_more_than_the_type_allows_is_refused_before_a_byte_of_it_is_sent():
    peer = Peer()
    async with two(peer.routes) as (mesh, other, _):
        for kind, code in (("small", "frame-too-large"), ("unheard", "unknown-message"), ("person", "role-missing")):
            with pytest.raises(FlaasError) as caught:
                await mesh.call(other.node_id, message(kind, 8 << 20))
            if kind == "person":
                assert isinstance(caught.value, NotAllowed)
            else:
                assert caught.value.code == code
        assert mesh.bytes_sent < RANGE
        with pytest.raises(InvalidInput) as caught:
            await mesh.call(other.node_id, message("echo", 8 << 20), limit=1 << 20)
        assert caught.value.code == "frame-too-large"
        assert mesh.bytes_received < RANGE


async def test_nobody_gets_at_the_transfers_of_another():
    """Whoever knows the name of a transfer can neither add to it, have it delivered, nor fetch a parked reply."""
    peer = Peer()
    domain = Domain()
    identities = [Identity.generate() for _ in range(3)]
    meshes = []
    for identity in identities:
        carrier = await IrohCarrier.bind(identity)
        domain.admit(identity.node_id)
        domain.publish(identity, carrier.whereabouts)
        meshes.append((identity, carrier))
    one, stranger, node = [
        await Mesh.open(i, domain.directory(), carrier=c, handlers=peer.routes) for i, c in meshes
    ]  # fmt: skip
    try:
        payload = Payload({"w": weights(8 * RANGE)})
        digest = digest_of(await payload.digests(RANGE))
        name = transfer_id("take", payload.size, digest)
        offer = Message("transfer/offer", {"id": name, "type": "take", "size": payload.size, "digest": digest})
        assert (await one.call(node.node_id, offer)).body["missing"] == [[0, 8]]
        part = Message("transfer/range", {"id": name, "index": 0}, {"range": payload.range(0, RANGE)})
        deliver = Message("transfer/deliver", {"id": name, "type": "take", "body": {}, "tensors": payload.specs})
        for forged in (part, deliver):
            with pytest.raises(NotFound):
                await stranger.call(node.node_id, forged)
        await one.call(node.node_id, part)
        parked = await one._ask(node.node_id, await large_frame(one, node), LIMIT)
        with pytest.raises(NotFound):
            await stranger.call(node.node_id, Message("transfer/fetch", {"id": parked.body["id"], "index": 0}))
        await stranger.call(node.node_id, Message("transfer/done", {"id": parked.body["id"]}))
        assert (
            await one.call(node.node_id, Message("transfer/fetch", {"id": parked.body["id"], "index": 0}), limit=LIMIT)
        ).nbytes == RANGE
        # A transfer that was offered as one type is not delivered as another.
        for index in range(8):
            piece = payload.range(index * RANGE, (index + 1) * RANGE)
            await one.call(node.node_id, Message("transfer/range", {"id": name, "index": index}, {"range": piece}))
        with pytest.raises(InvalidInput):
            await one.call(node.node_id, Message("transfer/deliver", {**deliver.body, "type": "echo"}))
        assert peer.got == []
    finally:
        for mesh in (one, stranger, node):
            await mesh.close()


async def large_frame(mesh: Mesh, node: Mesh) -> Message:
    """Push a request by hand and return what has it answered with a large reply."""
    sent = Message("echo", {}, {"w": weights(9 * RANGE, seed=5)})
    payload = Payload(sent.tensors)
    digest = digest_of(await payload.digests(RANGE))
    name = transfer_id("echo", payload.size, digest)
    await mesh.call(
        node.node_id, Message("transfer/offer", {"id": name, "type": "echo", "size": payload.size, "digest": digest})
    )
    for index in range(9):
        piece = payload.range(index * RANGE, (index + 1) * RANGE)
        await mesh.call(node.node_id, Message("transfer/range", {"id": name, "index": index}, {"range": piece}))
    return Message("transfer/deliver", {"id": name, "type": "echo", "body": {}, "tensors": payload.specs})


def framed(message: Message) -> Message:
    """Return a message as it comes out of its frame: with the digest of what has come."""
    return replace(message, digest=blake(b"".join(array.tobytes() for array in message.tensors.values())))


def blake(data: bytes) -> bytes:
    return blake3(data).digest()


class Wire:
    """Two `Transfers` with a network in between that can be told to misbehave."""

    def __init__(self, answer=None, **how) -> None:
        self.server = Transfers(self.nobody, lambda node, kind: LIMIT, answer or self.take, **how)
        self.client = Transfers(self.ask, lambda node, kind: LIMIT, self.take, stall=how.pop("stall", 0.5))
        self.taken: list[Message] = []
        self.sent: list[str] = []
        self.spoil = lambda message: message

    async def nobody(self, node_id, message, limit):
        raise AssertionError

    async def take(self, node_id, message):
        self.taken.append(message)
        return Message("ok")

    async def ask(self, node_id, message, limit):
        self.sent.append(message.type)
        message = framed(self.spoil(message))
        if self.server.limit_of(message.type) is None:
            return framed(await self.server.park("me", await self.take("me", message)))
        return framed(await self.server.park("me", await self.server.answer("me", message)))


async def test_a_damaged_transfer_is_found_out_and_sent_again():
    wire, damaged = Wire(), []

    def spoil(message):
        if message.type == "transfer/range" and not damaged:
            damaged.append(1)
            part = message.tensors["range"].copy()
            part[3] ^= 1
            return Message(message.type, message.body, {"range": part})
        return message

    wire.spoil = spoil
    sent = message("take", 6 << 20)
    await wire.client.call("you", sent, 0)
    require_same(wire.taken[0], sent)
    assert wire.sent.count("transfer/deliver") == 2


@pytest.mark.parametrize("body", [{}, {"missing": None}, {"missing": {}}, {"missing": [0]}], ids=str)
async def test_an_offer_that_is_answered_with_something_else_is_refused(body):
    async def ask(node_id, message, limit):
        return Message("ok", body)

    with pytest.raises(InvalidInput) as caught:
        await Transfers(ask, lambda node, kind: LIMIT, ask).call("you", message(), 0)
    assert caught.value.code == "bad-frame"


@pytest.mark.parametrize(
    "change",
    [{"body": []}, {"body": None}, {"type": 3}, {"type": ""}, {"type": "x" * 65}, {"size": "0"}, {"size": LIMIT + 1}],
    ids=str,
)
async def test_a_large_reply_that_is_none_is_refused(change):
    parked = {"id": "a", "type": "ok", "body": {}, "tensors": [], "size": 0, "digest": blake(b"")}

    async def ask(node_id, message, limit):
        return Message("transfer/parked", parked | change)

    with pytest.raises(InvalidInput) as caught:
        await Transfers(ask, lambda node, kind: LIMIT, ask).call("you", Message("ask"), LIMIT)
    assert caught.value.code == ("frame-too-large" if "size" in change else "bad-frame")


@pytest.mark.parametrize("digest", [b"", bytes(31), bytes(33), "0" * 32, None])
def test_a_transfer_has_a_whole_digest(digest):
    with pytest.raises(InvalidInput):
        transfer_id("take", 10, digest)


async def test_what_is_damaged_each_time_is_given_up():
    wire = Wire()

    def spoil(message):
        if message.type != "transfer/range":
            return message
        return Message(message.type, message.body, {"range": message.tensors["range"] ^ np.uint8(1)})

    wire.spoil = spoil
    with pytest.raises(InvalidInput) as caught:
        await wire.client.call("you", message("take", 5 << 20), 0)
    assert caught.value.code == "transfer-damaged"
    assert wire.taken == []


async def test_a_transfer_that_stands_still_is_given_up_in_time():
    wire = Wire(stall=0.3)

    def spoil(message):
        raise Unreachable("gone", code="peer-lost")

    wire.spoil = spoil
    began = time.monotonic()
    with pytest.raises(Unreachable) as caught:
        await wire.client.call("you", message("take", 5 << 20), 0)
    assert caught.value.code == "transfer-stalled"
    assert time.monotonic() - began < 5


async def test_a_transfer_of_a_closed_mesh_is_given_up_at_once():
    wire, tries = Wire(stall=60.0), []

    def spoil(message):
        tries.append(message.type)
        raise Unreachable("closed", code="mesh-closed")

    wire.spoil = spoil
    with pytest.raises(Unreachable) as caught:
        await asyncio.wait_for(wire.client.call("you", message("take", 5 << 20), 0), 10)
    assert caught.value.code == "mesh-closed"
    assert len(tries) == 1


async def test_a_restarted_process_goes_on_with_what_it_has_on_disk(tmp_path):
    wire = Wire(folder=tmp_path)
    half = [0]

    def cut(message):
        half[0] += message.type == "transfer/range"
        if half[0] > 4:
            raise asyncio.CancelledError
        return message

    wire.spoil = cut
    sent = message("take", 8 * RANGE)
    with pytest.raises(asyncio.CancelledError):
        await wire.client.call("you", sent, 0)
    wire.server.close()
    again = Wire(folder=tmp_path)
    await again.client.call("you", sent, 0)
    require_same(again.taken[0], sent)
    assert 3 <= again.sent.count("transfer/range") <= 9 - 4 + 4
    assert again.sent.count("transfer/range") < 9
    assert list(tmp_path.iterdir()) == []


async def test_a_peer_keeps_few_unfinished_transfers_and_all_together_a_budget():
    kept = Arrivals(None, budget=100)
    for number in range(6):
        await kept.open("one", f"{number:064x}", 10, b"", 4)
    assert [kept.get("one", f"{number:064x}") is None for number in range(6)] == [True, True] + 4 * [False]
    with pytest.raises(Unreachable) as caught:
        await kept.open("two", "f" * 64, 51, b"", 4)
    assert caught.value.code == "transfers-full"
    await kept.open("two", "f" * 64, 50, b"", 4)
    with pytest.raises(Unreachable) as caught:
        await kept.open("three", "f" * 64, 11, b"", 4)
    assert caught.value.code == "transfers-full"
    await kept.open("three", "f" * 64, 10, b"", 4)


async def test_one_peer_leaves_half_of_the_budget_to_the_others():
    kept = Arrivals(None, budget=100)
    await kept.open("one", "a" * 64, 40, b"", 4)
    for size in (11, 100):
        with pytest.raises(Unreachable) as caught:
            await kept.open("one", "b" * 64, size, b"", 4)
        assert caught.value.code == "transfers-full"
    await kept.open("one", "b" * 64, 10, b"", 4)
    await kept.open("two", "c" * 64, 50, b"", 4)


async def test_what_nobody_goes_on_with_is_forgotten(tmp_path, monkeypatch):
    kept = Arrivals(tmp_path)
    (await kept.open("one", "a" * 64, 10, b"", 4)).take(0, np.zeros(4, np.uint8), blake(bytes(4)))
    monkeypatch.setattr(keeping, "KEPT", -1.0)
    kept.forget()
    assert kept.get("one", "a" * 64) is None
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_that_is_full_is_done_without(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping.os, "posix_fallocate", full)
    digest = digest_of(blake(bytes(size)) for size in (4, 4, 2))
    arrival = await Arrivals(tmp_path).open("one", "a" * 64, 10, digest, 4)
    for index, size in enumerate((4, 4, 2)):
        arrival.take(index, np.zeros(size, np.uint8), blake(bytes(size)))
    assert (await arrival.whole()).tobytes() == bytes(10)
    assert list(tmp_path.iterdir()) == []


async def test_a_disk_that_is_full_is_not_done_without_for_a_large_transfer(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping.os, "posix_fallocate", full)
    kept = Arrivals(tmp_path)
    with pytest.raises(Unreachable, match="No space left") as caught:
        await kept.open("one", "a" * 64, keeping.IN_MEMORY + 1, bytes(32), RANGE)
    assert caught.value.code == "transfers-full"
    assert kept.get("one", "a" * 64) is None
    assert list(tmp_path.iterdir()) == []


async def test_while_room_is_reserved_other_transfers_come_and_go_and_only_one_begins_at_a_time(tmp_path, monkeypatch):
    kept = Arrivals(tmp_path)
    older = await kept.open("one", "a" * 64, 10, b"", 4)
    reserving, go_on, threads = threading.Event(), threading.Event(), []
    begin = Arrivals._begin

    def slow(self, *what):
        threads.append(threading.current_thread())
        reserving.set()
        assert go_on.wait(10)
        return begin(self, *what)

    monkeypatch.setattr(Arrivals, "_begin", slow)
    opening = [asyncio.create_task(kept.open("one", "b" * 64, 10, b"", 4)) for _ in range(2)]
    assert await asyncio.to_thread(reserving.wait, 10)
    assert kept.get("one", "a" * 64) is older
    kept.drop("one", "a" * 64)
    assert kept.get("one", "b" * 64) is None
    go_on.set()
    first, second = await asyncio.gather(*opening)
    assert first is second is kept.get("one", "b" * 64)
    assert len(threads) == 1
    assert threads[0] is not threading.current_thread()


@given(st.integers(1, 50), st.integers(1, 9), st.data())
@settings(max_examples=60, deadline=None)
def test_ranges_come_in_any_order_and_more_than_once(size, step, data):
    raw = np.frombuffer(hashlib.sha256(bytes([size, step])).digest() * 2, np.uint8)[:size]
    count = -(-size // step)
    ranges = [raw[index * step : (index + 1) * step] for index in range(count)]
    arrival = Arrival.in_memory(size, digest_of(blake(part.tobytes()) for part in ranges), step)
    order = data.draw(st.lists(st.integers(0, count - 1), max_size=30)) + list(range(count))
    for index in order:
        arrival.take(index, ranges[index], blake(ranges[index].tobytes()))
    assert arrival.missing() == []
    assert asyncio.run(arrival.whole()).tobytes() == raw.tobytes()


@given(st.lists(st.integers(0, 40), unique=True).map(sorted))
def test_what_is_missing_is_told_in_runs(indexes):
    assert moving._expanded(moving._runs(indexes), 41) == indexes


@pytest.mark.parametrize("runs", [None, [[1]], [[2, 1]], [[0, 2], [1, 3]], [[0, 99]], [["a", "b"]], [[True, 2]]])
def test_runs_that_are_none_are_refused(runs):
    with pytest.raises(InvalidInput):
        moving._expanded(runs, 10)


@pytest.mark.parametrize("kind", ["transfer/offer", "transfer/range", "transfer/deliver", "transfer/fetch"])
@given(
    st.dictionaries(
        st.sampled_from(["id", "type", "size", "digest", "index", "body", "tensors"]),
        st.none() | st.integers() | st.text(max_size=4) | st.binary(max_size=4) | st.lists(st.integers(), max_size=3),
    )
)
@settings(max_examples=40, deadline=None)
def test_whatever_a_peer_says_about_transfers_is_answered_or_refused(kind, body):
    async def scenario():
        with contextlib.suppress(FlaasError):
            await Wire().server.answer("me", Message(kind, body))

    asyncio.run(scenario())


@pytest.mark.parametrize("index", [-1, 3, 1.0, "0", True, None])
def test_a_range_that_a_transfer_has_not_is_refused(index):
    arrival = Arrival.in_memory(10, b"", 4)
    with pytest.raises(InvalidInput):
        arrival.take(index, np.zeros(4, np.uint8), blake(bytes(4)))


async def test_a_range_has_one_place_and_what_was_verified_is_not_written_to_again():
    raw = np.arange(10, dtype=np.uint8)
    digest = digest_of(blake(raw[start : start + 4].tobytes()) for start in (0, 4, 8))
    arrival = Arrival.in_memory(10, digest, 4)
    place = arrival.place(1, 4)
    assert arrival.place(1, 4) is None, "somebody else is filling it"
    for index, size in ((0, 5), (2, 4), (3, 4), (-1, 4), ("0", 4), (True, 4), (None, 4)):
        assert arrival.place(index, size) is None
    with pytest.raises(Unreachable) as caught:  # who holds it could write to it after the other's was verified
        arrival.take(1, raw[4:8].copy(), blake(raw[4:8].tobytes()))
    assert caught.value.code == "transfers-full"
    arrival.release(1, place)
    place = arrival.place(1, 4)
    place[:] = raw[4:8]
    assert 1 in arrival.missing(), "it is not there before it is taken"
    arrival.take(1, place, blake(place.tobytes()))
    arrival.release(1, place)
    assert arrival.place(1, 4) is None
    arrival.take(0, raw[:4], blake(raw[:4].tobytes()))
    arrival.take(2, raw[8:], blake(raw[8:].tobytes()))
    whole = await arrival.whole()
    assert whole.tobytes() == raw.tobytes()
    whole[3] ^= 1  # by a handler that was then cancelled
    with pytest.raises(InvalidInput):
        await arrival.whole()


async def test_a_range_that_is_sent_twice_at_once_arrives_once_it_is_let_go_of():
    """The first connection stalls in mid-range; the second has to wait for it, and is served when it is gone."""
    wire = Wire()
    sent = message("take", 8 << 20)
    taken: list[object] = []

    def stall(asked):
        if asked.type == "transfer/range" and not taken:
            placing = wire.server.placing("me")
            assert placing("transfer/range", asked.body, RANGE) is not None
            taken.append(placing)
            asyncio.get_running_loop().call_later(0.2, placing.release)
        return asked

    wire.spoil = stall
    await wire.client.call("you", sent, 0)
    require_same(wire.taken[0], sent)


async def test_files_that_a_crash_left_torn_are_sent_anew_where_they_are(tmp_path):
    parts = [np.full(4, index, np.uint8) for index in range(3)]
    digest = digest_of(blake(part.tobytes()) for part in parts)
    arrival = await Arrivals(tmp_path).open("one", "a" * 64, 12, digest, 4)
    for index in (0, 1):
        arrival.take(index, parts[index], blake(parts[index].tobytes()))
    [part] = tmp_path.glob("*.part")
    torn = bytearray(part.read_bytes())
    torn[5] ^= 1
    part.write_bytes(torn)
    [have] = tmp_path.glob("*.have")
    have.write_bytes(have.read_bytes() + b"half a no")
    again = await Arrivals(tmp_path).open("one", "a" * 64, 12, digest, 4)
    assert again.missing() == [1, 2]
    for index in (1, 2):
        again.take(index, parts[index], blake(parts[index].tobytes()))
    assert (await again.whole()).tobytes() == b"".join(each.tobytes() for each in parts)


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["|u1", "<f4", "<f8", "|b1"])), max_size=5), st.data())
@settings(max_examples=60, deadline=None)
def test_any_cut_of_a_payload_gives_its_bytes(shapes, data):
    tensors = {str(place): np.ones(size, dtype) for place, (size, dtype) in enumerate(shapes)}
    payload = Payload(tensors)
    whole = b"".join(array.tobytes() for array in tensors.values())
    assert payload.size == len(whole)
    if not whole:
        return
    start = data.draw(st.integers(0, len(whole) - 1))
    stop = data.draw(st.integers(start + 1, len(whole)))
    assert payload.range(start, stop).tobytes() == whole[start:stop]
    back = tensors_of(np.frombuffer(whole, np.uint8), payload.specs)
    require_same(Message("x", {}, back), Message("x", {}, tensors))
    for wrong in ([*payload.specs[:-1], ["z", "<f8", [99]]], "specs", [*payload.specs, *payload.specs]):
        with pytest.raises(InvalidInput):
            tensors_of(np.frombuffer(whole, np.uint8), wrong)
