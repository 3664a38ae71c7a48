"""A server that speaks TLS, or something else, as badly as a test wants it to, and remembers what it was told."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType

import trustme

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: application/hal+json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
LEGACY = "ALL:@SECLEVEL=0"
"""Ciphers with which OpenSSL still speaks TLS 1.1."""


def server_context(authority: trustme.CA, *names: str, **options: object) -> ssl.SSLContext:
    """Return the context of a server with a certificate of `authority`, whose own is sent along."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf = authority.issue_cert(*(names or ("127.0.0.1", "localhost")), **options)  # type: ignore[arg-type]
    chain = b"".join([*(pem.bytes() for pem in leaf.cert_chain_pems), authority.cert_pem.bytes()])
    with trustme.Blob(leaf.private_key_pem.bytes() + chain).tempfile() as path:
        context.load_cert_chain(path)
    return context


def pem_of(authority: trustme.CA) -> str:
    """Return the authority's certificate."""
    return authority.cert_pem.bytes().decode()


def write_pair(authority: trustme.CA, folder: Path, *names: str) -> tuple[Path, Path]:
    """Write a certificate and its key as files of a server; return their paths."""
    leaf = authority.issue_cert(*(names or ("127.0.0.1", "localhost")))
    chain, key = folder / "server.pem", folder / "server.key"
    key.touch(0o600)
    key.write_bytes(leaf.private_key_pem.bytes())
    chain.write_bytes(b"".join([*(pem.bytes() for pem in leaf.cert_chain_pems), authority.cert_pem.bytes()]))
    return chain, key


class TlsServer:
    """Answers every request with an empty JSON object; without a context it speaks plain HTTP.

    Parameters
    ----------
    context : SSLContext, optional
        With which to speak TLS.
    port : int
        Where to listen; 0 takes a free port.
    """

    def __init__(self, context: ssl.SSLContext | None, port: int = 0) -> None:
        self.context = context
        self.requests: list[str] = []
        """What it was asked, headers included."""
        self.answer = _ANSWER
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> TlsServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.settimeout(5)
            with connection, contextlib.suppress(OSError):
                self._serve(connection)

    def _serve(self, connection: socket.socket) -> None:
        if self.context is None:
            self._answer(connection)
            return
        with self.context.wrap_socket(connection, server_side=True) as encrypted:
            self._answer(encrypted)

    def _answer(self, connection: socket.socket) -> None:
        asked = b""
        while b"\r\n\r\n" not in asked and (read := connection.recv(65536)):
            asked += read
            if self.context is None and not asked.isascii():
                break  # as an HTTP server answers what is no HTTP
        if asked:
            self.requests.append(asked.decode("latin-1"))
            connection.sendall(self.answer)
