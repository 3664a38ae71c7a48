"""A port on this machine that leads to a relay: through the organisation's proxy if it must, and over TLS.

The mesh's core can speak to a relay only over plain WebSocket, or over TLS with the certificate authorities that are
compiled into it, and knows no proxies. So it is given ``http://127.0.0.1:PORT``, and what it says there is carried to
the relay with the trust that the domain's administrators have signed for. What goes through is sealed from node to
node; whoever reads along here, such as a proxy that inspects TLS, sees keys, sizes and times.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import os
import re
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ..errors import Unreachable
from .transports import cut
from .trust import Trust, tls_problem

logger = logging.getLogger(__name__)

_CONNECT_SECONDS = 10.0
_HEAD_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
_RETRY = 2.0
_LONGEST_HEAD = 16 << 10
_MOST_CONNECTIONS = 64
_PIECE, _WINDOW = 1 << 18, 1 << 20
_HOST_LINE = re.compile(rb"(?im)^host:[^\r\n]*\r\n")
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] (\d{3})")


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy that is asked with CONNECT (RFC 9110, section 9.3.6).

    Parameters
    ----------
    host : str
        Its name or IP address.
    port : int
        Its port.
    user, password : str
        For Basic authentication (RFC 7617); without a user none is sent.
    """

    host: str
    port: int
    user: str = ""
    password: str = field(default="", repr=False)

    def request(self, target: str) -> bytes:
        """Return the request for a tunnel to `target`, ``host:port``."""
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if self.user:
            credentials = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
            lines.append(f"Proxy-Authorization: Basic {credentials}")
        return "\r\n".join((*lines, "", "")).encode()

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Shim:
    """The port; open it with `open`.

    Parameters
    ----------
    relay : str
        ``https://host[:port]``, or ``http://`` for a relay on this machine.
    trust : Trust
        Who may vouch for the relay.
    proxy : Proxy, optional
        The way out of this network.
    """

    def __init__(self, relay: str, trust: Trust, proxy: Proxy | None = None) -> None:
        parts = urlsplit(relay)
        self.relay = relay
        self.problem: Unreachable | None = None
        """Why the last attempt to reach the relay has failed; None since one has succeeded, and before the first."""
        self.failing_since: float | None = None
        """Since when every attempt has failed (`time.monotonic`)."""
        self.proxy = proxy
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._netloc = parts.netloc.encode()
        self._context = trust.context() if parts.scheme == "https" else None
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._told: str | None = None

    @classmethod
    async def open(cls, relay: str, trust: Trust, proxy: Proxy | None = None) -> Shim:
        """Listen on a free port of this machine."""
        shim = cls(relay, trust, proxy)
        shim._server = await asyncio.start_server(shim._accept, "127.0.0.1", 0, limit=_WINDOW)
        return shim

    @property
    def url(self) -> str:
        """What the mesh's core is given as the relay's URL."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        """Close the port and all that goes through."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def reach(self) -> bool:
        """Connect to the relay once, tell whether it can be reached, and note in `problem` why not."""
        try:
            _, writer = await self._connect()
        except Unreachable:
            return False
        writer.transport.abort()
        return True

    async def reached(self) -> None:
        """Return once the relay can be reached; it is tried now and then."""
        while True:
            if await self.reach():
                return
            await asyncio.sleep(_RETRY)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= _MOST_CONNECTIONS:
            writer.close()
            return
        task = asyncio.create_task(self._carry(reader, writer), name="shim-connection")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _carry(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        far_out: asyncio.StreamWriter | None = None
        try:
            head = await asyncio.wait_for(near.readuntil(b"\r\n\r\n"), _HEAD_SECONDS)
            far, far_out = await self._connect()
            # The core names the port of this machine as host; the relay may share an address with other servers.
            far_out.write(_HOST_LINE.sub(b"Host: " + self._netloc + b"\r\n", head, count=1))
            await _until_first(_copy(near, far_out), _copy(far, near_out))
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # the core sees its connection end and tries again; why is in `problem`
        finally:
            await asyncio.gather(*(_end(writer) for writer in (near_out, far_out) if writer is not None))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a way to the relay.

        Raises
        ------
        Unreachable
            Codes ``relay-unreachable``, ``proxy-unreachable``, ``proxy-authentication``, ``proxy-refused``, and those
            of TLS (``tls-untrusted``, ``tls-wrong-name``, …).
        """
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                found = await (self._through(self.proxy) if self.proxy else self._straight())
        except Unreachable as problem:
            self._note(problem)
            raise
        except (OSError, TimeoutError, EOFError) as error:
            explained = self._explained(error)
            self._note(explained)
            raise explained from error
        self._note(None)
        return found

    async def _straight(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        name = self._host if self._context else None
        return await asyncio.open_connection(
            self._host,
            self._port,
            ssl=self._context,
            server_hostname=name,
            limit=_WINDOW,
            happy_eyeballs_delay=0.25,
        )

    async def _through(self, proxy: Proxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            reader, writer = await asyncio.open_connection(
                proxy.host, proxy.port, limit=_WINDOW, happy_eyeballs_delay=0.25
            )
        except OSError as error:
            raise Unreachable(
                f"The proxy {proxy} cannot be reached: {_why(error)}.",
                code="proxy-unreachable",
                hint="Check [proxy] in mesh.toml, or HTTPS_PROXY, and that the proxy runs.",
            ) from error
        try:
            host = f"[{self._host}]" if ":" in self._host else self._host
            writer.write(proxy.request(f"{host}:{self._port}"))
            answer = await _head_of_answer(reader, proxy)
            if answer != 200:
                raise self._refused(proxy, answer)
            if self._context is not None:
                await _require_silence(reader, writer, proxy)
                await writer.start_tls(self._context, server_hostname=self._host)
        except BaseException:
            writer.transport.abort()
            raise
        return reader, writer

    def _refused(self, proxy: Proxy, status: int) -> Unreachable:
        if status == 407:
            sent = f"as {proxy.user!r}" if proxy.user else "without a password"
            return Unreachable(
                f"The proxy {proxy} wants a user and a password (407); it was asked {sent}.",
                code="proxy-authentication",
                hint="Set FLAAS_PROXY_USER and FLAAS_PROXY_PASSWORD, or keep them with `flaas secret set` and name the "
                "secret in [proxy] of mesh.toml. Basic authentication is what this version speaks.",
                status=status,
            )
        return Unreachable(
            f"The proxy {proxy} does not let this machine reach {self._host}:{self._port} ({status}).",
            code="proxy-refused",
            hint=f"Ask its administrator to allow CONNECT to {self._host} on port {self._port}.",
            status=status,
        )

    def _explained(self, error: OSError | TimeoutError | EOFError) -> Unreachable:
        by = f" by way of the proxy {self.proxy}" if self.proxy else ""
        if (problem := tls_problem(error, self.relay)) is not None:
            inspected = (
                " A proxy that inspects TLS shows a certificate of its own: [relay_trust] in mesh.toml names it."
            )
            return Unreachable(problem.message, code=problem.code, hint=f"{problem.hint}{inspected}", url=self.relay)
        why = f"no answer within {_CONNECT_SECONDS:g} s" if isinstance(error, TimeoutError) else _why(error)
        return Unreachable(
            f"The relay {self.relay} cannot be reached{by}: {why}.",
            code="relay-unreachable",
            hint=f"Check that it runs, and that TCP port {self._port} is open from here"
            + ("." if self.proxy else "; if only a proxy leads out, set HTTPS_PROXY or [proxy] in mesh.toml."),
            url=self.relay,
        )

    def _note(self, problem: Unreachable | None) -> None:
        self.problem = problem
        if problem is None:
            self.failing_since = None
        elif self.failing_since is None:
            self.failing_since = time.monotonic()
        told = problem.message if problem else None
        if told != self._told:  # the core tries again and again; once is enough in the log
            self._told = told
            if problem is None:
                logger.info("relay %s: reached again", self.relay)
            else:
                logger.warning("%s", problem)


async def _head_of_answer(reader: asyncio.StreamReader, proxy: Proxy) -> int:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise _no_proxy(proxy) from error
    match = _STATUS_LINE.match(head) if len(head) <= _LONGEST_HEAD else None
    if match is None:
        raise _no_proxy(proxy)
    return int(match[1])


async def _require_silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, proxy: Proxy) -> None:
    """Refuse what follows the proxy's answer: it would be read later as if the relay had said it over TLS."""
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()  # nothing more arrives between this look and `start_tls`
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0):
            await reader.read(1)
            raise _no_proxy(proxy)  # the relay speaks second, so it was not from there


def _no_proxy(proxy: Proxy) -> Unreachable:
    return Unreachable(
        f"{proxy} does not answer as an HTTP proxy.",
        code="proxy-unreachable",
        hint="Check its address and port in [proxy] of mesh.toml, or in HTTPS_PROXY.",
    )


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(_PIECE):
        target.write(data)
        await target.drain()


async def _until_first(*parts: Coroutine[None, None, None]) -> None:
    """Run `parts` until one of them ends, in whatever way; then end the others."""
    tasks = [asyncio.create_task(part, name="shim-copy") for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _end(writer: asyncio.StreamWriter) -> None:
    """Close a connection once what was written is gone; one that takes nothing more is cut."""
    writer.close()
    try:
        await asyncio.wait_for(writer.wait_closed(), _CLOSE_SECONDS)
    except (TimeoutError, asyncio.CancelledError) as error:
        cut(writer.transport)
        if isinstance(error, asyncio.CancelledError):
            raise
    except OSError:
        pass  # it was lost, which ends it as well


def _why(error: BaseException) -> str:
    """Return the system's words for an error, without its numbers and addresses."""
    if isinstance(error, socket.gaierror):
        return f"its name is not known here ({error.strerror})"
    numbers = dict.fromkeys(map(int, _ERRNO.findall(str(error))))  # one for each address that was tried
    return ", ".join(map(os.strerror, numbers)) or str(error).strip().rstrip(".") or type(error).__name__
