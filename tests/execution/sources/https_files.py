"""A web server with files, over TLS with a certificate of an authority of its own."""

from __future__ import annotations

import hashlib
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import trustme


class HttpsFiles:
    """A server on this machine; what it answers is set by tests.

    Parameters
    ----------
    authority : trustme.CA
        Who signs its certificate.
    """

    def __init__(self, authority: trustme.CA) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.required: dict[str, str] = {}  # header name and value without which 401 is answered
        self.cut: set[str] = set()  # paths whose body ends in the middle
        self.mute = False  # no ETag, no time, no HEAD
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner._answer(self)

            def do_HEAD(self) -> None:
                owner._answer(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost", "127.0.0.1", "files.example").configure_cert(context)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._server.handle_error = lambda *args: None  # type: ignore[method-assign]
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str, host: str = "localhost") -> str:
        """Address of a file."""
        return f"https://{host}:{self.port}/{path}"

    def put(self, path: str, data: bytes) -> str:
        """Serve `data`; return its address."""
        self.files[f"/{path}"] = data
        return self.url(path)

    def reset(self) -> None:
        """Forget what a test has set."""
        self.files, self.redirects, self.required, self.cut, self.mute = {}, {}, {}, set(), False
        self.requests.clear()

    def stop(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        self.requests.append((request.command, request.path, {k.lower(): v for k, v in request.headers.items()}))
        if path in self.redirects:
            self._send(request, 302, {"Location": self.redirects[path]})
        elif any(request.headers.get(name) != value for name, value in self.required.items()):
            self._send(request, 401, {})
        elif path not in self.files:
            self._send(request, 404, {})
        elif self.mute and request.command == "HEAD":
            self._send(request, 405, {})
        else:
            data = self.files[path]
            told = {} if self.mute else {"ETag": f'"{hashlib.sha256(data).hexdigest()[:16]}"'}
            self._send(request, 200, told, data, cut=path in self.cut)

    def _send(
        self,
        request: BaseHTTPRequestHandler,
        status: int,
        told: dict[str, str],
        data: bytes = b"",
        cut: bool = False,
    ) -> None:
        request.send_response(status)
        for name, value in {**told, "Content-Length": str(len(data))}.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command == "GET":
            request.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            request.close_connection = True
