"""A relay's throughput against the direct path between the same two endpoints on the same machine, in the same run.

Sender, receiver and relay are processes of their own. Both transfers are one QUIC connection with the product's
endpoints, 64 MiB in four streams, acknowledged after the last byte; direct and relayed ones alternate, so that what
disturbs the machine disturbs both. For the relayed ones UDP is blocked at both ends. The relay works as it is served,
but without its limit of the rate: WebSocket on loopback, members from a signed directory.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "communications"))

from blocked_udp import block_udp

from flaas_jupyter.communications.directory import Directory, Membership, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_endpoint import LOOPBACK, bind_endpoint, iroh

DOMAIN, ALPN = "bench", b"bench/1"
MIB, STREAMS, ROUNDS = 64, 4, 7
PART = (MIB << 20) // STREAMS
CHUNK = 256 << 10
LIMIT = 0.4
ACKNOWLEDGED = b"\x06"


class Listed:
    """A directory that never changes, as the relay's client of the API would fetch it."""

    def __init__(self, listing: dict[str, Any]) -> None:
        self._listing = listing

    async def get(self, path: str, **options: Any) -> dict[str, Any]:
        return self._listing

    def etag(self, path: str) -> str:
        return "it"


async def relay(order: dict[str, Any]) -> None:
    from flaas_jupyter.communications.relay.admission import Admission
    from flaas_jupyter.communications.relay.limits import Limits
    from flaas_jupyter.communications.relay.server import RelayServer

    admission = Admission([Directory(DOMAIN, order["domain_key"])], Listed(order["listing"]))  # type: ignore[arg-type]
    await admission.refresh()
    async with RelayServer(admission, limits=Limits(rate=0)) as server:
        print(json.dumps(server.url), flush=True)
        await asyncio.to_thread(sys.stdin.readline)


async def receive(order: dict[str, Any]) -> None:
    endpoint = await open_endpoint(Identity(bytes.fromhex(order["seed"])), order["relay"])
    print(json.dumps(endpoint.addr().direct_addresses()), flush=True)
    connection = await (await (await endpoint.accept_next()).accept()).connect()

    async def take() -> None:
        stream = await connection.accept_bi()
        receiving, left = stream.recv(), PART
        while left:
            left -= len(await receiving.read(min(left, 1 << 20)))
        await stream.send().write_all(ACKNOWLEDGED)
        await stream.send().finish()

    async def serve() -> None:
        while True:
            await asyncio.gather(*(take() for _ in range(STREAMS)))

    serving = asyncio.create_task(serve())
    await asyncio.to_thread(sys.stdin.readline)
    serving.cancel()
    await endpoint.close()


async def open_endpoint(identity: Identity, relay_url: str | None) -> Any:
    endpoint = await bind_endpoint(identity, LOOPBACK, [ALPN], [relay_url] if relay_url else None)
    if relay_url:
        block_udp(endpoint)
        await asyncio.wait_for(endpoint.online(), 10)
    return endpoint


class Helper:
    """A process beside the sender's; what it says in its first line is `where`."""

    def __init__(self, name: str, order: dict[str, Any]) -> None:
        command = [sys.executable, str(Path(__file__)), name]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        self.where = json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate("\n", timeout=30)

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Transfer:
    """A connection of this process with a receiver, direct or by way of a relay."""

    def __init__(self, endpoint: Any, connection: Any, receiver: Helper) -> None:
        self.endpoint, self.connection, self.receiver = endpoint, connection, receiver

    @classmethod
    async def open(cls, ours: Identity, theirs: Identity, relay_url: str | None) -> Transfer:
        order = {"seed": theirs.seed.hex(), "relay": relay_url}
        receiver = await asyncio.to_thread(Helper, "receive", order)
        endpoint = await open_endpoint(ours, relay_url)
        addresses = [] if relay_url else receiver.where
        target = iroh().EndpointAddr(iroh().EndpointId.from_string(theirs.node_id), relay_url, addresses)
        return cls(endpoint, await endpoint.connect(target, ALPN), receiver)

    async def send(self, data: bytes) -> None:
        async def part() -> None:
            stream = await self.connection.open_bi()
            sending = stream.send()
            for start in range(0, PART, CHUNK):
                await sending.write_all(data[start : start + CHUNK])
            await sending.finish()
            assert bytes(await stream.recv().read_to_end(16)) == ACKNOWLEDGED

        await asyncio.gather(*(part() for _ in range(STREAMS)))

    def is_relayed(self) -> bool:
        return all(path.is_relay for path in self.connection.paths() if path.is_selected)

    async def close(self) -> None:
        self.connection.close(0, b"")
        await self.endpoint.close()
        await asyncio.to_thread(self.receiver.close)


@pytest.mark.benchmark(group="relay throughput / direct")
def test_relay_throughput(benchmark: Any) -> None:
    domain, nodes = Identity.generate(), [Identity.generate() for _ in range(4)]
    now = int(time.time())
    members = [Membership(DOMAIN, node.node_id, "o", ("node",), now - 9, now + 9999, 1) for node in nodes]
    listing = {
        "domain": DOMAIN,
        "domain_key": domain.node_id,
        "memberships": [sign_membership(domain, member) for member in members],
        "records": [],
    }
    server = Helper("relay", {"domain_key": domain.node_id, "listing": listing})
    data = os.urandom(PART)
    with asyncio.Runner() as runner:
        direct = runner.run(Transfer.open(nodes[0], nodes[1], None))
        relayed = runner.run(Transfer.open(nodes[2], nodes[3], server.where))
        for transfer in (direct, relayed):
            runner.run(transfer.send(data))
        assert relayed.is_relayed()
        assert not direct.is_relayed()
        direct_seconds: list[float] = []
        spent = {"relay": 0.0, "sender": 0.0, "receiver": 0.0}

        def without_relay() -> None:
            start = time.perf_counter()
            runner.run(direct.send(data))
            direct_seconds.append(time.perf_counter() - start)

        def through_relay() -> None:
            before = server.cpu_seconds(), time.process_time(), relayed.receiver.cpu_seconds()
            runner.run(relayed.send(data))
            after = server.cpu_seconds(), time.process_time(), relayed.receiver.cpu_seconds()
            for name, begun, ended in zip(spent, before, after, strict=True):
                spent[name] += ended - begun

        benchmark.pedantic(through_relay, setup=without_relay, rounds=ROUNDS)
        assert relayed.is_relayed()
        runner.run(direct.close())
        runner.run(relayed.close())
    server.close()
    relay_mib, direct_mib = MIB / benchmark.stats.stats.median, MIB / statistics.median(direct_seconds)
    ratio = relay_mib / direct_mib
    benchmark.extra_info |= {
        "relay_mib_per_s": round(relay_mib, 1),
        "direct_mib_per_s": round(direct_mib, 1),
        **{f"{name}_cpu_ms_per_mib": round(1e3 * seconds / (MIB * ROUNDS), 2) for name, seconds in spent.items()},
        "ratio": round(ratio, 3),
        "limit": LIMIT,
    }
    assert ratio >= LIMIT


if __name__ == "__main__":
    order = json.loads(sys.stdin.readline())
    asyncio.run({"relay": relay, "receive": receive}[sys.argv[1]](order))
