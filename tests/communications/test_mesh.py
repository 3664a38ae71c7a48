"""Meshes of one process over real sockets."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import numpy as np
import pytest
from mesh_domain import Bind, Domain, Start

from flaas_jupyter.communications import link as link_module
from flaas_jupyter.communications import mesh as mesh_module
from flaas_jupyter.communications.carrier import Carrier, Connection, Whereabouts
from flaas_jupyter.communications.directory import Directory, Peer
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.link import Greeting
from flaas_jupyter.communications.mesh import Mesh, Route
from flaas_jupyter.communications.wire import MAGIC, Message
from flaas_jupyter.errors import (
    Aborted,
    Conflict,
    FlaasError,
    InvalidInput,
    NotAllowed,
    NotAuthenticated,
    NotFound,
    Unreachable,
)

pytestmark = pytest.mark.anyio
LIMIT = 1 << 24


async def _echo(peer: Peer, message: Message) -> Message:
    return Message("echo", {**message.body, "from": peer.node_id}, message.tensors)


ECHO = {"echo": Route(_echo, limit=LIMIT)}


class Stuck:
    """A handler that never answers, and knows what became of it."""

    def __init__(self) -> None:
        self.started, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, peer: Peer, message: Message) -> Message:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError


async def test_tensors_are_echoed(start: Start) -> None:
    ours, theirs = await start(), await start(ECHO)
    rng = np.random.default_rng(0)
    tensors = {
        "w": rng.standard_normal((300, 1000)).astype(np.float32),
        "b": np.arange(3),
        "e": np.zeros((0, 2)),
    }
    reply = await ours.call(theirs.node_id, Message("echo", {"round": 3}, tensors), limit=LIMIT)
    assert reply.body == {"round": 3, "from": ours.node_id}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(reply.tensors[name], tensor)
    assert ours.bytes_sent > 1_200_000
    assert ours.bytes_sent == ours.traffic[theirs.node_id].bytes_sent
    assert ours.bytes_received > 1_200_000


async def test_a_node_calls_itself_by_the_same_rules(start: Start) -> None:
    async def scribble(peer: Peer, message: Message) -> Message:
        message.tensors["w"][:] = 0
        return Message("ok")

    async def break_down(peer: Peer, message: Message) -> Message:
        raise RuntimeError("secret")

    routes = {
        "scribble": Route(scribble, limit=100),
        "break": Route(break_down),
        "dev": Route(_echo, "developer"),
    }
    ours = await start(routes)
    weights = np.ones(4)
    await ours.call(ours.node_id, Message("scribble", {}, {"w": weights}))
    assert weights.sum() == 4, "what is sent is copied, as over the wire"
    with pytest.raises(InvalidInput):
        await ours.call(ours.node_id, Message("scribble", {}, {"w": np.ones(13)}))
    with pytest.raises(NotAllowed):
        await ours.call(ours.node_id, Message("dev"))
    with pytest.raises(FlaasError, match="failed to answer"):
        await ours.call(ours.node_id, Message("break"))
    assert ours.bytes_sent == 0


async def test_200_calls_at_once(start: Start) -> None:
    ours, theirs = await start(), await start(ECHO)
    calls = (
        ours.call(theirs.node_id, Message("echo", {"n": n}, {"w": np.full(100, n)}), limit=LIMIT) for n in range(200)
    )
    replies = await asyncio.wait_for(asyncio.gather(*calls), 60)
    assert [reply.body["n"] for reply in replies] == list(range(200))
    assert all((reply.tensors["w"] == n).all() for n, reply in enumerate(replies))
    assert len(theirs._links[ours.node_id]) == 1, "one connection carries them all"


async def test_calls_go_back_over_an_accepted_connection(start: Start) -> None:
    hidden = await start(ECHO, published=False)
    ours = await start(ECHO)
    with pytest.raises(Unreachable, match="no address") as caught:
        await ours.call(hidden.node_id, Message("echo"))
    assert caught.value.code == "no-address"
    await hidden.call(ours.node_id, Message("echo"))
    reply = await ours.call(hidden.node_id, Message("echo"))
    assert reply.body["from"] == ours.node_id


async def test_two_nodes_that_dial_each_other_at_once_both_get_through(start: Start) -> None:
    ours, theirs = await start(ECHO), await start(ECHO)
    lost: list[str] = []
    ours.on_peer_lost(lost.append)
    for _ in range(3):
        calls = [a.call(b.node_id, Message("echo")) for a, b in ((ours, theirs), (theirs, ours)) for _ in range(5)]
        await asyncio.wait_for(asyncio.gather(*calls), 30)
    assert not lost


# -- who is let in ---------------------------------------------------------------------------------------


async def test_an_unknown_key_is_refused_after_one_look_at_a_fresh_directory(
    domain: Domain, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = await start(ECHO)
    looks = 0
    refresh = theirs._refresh._fetch  # type: ignore[union-attr]

    async def counted() -> None:
        nonlocal looks
        looks += 1
        await refresh()

    monkeypatch.setattr(theirs._refresh, "_fetch", counted)
    stranger = await start(member=False)
    with pytest.raises(NotAllowed, match="unknown-peer") as caught:
        await stranger.call(theirs.node_id, Message("echo"))
    assert caught.value.code == "refused-by-peer"
    assert looks == 1
    assert not theirs.connected
    assert stranger.node_id not in theirs.traffic


async def test_strangers_who_knock_while_the_api_is_away_do_not_keep_members_out(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = await start(), await start(ECHO)
    monkeypatch.setattr(theirs._refresh, "_fetch", asyncio.Event().wait)
    stranger = await start(member=False)
    knocks = [
        asyncio.create_task(stranger._carrier.dial(theirs.node_id, theirs.whereabouts))
        for _ in range(mesh_module._MAX_ADMISSIONS + 8)
    ]
    knocked = await asyncio.wait_for(asyncio.gather(*knocks, return_exceptions=True), 30)
    try:
        reply = await asyncio.wait_for(ours.call(theirs.node_id, Message("echo")), mesh_module._GREETING_SECONDS / 2)
        assert reply.body["from"] == ours.node_id
    finally:
        for connection in knocked:
            if not isinstance(connection, BaseException):
                connection.close(0, "")


async def test_a_member_that_joined_since_is_let_in(domain: Domain, start: Start) -> None:
    theirs = await start(ECHO)
    newcomer = await start()
    assert newcomer.node_id not in theirs.directory.members
    assert (await newcomer.call(theirs.node_id, Message("echo"))).body["from"] == newcomer.node_id


async def test_an_expired_membership_is_refused_at_both_ends(domain: Domain, start: Start) -> None:
    theirs = await start(ECHO)
    expired = await start(ECHO, not_before=0, not_after=1)
    theirs.directory.update(domain.listing())
    with pytest.raises(NotAllowed, match="membership-expired"):
        await expired.call(theirs.node_id, Message("echo"))
    with pytest.raises(NotAllowed, match="clock") as caught:
        await theirs.call(expired.node_id, Message("echo"))
    assert caught.value.code == "membership-expired"


async def test_the_role_decides_before_the_tensors_are_read(start: Start) -> None:
    theirs = await start({"run/submit": Route(_echo, "developer", LIMIT)})
    node, notebook = await start(), await start(roles=("developer",))
    weights = {"w": np.ones(LIMIT // 8)}
    with pytest.raises(NotAllowed) as caught:
        await node.call(theirs.node_id, Message("run/submit", {}, weights), limit=LIMIT)
    assert caught.value.code == "role-missing"
    assert theirs.bytes_received < LIMIT / 2
    reply = await notebook.call(theirs.node_id, Message("run/submit", {}, weights), limit=LIMIT)
    assert reply.nbytes == LIMIT


async def test_a_live_connection_ends_with_the_membership(domain: Domain, start: Start) -> None:
    ours, theirs = await start(peer_timeout=0.5), await start(ECHO, peer_timeout=0.5)
    await ours.call(theirs.node_id, Message("echo"))
    lost = asyncio.Event()
    ours.on_peer_lost(lambda node_id: lost.set())
    domain.admit(ours.node_id, serial=2, not_before=0, not_after=1)
    theirs.directory.update(domain.listing())
    await asyncio.wait_for(lost.wait(), 10)
    with pytest.raises(NotAllowed, match="membership-expired"):
        await ours.call(theirs.node_id, Message("echo"))


async def test_a_record_forged_by_the_api_is_not_dialled(domain: Domain, start: Start) -> None:
    ours = await start(fetches=False)
    theirs = await start(ECHO)
    evil = await start(ECHO)
    here = evil.whereabouts
    domain.records[theirs.node_id]["body"].update(addresses=list(here.addresses), tls=list(here.tls))
    ours.directory.update(domain.listing())
    with pytest.raises(Unreachable, match="no address"):
        await ours.call(theirs.node_id, Message("echo"))


async def test_another_key_at_the_address_gets_no_call(domain: Domain, start: Start) -> None:
    ours = await start(fetches=False, peer_timeout=0.5)
    right, wrong = Identity.generate(), await start(ECHO)
    domain.admit(right.node_id)
    domain.publish(right, wrong.whereabouts)
    ours.directory.update(domain.listing())
    with pytest.raises(Unreachable, match="could not be reached") as caught:
        await ours.call(right.node_id, Message("echo"))
    assert caught.value.code == "peer-unreachable"
    assert not wrong.connected


# -- bad input -------------------------------------------------------------------------------------------


async def _raw(domain: Domain, mesh: Mesh, bind: Bind) -> tuple[Carrier, Any, Any]:
    """Connect as a member that speaks the greeting and then whatever it likes."""
    identity = Identity.generate()
    domain.admit(identity.node_id)
    carrier = await bind(identity)
    connection = await carrier.dial(mesh.node_id, mesh.whereabouts)
    control = await connection.open_stream()
    await Greeting.new(60).send(control)
    await Greeting.receive(control)
    return carrier, connection, control


@pytest.mark.parametrize(
    ("garbage", "code"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "bad-frame"),
        (b"FLAS", "bad-frame"),
        (MAGIC + b"\xff\xff\xff\xff", "frame-too-large"),
        (MAGIC + b"\x00\x00\x00\x04\x00\x01\x02\x03", "bad-frame"),
        (b"", "bad-frame"),
    ],
)
async def test_garbage_on_a_stream_harms_that_stream_only(
    domain: Domain, start: Start, bind: Bind, garbage: bytes, code: str
) -> None:
    theirs = await start(ECHO)
    carrier, connection, _control = await _raw(domain, theirs, bind)
    stream = await connection.open_stream()
    await stream.write(garbage)
    await stream.finish()
    reply = await asyncio.wait_for(link_module.decode(stream, 0), 10)
    assert (reply.type, reply.body["code"]) == ("error", code)
    again = await connection.open_stream()
    await link_module.write_frame(again, await link_module.encode(Message("echo", {"x": 1})))
    assert (await link_module.decode(again, 0)).body["x"] == 1
    await carrier.close()


async def test_a_connection_without_greeting_is_closed(
    domain: Domain, start: Start, bind: Bind, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = await start(ECHO)
    identity = Identity.generate()
    domain.admit(identity.node_id)
    carrier = await bind(identity)
    connection = await carrier.dial(theirs.node_id, theirs.whereabouts)
    stream = await connection.open_stream()
    await stream.write(b"x" * 64)
    closing = await asyncio.wait_for(connection.closed(), 10)
    assert (closing.code, closing.reason) == (403, "bad-greeting")
    await carrier.close()


@pytest.mark.parametrize("bind", ["iroh"], indirect=True)
async def test_datagrams_that_are_not_quic_are_ignored(start: Start) -> None:
    ours, theirs = await start(), await start(ECHO)
    host, port = next(a for a in theirs.whereabouts.addresses if a.startswith("127")).split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as noise:
        for _ in range(50):
            noise.sendto(b"\xc3" * 1200, (host, int(port)))
    assert await ours.call(theirs.node_id, Message("echo"))


async def test_a_request_above_its_limit_is_refused_with_the_reason(start: Start) -> None:
    ours, theirs = await start(), await start({"small": Route(_echo, limit=1000)})
    for size in (1001, LIMIT):
        with pytest.raises(InvalidInput, match="allowed are 1000") as caught:
            await ours.call(theirs.node_id, Message("small", {}, {"w": np.zeros(size, np.uint8)}))
        assert caught.value.code == "frame-too-large"
    assert await ours.call(theirs.node_id, Message("small", {}, {"w": np.zeros(1000, np.uint8)}), limit=1000)


async def test_a_reply_above_the_callers_limit_is_refused(start: Start) -> None:
    ours, theirs = await start(), await start(ECHO)
    with pytest.raises(InvalidInput) as caught:
        await ours.call(theirs.node_id, Message("echo", {}, {"w": np.zeros(100, np.uint8)}), limit=99)
    assert caught.value.code == "frame-too-large"


async def test_an_unknown_message_is_refused_by_name(start: Start) -> None:
    ours, theirs = await start(), await start(ECHO)
    with pytest.raises(InvalidInput, match="run/dance") as caught:
        await ours.call(theirs.node_id, Message("run/dance", {}, {"w": np.zeros(LIMIT, np.uint8)}))
    assert caught.value.code == "unknown-message"


# -- errors, cancellation --------------------------------------------------------------------------------


KINDS = [InvalidInput, NotAuthenticated, NotAllowed, NotFound, Conflict, Unreachable, Aborted, FlaasError]


@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_arrives_as_what_it_was(start: Start, kind: type[FlaasError]) -> None:
    async def refuse(peer: Peer, message: Message) -> Message:
        raise kind("Too few rows.", code="too-few-rows", hint="Add rows.", rows=3, nested={"a": [1, None]})

    ours, theirs = await start(), await start({"prepare": Route(refuse)})
    with pytest.raises(FlaasError) as caught:
        await ours.call(theirs.node_id, Message("prepare"))
    error = caught.value
    assert type(error) is kind
    assert (error.message, error.code, error.hint) == ("Too few rows.", "too-few-rows", "Add rows.")
    assert error.details == {"rows": 3, "nested": {"a": [1, None]}}


async def test_a_defect_is_told_by_its_number_and_logged_at_the_server(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(peer: Peer, message: Message) -> Message:
        raise ZeroDivisionError("patient 4711")

    async def no_data(peer: Peer, message: Message) -> Message:
        return Message("ok", {"x": object()})

    async def bad_details(peer: Peer, message: Message) -> Message:
        raise InvalidInput("x", rows=object())

    routes = {"fail": Route(fail), "no-data": Route(no_data), "bad-details": Route(bad_details)}
    ours, theirs = await start(), await start(routes)
    for kind in routes:
        caplog.clear()
        with pytest.raises(FlaasError) as caught:
            await ours.call(theirs.node_id, Message(kind))
        assert caught.value.code == "peer-failed"
        assert "4711" not in str(caught.value.to_dict())
        record = next(r for r in caplog.records if r.levelno == logging.ERROR)
        number = caught.value.message.split("(error ")[1][:8]
        assert number in record.getMessage()
        assert record.exc_info


async def test_giving_up_a_call_cancels_the_handler_at_the_far_side(start: Start) -> None:
    stuck = Stuck()
    ours, theirs = await start(), await start({"wait": Route(stuck), **ECHO})
    call = asyncio.create_task(ours.call(theirs.node_id, Message("wait")))
    await asyncio.wait_for(stuck.started.wait(), 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    await asyncio.wait_for(stuck.cancelled.wait(), 10)
    assert await ours.call(theirs.node_id, Message("echo")), "the connection lives on"


async def test_a_call_has_a_deadline(start: Start) -> None:
    stuck = Stuck()
    ours, theirs = await start(), await start({"wait": Route(stuck)})
    with pytest.raises(Unreachable, match="did not answer") as caught:
        await ours.call(theirs.node_id, Message("wait"), timeout=1.0)
    assert caught.value.code == "call-timed-out"
    await asyncio.wait_for(stuck.cancelled.wait(), 10)


async def test_requests_of_one_peer_are_limited(domain: Domain, start: Start) -> None:
    running, most = 0, 0
    four, go = asyncio.Event(), asyncio.Event()

    async def count(peer: Peer, message: Message) -> Message:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == 4:
            four.set()
        await go.wait()
        running -= 1
        return Message("ok")

    ours, theirs = await start(), await start({"count": Route(count)})
    theirs._concurrency = 4
    calls = [asyncio.create_task(ours.call(theirs.node_id, Message("count"))) for _ in range(20)]
    await asyncio.wait_for(four.wait(), 10)
    go.set()
    await asyncio.wait_for(asyncio.gather(*calls), 10)
    assert most == 4


# -- losing and finding peers ----------------------------------------------------------------------------


async def test_a_peer_that_closes_is_lost_at_once_with_all_pending_calls(start: Start) -> None:
    stuck = Stuck()
    ours, theirs = await start(), await start({"wait": Route(stuck)})
    lost: asyncio.Queue[str] = asyncio.Queue()
    stop = ours.on_peer_lost(lost.put_nowait)
    calls = [asyncio.create_task(ours.call(theirs.node_id, Message("wait"))) for _ in range(3)]
    await asyncio.wait_for(stuck.started.wait(), 10)
    await theirs.close()
    for outcome in await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 10):
        assert isinstance(outcome, Unreachable)
        assert outcome.code == "peer-lost"
    assert stuck.cancelled.is_set()
    assert await asyncio.wait_for(lost.get(), 10) == theirs.node_id
    assert not ours.connected
    assert lost.empty()
    stop()
    assert not ours._watchers


async def test_two_processes_of_a_person_are_connected_side_by_side(domain: Domain, start: Start) -> None:
    ours = await start({"echo": Route(_echo, role="developer", limit=LIMIT)})
    lost: list[str] = []
    ours.on_peer_lost(lost.append)
    person = Identity.generate()
    kernel = await start({}, identity=person, roles=("developer",), published=False)
    await kernel.call(ours.node_id, Message("echo"))
    bridge = await start({}, identity=person, roles=("developer",), published=False)
    for _ in range(3):
        await bridge.call(ours.node_id, Message("echo"))
        await kernel.call(ours.node_id, Message("echo"))
    await bridge.close()
    await kernel.call(ours.node_id, Message("echo"))
    assert lost == []
    await kernel.close()
    while not lost:
        await asyncio.sleep(0.01)
    assert lost == [person.node_id]


async def test_a_restarted_node_takes_the_place_of_its_former_self_at_once(domain: Domain, start: Start) -> None:
    stuck = Stuck()
    identity = Identity.generate()
    ours = await start(ECHO, peer_timeout=60)
    former = await start({"wait": Route(stuck), **ECHO}, identity=identity, peer_timeout=60)
    lost: list[str] = []
    ours.on_peer_lost(lost.append)
    pending = asyncio.create_task(ours.call(identity.node_id, Message("wait")))
    await asyncio.wait_for(stuck.started.wait(), 10)

    restarted = await start(ECHO, identity=identity, sequence=2, peer_timeout=60)
    await restarted.call(ours.node_id, Message("echo"))
    with pytest.raises(Unreachable) as caught:
        await asyncio.wait_for(pending, 10)
    assert caught.value.code == "peer-lost"
    assert (await asyncio.wait_for(ours.call(identity.node_id, Message("echo")), 10)).body
    assert lost == [identity.node_id]
    assert identity.node_id in ours.connected
    await former.close()


async def test_a_node_that_moved_is_dialled_at_its_new_address(domain: Domain, start: Start) -> None:
    identity = Identity.generate()
    first = await start(ECHO, identity=identity)
    ours = await start(peer_timeout=1.0)
    await ours.call(identity.node_id, Message("echo"))
    old = first.whereabouts
    await first.close()
    second = await start(ECHO, identity=identity, sequence=2)
    assert not set(old.addresses) & set(second.whereabouts.addresses)
    assert ours.directory.peer(identity.node_id).whereabouts == old, "only a fresh directory knows"
    assert (await asyncio.wait_for(ours.call(identity.node_id, Message("echo")), 20)).body


@pytest.mark.parametrize("bind", ["iroh"], indirect=True)  # the address is one that keeps silent
async def test_a_call_that_waits_for_a_dial_takes_the_peers_own_connection(
    domain: Domain, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = Identity.generate()
    domain.admit(identity.node_id)
    domain.publish(identity, Whereabouts(("127.0.0.1:9",)))
    ours = await start(ECHO, peer_timeout=60)
    dialled, dial = asyncio.Event(), ours._carrier.dial

    async def told(node_id: str, whereabouts: Whereabouts) -> Connection:
        dialled.set()
        return await dial(node_id, whereabouts)

    monkeypatch.setattr(ours._carrier, "dial", told)
    call = asyncio.create_task(ours.call(identity.node_id, Message("echo")))
    await asyncio.wait_for(dialled.wait(), 10)
    peer = await start(ECHO, identity=identity, sequence=2)
    await peer.call(ours.node_id, Message("echo"))
    assert (await asyncio.wait_for(call, 5)).body["from"] == ours.node_id


async def test_an_unknown_peer_is_not_dialled(start: Start) -> None:
    ours = await start()
    with pytest.raises(NotAllowed) as caught:
        await ours.call(Identity.generate().node_id, Message("echo"))
    assert caught.value.code == "unknown-peer"


async def test_a_closed_mesh_fails_its_calls_and_takes_no_more(start: Start) -> None:
    stuck = Stuck()
    ours, theirs = await start(), await start({"wait": Route(stuck)})
    call = asyncio.create_task(ours.call(theirs.node_id, Message("wait")))
    await asyncio.wait_for(stuck.started.wait(), 10)
    await ours.close()
    with pytest.raises(Unreachable):
        await asyncio.wait_for(call, 10)
    with pytest.raises(Unreachable, match="closed"):
        await ours.call(theirs.node_id, Message("wait"))
    await asyncio.wait_for(stuck.cancelled.wait(), 10)


async def test_an_api_that_is_down_does_not_stop_the_mesh(domain: Domain, start: Start, bind: Bind) -> None:
    theirs = await start(ECHO)
    directory = Directory("hospital-study", domain.key.node_id)

    async def down() -> None:
        raise Unreachable("the API is down", code="api-unreachable")

    identity = Identity.generate()
    domain.admit(identity.node_id)
    directory.update(domain.listing())
    mesh = await Mesh.open(identity, directory, carrier=await bind(identity), refresh=down)
    assert await mesh.call(theirs.node_id, Message("echo"))
    with pytest.raises(NotAllowed):
        await mesh.call(Identity.generate().node_id, Message("echo"))
    await mesh.close()


async def test_a_mesh_whose_carrier_has_failed_is_not_open(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = await start()
    assert ours.is_open
    monkeypatch.setattr(type(ours._carrier), "is_open", False)
    assert not ours.is_open


async def test_a_record_of_ways_that_this_node_does_not_know_is_no_address(
    domain: Domain, start: Start, bind: Bind
) -> None:
    other = Identity.generate()
    domain.admit(other.node_id)
    ours = await start()
    here = ours.whereabouts
    domain.publish(other, Whereabouts(("127.0.0.1:9",)) if here.tls else Whereabouts(tls=("127.0.0.1:9",)))
    ours.directory.update(domain.listing())
    with pytest.raises(Unreachable) as caught:
        await ours.call(other.node_id, Message("echo"))
    assert caught.value.code == "no-address"


@pytest.mark.parametrize("bind", ["iroh"], indirect=True)  # the address is one that keeps silent
async def test_a_dial_ends_when_the_peer_has_connected_and_the_next_one_is_not_held_up(
    domain: Domain, start: Start
) -> None:
    identity = Identity.generate()
    domain.admit(identity.node_id)
    domain.publish(identity, Whereabouts(("127.0.0.1:9",)))
    ours = await start(ECHO, peer_timeout=60)  # its dials are given up after ten seconds
    call = asyncio.create_task(ours.call(identity.node_id, Message("echo")))
    async with asyncio.timeout(10):
        while not ours._dials:
            await asyncio.sleep(0)
        peer = await start(ECHO, identity=identity, sequence=2)
        await peer.call(ours.node_id, Message("echo"))
        assert (await call).body["from"] == ours.node_id
        await peer.close()
        while ours.connected:
            await asyncio.sleep(0.01)
        again = await start(ECHO, identity=identity, sequence=3)
        ours.directory.update(domain.listing())  # type: ignore[attr-defined]
        assert (await asyncio.wait_for(ours.call(identity.node_id, Message("echo")), 5)).body["from"] == ours.node_id
    assert again.connected == {ours.node_id}


async def test_an_api_that_stays_down_is_logged_once_and_again_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mesh_module, "_REFRESH_GAP", 0.0)
    down = True

    async def fetch() -> None:
        if down:
            raise Unreachable("the API is down", code="api-unreachable")

    refresh = mesh_module._Refresh(fetch)
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            await refresh()
        down = False
        for _ in range(2):
            await refresh()
    told = [record.levelname for record in caplog.records if "the directory could" in record.getMessage()]
    assert told == ["WARNING", "INFO"]
