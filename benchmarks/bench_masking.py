"""Masking time / keystream + add limit: what the protocol costs beyond unavoidable arithmetic.

One member of ten masks a million values. The limit is the same run's bare time for as many AES-256-CTR
keystreams (nine pairs and the member's own) added to a vector of that size: no keys to derive, no shares to
open, no result to allocate. Its loop is the quicker of the two orders to nest keys and blocks in, at 256 KiB
a block.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from flaas_jupyter.communications.identity import Identity, verify
from flaas_jupyter.protocols.secure_aggregation import Member, RoundSettings, decode_sum, encode_update

VALUES = 1_000_000
MEMBERS = 10
REPETITIONS = 25
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


def members() -> tuple[RoundSettings, dict[str, Member]]:
    identities = {one.node_id: one for one in (Identity.generate() for _ in range(MEMBERS))}
    settings = RoundSettings("bench", "run", 1, 0, tuple(identities), "00" * 32, 8.0)
    return settings, {name: Member(settings, name, one.sign, verify) for name, one in identities.items()}


def ready_to_mask() -> Callable[[np.ndarray], np.ndarray]:
    """Return one member's masking, all messages before it passed on."""
    _, everyone = members()
    advertisements = {name: member.advertise() for name, member in everyone.items()}
    sealed = {name: member.share(advertisements) for name, member in everyone.items()}
    name = sorted(everyone)[MEMBERS // 2]
    inbox = {sender: blobs[name] for sender, blobs in sealed.items() if sender != name}
    return lambda vector: everyone[name].mask(vector, inbox)


def test_masking_over_its_limit(benchmark: Any) -> None:
    vector = np.random.default_rng(0).integers(0, 1 << 32, VALUES, dtype=np.uint32)
    keys = [bytes([i]) * 32 for i in range(MEMBERS)]
    work, bare = vector.copy(), []

    def setup() -> tuple[tuple[Any, ...], dict[str, Any]]:
        # Between two rounds of the masking stands one of the limit: what disturbs the machine disturbs both.
        mask = ready_to_mask()
        began = time.perf_counter()
        limit(work, keys)
        bare.append(time.perf_counter() - began)
        return (mask, vector), {}

    masked = benchmark.pedantic(lambda mask, values: mask(values), setup=setup, rounds=REPETITIONS)
    assert masked.shape == vector.shape
    at_limit = statistics.median(bare)
    benchmark.extra_info["limit_seconds"] = at_limit
    benchmark.extra_info["ratio"] = benchmark.stats.stats.median / at_limit


def test_encoding(benchmark: Any) -> None:
    settings, _ = members()
    rng = np.random.default_rng(0)
    delta = rng.normal(0, 0.01, VALUES).astype(np.float32)
    vector = benchmark(encode_update, delta, 10, 10, {"loss": 0.5}, settings, rng)
    opened = decode_sum(vector, 1, ["loss"], settings, VALUES, 10)
    assert np.abs(opened.mean - delta).max() < opened.error_bound
