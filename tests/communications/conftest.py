"""A domain of its own for each test: a domain key, members, records, and meshes on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest
from mesh_domain import Bind, Domain, Start

from flaas_jupyter.communications.carrier import Carrier
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_carrier import IrohCarrier
from flaas_jupyter.communications.mesh import Mesh, Route
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.tls_carrier import TlsCarrier


async def _over_tls(identity: Identity) -> Carrier:
    return await TlsCarrier.bind(identity, MeshSettings(listen_tls=("127.0.0.1:0",)))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def domain() -> Domain:
    return Domain()


@pytest.fixture(params=["iroh", "tls"])
def bind(request: pytest.FixtureRequest) -> Bind:
    """Each transport: what the mesh promises it promises over all of them."""
    return {"iroh": IrohCarrier.bind, "tls": _over_tls}[request.param]


@pytest.fixture
async def start(domain: Domain, bind: Bind) -> AsyncIterator[Start]:
    """Start a node: a member of `domain` with a published record, unless told otherwise."""
    meshes: list[Mesh] = []

    async def start(
        handlers: Mapping[str, Route] | None = None,
        *,
        identity: Identity | None = None,
        roles: tuple[str, ...] = ("node",),
        member: bool = True,
        published: bool = True,
        fetches: bool = True,
        sequence: int = 1,
        peer_timeout: float = 5.0,
        **changes: Any,
    ) -> Mesh:
        identity = identity or Identity.generate()
        carrier = await bind(identity)
        if member:
            domain.admit(identity.node_id, roles, **changes)
        if published:
            domain.publish(identity, carrier.whereabouts, sequence)
        directory = domain.directory()

        async def refresh() -> None:
            directory.update(domain.listing())

        mesh = await Mesh.open(
            identity,
            directory,
            carrier=carrier,
            handlers=handlers,
            refresh=refresh if fetches else None,
            peer_timeout=peer_timeout,
        )
        meshes.append(mesh)
        return mesh

    yield start
    for mesh in meshes:
        await mesh.close()
    left = [task for task in asyncio.all_tasks() if task.get_name().startswith(("mesh", "iroh", "tls"))]
    assert not left, "closed meshes leave nothing running"
