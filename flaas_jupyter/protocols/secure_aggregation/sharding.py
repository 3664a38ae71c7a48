"""Sharded sums: every member adds up one shard of the vector, and nobody is a hub (reduce-scatter, all-gather).

The vector is cut into as many shards as there are members. Each member sends shard j of its masked vector to
aggregator j, who adds up what it receives, opens its shard's sum and sends it to everybody. Each member so sends, and
receives, (n - 1)/n of the vector twice: 2 (n - 1)/n of its size in all, whatever the number of members, where a single
aggregator would send and receive n - 1 vectors.

Keys, shares, the list of survivors and reveals are those of one secure sum; there is *one* list for all shards. A
member whose seed were opened for one shard and whose mask key for another would be open to whoever holds both. So the
leader, who passes messages on, takes as survivors those whose shards reached every aggregator, and each of these adds
up exactly theirs. Every shard's masks have keys of their own, bound to the plan. An aggregator of a shard learns what
the aggregator of a whole sum would: the sum of its part; all of them together learn the sum.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput


@dataclass(frozen=True)
class Shard:
    """One part of the vector and who adds it up.

    Attributes
    ----------
    place : int
        From 0, in the order of the vector.
    start, stop : int
        The values ``start <= i < stop``.
    aggregator : str
        A member's id.
    """

    place: int
    start: int
    stop: int
    aggregator: str

    @property
    def length(self) -> int:
        """Number of values."""
        return self.stop - self.start


@dataclass(frozen=True)
class Plan:
    """Who adds up which part of a vector of `length` values."""

    length: int
    shards: tuple[Shard, ...]

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the length and the aggregators in order."""
        digest = hashlib.sha256(f"plan|{self.length}|{len(self.shards)}".encode())
        for shard in self.shards:
            digest.update(f"|{shard.start}|{shard.aggregator}".encode())
        return digest.digest()

    def of(self, aggregator: str) -> Shard:
        """Return the shard that a member adds up.

        Raises
        ------
        InvalidInput
            Code ``secagg-unknown-member``: it has none.
        """
        for shard in self.shards:
            if shard.aggregator == aggregator:
                return shard
        raise InvalidInput(f"Node {aggregator[:12]} adds up no shard of this sum.", code="secagg-unknown-member")

    def gather(self, parts: Mapping[str, NDArray[np.uint32]]) -> NDArray[np.uint32]:
        """Join the opened shards to the vector.

        Parameters
        ----------
        parts : mapping of aggregator to ndarray of uint32
            One of each, of its shard's length.

        Raises
        ------
        InvalidInput
            Code ``secagg-malformed``: one is missing or of another length or type.
        """
        total = np.empty(self.length, dtype=np.uint32)
        for shard in self.shards:
            part = parts.get(shard.aggregator)
            if not isinstance(part, np.ndarray) or part.dtype != np.uint32 or part.shape != (shard.length,):
                raise InvalidInput(
                    f"The shard of node {shard.aggregator[:12]} is missing, or not {shard.length} values of uint32.",
                    code="secagg-malformed",
                    member=shard.aggregator,
                )
            total[shard.start : shard.stop] = part
        return total

    def bytes_sent(self, member: str) -> int:
        """Return how many bytes of vectors `member` sends when nobody drops out, and as many it receives.

        4 bytes a value: everybody else's shards of its masked vector, and its own opened shard to everybody else. With
        equal shards this is 2 (n - 1)/n of the vector's size.
        """
        own = self.of(member).length
        return 4 * (self.length - own) + 4 * own * (len(self.shards) - 1)


def shards(length: int, members: Collection[str]) -> Plan:
    """Cut a vector of `length` values into equal parts, one for each member in the order of their ids.

    Lengths differ by one value at most, the first are the longer ones.

    Raises
    ------
    InvalidInput
        Code ``secagg-bad-settings``: no members, or a negative length.
    """
    ordered: Sequence[str] = sorted(set(members))
    if not ordered or length < 0:
        raise InvalidInput(
            f"{length} values cannot be cut into shards for {len(ordered)} members.", code="secagg-bad-settings"
        )
    short, longer = divmod(length, len(ordered))
    starts = [place * short + min(place, longer) for place in range(len(ordered) + 1)]
    return Plan(length, tuple(Shard(i, starts[i], starts[i + 1], aggregator) for i, aggregator in enumerate(ordered)))
