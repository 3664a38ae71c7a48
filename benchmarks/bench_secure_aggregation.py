"""Secure sums over their limits: what the protocol costs beyond unavoidable arithmetic.

*A member* masks its vector. The limit is the same run's bare time for as many AES-256-CTR keystreams (one for each
neighbour and the member's own) added to a vector of that size: no keys to derive, no shares to open, no result to
allocate. Its loop is the quicker of the two orders to nest keys and blocks in, at 256 KiB a block.

*The aggregator* adds up the vectors of nine tenths of the members and takes away the masks that are left. The limit is
adding as many vectors, and as many keystreams as it must make again: one for each survivor, and one for each pair of a
lost member and a surviving neighbour. Checking signatures and shares, and rebuilding secrets, come on top.

Between two turns of the one stands one of the other, so that what disturbs the machine disturbs both. BENCH_QUICK=1
measures a million values only.
"""

from __future__ import annotations

import copy
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from flaas_jupyter.communications.identity import Identity, verify
from flaas_jupyter.protocols.secure_aggregation import (
    Member,
    Reveal,
    RoundSettings,
    SecureSum,
    Session,
    decode_integers,
    decode_sum,
    encode_integers,
    encode_update,
)

QUICK = os.environ.get("BENCH_QUICK", "") not in ("", "0")
MILLION = 1_000_000
SIZES = (MILLION,) if QUICK else (MILLION, 10 * MILLION)
MEMBERS = (10, 30, 100)
CLIENT_LIMIT, SERVER_LIMIT = 1.5, 2.0
BLOCK = 1 << 16


def limit(vector: np.ndarray, keys: list[bytes]) -> None:
    """Add the keystream of each key to the vector, and do nothing else."""
    ciphers = [Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor() for key in keys]
    zeros, buffer = memoryview(bytes(4 * BLOCK)), bytearray(4 * BLOCK + 16)
    stream = np.frombuffer(buffer, np.uint32)
    for start in range(0, vector.size, BLOCK):
        block = vector[start : start + BLOCK]
        for cipher in ciphers:
            cipher.update_into(zeros[: block.nbytes], buffer)
            np.add(block, stream[: block.size], out=block)


@dataclass
class Prepared:
    """A round of which everything but the vectors has passed; a tenth of the members sends none."""

    settings: RoundSettings
    session: Session
    ready: Member
    inbox: dict[str, bytes]
    aggregator: SecureSum
    survivors: list[str]
    signatures: dict[str, bytes] = field(default_factory=dict)
    reveals: dict[str, dict[str, Reveal]] = field(default_factory=dict)

    @property
    def keystreams(self) -> int:
        """How many the aggregator must make again."""
        graph, alive = self.session.graph, set(self.survivors)
        lost = self.session.advertisements.keys() - alive
        return len(alive) + sum(len(alive.intersection(graph.neighbours(member))) for member in lost)


@lru_cache(maxsize=1)
def prepared(members: int) -> Prepared:
    identities = {one.node_id: one for one in (Identity.generate() for _ in range(members))}
    settings = RoundSettings("bench", "run", 1, 0, tuple(identities), "00" * 32, 8.0)
    everyone = {name: Member(settings, name, one.sign, verify) for name, one in identities.items()}
    advertisements = {name: member.advertise() for name, member in everyone.items()}
    sealed = {name: member.share(advertisements) for name, member in everyone.items()}
    aggregator = SecureSum(settings, verify=verify)
    aggregator.advertised(advertisements)
    inboxes = aggregator.shared(sealed)
    survivors = sorted(settings.members)[members // 10 :]
    name = survivors[len(survivors) // 2]
    # `Member` replaces what it holds and changes nothing of it: a shallow copy is at the same point of the round.
    ready = copy.copy(everyone[name])
    for survivor in survivors:
        everyone[survivor].mask(np.zeros(1, np.uint32), inboxes[survivor])
    here = Prepared(settings, Session(settings, advertisements), ready, inboxes[name], aggregator, survivors)
    here.signatures = {name: everyone[name].confirm(survivors) for name in survivors}
    here.reveals = {name: everyone[name].unmask(here.signatures) for name in survivors}
    return here


def in_turns(benchmark: Any, work: Callable[[], Any], bare: Callable[[], Any], turns: int, allowed: float) -> None:
    """Measure both alternately; the ratio of their medians must not exceed what is allowed."""
    seconds = []

    def setup() -> None:
        began = time.perf_counter()
        bare()
        seconds.append(time.perf_counter() - began)

    benchmark.pedantic(work, setup=setup, rounds=turns, warmup_rounds=1)
    at_limit = statistics.median(seconds)
    ratio = benchmark.stats.stats.median / at_limit
    benchmark.extra_info |= {"limit_seconds": at_limit, "ratio": ratio, "allowed": allowed}
    assert ratio <= allowed


@pytest.mark.parametrize("values", SIZES)
@pytest.mark.parametrize("members", MEMBERS)
def test_masking_over_its_limit(benchmark: Any, members: int, values: int) -> None:
    here = prepared(members)
    vector = np.random.default_rng(0).integers(0, 1 << 32, values, dtype=np.uint32)
    keys = [bytes([i]) * 32 for i in range(len(here.inbox) + 1)]
    scratch = vector.copy()
    turns = max(3, 25 * MILLION * 10 // (values * members))
    in_turns(
        benchmark,
        lambda: copy.copy(here.ready).mask(vector, here.inbox),
        lambda: limit(scratch, keys),
        turns,
        CLIENT_LIMIT,
    )
    benchmark.extra_info |= {"neighbours": len(here.inbox)}


@pytest.mark.parametrize("values", SIZES)
@pytest.mark.parametrize("members", MEMBERS)
def test_opening_over_its_limit(benchmark: Any, members: int, values: int) -> None:
    here = prepared(members)
    vector = np.random.default_rng(0).integers(0, 1 << 32, values, dtype=np.uint32)
    keys = [i.to_bytes(2, "big") * 16 for i in range(here.keystreams)]

    def work() -> np.ndarray:
        aggregator = copy.copy(here.aggregator)
        aggregator._added = set()
        for name in here.survivors:
            aggregator.add(name, vector)
        assert list(aggregator.survivors) == here.survivors
        aggregator.confirmed(here.signatures)
        return aggregator.open(here.reveals)

    def bare() -> None:
        total = np.zeros_like(vector)
        for _ in here.survivors:
            np.add(total, vector, out=total)
        limit(total, keys)

    turns = max(2, 10 * MILLION * 10 // (values * members))
    in_turns(benchmark, work, bare, turns, SERVER_LIMIT)
    benchmark.extra_info |= {"keystreams": here.keystreams}


def test_encoding(benchmark: Any) -> None:
    settings = prepared(10).settings
    rng = np.random.default_rng(0)
    delta = rng.normal(0, 0.01, MILLION).astype(np.float32)
    vector = benchmark(encode_update, delta, 10, 10, {"loss": 0.5}, settings, rng)
    opened = decode_sum(vector, 1, ["loss"], settings, MILLION, 10)
    assert np.abs(opened.mean - delta).max() < opened.error_bound


def test_exact_integers(benchmark: Any) -> None:
    settings = prepared(10).settings
    numbers = np.random.default_rng(0).integers(-(1 << 61), 1 << 61, MILLION)
    read = benchmark(lambda: decode_integers(encode_integers(numbers, settings), settings, summed=1))
    np.testing.assert_array_equal(read, numbers)
