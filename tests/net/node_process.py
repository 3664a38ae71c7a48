"""A node's mesh in a namespace. The test is its coordination API: it brings directories and signals."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, astuple
from typing import Any

import numpy as np
from lines import Lines, say

from flaas_jupyter.communications.directory import Directory, Peer, Record
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.mesh import Mesh, Route
from flaas_jupyter.communications.mesh_settings import EVERYWHERE, MeshSettings
from flaas_jupyter.communications.several_carriers import bind_carriers
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.errors import FlaasError

LIMIT = 1 << 30


async def echo(peer: Peer, message: Message) -> Message:
    return Message("echo", message.body, message.tensors)


async def main() -> None:
    lines = await Lines.open()
    order = await lines.next()
    assert order is not None
    identity = Identity(bytes.fromhex(order["seed"]))
    directory = Directory(order["domain"], order["domain_key"])
    directory.update(order["listing"])
    told = {name: tuple(value) for name, value in order.get("settings", {}).items()}
    settings = MeshSettings(**{"listen": EVERYWHERE, "direct": order.get("direct", "prefer"), **told})
    networks = lambda: (directory.network,) if directory.network else ()  # noqa: E731
    carrier = await bind_carriers(identity, settings, networks)

    async def signal(node_id: str) -> None:
        say("signal", to=node_id)

    async def publish() -> None:
        while True:
            now, found = int(time.time()), carrier.whereabouts
            record = Record(directory.domain, identity.node_id, *astuple(found), time.time_ns() // 1000, now, now + 800)
            say("record", record=record.sign(identity), whereabouts=asdict(found))
            await mesh.moved()

    async def call(order: dict[str, Any]) -> None:
        values = np.arange(order["bytes"] // 4, dtype="<f4")
        began = time.monotonic()
        try:
            reply = await mesh.call(
                order["to"], Message("echo", {}, {"x": values}), timeout=order["timeout"], limit=LIMIT
            )
        except FlaasError as error:
            say("call", error=error.to_dict(), seconds=time.monotonic() - began)
        else:
            same = bool(np.array_equal(reply.tensors["x"], values))
            say("call", same=same, seconds=time.monotonic() - began)

    routes = {"echo": Route(echo, limit=LIMIT)}
    async with await Mesh.open(
        identity, directory, carrier=carrier, handlers=routes, peer_timeout=order["peer_timeout"],
        signal=signal if order.get("signals") else None,
    ) as mesh:  # fmt: skip
        say("up", node=identity.node_id)
        tasks = [asyncio.create_task(publish())]
        while order := await lines.next():
            if order["do"] == "listing":
                try:
                    directory.update(order["listing"])
                except FlaasError as error:  # a node goes on by what it knows
                    say("refused", code=error.code)
            elif order["do"] == "dial_back":
                mesh.dial_back(order["to"])
            elif order["do"] == "call":
                tasks.append(asyncio.create_task(call(order)))
            elif order["do"] == "cut":
                for links in mesh._links.values():
                    for link in links:
                        link.close()
                say("cut")
            elif order["do"] == "status":
                say("status", peers=[asdict(status) for status in mesh.status()])
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
