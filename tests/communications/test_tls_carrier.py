"""TLS between nodes: who is let through the handshake, where a node says that it is, and several carriers as one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from mesh_domain import Domain

from flaas_jupyter.communications import peer_certificate, tls_carrier
from flaas_jupyter.communications.carrier import Carrier, Way, Whereabouts
from flaas_jupyter.communications.directory import Peer
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_carrier import IrohCarrier
from flaas_jupyter.communications.mesh import Mesh, Route
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.network import Network
from flaas_jupyter.communications.race import first_of
from flaas_jupyter.communications.several_carriers import SeveralCarriers
from flaas_jupyter.communications.tls_carrier import TlsCarrier
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import InvalidInput, Unreachable

pytestmark = pytest.mark.anyio
LISTENS = MeshSettings(listen_tls=("127.0.0.1:0",))
OUR, THEIR = Identity(b"\1" * 32), Identity(b"\2" * 32)
Bound = Callable[..., Any]


@pytest.fixture
async def bound() -> AsyncIterator[Bound]:
    carriers: list[TlsCarrier] = []

    async def bind(identity: Identity = OUR, settings: MeshSettings = LISTENS, **options: Any) -> TlsCarrier:
        carriers.append(await TlsCarrier.bind(identity, settings, **options))
        return carriers[-1]

    yield bind
    for carrier in carriers:
        await carrier.close()
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith("tls")]
    assert not left, "closed carriers leave nothing running"


async def _within(work: Any) -> Any:
    return await asyncio.wait_for(work, 10)


def _place(carrier: Carrier) -> tuple[str, int]:
    host, _, port = carrier.whereabouts.tls[0].rpartition(":")
    return host, int(port)


async def test_both_ends_know_the_key_of_the_other(bound: Bound) -> None:
    ours, theirs = await bound(OUR, MeshSettings()), await bound(THEIR)
    assert not ours.whereabouts, "a node that listens nowhere can dial"
    out = await ours.dial(THEIR.node_id, theirs.whereabouts)
    there = await _within(theirs.accept())
    assert (out.node_id, there.node_id) == (THEIR.node_id, OUR.node_id)
    assert out.path is not None
    assert (out.path.kind, out.path.remote) == ("tls", theirs.whereabouts.tls[0])
    session = out.transport.get_extra_info("ssl_object")
    assert session.version() == "TLSv1.3"


async def test_another_key_at_the_address_is_no_connection(bound: Bound) -> None:
    ours, theirs = await bound(OUR), await bound(THEIR)
    with pytest.raises(Unreachable, match="another node"):
        await ours.dial(Identity.generate().node_id, theirs.whereabouts)
    right = await bound(Identity(b"\3" * 32))
    both = Whereabouts(tls=(*theirs.whereabouts.tls, "127.0.0.1:9", *right.whereabouts.tls))
    assert (await _within(ours.dial(right._identity.node_id, both))).node_id == right._identity.node_id


def _without_certificate() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols([peer_certificate.ALPN])
    return context


def _with_tls_1_2() -> ssl.SSLContext:
    context = peer_certificate.peer_context(THEIR, dials=True)
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_2
    return context


def _for_something_else() -> ssl.SSLContext:
    context = peer_certificate.peer_context(THEIR, dials=True)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _with_another_kind_of_key() -> ssl.SSLContext:
    context, key = _without_certificate(), ec.generate_private_key(ec.SECP256R1())
    builder = peer_certificate._builder(key.public_key(), THEIR.node_id)  # type: ignore[arg-type]
    certificate = builder.sign(peer_certificate._issuer_key(), None).public_bytes(Encoding.PEM)
    with tempfile.NamedTemporaryFile() as file:
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _with_a_certificate_of_its_own_making() -> ssl.SSLContext:
    context, key = _without_certificate(), ec.generate_private_key(ec.SECP256R1())
    builder = peer_certificate._builder(key.public_key(), THEIR.node_id)  # type: ignore[arg-type]
    with tempfile.NamedTemporaryFile() as file:
        certificate = builder.sign(key, SHA256()).public_bytes(Encoding.PEM)
        file.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + certificate)
        file.flush()
        context.load_cert_chain(file.name)
    return context


@pytest.mark.parametrize(
    "strange",
    [
        _without_certificate,
        _with_tls_1_2,
        _for_something_else,
        _with_another_kind_of_key,
        _with_a_certificate_of_its_own_making,
    ],
)
async def test_who_proves_no_key_is_not_let_in(bound: Bound, strange: Callable[[], ssl.SSLContext]) -> None:
    theirs = await bound(THEIR)
    with contextlib.suppress(OSError):
        reader, writer = await asyncio.open_connection(*_place(theirs), ssl=strange())
        assert await _within(reader.read()) == b""
        writer.close()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(theirs.accept(), 0.2)
    assert await _within((await bound(OUR)).dial(THEIR.node_id, theirs.whereabouts)), "others are served"


async def test_a_certificate_of_somebody_else_is_worth_nothing_without_the_key(bound: Bound) -> None:
    """Who knows the public key can have a certificate made for it, and cannot finish the handshake."""
    thief = Identity(b"\3" * 32)
    context = peer_certificate.peer_context(thief, dials=True)
    victim = peer_certificate.Ed25519PrivateKey.from_private_bytes(THEIR.seed)
    stolen = peer_certificate._certificate(victim, THEIR.node_id).public_bytes(Encoding.PEM)
    own = peer_certificate.Ed25519PrivateKey.from_private_bytes(thief.seed)
    with tempfile.NamedTemporaryFile() as file:
        file.write(own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + stolen)
        file.flush()
        with pytest.raises(ssl.SSLError, match="mismatch"):
            context.load_cert_chain(file.name)


async def test_garbage_and_silence_hold_nobody_up(bound: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_carrier, "HANDSHAKE_SECONDS", 0.5)
    theirs = await bound(THEIR)
    silent = [await asyncio.open_connection(*_place(theirs)) for _ in range(20)]
    for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(500), b""):
        reader, writer = await asyncio.open_connection(*_place(theirs))
        writer.write(garbage)
        writer.write_eof()
        with contextlib.suppress(OSError):
            await _within(reader.read())
        writer.close()
    assert await _within((await bound(OUR)).dial(THEIR.node_id, theirs.whereabouts))
    for reader, writer in silent:
        with contextlib.suppress(OSError):
            assert await _within(reader.read()) == b""
        writer.close()


async def test_more_than_so_many_handshakes_are_not_waited_for(bound: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_carrier, "_PENDING", 3)
    theirs = await bound(THEIR)
    silent = [await asyncio.open_connection(*_place(theirs)) for _ in range(6)]
    ended = [asyncio.create_task(reader.read()) for reader, _ in silent]
    done, waiting = await asyncio.wait(ended, timeout=1)
    assert (len(done), len(waiting)) == (3, 3)
    for task in waiting:
        task.cancel()
    for _, writer in silent:
        writer.close()


def test_nothing_of_the_key_is_left_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    written: list[bytes] = []
    real = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", lambda path, data: (written.append(data), real(path, data))[1])
    peer_certificate.peer_context(OUR, dials=True)
    assert not list(tmp_path.iterdir())
    [data] = written
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in data
    assert b"BEGIN PRIVATE KEY" not in data


async def test_a_port_that_is_taken_is_named_and_a_closed_one_is_free(bound: Bound) -> None:
    first = await bound(OUR)
    taken = first.whereabouts.tls[0]
    with pytest.raises(InvalidInput, match=taken) as caught:
        await TlsCarrier.bind(THEIR, MeshSettings(listen_tls=("127.0.0.1:0", taken)))
    assert caught.value.code == "cannot-listen"
    await first.close()
    assert not first.is_open
    assert (await bound(THEIR, MeshSettings(listen_tls=(taken,)))).whereabouts.tls == (taken,)


async def test_all_addresses_of_a_machine_are_told_and_those_in_front_of_it_first(bound: Bound) -> None:
    theirs = await bound(THEIR, MeshSettings(listen_tls=("0.0.0.0:0",), announce_tls=("203.0.113.7:443",)))
    first, *others = theirs.whereabouts.tls
    assert first == "203.0.113.7:443"
    port = theirs._sockets[0].getsockname()[1]
    assert others[-1] == f"127.0.0.1:{port}"
    assert not any("0.0.0.0" in address for address in others)
    reached = await _within((await bound(OUR)).dial(THEIR.node_id, Whereabouts(tls=(others[0],))))
    assert reached.node_id == THEIR.node_id


async def test_who_hides_from_peers_neither_listens_nor_dials(bound: Bound) -> None:
    told: list[Network] = []
    theirs = await bound(THEIR, LISTENS, networks=lambda: tuple(told))
    ours = await bound(OUR)
    place = theirs.whereabouts
    connection = await ours.dial(THEIR.node_id, place)
    await _within(theirs.accept())
    moved = asyncio.create_task(theirs.moved())
    told.append(Network("study", direct="never"))
    await _within(connection.closed())
    await _within(moved)
    assert not theirs.whereabouts
    with pytest.raises(Unreachable):
        await ours.dial(THEIR.node_id, place)
    with pytest.raises(Unreachable):
        await theirs.dial(OUR.node_id, ours.whereabouts)
    [way] = theirs.ways(ours.whereabouts)
    assert "never" in (way.problem or "")
    told.clear()
    await _within(theirs.moved())
    assert await _within(ours.dial(THEIR.node_id, theirs.whereabouts))
    assert theirs.is_open


async def test_what_failed_at_each_address_is_told(bound: Bound) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        ours = await bound(OUR)
        address = f"127.0.0.1:{plain.getsockname()[1]}"
        dial = asyncio.create_task(ours.dial(THEIR.node_id, Whereabouts(tls=(address,))))
        accepted, _ = await asyncio.to_thread(plain.accept)
        accepted.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        accepted.close()
        with pytest.raises(Unreachable, match=address):
            await _within(dial)
    with pytest.raises(Unreachable, match="no way"):
        await ours.dial(THEIR.node_id, Whereabouts(("127.0.0.1:9",)))


# -- several carriers as one -----------------------------------------------------------------------------------


async def _echo(peer: Peer, message: Message) -> Message:
    return Message("echo", message.body)


async def _several(identity: Identity, *, udp: bool) -> SeveralCarriers:
    iroh = await IrohCarrier.bind(identity)
    if not udp:

        async def silent(*_: object) -> Any:
            await asyncio.Event().wait()

        iroh.dial = silent  # type: ignore[method-assign]
    return SeveralCarriers([iroh, await TlsCarrier.bind(identity, LISTENS)])


@pytest.mark.parametrize(("udp", "kind"), [(True, "direct"), (False, "tls")])
async def test_the_first_carrier_is_taken_if_it_works_and_the_next_if_not(udp: bool, kind: str) -> None:
    domain = Domain()
    meshes = []
    for identity in (OUR, THEIR):
        carrier = await _several(identity, udp=udp)
        here = carrier.whereabouts
        assert here.addresses
        assert here.tls
        domain.admit(identity.node_id)
        domain.publish(identity, here, 1)
        directory = domain.directory()
        meshes.append(await Mesh.open(identity, directory, carrier=carrier, handlers={"echo": Route(_echo)}))
    ours, theirs = meshes
    ours.directory.update(domain.listing())
    assert {way.kind for way in ours._carrier.ways(theirs.whereabouts)} == {"direct", "tls"}
    assert (await _within(ours.call(THEIR.node_id, Message("echo", {"x": 1})))).body == {"x": 1}
    assert [status.path.kind for status in ours.status() if status.path] == [kind]
    assert (await _within(theirs.call(OUR.node_id, Message("echo", {"x": 2})))).body == {"x": 2}
    for mesh in meshes:
        assert mesh.is_open
        await mesh.close()
        assert not mesh.is_open


class Moves:
    """A carrier of which a test says what it does."""

    def __init__(self, here: Whereabouts) -> None:
        self.whereabouts, self.is_open, self.event = here, True, asyncio.Event()

    async def moved(self) -> None:
        await self.event.wait()
        self.event.clear()

    def ways(self, whereabouts: Whereabouts) -> tuple[Way, ...]:
        return ()

    async def accept(self) -> Any:
        await asyncio.Event().wait()

    async def close(self) -> None:
        self.is_open = False


async def test_a_move_of_any_carrier_is_a_move_and_none_is_missed() -> None:
    first, second = Moves(Whereabouts(("10.0.0.1:1",), relays=("https://r",))), Moves(Whereabouts(tls=("10.0.0.1:2",)))
    both = SeveralCarriers([first, second])  # type: ignore[list-item]
    assert both.whereabouts == Whereabouts(("10.0.0.1:1",), ("10.0.0.1:2",), ("https://r",))
    waiting = asyncio.create_task(both.moved())
    await asyncio.sleep(0)
    waiting.cancel()
    second.event.set()
    await _within(both.moved())
    first.event.set()
    await _within(both.moved())
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(both.moved(), 0.05)
    with pytest.raises(Unreachable):
        await both.dial(THEIR.node_id, Whereabouts(("10.0.0.1:1",)))
    second.is_open = False
    assert not both.is_open
    await both.close()
    assert not first.is_open


# -- the race ---------------------------------------------------------------------------------------------------


async def test_the_race_goes_to_who_succeeds_first_and_ends_the_others() -> None:
    dropped: list[int] = []
    began: list[int] = []

    def attempt(number: int, seconds: float, *, fails: bool = False) -> Any:
        async def run() -> int:
            began.append(number)
            await asyncio.sleep(seconds)
            if fails:
                raise Unreachable(f"attempt {number}")
            return number

        return run

    async def race(*attempts: Any, stagger: float = 60) -> int:
        return await _within(first_of(attempts, stagger=stagger, discard=dropped.append, fails=(Unreachable,)))

    assert await race(attempt(0, 0), attempt(1, 0)) == 0
    assert began == [0], "the second one was not needed"
    assert await race(attempt(0, 0, fails=True), attempt(1, 0)) == 1
    assert await race(attempt(0, 60), attempt(1, 0), stagger=0.01) == 1
    with pytest.raises(Unreachable, match="attempt 0"):
        await race(attempt(0, 0.05, fails=True), attempt(1, 0, fails=True), stagger=0.01)
    assert not dropped

    async def stubborn() -> int:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return 7
        return 8

    assert await race(stubborn, attempt(1, 0), stagger=0.01) == 1
    assert dropped == [7]
    with pytest.raises(ZeroDivisionError):
        await race(attempt(0, 60), _broken, stagger=0.01)


async def _broken() -> int:
    raise ZeroDivisionError
