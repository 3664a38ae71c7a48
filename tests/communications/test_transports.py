"""Connections are cut whatever was done to them before, on every release of Python."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

import pytest
import trustme

from flaas_jupyter.communications.transports import cut

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server and of a client that trusts it."""
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.mark.parametrize("closed", [0, 1, 2, 3])
@pytest.mark.parametrize("tls", [False, True])
async def test_a_connection_is_cut_however_often_it_was_closed(closed, tls, contexts):
    ended = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"!")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()

    at_server, at_client = contexts if tls else (None, None)
    async with asyncio.timeout(20), await asyncio.start_server(hold, "127.0.0.1", 0, ssl=at_server) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=at_client)
        assert await reader.readexactly(1) == b"!", "both sides have agreed on TLS"
        for _ in range(closed):
            writer.transport.close()
        cut(writer.transport)
        cut(writer.transport)
        await ended.wait()
