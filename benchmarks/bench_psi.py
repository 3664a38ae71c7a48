"""Private set intersection over its limit: the curve multiplications that it cannot do without.

Two parties with 100,000 ids each, half of them in common, in one process after another: ids to points, two blindings at
either side, shuffling, comparing. The limit is the bare time of the four times 100,000 multiplications of X25519 of the
same run. The parties take turns with the limit in slices, so that what disturbs the machine disturbs both.
"""

from __future__ import annotations

import os
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from flaas_jupyter.protocols.vertical.curve import ARITHMETIC, as_list
from flaas_jupyter.protocols.vertical.ids import canonical_ids
from flaas_jupyter.protocols.vertical.psi import PrivateSet

IDS = 20_000 if os.environ.get("BENCH_QUICK") else 100_000


def multiplications(points: list[bytes]) -> float:
    """Return the seconds of one multiplication for each of the points, with nothing around it."""
    key = X25519PrivateKey.generate()
    began = time.perf_counter()
    for point in points:
        key.exchange(X25519PublicKey.from_public_bytes(point))
    return time.perf_counter() - began


def test_intersection_over_its_limit(benchmark: Any) -> None:
    one = [f"ES-{number:09d}" for number in range(IDS)]
    other = [f"ES-{number:09d}" for number in range(IDS // 2, IDS + IDS // 2)]
    limit = 0.0
    seconds = {"points": 0.0, "first": 0.0, "second": 0.0, "common": 0.0}

    def timed(phase: str, work: Any) -> Any:
        began = time.perf_counter()
        found = work()
        seconds[phase] += time.perf_counter() - began
        return found

    def run() -> int:
        nonlocal limit
        holder = timed("points", lambda: PrivateSet(canonical_ids(one)))
        feature = timed("points", lambda: PrivateSet(canonical_ids(other)))
        sent = timed("first", holder.first)
        limit += multiplications(as_list(sent))
        received = timed("first", feature.first)
        limit += multiplications(as_list(received))
        twice = timed("second", lambda: feature.second(sent))
        limit += multiplications(as_list(twice))
        theirs = timed("second", lambda: holder.second(received))
        limit += multiplications(as_list(theirs))
        _, positions = timed("common", lambda: holder.common(twice, theirs))
        return len(timed("common", lambda: feature.confirm(positions, len(sent))))

    assert benchmark.pedantic(run, rounds=1, iterations=1) == IDS // 2
    benchmark.extra_info["ids"] = IDS
    benchmark.extra_info["arithmetic"] = ARITHMETIC
    benchmark.extra_info["seconds"] = {**seconds, "total": sum(seconds.values())}
    benchmark.extra_info["limit_seconds"] = limit
    benchmark.extra_info["ratio"] = sum(seconds.values()) / limit
