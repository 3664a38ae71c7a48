"""Which rows the parties have in common, and one order of them for all.

The label holder runs private set intersection (`protocols.vertical.psi`) with each feature party and intersects what
comes of it. The order is that of a hash of the plan's seed and the id: every party has the ids that are in common, so
each works it out by itself, it says nothing new, and it is the same in every run and in a simulation.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...protocols.vertical.psi import MAXIMUM, PrivateSet, hash_all
from . import sizes
from .exchange import Exchange, bad_message, tensor
from .state import Offload, inline
from .table import PartyTable

FIRST, SECOND, COMMON = "psi/first", "psi/second", "psi/common"


@dataclass(frozen=True)
class Alignment:
    """One party's part of an alignment.

    Parameters
    ----------
    rows : ndarray of int64, shape (c,)
        This party's rows that all parties have, in the common order.
    sizes : dict of str to int
        Ids of each party, as far as this party has learned: at a feature party its own and the label holder's.
    """

    rows: NDArray[np.int64] = field(repr=False)
    sizes: dict[str, int]


async def align(
    exchange: Exchange,
    table: PartyTable,
    *,
    seed: int,
    minimum: int = 1,
    maximum: int = MAXIMUM,
    offload: Offload = inline,
) -> Alignment:
    """Find the rows in common with all other parties.

    Parameters
    ----------
    exchange : Exchange
    table : PartyTable
        This party's rows.
    seed : int
        Of the common order; the same at all parties.
    minimum : int
        Fewer rows in common end it.
    maximum : int
        Most ids of one party.
    offload : callable
        Where points are multiplied, which takes some 40 µs each.

    Raises
    ------
    InvalidInput
        ``too-few-common``, ``too-many-ids``, ``bad-message``, ``bad-point``, ``bad-intersection``.
    """
    if exchange.me == exchange.label_holder:
        rows, known = await _as_label_holder(exchange, table, minimum, maximum, offload)
    else:
        rows, known = await _as_feature_party(exchange, table, minimum, maximum, offload)
    return Alignment(in_common_order(table.keys, rows, seed), known)


def align_here(tables: Mapping[str, PartyTable], seed: int) -> dict[str, Alignment]:
    """Return the alignments that `align` gives, for tables that all lie here, by comparing ids in the clear."""
    common = set.intersection(*(set(table.keys) for table in tables.values()))
    known = {party: table.rows for party, table in tables.items()}
    found = {}
    for party, table in tables.items():
        rows = np.array([at for at, key in enumerate(table.keys) if key in common], np.int64)
        found[party] = Alignment(in_common_order(table.keys, rows, seed), known)
    return found


def in_common_order(keys: Sequence[bytes], rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return `rows` ordered by SHA-256 of the seed and their ids."""
    prefix = b"flaas-vertical-order-v1" + seed.to_bytes(8, "big")
    ranked = sorted(rows.tolist(), key=lambda row: hashlib.sha256(prefix + keys[row]).digest())
    return np.array(ranked, np.int64)


async def _as_label_holder(
    exchange: Exchange, table: PartyTable, minimum: int, maximum: int, offload: Offload
) -> tuple[NDArray[np.int64], dict[str, int]]:
    others = [party for party in exchange.parties if party != exchange.me]
    points = await offload(lambda: hash_all(table.keys))
    pairs = await asyncio.gather(*(_pair(exchange, party, table, points, maximum, offload) for party in others))
    common = set.intersection(*(set(position_of) for position_of, _ in pairs))
    enough = len(common) >= minimum
    for party, (position_of, _) in zip(others, pairs, strict=True):
        # In the order of the feature party's own shuffle: the label holder's order of rows stays its own.
        positions = np.sort(np.array([position_of[row] for row in common] if enough else [], np.int64))
        await exchange.send(party, COMMON, {"enough": enough}, {"positions": positions})
    if not enough:
        raise sizes.too_few(minimum)
    known = {exchange.me: table.rows, **{party: size for party, (_, size) in zip(others, pairs, strict=True)}}
    return np.array(sorted(common), np.int64), known


async def _pair(
    exchange: Exchange, party: str, table: PartyTable, points: Sequence[bytes], maximum: int, offload: Offload
) -> tuple[dict[int, int], int]:
    """Return the label holder's rows that one feature party has too with their positions there, and its set's size."""
    own = await offload(lambda: PrivateSet(table.keys, points=points, maximum=maximum))
    await exchange.send(party, FIRST, {}, {"points": await offload(own.first)})
    _, received = await exchange.receive(party, FIRST)
    theirs = tensor(received, "points", (None, 32), "uint8", sender=party, kind=FIRST)
    their_twice = await offload(lambda: own.second(theirs))
    _, received = await exchange.receive(party, SECOND)
    own_twice = tensor(received, "points", (None, 32), "uint8", sender=party, kind=SECOND)
    places, positions = await offload(lambda: own.common(own_twice, their_twice))
    return dict(zip(places.tolist(), positions.tolist(), strict=True)), len(theirs)


async def _as_feature_party(
    exchange: Exchange, table: PartyTable, minimum: int, maximum: int, offload: Offload
) -> tuple[NDArray[np.int64], dict[str, int]]:
    holder = exchange.label_holder
    own = await offload(lambda: PrivateSet(table.keys, maximum=maximum))
    await exchange.send(holder, FIRST, {}, {"points": await offload(own.first)})
    _, received = await exchange.receive(holder, FIRST)
    theirs = tensor(received, "points", (None, 32), "uint8", sender=holder, kind=FIRST)
    await exchange.send(holder, SECOND, {}, {"points": await offload(lambda: own.second(theirs))})
    body, received = await exchange.receive(holder, COMMON)
    positions = tensor(received, "positions", (None,), "int64", sender=holder, kind=COMMON)
    if not isinstance(body.get("enough"), bool):
        raise bad_message(holder, COMMON, "it does not say whether there are enough rows in common")
    rows = own.confirm(positions, len(theirs))
    # The minimum is this party's as much as the label holder's.
    if not body["enough"] or len(rows) < minimum:
        raise sizes.too_few(minimum)
    return rows, {exchange.me: table.rows, holder: len(theirs)}
