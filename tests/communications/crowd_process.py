"""Several endpoints of one process, which a test tells whom to call; JSON lines in and out."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import astuple
from typing import Any

from flaas_jupyter.communications.directory import Directory, Peer, Record
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.mesh import Mesh, Route
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.several_carriers import bind_carriers
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError

_AT_ONCE = 64


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def echo(peer: Peer, message: Message) -> Message:
    return Message("echo", {"from": peer.node_id})


async def main() -> None:
    order = json.loads(await asyncio.to_thread(sys.stdin.readline))
    settings = MeshSettings(carriers=(order["carrier"],), listen_tls=("127.0.0.1:0",))
    meshes: list[Mesh] = []
    records = []
    lost: dict[str, set[str]] = {}
    for seed in order["seeds"]:
        identity = Identity(bytes.fromhex(seed))
        carrier = await bind_carriers(identity, settings, tuple)
        directory = Directory(order["domain"], order["domain_key"])
        mesh = await Mesh.open(
            identity, directory, carrier=carrier, handlers={"echo": Route(echo)}, peer_timeout=order["peer_timeout"]
        )
        mesh.on_peer_lost(lost.setdefault(identity.node_id, set()).add)
        now = int(time.time())
        where = astuple(carrier.whereabouts)
        record = Record(order["domain"], identity.node_id, *where, time.time_ns() // 1000, now, now + 800)
        records.append(record.sign(identity))
        meshes.append(mesh)
    say(records=records)
    free = asyncio.Semaphore(_AT_ONCE)

    async def greet(mesh: Mesh, other: str) -> str | None:
        async with free:
            try:
                reply = await mesh.call(other, Message("echo"), timeout=30)
            except FlaasError as error:
                return f"{mesh.node_id[:8]} to {other[:8]}: {error}"
            return None if reply.body["from"] == mesh.node_id else "somebody else answers"

    while line := await asyncio.to_thread(sys.stdin.readline):
        order = json.loads(line)
        if order["do"] == "listing":
            for mesh in meshes:
                mesh.directory.update(order["listing"])  # type: ignore[attr-defined]
            say(done=True)
        elif order["do"] == "greet":
            errors = await asyncio.gather(
                *(greet(mesh, other) for mesh in meshes for other in order["others"] if other != mesh.node_id)
            )
            say(errors=[error for error in errors if error], calls=len(errors))
        elif order["do"] == "lost":
            say(lost={node: sorted(gone) for node, gone in lost.items()})
    for mesh in meshes:
        await mesh.close()


if __name__ == "__main__":
    asyncio.run(main())
