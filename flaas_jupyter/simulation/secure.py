"""Secure aggregation in a simulation: the arithmetic of the real thing, without its keys.

Clients of a simulation have nobody to hide from, so masks, which cancel, are left away. What changes results is kept:
updates are clipped and rounded to the fixed point of `flaas_jupyter.protocols.secure_aggregation.encoding` and added up
modulo 2^32, the aggregator sees the sum only, and votes that would not hide each other open nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import Aborted
from ..protocols import noise_shares
from ..protocols.groups import Assignment, assign
from ..protocols.secure_aggregation import (
    OpenedSum,
    RoundSettings,
    Votes,
    decode_sum,
    default_threshold,
    encode_update,
    encoded_length,
    packed_size,
)

Vector = NDArray[np.float64]


def settings_of(client_ids: Sequence[str], number: int, clip: float, bits: int | None = None) -> RoundSettings:
    """Return what the members of a round would agree on.

    Raises
    ------
    InvalidInput
        ``secagg-too-few-nodes``, ``secagg-too-many-nodes``.
    """
    members = tuple(_node_id(client) for client in client_ids)
    return RoundSettings(
        domain="simulation",
        run="simulation",
        round=number,
        attempt=0,
        members=members,
        model_digest="",
        clip=clip,
        bits=bits,
    )


def update_bytes(values: int, settings: RoundSettings) -> int:
    """Return the bytes of one client's masked vector of so many values, without metrics, as real nodes send it."""
    scalars = 4 * encoded_length(0, 0)
    return scalars + (4 * values if settings.bits is None else packed_size(values, settings))


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


@dataclass(frozen=True)
class OpenedGroup:
    """One group whose sum could be opened.

    Parameters
    ----------
    members : tuple of str
        Ids of the clients in it.
    sum : OpenedSum
    """

    members: tuple[str, ...]
    sum: OpenedSum


def assignment_of(client_ids: Sequence[str], group_size: int, seed: int, number: int) -> Assignment:
    """Return the groups of a round: drawn by the run's seed, where real nodes draw them by one that all make."""
    drawn = hashlib.sha256(f"groups {seed} {number}".encode()).digest()
    return assign(client_ids, group_size, drawn)


def living(assignment: Assignment, answering: Sequence[str]) -> dict[int, tuple[str, ...]]:
    """Return the groups of which enough clients answer to open their sums, and who they are."""
    there = set(answering)
    left = {place: tuple(c for c in group if c in there) for place, group in enumerate(assignment.groups)}
    return {
        place: members
        for place, members in left.items()
        if len(members) >= default_threshold(len(assignment.groups[place]))
    }


def opened_groups(
    deltas: NDArray[np.floating],
    client_ids: Sequence[str],
    examples: NDArray[np.int64],
    maximum_examples: int,
    assignment: Assignment,
    clip: float,
    number: int,
    rng: np.random.Generator,
    bits: int | None = None,
) -> dict[int, OpenedGroup]:
    """Return the sum of each group that is left, as it would be opened.

    Parameters
    ----------
    deltas : ndarray of float, shape (n, p)
        Updates of the clients that answered.
    client_ids : sequence of str
        Theirs.
    examples : ndarray of int, shape (n,)
    maximum_examples : int
        Of any client of the federation.
    assignment : Assignment
        Of all that were asked.
    clip : float
    number : int
        Of the round.
    rng : numpy Generator
        For the stochastic rounding.
    bits : int, optional
        Of a value, where a compression asks for few.

    Returns
    -------
    dict of int to OpenedGroup
        By the group's place in the assignment.
    """
    row = {client: place for place, client in enumerate(client_ids)}
    opened = {}
    for place, members in living(assignment, client_ids).items():
        rows = [row[client] for client in members]
        settings = settings_of(assignment.groups[place], number, clip, bits)
        total = opened_sum(deltas[rows], examples[rows], maximum_examples, settings, rng)
        opened[place] = OpenedGroup(members, total)
    return opened


def opened_sum(
    deltas: NDArray[np.floating],
    examples: NDArray[np.int64],
    maximum_examples: int,
    settings: RoundSettings,
    rng: np.random.Generator,
    shares: Sequence[float] | None = None,
    noise: tuple[float, Sequence[bytes]] | None = None,
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
    noise : (float, sequence of bytes), optional
        Of distributed privacy: the width of each client's share in steps, and each one's key.
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
        if noise is not None:
            noise_shares.add_share(encoded, len(delta), noise[0], noise[1][place])
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


def noise_keys(client_ids: Sequence[str], seed: int, number: int) -> list[bytes]:
    """Return each client's key of its noise in a round: of the run's seed, where real nodes draw fresh ones."""
    return [hashlib.sha256(f"noise {seed} {number} {client}".encode()).digest() for client in client_ids]


def _node_id(client: str) -> str:
    return hashlib.sha256(client.encode()).hexdigest()
