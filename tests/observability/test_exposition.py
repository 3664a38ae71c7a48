"""The listener for /metrics and /healthz: what it answers, and how little a hostile caller can do to it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

import pytest

from flaas_jupyter.errors import InvalidInput, Unreachable
from flaas_jupyter.observability import exposition
from flaas_jupyter.observability.exposition import address, exposed

METRICS = b"# TYPE flaas_x counter\nflaas_x_total 3\n"


class Served:
    def __init__(self) -> None:
        self.well = True
        self.port = 0

    async def metrics(self) -> bytes:
        return METRICS

    def health(self) -> tuple[bool, dict[str, str]]:
        return self.well, {"status": "ok" if self.well else "failed"}

    async def send(self, raw: bytes) -> bytes:
        """Send bytes as they are; return all that comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(raw)
        try:
            return await asyncio.wait_for(reader.read(), 20)
        except ConnectionError:
            return b""
        finally:
            writer.close()

    async def get(self, path: str, method: str = "GET") -> tuple[int, bytes, bytes]:
        """Return status, headers and body of an answer."""
        answer = await self.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), head, body


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    served = Served()
    async with exposed("127.0.0.1:0", served.metrics, served.health) as url:
        served.port = int(url.rpartition(":")[2])
        yield served


def test_metrics_are_text_for_prometheus():
    async def check() -> None:
        async with serving() as served:
            status, head, body = await served.get("/metrics?ignored=1")
            assert (status, body) == (200, METRICS)
            assert b"text/plain; version=0.0.4" in head

    asyncio.run(check())


def test_health_is_told_by_status_and_as_json():
    async def check() -> None:
        async with serving() as served:
            status, head, body = await served.get("/healthz")
            assert (status, json.loads(body)) == (200, {"status": "ok"})
            assert b"application/json" in head
            served.well = False
            status, _, body = await served.get("/healthz")
            assert (status, json.loads(body)) == (503, {"status": "failed"})

    asyncio.run(check())


def test_head_has_no_body_and_other_methods_and_paths_are_refused():
    async def check() -> None:
        async with serving() as served:
            status, head, body = await served.get("/metrics", "HEAD")
            assert (status, body) == (200, b"")
            assert f"Content-Length: {len(METRICS)}".encode().lower() in head.lower()
            status, head, _ = await served.get("/metrics", "POST")
            assert status == 405
            assert b"GET, HEAD" in head
            assert (await served.get("/"))[0] == 404
            assert (await served.get("/healthz/../metrics"))[0] == 404

    asyncio.run(check())


@pytest.mark.parametrize(
    "raw",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /metrics\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nA: " + b"b" * 20_000,
    ],
    ids=["tls", "http-0.9", "two-hosts", "long-address", "long-header"],
)
def test_what_is_no_request_is_refused_and_the_next_is_answered(raw):
    async def check() -> None:
        async with serving() as served:
            answer = await served.send(raw)
            assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
            assert (await served.get("/metrics"))[0] == 200

    asyncio.run(check())


def test_callers_that_dawdle_are_cut_off_and_bounded_in_number(monkeypatch):
    monkeypatch.setattr(exposition, "_SECONDS", 0.3)
    monkeypatch.setattr(exposition, "_CONNECTIONS", 4)

    async def check() -> None:
        async with serving() as served:
            idle = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(4)]
            idle[0][1].write(b"GET /metrics HTTP/1.1\r\n")
            # Each of the four is known to the listener before the fifth comes: connections are taken in order.
            with contextlib.suppress(ConnectionError):
                assert await served.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") == b""
            for reader, writer in idle:
                with contextlib.suppress(ConnectionError):
                    assert await asyncio.wait_for(reader.read(), 10) == b""
                writer.close()
            assert (await served.get("/metrics"))[0] == 200

    asyncio.run(check())


def test_a_failure_to_render_is_logged_and_ends_the_connection_alone(caplog):
    async def check() -> None:
        async def broken() -> bytes:
            raise ZeroDivisionError

        served = Served()
        async with exposed("127.0.0.1:0", broken, served.health) as url:
            served.port = int(url.rpartition(":")[2])
            assert await served.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n") == b""
            assert (await served.get("/healthz"))[0] == 200

    asyncio.run(check())
    assert "ZeroDivisionError" in caplog.text


def test_an_address_in_use_is_told():
    async def check(listen: str) -> None:
        served = Served()
        async with exposed(listen, served.metrics, served.health):
            raise AssertionError("it listens where somebody else does")

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(Unreachable) as caught:
            asyncio.run(check(f"127.0.0.1:{taken.getsockname()[1]}"))
    assert caught.value.code == "address-in-use"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("127.0.0.1:9464", ("127.0.0.1", 9464)),
        ("[::1]:0", ("::1", 0)),
        ("localhost:80", ("localhost", 80)),
    ],
)
def test_an_address_is_host_and_port(text, parts):
    assert address(text) == parts


@pytest.mark.parametrize(
    "text", ["", ":9464", "9464", "127.0.0.1", "::1:9464", "[::1]", "h:-1", "h:65536", "[h]:1", "h:x"]
)
def test_other_texts_are_no_address(text):
    with pytest.raises(InvalidInput) as caught:
        address(text)
    assert caught.value.code == "bad-listen-address"
