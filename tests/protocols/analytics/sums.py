"""Sums over nodes, by the limbs of the real thing: what every test of statistics needs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from flaas_jupyter.protocols.analytics import Opened, Released, ReleasePolicy, Statistic, release, statistics
from flaas_jupyter.protocols.secure_aggregation import (
    RoundSettings,
    decode_integers,
    default_threshold,
    encode_integers,
)

EXACT = ReleasePolicy(minimum_group=1, order="exact", derived="any")


def members(count: int) -> tuple[str, ...]:
    return tuple(hashlib.sha256(str(number).encode()).hexdigest() for number in range(count))


def opened(statistic: Statistic, tables: Sequence[Mapping[str, Any]], seed: int = 0) -> Opened:
    """Sum a statistic over nodes' tables."""
    names = members(len(tables))
    settings = RoundSettings("domain", "run", 1, 0, names, "", 8.0)
    total = None
    for place, table in enumerate(tables):
        vector = statistic.encode(statistic.local(table))
        assert vector.shape == (statistic.length,)
        if statistic.epsilon is not None:
            key = hashlib.sha256(f"{seed} {place}".encode()).digest()
            vector = vector + statistic.noise(len(names), default_threshold(len(names)), key)
        encoded = encode_integers(vector, settings)
        total = encoded if total is None else total + encoded
    assert total is not None
    return statistic.decode(decode_integers(total, settings))


def asked(
    data: Mapping[str, Any], tables: Sequence[Mapping[str, Any]], policy: ReleasePolicy = EXACT, seed: int = 0
) -> Released:
    """Ask for a statistic over nodes' tables, through JSON both ways."""
    statistic = statistics.parse(data)
    again = statistics.parse(statistic.to_dict())
    assert again == statistic
    assert again.digest == statistic.digest
    told = release.release(opened(again, tables, seed), again, policy, members(len(tables)))
    return Released.from_dict(told.to_dict())


def divided(table: Mapping[str, Any], nodes: int) -> list[dict[str, Any]]:
    """Deal rows out to nodes in turn."""
    return [{name: np.asarray(column)[node::nodes] for name, column in table.items()} for node in range(nodes)]
