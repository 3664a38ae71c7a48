"""A relay on a real socket that follows the directories of some domains."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from mesh_domain import Domain
from relay_lab import Api, StartRelay, admission_of

from flaas_jupyter.communications.relay.server import RelayServer


@pytest.fixture
async def start_relay() -> AsyncIterator[StartRelay]:
    """Start a relay for some domains; it is ready when it has read their directories."""
    running: list[RelayServer] = []

    async def start(*domains: Domain, api: Api | None = None, every: float = 0.1, **options: Any) -> RelayServer:
        admission = admission_of(api or Api(*domains), every)
        await admission.refresh()
        server = RelayServer(admission, **options)
        await server.__aenter__()
        running.append(server)
        return server

    yield start
    for server in running:
        await server.close()
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith("relay")]
    assert not left, "a closed relay leaves nothing running"
