"""What relays are tested with: an API that lists domains, and waiting for a condition."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from mesh_domain import Domain

from flaas_jupyter.communications.directory import Directory
from flaas_jupyter.communications.relay.admission import Admission
from flaas_jupyter.communications.relay.server import RelayServer
from flaas_jupyter.errors import FlaasError

StartRelay = Callable[..., Awaitable[RelayServer]]


class Api:
    """What the coordination API says of directories, as `Coordinator` would hand it on."""

    def __init__(self, *domains: Domain) -> None:
        self.domains = {domain.listing()["domain"]: domain for domain in domains}
        self.failure: FlaasError | None = None
        self.asked = 0

    async def get(self, path: str, *, retry_for: float | None = None) -> dict[str, Any]:
        self.asked += 1
        if self.failure:
            raise self.failure
        return self.domains[path.split("/")[3]].listing()

    def etag(self, path: str) -> str | None:
        return None


def admission_of(api: Api, every: float) -> Admission:
    directories = [Directory(name, domain.key.node_id) for name, domain in api.domains.items()]
    return Admission(directories, api, every)  # type: ignore[arg-type]


async def eventually(condition: Callable[[], bool], deadline: float = 10.0) -> None:
    """Wait until `condition` holds."""
    async with asyncio.timeout(deadline):
        while not condition():
            await asyncio.sleep(0.01)
