"""A way between a browser and JupyterLab that keeps everything that passes, and that can be cut."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from urllib.parse import urlsplit

_CHUNK = re.compile(rb"PUT /\S*flaas/uploads/([0-9a-f]{32})/chunks/(\d+)")
_PIECE = 1 << 16


class RecordingProxy:
    """Listens on this machine, passes on bytes both ways, and keeps them.

    Parameters
    ----------
    url : str
        Where JupyterLab is.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._target = (str(parts.hostname), int(parts.port or 80))
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}{parts.path}"
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._up, self._down = bytearray(), bytearray()
        self._cut_after: int | None = None
        self._is_cut = threading.Event()
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> RecordingProxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self._closed = True
        self._listener.close()
        self.cut()

    @property
    def recorded(self) -> bytes:
        """Everything that has passed, to JupyterLab and from it."""
        with self._lock:
            return bytes(self._up) + bytes(self._down)

    @property
    def chunks(self) -> list[tuple[str, int]]:
        """Chunks that the browser has sent, or begun to, in order; with the upload that they are of."""
        with self._lock:
            found = _CHUNK.findall(bytes(self._up))
        return [(upload.decode(), int(index)) for upload, index in found]

    def cut_after(self, size: int) -> None:
        """Cut as soon as the browser has sent `size` further bytes."""
        with self._lock:
            self._cut_after = len(self._up) + size

    def wait_cut(self) -> None:
        """Wait until it is cut."""
        assert self._is_cut.wait(60), "the browser did not send that much"

    def cut(self) -> None:
        """Break every connection, and take no other."""
        with self._lock:
            self._cut_after = None
            self._is_cut.set()
            sockets = list(self._sockets)
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Pass on again."""
        self._is_cut.clear()

    def _accept(self) -> None:
        while not self._closed:
            try:
                browser, _ = self._listener.accept()
            except OSError:
                return
            if self._is_cut.is_set():
                browser.close()
                continue
            lab = socket.create_connection(self._target)
            with self._lock:
                self._sockets |= {browser, lab}
            for source, sink, kept in ((browser, lab, self._up), (lab, browser, self._down)):
                threading.Thread(target=self._pass, args=(source, sink, kept), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE):
                with self._lock:
                    kept += piece
                    enough = self._cut_after is not None and len(self._up) >= self._cut_after
                if enough:
                    self.cut()
                    break
                sink.sendall(piece)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
