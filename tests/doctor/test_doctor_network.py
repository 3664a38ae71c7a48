"""``flaas doctor --network`` against networks that fail in every way that loopback can fail in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import trustme

from flaas_jupyter.communications import probes, reflection
from flaas_jupyter.communications.directory import Directory, Membership, Record, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_endpoint import bind_endpoint
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.network import Network, ReflectorSite, RelaySite, sign_network
from flaas_jupyter.communications.reflector import Reflector
from flaas_jupyter.communications.relay.admission import Admission
from flaas_jupyter.communications.relay.server import RelayServer
from flaas_jupyter.communications.tls_carrier import TlsCarrier
from flaas_jupyter.communications.trust import Trust
from flaas_jupyter.doctor import Finding
from flaas_jupyter.doctor_network import examine_network
from flaas_jupyter.execution.enrolment import Enrolment
from flaas_jupyter.home import Home

PROJECT = "study"
API = "api.clinic.example"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def quick_and_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "ANSWER_SECONDS", 2.0)
    monkeypatch.setattr("flaas_jupyter.doctor_network._CONNECT_SECONDS", 2.0)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "FLAAS_CA_FILE", "FLAAS_URL", "FLAAS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


class World:
    """A machine that is a node of one project, and what there is around it."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.domain_key = Identity.generate()
        self.ca = trustme.CA()
        self.network: Network | None = None
        self.date = time.time
        self.health: tuple[int, bytes] = (200, b'{"version": "0.1.0"}')
        self.directory_status = 200
        self.asked: list[str] = []
        self.members: dict[str, list[Any]] = {"memberships": [], "records": []}
        self._servers = contextlib.AsyncExitStack()
        self.set()

    def enrol(self, url: str) -> None:
        Identity.load_or_create(self.home.key)
        Enrolment("north", url, "north", {PROJECT: self.domain_key.node_id}).save(self.home.enrolment)

    def set(self, more: str = "", carriers: str = '["iroh", "tls"]') -> None:
        """Write mesh.toml: by default both carriers, as where the API is elsewhere."""
        self.home.path.mkdir(exist_ok=True)
        self.home.mesh.write_text(f"carriers = {carriers}\n{more}")

    def admit(self, peer: Identity, *tls: str) -> None:
        """List a member that can be dialled over TLS."""
        now = int(time.time())
        membership = Membership(PROJECT, peer.node_id, "o", ("node",), now - 9, now + 900, 1)
        record = Record(PROJECT, peer.node_id, (), tls, (), 1, now, now + 800)
        self.members["memberships"].append(sign_membership(self.domain_key, membership))
        self.members["records"].append(record.sign(peer))

    def trust(self) -> Trust:
        return Trust(self.ca.cert_pem.bytes().decode())

    def certificate(self, *names: str, **options: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names, **options).configure_cert(context)
        return context

    async def serve(self, answer: Serve, **options: Any) -> int:
        """Listen on loopback; return the port."""

        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError, EOFError, asyncio.CancelledError):
                await answer(reader, writer)
            writer.transport.abort()

        server = await asyncio.start_server(one, "127.0.0.1", 0, **options)
        self._servers.callback(server.close)
        return int(server.sockets[0].getsockname()[1])

    async def api(self, **options: Any) -> int:
        """Serve as much of the API as the doctor asks for."""

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split()[1].decode()
                self.asked.append(path)
                status, body = self.health
                if path.endswith("/directory"):
                    document = sign_network(self.domain_key, self.network) if self.network else None
                    lists = {**self.members, "revocations": [], "network": document}
                    listing = {"domain": PROJECT, "domain_key": self.domain_key.node_id, **lists}
                    status, body = self.directory_status, json.dumps(listing).encode()
                lines = (
                    f"HTTP/1.1 {status} X",
                    f"Date: {formatdate(self.date(), usegmt=True)}",
                    f"Content-Length: {len(body)}",
                )
                writer.write("\r\n".join((*lines, "", "")).encode() + body)

        return await self.serve(answer, **options)

    async def start(self, network: Network | None = None) -> None:
        """Serve the API without TLS, with this network document."""
        self.network = network
        self.enrol(f"http://127.0.0.1:{await self.api()}")

    async def relay(self, tls: bool = True) -> RelaySite:
        """Run a relay of our own."""
        listing = {"domain": PROJECT, "domain_key": self.domain_key.node_id}

        class Lists:
            async def get(self, path: str, **_: Any) -> dict[str, Any]:
                return {**listing, "memberships": [], "revocations": [], "records": []}

            def etag(self, path: str) -> None:
                return None

        admission = Admission([Directory(PROJECT, self.domain_key.node_id)], Lists())  # type: ignore[arg-type]
        server = RelayServer(admission, tls=self.certificate("127.0.0.1") if tls else None)
        await self._servers.enter_async_context(server)
        async with asyncio.timeout(10):
            while not admission.is_ready:
                await asyncio.sleep(0.01)
        return RelaySite("r1", server.url, self.trust().pem if tls else "")

    async def reflector(self) -> ReflectorSite:
        """Run a reflector of our own."""
        reflector = await Reflector.bind(Identity.generate(), ["127.0.0.1:0"])
        serving = asyncio.create_task(reflector.serve())
        self._servers.push_async_callback(asyncio.gather, serving, return_exceptions=True)
        self._servers.push_async_callback(reflector.close)
        return ReflectorSite(reflector.node_id, tuple(a for a in reflector.addresses if a.startswith("127.")))

    async def reflector_that_says(self, *answers: str) -> ReflectorSite:
        """Run one that sees what a NAT would make it see."""
        identity = Identity.generate()
        endpoint = await bind_endpoint(identity, ["127.0.0.1:0"], [reflection.ALPN])

        async def answer() -> None:
            for told in answers:
                incoming = await endpoint.accept_next()
                connection = await (await incoming.accept()).connect()
                stream = await connection.open_uni()
                await stream.write_all(told.encode())
                await stream.finish()
                await connection.closed()

        serving = asyncio.create_task(answer())
        self._servers.push_async_callback(asyncio.gather, serving, return_exceptions=True)
        self._servers.push_async_callback(endpoint.close)
        (address,) = (each for each in endpoint.bound_sockets() if each.startswith("127."))
        return ReflectorSite(identity.node_id, (address,))

    def silent_udp(self) -> str:
        """Return an address where datagrams vanish."""
        hole = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        hole.bind(("127.0.0.1", 0))
        self._servers.callback(hole.close)
        return f"127.0.0.1:{hole.getsockname()[1]}"

    async def examined(self) -> dict[str, Finding]:
        """What the doctor finds, the worst of each kind."""
        rank = {"ok": 0, "warning": 1, "problem": 2}
        found: dict[str, Finding] = {}
        for finding in await asyncio.to_thread(examine_network, self.home):
            known = found.get(finding.what)
            if known is None or rank[finding.state] > rank[known.state]:
                found[finding.what] = finding
        return found

    async def close(self) -> None:
        await self._servers.aclose()


@dataclass
class Checked:
    """Runs a test in an event loop with a world."""

    folder: Path

    def __call__(self, test: Callable[[World], Awaitable[None]]) -> None:
        async def run() -> None:
            world = World(self.folder)
            try:
                await test(world)
            finally:
                await world.close()

        asyncio.run(run())


@pytest.fixture
def check(tmp_path: Path) -> Checked:
    return Checked(tmp_path)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- all is well ----------------------------------------------------------------------------------------------------


def test_a_network_that_lets_everything_through(check):
    async def test(world: World) -> None:
        reflectors = (await world.reflector(), await world.reflector())
        await world.start(Network(PROJECT, relays=(await world.relay(),), reflectors=reflectors, serial=1))
        found = await world.examined()
        assert {finding.state for finding in found.values()} == {"ok"}, found
        assert not any(finding.advice for finding in found.values())
        assert "WebSocket opened" in found["relay r1"].found
        assert found["NAT IPv4"].found.startswith("none")
        assert found["mesh"].found == "peers can be reached directly and by relay"
        assert found["clock"].found == "as the API's"
        assert found["network document"].found == f"{PROJECT}: 1 relay, 2 reflectors, direct prefer"

    check(test)


# ---- the API --------------------------------------------------------------------------------------------------------


def test_a_name_that_nobody_knows(check):
    async def test(world: World) -> None:
        world.enrol("https://no-such-host.invalid")
        name = (await world.examined())["API name"]
        assert name.state == "problem"
        assert "no-such-host.invalid" in name.found
        assert "name server" in name.advice
        assert "HTTPS_PROXY" in name.advice

    check(test)


def test_a_closed_port(check):
    async def test(world: World) -> None:
        port = closed_port()
        world.enrol(f"http://127.0.0.1:{port}")
        found = await world.examined()
        assert found["API TCP"].state == "problem"
        assert "connection refused" in found["API TCP"].found
        assert f"allow TCP from this machine to 127.0.0.1 port {port}" in found["API TCP"].advice
        assert "API" not in found  # nothing further was tried

    check(test)


def test_a_server_that_takes_connections_and_says_nothing(check):
    async def test(world: World) -> None:
        async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        world.enrol(f"http://127.0.0.1:{await world.serve(silence)}")
        found = await world.examined()
        assert found["API TCP"].state == "ok"
        assert found["API"].state == "problem"
        assert "does not answer within 2 s" in found["API"].found

    check(test)


def test_a_host_that_drops_packets(check):
    async def test(world: World) -> None:
        # A full backlog, of which the kernel drops further connection requests.
        full = socket.socket()
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = []
        for _ in range(4):
            each = socket.socket()
            each.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                each.connect(full.getsockname())
            waiting.append(each)
        try:
            world.enrol(f"http://127.0.0.1:{full.getsockname()[1]}")
            found = await world.examined()
        finally:
            for each in (full, *waiting):
                each.close()
        assert found["API TCP"].state == "problem"
        assert "a firewall drops packets" in found["API TCP"].found

    check(test)


@pytest.mark.parametrize(
    ("names", "trusted", "code"),
    [(("127.0.0.1",), False, "is not trusted here"), (("other.example",), True, "made for another name")],
    ids=["wrong-authority", "wrong-name"],
)
def test_a_certificate_that_is_not_good(check, names, trusted, code):
    async def test(world: World) -> None:
        url = f"https://127.0.0.1:{await world.api(ssl=world.certificate(*names))}"
        (world.trust() if trusted else Trust(trustme.CA().cert_pem.bytes().decode())).keep(world.home, url)
        world.enrol(url)
        found = await world.examined()
        assert found["API TLS"].state == "problem"
        assert code in found["API TLS"].found
        assert found["API TLS"].advice
        assert "clock" not in found

    check(test)


def test_a_certificate_that_is_good_is_told_with_its_authority_and_its_end(check):
    async def test(world: World) -> None:
        url = f"https://127.0.0.1:{await world.api(ssl=world.certificate('127.0.0.1'))}"
        world.trust().keep(world.home, url)
        world.enrol(url)
        told = (await world.examined())["API TLS"]
        assert told.state == "ok"
        assert "TLSv1.3" in told.found
        assert "(pinned)" in told.found

    check(test)


def test_something_else_that_answers_in_place_of_the_api(check):
    async def test(world: World) -> None:
        world.health = (200, b"<html>Please sign in to the guest network</html>")
        await world.start()
        told = (await world.examined())["API"]
        assert told.state == "problem"
        assert "login page" in told.advice

    check(test)


@pytest.mark.parametrize(
    ("skew", "state"), [(0, "ok"), (12, "warning"), (-12, "warning"), (90, "problem"), (-90, "problem")]
)
def test_a_clock_that_is_wrong(check, skew, state):
    async def test(world: World) -> None:
        world.date = lambda: time.time() - skew
        await world.start()
        told = (await world.examined())["clock"]
        assert told.state == state
        if skew:
            assert ("ahead of" if skew > 0 else "behind") in told.found
            assert "NTP" in told.advice

    check(test)


# ---- proxies --------------------------------------------------------------------------------------------------------


class HttpProxy:
    """An HTTP proxy on loopback that leads every CONNECT to one port, or refuses it."""

    def __init__(self, target: int, refusal: bytes = b"") -> None:
        self._target, self._refusal = target, refusal
        self.asked: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split()[1].decode())
        if self._refusal:
            writer.write(b"HTTP/1.1 " + self._refusal + b"\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return
        far, far_out = await asyncio.open_connection("127.0.0.1", self._target)
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            await asyncio.wait(
                [asyncio.create_task(_copy(reader, far_out)), asyncio.create_task(_copy(far, writer))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            far_out.transport.abort()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65536):
            target.write(data)


def test_an_api_that_only_a_proxy_leads_to(check, monkeypatch):
    async def test(world: World) -> None:
        proxy = HttpProxy(await world.api(ssl=world.certificate(API)))
        port = await world.serve(proxy.answer)
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:s3cret@127.0.0.1:{port}")
        world.trust().keep(world.home, f"https://{API}")
        world.enrol(f"https://{API}")
        found = await world.examined()
        assert f"http://127.0.0.1:{port} (from the environment)" in found["proxy"].found
        assert found["API"].state == "ok"
        assert set(proxy.asked) == {f"{API}:443"}
        assert "API name" not in found  # the proxy resolves it
        assert "s3cret" not in str(found)
        monkeypatch.setenv("HTTPS_PROXY", f"user:s3cret@127.0.0.1:{port}")  # a scheme is often left out
        found = await world.examined()
        assert f"127.0.0.1:{port} (from the environment)" in found["proxy"].found
        assert "s3cret" not in str(found)

    check(test)


@pytest.mark.parametrize(
    ("refusal", "found", "advice"),
    [
        (b"407 Proxy Authentication Required", "wants a user and a password (407)", "FLAAS_PROXY_USER"),
        (b"403 Forbidden", "does not lead to", f"allow CONNECT through the proxy to {API} port 443"),
    ],
    ids=["407", "403"],
)
def test_a_proxy_that_refuses(check, monkeypatch, refusal, found, advice):
    async def test(world: World) -> None:
        port = await world.serve(HttpProxy(0, refusal).answer)
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
        world.enrol(f"https://{API}")
        told = (await world.examined())["proxy"]
        assert told.state == "problem"
        assert found in told.found
        assert advice in told.advice

    check(test)


def test_a_proxy_that_is_not_there(check, monkeypatch):
    async def test(world: World) -> None:
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{closed_port()}")
        world.enrol(f"https://{API}")
        assert (await world.examined())["proxy TCP"].state == "problem"

    check(test)


# ---- UDP and NAT ----------------------------------------------------------------------------------------------------


def test_udp_that_gets_no_answer_leaves_the_relay(check):
    async def test(world: World) -> None:
        address = world.silent_udp()
        silent = ReflectorSite(Identity.generate().node_id, (address,))
        await world.start(Network(PROJECT, relays=(await world.relay(),), reflectors=(silent,), serial=1))
        found = await world.examined()
        assert found["UDP"].state == "warning"
        assert f"allow UDP from this machine to {address}" in found["UDP"].advice
        assert found["mesh"].state == "warning"
        assert "by relay" in found["mesh"].found

    check(test)


def test_no_way_at_all_is_a_problem(check):
    async def test(world: World) -> None:
        silent = ReflectorSite(Identity.generate().node_id, (world.silent_udp(),))
        port = closed_port()
        gone = RelaySite("r1", f"https://127.0.0.1:{port}")
        await world.start(Network(PROJECT, relays=(gone,), reflectors=(silent,), serial=1))
        found = await world.examined()
        assert f"allow TCP from this machine to 127.0.0.1 port {port}" in found["relay r1"].advice
        assert found["mesh"].state == "problem"
        assert "no way to peers" in found["mesh"].found

    check(test)


@pytest.mark.parametrize(
    ("answers", "state", "kind"),
    [
        (("203.0.113.5:4000", "203.0.113.5:4000"), "ok", "cone"),
        (("203.0.113.5:4000", "203.0.113.5:4001"), "warning", "symmetric"),
        (("203.0.113.5:4000",), "ok", "present"),
    ],
    ids=["cone", "symmetric", "one-reflector"],
)
def test_the_kind_of_nat(check, answers, state, kind):
    async def test(world: World) -> None:
        sites = tuple([await world.reflector_that_says(each) for each in answers])
        await world.start(Network(PROJECT, reflectors=sites, serial=1))
        found = await world.examined()
        assert found["NAT IPv4"].state == state
        assert found["NAT IPv4"].found.startswith(kind)
        assert "203.0.113.5" in found["NAT IPv4"].found
        assert found["mesh"].state == ("problem" if kind == "symmetric" else "ok")

    check(test)


def test_tls_is_a_way_too(check):
    async def test(world: World) -> None:
        silent = ReflectorSite(Identity.generate().node_id, (world.silent_udp(),))
        gone = RelaySite("r1", f"https://127.0.0.1:{closed_port()}")
        port, peer = closed_port(), Identity.generate()
        listens = MeshSettings(listen_tls=(f"127.0.0.1:{port}",))
        world.set(f'listen_tls = ["127.0.0.1:{port}"]\nannounce_tls = ["203.0.113.7:443"]\n')
        node = await TlsCarrier.bind(Identity.load_or_create(world.home.key), listens)
        await world.start(Network(PROJECT, relays=(gone,), reflectors=(silent,), serial=1))
        found = await world.examined()
        await node.close()
        assert (found["mesh"].state, "over TLS alone" in found["mesh"].found) == ("warning", True)
        world.set()
        world.admit(peer, f"127.0.0.1:{port}")
        found = await world.examined()
        assert f"allow TCP from this machine to 127.0.0.1:{port}" in found["TLS to peers"].advice
        assert found["TLS to peers"].state == "warning"
        assert found["mesh"].state == "problem"
        other = await TlsCarrier.bind(peer, listens)
        found = await world.examined()
        await other.close()
        assert found["TLS to peers"].state == "ok"
        assert found["TLS to peers"].found == "1 of 1 node that list a TCP port for TLS can be reached"
        assert "over TLS alone" in found["mesh"].found

    check(test)


def test_where_iroh_is_not_used_neither_udp_nor_relays_count(check):
    async def test(world: World) -> None:
        silent = ReflectorSite(Identity.generate().node_id, (world.silent_udp(),))
        world.set(carriers='["tls"]')
        await world.start(Network(PROJECT, relays=(await world.relay(),), reflectors=(silent,), serial=1))
        found = await world.examined()
        assert not {"UDP", "relay r1"} & set(found)
        assert (found["mesh"].state, "only TLS is used here" in found["mesh"].found) == ("warning", True)
        peer = Identity.generate()
        node = await TlsCarrier.bind(peer, MeshSettings(listen_tls=("127.0.0.1:0",)))
        world.admit(peer, *node.whereabouts.tls)
        found = await world.examined()
        await node.close()
        assert found["mesh"] == Finding("mesh", "ok", "peers can be reached over TLS")
        world.set('direct = "never"\n', carriers='["tls"]')
        assert (await world.examined())["mesh"].state == "problem"

    check(test)


def test_where_peers_may_not_connect_directly_no_reflector_is_asked(check):
    async def test(world: World) -> None:
        silent = ReflectorSite(Identity.generate().node_id, (world.silent_udp(),))
        network = Network(PROJECT, relays=(await world.relay(),), reflectors=(silent,), direct="never", serial=1)
        await world.start(network)
        found = await world.examined()
        assert "UDP" not in found
        assert found["mesh"].state == "ok"

    check(test)


def test_the_tls_port_of_the_node_is_asked_whether_it_answers(check):
    async def test(world: World) -> None:
        await world.start(Network(PROJECT, relays=(await world.relay(),), serial=1))
        world.set('listen_tls = ["0.0.0.0:0"]\n')
        found = (await world.examined())["TLS of peers"]
        assert (found.state, "fixed one" in found.advice) == ("warning", True)
        port = closed_port()
        world.set(f'listen_tls = ["127.0.0.1:{port}"]\nannounce_tls = ["203.0.113.7:443"]\n')
        found = (await world.examined())["TLS of peers"]
        assert (found.state, "Start the node" in found.advice) == ("warning", True)
        assert f"127.0.0.1:{port}" in found.found
        listens = MeshSettings(listen_tls=(f"127.0.0.1:{port}",))
        node = await TlsCarrier.bind(Identity.load_or_create(world.home.key), listens)
        found = (await world.examined())["TLS of peers"]
        await node.close()
        assert (found.state, "203.0.113.7:443 open" in found.found) == ("ok", True)
        stranger = await TlsCarrier.bind(Identity.generate(), listens)
        found = (await world.examined())["TLS of peers"]
        await stranger.close()
        assert (found.state, "another node" in found.found) == ("warning", True)

    check(test)


# ---- relays ---------------------------------------------------------------------------------------------------------


def test_a_relay_whose_certificate_is_not_good(check):
    async def test(world: World) -> None:
        site = await world.relay()
        wrong = RelaySite("r1", site.url, trustme.CA().cert_pem.bytes().decode())
        await world.start(Network(PROJECT, relays=(wrong,), serial=1))
        told = (await world.examined())["relay r1"]
        assert told.state == "problem"
        assert "not trusted" in told.found
        assert "relay_trust" in told.advice

    check(test)


def test_a_middlebox_that_takes_websockets_out(check):
    async def test(world: World) -> None:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()

        port = await world.serve(refuse, ssl=world.certificate("127.0.0.1"))
        site = RelaySite("r1", f"https://127.0.0.1:{port}", world.trust().pem)
        await world.start(Network(PROJECT, relays=(site,), serial=1))
        told = (await world.examined())["relay r1"]
        assert told.state == "problem"
        assert "no WebSocket is opened there (400)" in told.found
        assert "inspects HTTPS" in told.advice

    check(test)


def test_a_relay_behind_the_proxy_that_mesh_toml_names(check):
    async def test(world: World) -> None:
        real = await world.relay()
        proxy = HttpProxy(int(real.url.rpartition(":")[2]))
        port = await world.serve(proxy.answer)
        # Not at a loopback address: what is on this machine goes through no proxy.
        context = world.certificate("relay.clinic.example")
        inner = await world.serve(_upgraded, ssl=context)
        proxy._target = inner
        world.set(f'[proxy]\nmode = "http://127.0.0.1:{port}"\n')
        site = RelaySite("r1", "https://relay.clinic.example", world.trust().pem)
        await world.start(Network(PROJECT, relays=(site,), serial=1))
        told = (await world.examined())["relay r1"]
        assert told.state == "ok", told
        assert f"through the proxy 127.0.0.1:{port}" in told.found
        assert set(proxy.asked) == {"relay.clinic.example:443"}

    check(test)


async def _upgraded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(asyncio.IncompleteReadError):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
        await reader.read()


def test_an_api_that_refuses_the_directory_is_told(check):
    async def test(world: World) -> None:
        world.directory_status = 403
        await world.start()
        told = (await world.examined())["directory of study"]
        assert told.state == "problem"

    check(test)


# ---- the command ----------------------------------------------------------------------------------------------------


def test_the_document_is_remembered_while_the_api_is_away(check):
    async def test(world: World) -> None:
        await world.start(Network(PROJECT, relays=(await world.relay(),), serial=1))
        assert (await world.examined())["relay r1"].state == "ok"
        enrolment = Enrolment(
            "north", f"http://127.0.0.1:{closed_port()}", "north", {PROJECT: world.domain_key.node_id}
        )
        enrolment.save(world.home.enrolment)
        found = await world.examined()
        assert found["API TCP"].state == "problem"
        assert found["relay r1"].state == "ok"

    check(test)


def test_a_machine_that_has_joined_nothing_is_told_what_to_do(check):
    async def test(world: World) -> None:
        found = await world.examined()
        assert found["network document"].state == "warning"
        assert "flaas node join" in found["network document"].advice
        assert not world.home.key.exists()

    check(test)


COMMAND = """
import json, sys
asked = []
def hook(event, args):
    if event == "socket.connect":
        asked.append(str(args[1]))
    elif event == "socket.getaddrinfo":
        asked.append(str((args[0], args[1])))
sys.addaudithook(hook)
from flaas_jupyter.cli import main
try:
    main(["doctor", "--network", "--json"])
except SystemExit as end:
    print(json.dumps(asked), file=sys.stderr)
    raise
"""


def test_the_command_asks_nobody_else_and_says_by_its_exit_code_what_it_found(check):
    async def test(world: World) -> None:
        relay, reflector = await world.relay(), await world.reflector()
        await world.start(Network(PROJECT, relays=(relay,), reflectors=(reflector,), serial=1))

        def run() -> tuple[int, list[dict[str, str]], list[str]]:
            done = subprocess.run(
                [sys.executable, "-c", COMMAND],
                capture_output=True,
                text=True,
                env={"FLAAS_HOME": str(world.home.path), "PATH": ""},
                timeout=120,
            )
            return done.returncode, json.loads(done.stdout), json.loads(done.stderr.splitlines()[-1])

        code, findings, asked = await asyncio.to_thread(run)
        assert code == 0
        assert {finding["state"] for finding in findings} == {"ok"}
        assert {"what", "state", "found", "advice"} == set(findings[0])
        assert asked
        assert all("127.0.0.1" in each for each in asked), asked

        world.health = (502, b"")
        code, findings, _ = await asyncio.to_thread(run)
        assert code == 1
        assert "problem" in {finding["state"] for finding in findings}

    check(test)
