"""The port that leads to a relay: over TLS with the right trust, by way of a proxy, and its words when it fails."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trustme

from flaas_jupyter.communications import shim as shim_module
from flaas_jupyter.communications.shim import Proxy, Shim
from flaas_jupyter.communications.trust import Trust

pytestmark = pytest.mark.anyio
HEAD = b"GET /relay HTTP/1.1\r\nHost: 127.0.0.1:1\r\nUpgrade: websocket\r\n\r\n"
HELLO = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"


async def _serve(
    answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], port: int = 0, **options: Any
):
    """Serve on loopback; errors of connections that were cut are nobody's business."""

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError):
            await answer(reader, writer)
        writer.transport.abort()

    return await asyncio.start_server(one, "127.0.0.1", port, **options)


def _port(server: asyncio.Server) -> int:
    return int(server.sockets[0].getsockname()[1])


class Relay:
    """Takes an upgrade and then sends back what comes, over TLS or without."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.heads: list[bytes] = []
        self.ended = asyncio.Event()
        self.server: asyncio.Server

    async def open(self, *, name: str = "localhost", tls: bool = True) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(name).configure_cert(context)
        self.server = await _serve(self._echo, ssl=context if tls else None)

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(HELLO)
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        finally:
            self.ended.set()

    @property
    def url(self) -> str:
        return f"https://localhost:{_port(self.server)}"

    @property
    def trust(self) -> Trust:
        return Trust(self.ca.cert_pem.bytes().decode())


class ConnectProxy:
    """An HTTP proxy that knows CONNECT, perhaps a password, and perhaps reasons to refuse."""

    def __init__(self) -> None:
        self.password: str | None = None
        self.status: int | None = None
        self.asked: list[bytes] = []
        self.tunnels: list[asyncio.StreamWriter] = []
        self.answer: bytes | None = None
        self.slipped_in = b""
        self.server: asyncio.Server

    async def open(self) -> None:
        self.server = await _serve(self._tunnel)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.asked.append(head.split(b"\r\n")[0])
        if self.answer is not None:
            writer.write(self.answer)
            await writer.drain()
            return
        wanted = base64.b64encode(f"me:{self.password}".encode())
        if self.password and b"Proxy-Authorization: Basic " + wanted + b"\r\n" not in head:
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\n\r\n")
            await writer.drain()
            return
        if self.status is not None:
            writer.write(f"HTTP/1.1 {self.status} No\r\n\r\n".encode())
            await writer.drain()
            return
        host, _, port = head.split()[1].decode().rpartition(":")
        far, far_out = await asyncio.open_connection(host, int(port))
        self.tunnels += [writer, far_out]
        writer.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n" + self.slipped_in)
        await asyncio.gather(self._copy(reader, far_out), self._copy(far, writer))

    async def _copy(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                target.write(data)
                await target.drain()
        target.close()

    def cut(self) -> None:
        """Cut every tunnel without a word."""
        for writer in self.tunnels:
            writer.transport.abort()

    def way(self, user: str = "", password: str = "") -> Proxy:
        return Proxy("127.0.0.1", _port(self.server), user, password)


@pytest.fixture
async def relay() -> AsyncIterator[Relay]:
    relay = Relay()
    await relay.open()
    yield relay
    relay.server.close()


@pytest.fixture
async def proxy() -> AsyncIterator[ConnectProxy]:
    proxy = ConnectProxy()
    await proxy.open()
    yield proxy
    proxy.cut()
    proxy.server.close()


Open = Callable[..., Awaitable[Shim]]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    shims: list[Shim] = []

    async def open_one(relay: str, trust: Trust, proxy: Proxy | None = None) -> Shim:
        shims.append(await Shim.open(relay, trust, proxy))
        return shims[-1]

    yield open_one
    for shim in shims:
        await shim.close()
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith("shim")]
    assert not left, "a closed shim leaves nothing running"


class Caller:
    """What the mesh's core does with the shim's URL."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def upgraded(cls, shim: Shim) -> Caller:
        host, _, port = shim.url.removeprefix("http://").rpartition(":")
        caller = cls(*await asyncio.open_connection(host, int(port)))
        caller._writer.write(HEAD)
        assert await caller._reader.readexactly(len(HELLO)) == HELLO
        return caller

    async def echoed(self, data: bytes) -> bytes:
        sending = asyncio.create_task(self._send(data))
        back = await self._reader.readexactly(len(data))
        await sending
        return back

    async def _send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def end(self) -> bytes:
        return await asyncio.wait_for(self._reader.read(), 10)

    def leave(self) -> None:
        self._writer.close()


async def _refused(shim: Shim) -> None:
    """See that a connection ends without an answer."""
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await asyncio.wait_for(Caller.upgraded(shim), 10)


async def test_bytes_go_both_ways_over_tls_and_the_relay_hears_its_own_name(relay: Relay, opened: Open) -> None:
    shim = await opened(relay.url, relay.trust)
    assert shim.url.startswith("http://127.0.0.1:")
    caller = await Caller.upgraded(shim)
    data = bytes(range(256)) * (16 << 10)  # 4 MiB
    assert await caller.echoed(data) == data
    assert f"Host: localhost:{_port(relay.server)}\r\n".encode() in relay.heads[0]
    assert b"127.0.0.1" not in relay.heads[0]
    assert shim.problem is None
    caller.leave()
    await asyncio.wait_for(relay.ended.wait(), 10)


async def test_a_relay_on_this_machine_needs_no_tls(opened: Open) -> None:
    relay = Relay()
    await relay.open(tls=False)
    shim = await opened(f"http://127.0.0.1:{_port(relay.server)}", Trust())
    assert await (await Caller.upgraded(shim)).echoed(b"x" * 1000) == b"x" * 1000
    relay.server.close()


@pytest.mark.parametrize("password", [None, "correct: horse"])
async def test_it_goes_through_the_proxy_which_sees_no_more_than_the_name(
    relay: Relay, proxy: ConnectProxy, opened: Open, password: str | None
) -> None:
    proxy.password = password
    way = proxy.way("me", password) if password else proxy.way()
    shim = await opened(relay.url, relay.trust, way)
    assert await (await Caller.upgraded(shim)).echoed(b"y" * (1 << 20)) == b"y" * (1 << 20)
    assert proxy.asked == [f"CONNECT localhost:{_port(relay.server)} HTTP/1.1".encode()]


async def test_a_proxy_that_wants_a_password_is_told_of(relay: Relay, proxy: ConnectProxy, opened: Open) -> None:
    proxy.password = "right"
    for way in (proxy.way(), proxy.way("me", "wr0ng")):
        shim = await opened(relay.url, relay.trust, way)
        await _refused(shim)
        assert shim.problem is not None
        assert shim.problem.code == "proxy-authentication"
        assert "FLAAS_PROXY_PASSWORD" in shim.problem.hint
        assert "wr0ng" not in f"{shim.problem} {shim.problem.details} {shim.proxy!r}"


@pytest.mark.parametrize("status", [403, 502])
async def test_a_proxy_that_refuses_is_told_of(relay: Relay, proxy: ConnectProxy, opened: Open, status: int) -> None:
    proxy.status = status
    shim = await opened(relay.url, relay.trust, proxy.way())
    await _refused(shim)
    assert shim.problem is not None
    assert (shim.problem.code, shim.problem.details["status"]) == ("proxy-refused", status)
    assert f"({status})" in shim.problem.message


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n\r\n", b"HTTP/1.1 200" + b"x" * (2 << 20)])
async def test_what_is_no_proxy_is_told_of(relay: Relay, proxy: ConnectProxy, opened: Open, answer: bytes) -> None:
    proxy.answer = answer
    shim = await opened(relay.url, relay.trust, proxy.way())
    await _refused(shim)
    assert shim.problem is not None
    assert shim.problem.code == "proxy-unreachable"


async def test_a_proxy_can_slip_nothing_in_before_tls(relay: Relay, proxy: ConnectProxy, opened: Open) -> None:
    proxy.slipped_in = HELLO
    shim = await opened(relay.url, relay.trust, proxy.way())
    await _refused(shim)
    assert shim.problem is not None
    assert shim.problem.code == "proxy-unreachable"


async def test_a_proxy_that_is_away_is_told_of(relay: Relay, proxy: ConnectProxy, opened: Open) -> None:
    way = proxy.way()
    proxy.server.close()
    await proxy.server.wait_closed()
    shim = await opened(relay.url, relay.trust, way)
    await _refused(shim)
    assert shim.problem is not None
    assert shim.problem.code == "proxy-unreachable"


async def test_a_proxy_that_cuts_ends_the_connection_and_the_next_one_works(
    relay: Relay, proxy: ConnectProxy, opened: Open
) -> None:
    shim = await opened(relay.url, relay.trust, proxy.way())
    caller = await Caller.upgraded(shim)
    assert await caller.echoed(b"z") == b"z"
    proxy.cut()
    with contextlib.suppress(ConnectionError):
        assert await caller.end() == b""
    assert await (await Caller.upgraded(shim)).echoed(b"again") == b"again"
    assert shim.problem is None


@pytest.mark.parametrize("through", ["straight", "by proxy"])
async def test_a_certificate_of_another_authority_is_not_trusted(
    relay: Relay, proxy: ConnectProxy, opened: Open, through: str
) -> None:
    other = Trust(trustme.CA().cert_pem.bytes().decode())
    shim = await opened(relay.url, other, proxy.way() if through == "by proxy" else None)
    await _refused(shim)
    assert shim.problem is not None
    assert shim.problem.code == "tls-untrusted"
    assert "[relay_trust]" in shim.problem.hint
    assert relay.heads == [], "nothing was said to it"


async def test_a_certificate_for_another_name_is_not_trusted(opened: Open) -> None:
    relay = Relay()
    await relay.open(name="other.example")
    shim = await opened(relay.url, relay.trust)
    await _refused(shim)
    assert shim.problem is not None
    assert shim.problem.code == "tls-wrong-name"
    relay.server.close()


async def test_a_relay_that_is_away_is_told_of_once_until_it_is_back(
    opened: Open, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shim_module, "_RETRY", 0.05)
    relay = Relay()
    await relay.open(tls=False)
    port = _port(relay.server)
    relay.server.close()
    await relay.server.wait_closed()
    caplog.set_level("INFO")
    shim = await opened(f"http://127.0.0.1:{port}", Trust())
    for _ in range(3):
        await _refused(shim)
    assert shim.problem is not None
    assert shim.problem.code == "relay-unreachable"
    assert shim.failing_since is not None
    assert shim.problem.message.endswith("cannot be reached: Connection refused.")
    assert caplog.text.count("cannot be reached") == 1
    back = asyncio.create_task(shim.reached())
    server = await _serve(relay._echo, port)
    await asyncio.wait_for(back, 10)
    assert (shim.problem, shim.failing_since) == (None, None)
    assert "reached again" in caplog.text
    server.close()


async def test_what_is_no_request_is_not_passed_on(relay: Relay, opened: Open) -> None:
    shim = await opened(relay.url, relay.trust)
    host, _, port = shim.url.removeprefix("http://").rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"x" * (2 << 20))
    with contextlib.suppress(ConnectionError):
        await writer.drain()
        assert await asyncio.wait_for(reader.read(), 10) == b""
    assert relay.heads == []
    writer.close()


async def test_no_more_connections_than_the_core_needs_are_carried(
    relay: Relay, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shim_module, "_MOST_CONNECTIONS", 2)
    shim = await opened(relay.url, relay.trust)
    kept = [await Caller.upgraded(shim) for _ in range(2)]
    await _refused(shim)
    kept[0].leave()
    await asyncio.wait_for(relay.ended.wait(), 10)
    async with asyncio.timeout(10):
        while len(shim._connections) > 1:
            await asyncio.sleep(0.01)
    assert await (await Caller.upgraded(shim)).echoed(b"room") == b"room"
