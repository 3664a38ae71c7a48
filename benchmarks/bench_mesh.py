"""Mesh throughput against plain TCP on the same loopback, in the same run: 64 MiB from one process to another.

The two TCP figures bracket what a Python program can hope for: blocking sockets (no event loop, no encryption) and
asyncio streams (the event loop, no encryption). The mesh encrypts, authenticates and hashes on top. Each transfer is
acknowledged by the receiver after the last byte; the receivers run in processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flaas_jupyter.communications.directory import Directory, Membership, Record, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_carrier import IrohCarrier
from flaas_jupyter.communications.mesh import Mesh, Route
from flaas_jupyter.communications.wire import Message

DOMAIN = "bench"
MIB = 64
SIZE = MIB << 20
CHUNK = 1 << 20
ROUNDS = 7
ACKNOWLEDGED = b"\x06"


# -- receivers, each in a process of its own -------------------------------------------------------------


def receive_blocking() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(json.dumps(listener.getsockname()[1]), flush=True)
    connection, _ = listener.accept()
    target = memoryview(bytearray(SIZE))
    while True:
        filled = 0
        while filled < SIZE:
            count = connection.recv_into(target[filled:])
            if not count:
                return
            filled += count
        connection.sendall(ACKNOWLEDGED)


async def receive_asyncio() -> None:
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        target = memoryview(bytearray(SIZE))
        try:
            while True:
                filled = 0
                while filled < SIZE:
                    piece = await reader.read(min(SIZE - filled, CHUNK))
                    if not piece:
                        return
                    target[filled : filled + len(piece)] = piece
                    filled += len(piece)
                writer.write(ACKNOWLEDGED)
                await writer.drain()
        finally:
            writer.close()
            done.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=2 * CHUNK)
    print(json.dumps(server.sockets[0].getsockname()[1]), flush=True)
    await done.wait()


async def receive_mesh() -> None:
    order = json.loads(sys.stdin.readline())
    identity = Identity(bytes.fromhex(order["seed"]))
    directory = Directory(DOMAIN, order["domain_key"])
    directory.update(order["listing"])

    async def keep(peer: object, message: Message) -> Message:
        return Message("ok", {"bytes": message.nbytes})

    carrier = await IrohCarrier.bind(identity)
    async with await Mesh.open(identity, directory, carrier=carrier, handlers={"keep": Route(keep, limit=SIZE)}):
        print(json.dumps(list(carrier.whereabouts.addresses)), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


# -- senders: each yields a function that sends `SIZE` bytes and returns once they are acknowledged ------


class Receiver:
    """A receiver's process; it tells where it listens in its first line."""

    def __init__(self, name: str, order: dict[str, Any] | None = None) -> None:
        command = [sys.executable, str(Path(__file__)), name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin
        assert self.process.stdout
        if order is not None:
            self.process.stdin.write(json.dumps(order) + "\n")
            self.process.stdin.flush()
        self.where = json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate("\n", timeout=30)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


Sender = tuple[Receiver, Callable[[], None]]


def blocking(data: np.ndarray[Any, Any]) -> Iterator[Sender]:
    receiver = Receiver("blocking")
    with socket.create_connection(("127.0.0.1", receiver.where)) as connection:

        def send() -> None:
            connection.sendall(data.data)
            assert connection.recv(1) == ACKNOWLEDGED

        yield receiver, send
    receiver.close()


def streams(data: np.ndarray[Any, Any]) -> Iterator[Sender]:
    receiver = Receiver("asyncio")
    with asyncio.Runner() as runner:
        reader, writer = runner.run(asyncio.open_connection("127.0.0.1", receiver.where, limit=2 * CHUNK))

        async def transfer() -> None:
            for start in range(0, SIZE, CHUNK):
                writer.write(data.data[start : start + CHUNK])
                await writer.drain()
            assert await reader.readexactly(1) == ACKNOWLEDGED

        yield receiver, lambda: runner.run(transfer())
        writer.close()
    receiver.close()


def mesh(data: np.ndarray[Any, Any]) -> Iterator[Sender]:
    domain, ours, theirs = Identity.generate(), Identity.generate(), Identity.generate()
    now = int(time.time())
    listing: dict[str, Any] = {
        "domain": DOMAIN,
        "domain_key": domain.node_id,
        "memberships": [
            sign_membership(domain, Membership(DOMAIN, node.node_id, "o", ("node",), now - 9, now + 9999, 1))
            for node in (ours, theirs)
        ],
        "records": [],
    }
    receiver = Receiver("mesh", {"seed": theirs.seed.hex(), "domain_key": domain.node_id, "listing": listing})
    record = Record(DOMAIN, theirs.node_id, tuple(receiver.where), (), (), 1, now, now + 800)
    listing["records"] = [record.sign(theirs)]
    directory = Directory(DOMAIN, domain.node_id)
    directory.update(listing)

    async def open_mesh() -> Mesh:
        return await Mesh.open(ours, directory, carrier=await IrohCarrier.bind(ours))

    with asyncio.Runner() as runner:
        node = runner.run(open_mesh())

        async def transfer() -> None:
            reply = await node.call(theirs.node_id, Message("keep", {}, {"weights": data.view(np.float32)}))
            assert reply.body == {"bytes": SIZE}

        yield receiver, lambda: runner.run(transfer())
        runner.run(node.close())
    receiver.close()


@pytest.fixture(scope="module")
def data() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, SIZE, np.uint8)


def measured(kind: Callable[[np.ndarray[Any, Any]], Iterator[Sender]], data: np.ndarray[Any, Any]) -> float:
    """Return the median MiB/s of one kind of transfer, after one to warm up."""
    seconds = []
    for _, send in kind(data):
        send()
        for _ in range(ROUNDS):
            start = time.perf_counter()
            send()
            seconds.append(time.perf_counter() - start)
    return MIB / statistics.median(seconds)


@pytest.mark.benchmark(group="mesh throughput / TCP loopback")
def test_mesh_throughput(benchmark: Any, data: np.ndarray[Any, Any]) -> None:
    tcp, tcp_asyncio = measured(blocking, data), measured(streams, data)
    for receiver, send in mesh(data):
        send()
        ours, theirs = time.process_time(), receiver.cpu_seconds()
        benchmark.pedantic(send, rounds=ROUNDS)
        moved = MIB * ROUNDS
        benchmark.extra_info["sender_cpu_ms_per_mib"] = round(1e3 * (time.process_time() - ours) / moved, 2)
        benchmark.extra_info["receiver_cpu_ms_per_mib"] = round(1e3 * (receiver.cpu_seconds() - theirs) / moved, 2)
    throughput = MIB / benchmark.stats.stats.median
    benchmark.extra_info |= {
        "mesh_mib_per_s": round(throughput, 1),
        "tcp_blocking_mib_per_s": round(tcp, 1),
        "tcp_asyncio_mib_per_s": round(tcp_asyncio, 1),
        "mesh throughput / TCP loopback": round(throughput / tcp, 4),
        "mesh throughput / asyncio TCP loopback": round(throughput / tcp_asyncio, 4),
    }


if __name__ == "__main__":
    receivers: dict[str, Callable[[], Any]] = {
        "blocking": receive_blocking,
        "asyncio": lambda: asyncio.run(receive_asyncio()),
        "mesh": lambda: asyncio.run(receive_mesh()),
    }
    receivers[sys.argv[1]]()
