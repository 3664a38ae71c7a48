"""This project's secure sum, both sides, every message handed over in memory: the figures of flower/run_secagg.py."""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from flaas_jupyter.communications.identity import Identity, verify
from flaas_jupyter.protocols.secure_aggregation import Member, RoundSettings, SecureSum, decode_sum, encode_update


class Clock:
    """Seconds by member."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - began


def one_round(updates: dict[str, np.ndarray], identities: dict[str, Identity], dropped: set[str]) -> dict[str, float]:
    size = next(iter(updates.values())).size
    clock, rng, began = Clock(), np.random.default_rng(1), time.perf_counter()
    settings = RoundSettings("bench", "run", 1, 0, tuple(identities), "00" * 32, 8.0)
    server = SecureSum(settings, verify=verify)
    members, advertisements, sealed, signatures, reveals = {}, {}, {}, {}, {}
    for name, identity in identities.items():
        with clock.of(name):
            members[name] = Member(settings, name, identity.sign, verify)
            advertisements[name] = members[name].advertise()
    server.advertised(advertisements)
    for name in identities:
        with clock.of(name):
            sealed[name] = members[name].share(advertisements)
    inboxes = server.shared(sealed)
    for name in identities.keys() - dropped:
        with clock.of(name):
            masked = members[name].mask(encode_update(updates[name], 1, 1, {}, settings, rng), inboxes[name])
        server.add(name, masked)
    survivors = server.survivors
    for name in survivors:
        with clock.of(name):
            signatures[name] = members[name].confirm(survivors)
    server.confirmed(signatures)
    for name in survivors:
        with clock.of(name):
            reveals[name] = members[name].unmask(signatures)
    opened = decode_sum(server.open(reveals), len(survivors), [], settings, size, 1)
    seconds = time.perf_counter() - began
    wanted = np.mean([updates[name] for name in survivors], axis=0)
    return {
        "seconds": seconds,
        "client": statistics.median(clock.seconds[name] for name in survivors),
        "server": seconds - sum(clock.seconds.values()),
        "error": float(np.abs(opened.mean - wanted).max()) if size else 0.0,
    }


def main() -> None:
    options = argparse.ArgumentParser()
    for name in ("members", "values", "dropped", "repetitions"):
        options.add_argument(f"--{name}", type=int, required=True)
    options.add_argument("--started")
    asked = options.parse_args()
    rng = np.random.default_rng(0)
    identities = {one.node_id: one for one in (Identity.generate() for _ in range(asked.members))}
    updates = {name: rng.normal(0, 0.01, asked.values).astype(np.float32) for name in identities}
    dropped = set(sorted(identities)[: asked.dropped])
    rounds = [one_round(updates, identities, dropped) for _ in range(asked.repetitions)]
    print(json.dumps({name: statistics.median(one[name] for one in rounds) for name in rounds[0]}))


if __name__ == "__main__":
    main()
