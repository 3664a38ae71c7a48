"""A node in a process of its own: told its seed and the directory on standard input, serves until the input ends.

Each line in is a JSON command; each line out is what came of it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import time
from dataclasses import astuple
from pathlib import Path
from typing import Any

from flaas_jupyter.communications.directory import Directory, Peer, Record
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.mesh import Mesh, Route
from flaas_jupyter.communications.mesh_settings import MeshSettings
from flaas_jupyter.communications.several_carriers import bind_carriers
from flaas_jupyter.communications.wire import Message

LIMIT = 1 << 30


def say(**what: Any) -> None:
    print(json.dumps(what), flush=True)


async def echo(peer: Peer, message: Message) -> Message:
    return Message("echo", message.body, message.tensors)


async def swallow(peer: Peer, message: Message) -> Message:
    content = hashlib.sha256(b"".join(array.tobytes() for array in message.tensors.values()))
    return Message("ok", {"bytes": message.nbytes, "sha256": content.hexdigest()})


async def wait(peer: Peer, message: Message) -> Message:
    say(event="waiting")
    await asyncio.Event().wait()
    raise AssertionError


async def main() -> None:
    lines = asyncio.StreamReader(limit=1 << 22)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    order = json.loads(await lines.readline())
    identity = Identity(bytes.fromhex(order["seed"]))
    carrier = await bind_carriers(identity, MeshSettings(listen_tls=("127.0.0.1:0",)), tuple)
    directory = Directory(order["domain"], order["domain_key"])
    now = int(time.time())
    found = astuple(carrier.whereabouts)
    record = Record(order["domain"], identity.node_id, *found, order["sequence"], now, now + 800)
    handlers = {
        kind: Route(handler, limit=LIMIT) for kind, handler in (("echo", echo), ("swallow", swallow), ("wait", wait))
    }
    async with await Mesh.open(
        identity,
        directory,
        carrier=carrier,
        handlers=handlers,
        peer_timeout=order["peer_timeout"],
        spool=Path(order["spool"]) if "spool" in order else None,
    ) as mesh:
        mesh.on_peer_lost(lambda node_id: say(event="lost", node=node_id))
        say(event="bound", record=record.sign(identity))
        while line := await lines.readline():
            order = json.loads(line)
            if "listing" in order:
                directory.update(order["listing"])
                say(event="updated")
            if "call" in order:
                reply = await mesh.call(order["call"], Message("echo", {"hello": 1}))
                say(event="reply", body=reply.body)


if __name__ == "__main__":
    asyncio.run(main())
