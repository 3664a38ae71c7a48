"""Large messages in ranges / in one frame over the same connection, and what compression of updates saves and costs.

Throughput: 64 MiB from one process to another over the mesh on loopback, in ranges over several streams and as one
frame on one stream, in turns on the same connection; the ratio is that of the medians. While 256 MiB flow, small
messages are answered: their median and worst times are told, with that of an idle connection beside them.

Compression: the demo's hospitals in a simulation, each compression against none with the same seeds: bytes of updates,
accuracy on the common test set. And how quickly a million parameters are compressed and restored.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator
from typing import Any

import bench_mesh
import numpy as np
import pytest

from flaas_jupyter.communications import transfers
from flaas_jupyter.communications.directory import Directory, Membership, Record, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.iroh_carrier import IrohCarrier
from flaas_jupyter.communications.mesh import Mesh
from flaas_jupyter.communications.wire import Message
from flaas_jupyter.protocols.compression import compression

MIB = bench_mesh.MIB
FLOWING = 4
"""Messages of 64 MiB that flow while small ones are answered."""

PARAMETERS = 1_000_000
SECURE = ("int16", "int8", "randomk")


class Pair:
    """A mesh here, and one in a process of its own."""

    def __init__(self, runner: asyncio.Runner) -> None:
        domain, ours, theirs = Identity.generate(), Identity.generate(), Identity.generate()
        now, name = int(time.time()), bench_mesh.DOMAIN
        memberships = [
            sign_membership(domain, Membership(name, node.node_id, "o", ("node",), now - 9, now + 9999, 1))
            for node in (ours, theirs)
        ]
        listing: dict[str, Any] = {
            "domain": name, "domain_key": domain.node_id, "memberships": memberships, "records": [],
        }  # fmt: skip
        order = {"seed": theirs.seed.hex(), "domain_key": domain.node_id, "listing": listing}
        self.receiver, self.node_id = bench_mesh.Receiver("mesh", order), theirs.node_id
        record = Record(name, theirs.node_id, *map(tuple, self.receiver.where), 1, now, now + 800)
        directory = Directory(name, domain.node_id)
        directory.update({**listing, "records": [record.sign(theirs)]})
        self.runner = runner
        self.mesh: Mesh = runner.run(self._open(ours, directory))
        self.weights = np.random.default_rng(0).integers(0, 1 << 32, MIB << 18, np.uint32).view(np.float32)

    async def _open(self, identity: Identity, directory: Directory) -> Mesh:
        return await Mesh.open(identity, directory, carrier=await IrohCarrier.bind(identity))

    async def send(self) -> None:
        reply = await self.mesh.call(self.node_id, Message("keep", {}, {"weights": self.weights}))
        assert reply.body == {"bytes": MIB << 20}

    async def ping(self) -> float:
        began = time.perf_counter()
        await self.mesh.call(self.node_id, Message("keep"))
        return time.perf_counter() - began


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with asyncio.Runner() as runner:
        pair = Pair(runner)
        yield pair
        runner.run(pair.mesh.close())
        pair.receiver.close()


@pytest.mark.benchmark(group="ranges / one frame")
def test_throughput_of_ranges_over_one_frame(benchmark: Any, pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    single = []

    def one_frame() -> None:
        with monkeypatch.context() as patched:
            patched.setattr(transfers, "SINGLE_FRAME", 1 << 40)
            began = time.perf_counter()
            pair.runner.run(pair.send())
            single.append(time.perf_counter() - began)

    one_frame()
    pair.runner.run(pair.send())
    single.clear()
    benchmark.pedantic(lambda: pair.runner.run(pair.send()), setup=one_frame, rounds=bench_mesh.ROUNDS)
    ranges, frame = MIB / benchmark.stats.stats.median, MIB / statistics.median(single)
    benchmark.extra_info |= {
        "ranges_mib_per_s": round(ranges, 1),
        "one_frame_mib_per_s": round(frame, 1),
        "ranges / one frame": round(ranges / frame, 3),
    }


@pytest.mark.benchmark(group="small messages beside large ones")
def test_small_messages_beside_large_ones(benchmark: Any, pair: Pair) -> None:
    async def idle() -> list[float]:
        return [await pair.ping() for _ in range(50)]

    async def busy() -> list[float]:
        large = asyncio.create_task(flow())
        waits = []
        while not large.done():
            waits.append(await pair.ping())
            await asyncio.sleep(0.005)
        await large
        return waits

    async def flow() -> None:
        for _ in range(FLOWING):
            await pair.send()

    quiet = pair.runner.run(idle())
    beside = benchmark.pedantic(lambda: pair.runner.run(busy()), rounds=1)
    benchmark.extra_info |= {
        "idle_median_ms": round(1e3 * statistics.median(quiet), 2),
        "beside_median_ms": round(1e3 * statistics.median(beside), 2),
        "beside_95_percent_ms": round(1e3 * sorted(beside)[int(0.95 * len(beside))], 2),
        "beside_worst_ms": round(1e3 * max(beside), 2),
        "asked": len(beside),
    }


@pytest.mark.parametrize("name", compression.names())
def test_time_of_a_compression(benchmark: Any, name: str) -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(0, 0.1, PARAMETERS).astype(np.float32)
    weights = start + rng.normal(0, 1e-3, PARAMETERS).astype(np.float32)
    compressor = compression(name)

    def there_and_back() -> int:
        made = compressor.compress(weights, start, rng=rng, common=b"1")
        compressor.restore(made.tensors, start, common=b"1")
        return made.nbytes

    size = benchmark.pedantic(there_and_back, rounds=3, warmup_rounds=1)
    benchmark.extra_info["bytes / float32"] = round(size / weights.nbytes, 3)


@pytest.mark.parametrize("name", [None, *compression.names(), *(f"{name}, secure" for name in SECURE)])
def test_bytes_and_accuracy_of_a_compression(benchmark: Any, name: str | None) -> None:
    import flaas_jupyter as flaas
    from flaas_jupyter.demo import breast_cancer, run

    split = breast_cancer.load()
    target = breast_cancer.TARGET

    def arrays(table: Any) -> tuple[np.ndarray, np.ndarray]:
        return table.drop(columns=target).to_numpy("float32"), table[target].to_numpy("float32")

    secure = name is not None and name.endswith("secure")
    kind = None if name is None else name.partition(",")[0]
    options = {"fraction": 0.1} if kind in ("topk", "randomk") else {}
    model = run.model(secure_aggregation=secure)
    model.compression = None if kind is None else compression(kind, **options)
    federation = flaas.simulate(clients=[arrays(table) for table in split.hospitals.values()], journal=False)
    how = {"rounds": run.ROUNDS, "local_epochs": run.LOCAL_EPOCHS, "batch_size": run.BATCH_SIZE, "seed": run.SEED}
    try:
        benchmark.pedantic(lambda: model.fit(federation, verbose=0, **how), rounds=1)
    finally:
        federation.close()
    measured = model.evaluate(*arrays(split.test), verbose=0, return_dict=True)
    report = model.federated_report
    benchmark.extra_info |= {"accuracy": round(measured["accuracy"], 4), "loss": round(measured["loss"], 4)}
    if kind is not None:
        ratio = report["update_bytes"].sum() / report["update_bytes_plain"].sum()
        benchmark.extra_info |= {
            "update bytes / plain": round(float(ratio), 3),
            "last error bound" if secure else "error": round(
                float(report["error_bound"].iloc[-1] if secure else report["compression_error"].mean()), 5
            ),
        }
