"""The laboratory as HTTPS servers with a private certificate authority: one port per cloud, so that paths differ."""

from __future__ import annotations

import importlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trustme
import uvicorn
from fastapi import FastAPI

from . import files as data
from .ledger import Ledger

CLOUDS = ("aws", "azure", "gcp")


@dataclass
class Running:
    """One cloud that answers."""

    url: str
    server: uvicorn.Server
    thread: threading.Thread


class CloudLab:
    """Start it, point the drivers' endpoints at `url(cloud)` with `ca`, stop it.

    Each cloud is a module of this package with ``app(ledger, base) -> FastAPI``, and ``credentials(base) -> dict`` that
    returns valid credentials for the driver. Beside the clouds, the folder `files` is served at ``url("files")``.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger | None = None,
        clouds: tuple[str, ...] = CLOUDS,
        files: Path | None = None,
    ) -> None:
        self.ledger = ledger or Ledger()
        authority = trustme.CA()
        self.ca = folder / "cloudlab-ca.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        certificate = authority.issue_cert("localhost", "127.0.0.1", "*.localhost")
        key, chain = folder / "cloudlab.key", folder / "cloudlab.pem"
        certificate.private_key_pem.write_to_path(str(key))
        for number, part in enumerate(certificate.cert_chain_pems):
            part.write_to_path(str(chain), append=number > 0)
        self._certificate = {"ssl_keyfile": str(key), "ssl_certfile": str(chain)}
        self._running: dict[str, Running] = {}
        self._clouds = clouds
        for cloud in clouds:
            module = importlib.import_module(f".{cloud}", __package__)
            self._serve(cloud, lambda url, module=module: module.app(self.ledger, url))
        if files is not None:
            self._serve("files", lambda url: data.app(files))

    def _serve(self, name: str, make: Callable[[str], FastAPI]) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else each answer waits for 40 ms
        url = f"https://localhost:{listener.getsockname()[1]}"
        config = uvicorn.Config(make(url), log_level="warning", timeout_graceful_shutdown=1, **self._certificate)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        self._running[name] = Running(url, server, thread)

    def url(self, cloud: str) -> str:
        """Where `cloud` answers; connections wait until it does."""
        return self._running[cloud].url

    def credentials(self, cloud: str) -> dict[str, str]:
        """Credentials of an account that may do everything."""
        credentials: dict[str, str] = importlib.import_module(f".{cloud}", __package__).credentials(self.url(cloud))
        return credentials

    def environment(self) -> dict[str, str]:
        """The variables that lead an API process here."""
        urls = {f"FLAAS_{cloud.upper()}_ENDPOINT": self.url(cloud) for cloud in self._clouds}
        return {**urls, "FLAAS_CLOUD_CA": str(self.ca)}

    def stop(self) -> None:
        """Stop all servers."""
        for running in self._running.values():
            running.server.should_exit = True
        for running in self._running.values():
            running.thread.join(10)
