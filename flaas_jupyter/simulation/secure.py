"""Secure aggregation in a simulation: the arithmetic of the real thing, without its keys.

Clients of a simulation have nobody to hide from, so masks, which cancel, are left away. What changes results is kept:
updates are clipped and rounded to the fixed point of `flaas_jupyter.protocols.secure_aggregation.encoding` and added up
modulo 2^32, the aggregator sees the sum only, and votes that would not hide each other open nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import Aborted
from ..protocols.secure_aggregation import OpenedSum, RoundSettings, Votes, decode_sum, encode_update

Vector = NDArray[np.float64]


def settings_of(client_ids: Sequence[str], number: int, clip: float) -> RoundSettings:
    """Return what the members of a round would agree on.

    Raises
    ------
    InvalidInput
        ``secagg-too-few-nodes``, ``secagg-too-many-nodes``.
    """
    members = tuple(_node_id(client) for client in client_ids)
    return RoundSettings(
        domain="simulation", run="simulation", round=number, attempt=0, members=members, model_digest="", clip=clip
    )


def hiding_votes(votes: Vector, client_ids: Sequence[str], settings: RoundSettings) -> list[float] | None:
    """Return each client's share of the sum, or None where too few votes hide each other."""
    if not votes.any():
        return None
    members = [_node_id(client) for client in client_ids]
    made = Votes.of(dict(zip(members, votes.tolist(), strict=True)))
    try:
        made.require_hiding(settings, members)
    except Aborted:
        return None
    return [made.shares[member] for member in members]


def opened_sum(
    deltas: NDArray[np.floating],
    examples: NDArray[np.int64],
    maximum_examples: int,
    settings: RoundSettings,
    rng: np.random.Generator,
    shares: Sequence[float] | None = None,
) -> OpenedSum:
    """Return the sum of the clients' updates as it would be opened.

    Parameters
    ----------
    deltas : ndarray of float, shape (n, p)
        Updates: trained weights minus global ones.
    examples : ndarray of int, shape (n,)
    maximum_examples : int
        Of any client of the federation.
    settings : RoundSettings
        From `settings_of`; its members may be more than the n that are left.
    rng : numpy Generator
        For the stochastic rounding.
    shares : sequence of float, optional
        What each update counts for, 0 to 1; by its examples by default.
    """
    total: NDArray[np.uint32] | None = None
    for place, delta in enumerate(deltas):
        encoded = encode_update(
            np.asarray(delta, np.float64),
            int(examples[place]),
            maximum_examples,
            {},
            settings,
            rng,
            share=None if shares is None else shares[place],
        )
        total = encoded if total is None else total + encoded
    assert total is not None  # a round has clients
    return decode_sum(
        total,
        len(deltas),
        [],
        settings,
        deltas.shape[1],
        maximum_examples,
        shares=None if shares is None else float(sum(shares)),
    )


def _node_id(client: str) -> str:
    return hashlib.sha256(client.encode()).hexdigest()
