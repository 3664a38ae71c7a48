"""Private set intersection by Diffie-Hellman: two parties learn which ids they have in common, and no others.

Meadows (1986), Huberman, Franklin and Hogg (1999): each party blinds the points of its ids by a secret scalar, the
other blinds them again, and because multiplications commute, equal ids have equal doubly blinded points. Here on
X25519 (`curve`), with a fresh scalar for each run and each pair of parties, and every set shuffled before it is sent.

Between the *label holder* and one *feature party* it goes in three steps::

    both                 first(): own points, blinded, in an order of one's own
    feature party        second(theirs): the label holder's, blinded twice, in the order received
    label holder         common(...): compares them with the feature party's, blinded twice by itself; tells the
                         feature party which of *its* points are in common (to all parties, if there are more)

So the label holder learns its intersection with each feature party, a feature party only that of all parties, and both
learn how many ids the other has (no more than a bound of it, if it pads).

Security is that of honest-but-curious parties under the decisional Diffie-Hellman assumption, with SHA-512 as a random
oracle. A party that puts ids into its set that it has no right to learns who of them the other has; so sizes are
capped, and both are told them. Nor can a feature party check that the label holder compared well: it may be told of
rows that are not in common, and all it can see is that they are not more than the label holder has ids.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from ...errors import InvalidInput
from .curve import SIZE, as_list, as_points, blind, hash_to_curve

MAXIMUM = 5_000_000
"""Ids of one party, unless told otherwise."""


class PrivateSet:
    """One party's set in one run with one other party.

    Parameters
    ----------
    ids : sequence of bytes
        Canonical (`canonical_ids`). An id that stands there twice counts once, at its first place.
    points : sequence of bytes, optional
        What `hash_to_curve` gives for each of `ids`: one who runs with several parties computes them once.
    maximum : int
        Most ids that either party may have.
    pad_to : int
        Points of nobody are added until there are so many: the other learns this number instead of the set's size.

    Raises
    ------
    InvalidInput
        Code ``too-many-ids``.
    """

    def __init__(
        self, ids: Sequence[bytes], *, points: Sequence[bytes] | None = None, maximum: int = MAXIMUM, pad_to: int = 0
    ) -> None:
        first = {value: at for at, value in reversed(list(enumerate(ids)))}
        _require_size("This party", max(len(first), pad_to), maximum)
        self._maximum = maximum
        self._key = X25519PrivateKey.generate()
        places = sorted(first.values())
        own = hash_all([ids[at] for at in places]) if points is None else [points[at] for at in places]
        padding = hash_all([secrets.token_bytes(SIZE) for _ in range(pad_to - len(own))])
        # -1 is the place of padding.
        where = np.array([*places, *[-1] * len(padding)], np.int64)
        every = [*own, *padding]
        order = _shuffled(len(every))
        self._places = where[order]
        self._points = [every[at] for at in order.tolist()]

    @property
    def size(self) -> int:
        """Number of points sent: different ids, and padding."""
        return len(self._points)

    def first(self) -> NDArray[np.uint8]:
        """Return the own points, blinded once, in this party's secret order; uint8 of shape (size, 32)."""
        return as_points(blind(self._points, self._key))

    def second(self, points: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the other party's points blinded once more, in the order received; uint8 of shape (m, 32).

        Raises
        ------
        InvalidInput
            ``too-many-ids``; ``bad-point``: not points, or one twice, which a set of ids does not give.
        """
        _require_points(points)
        _require_size("The other party", len(points), self._maximum)
        given = as_list(points)
        if len(set(given)) != len(given):
            raise InvalidInput(
                f"{len(given) - len(set(given))} of the other party's {len(given)} points stand there twice.",
                code="bad-point",
                hint="The other party does not follow the protocol.",
            )
        return as_points(blind(given, self._key))

    def common(
        self, own_twice: NDArray[np.uint8], their_twice: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the ids in common: their places in this party's `ids`, and in the other party's message.

        Parameters
        ----------
        own_twice : ndarray of uint8, shape (size, 32)
            What the other party's `second` gave for this one's `first`.
        their_twice : ndarray of uint8, shape (m, 32)
            What this party's `second` gave for the other's `first`.

        Raises
        ------
        InvalidInput
            Code ``bad-point``: not as many points as were sent.
        """
        _require_points(own_twice)
        if len(own_twice) != self.size:
            raise InvalidInput(
                f"The other party returned {len(own_twice)} points; {self.size} were sent.", code="bad-point"
            )
        theirs = {point: at for at, point in enumerate(as_list(their_twice))}
        pairs = [
            (place, theirs[point])
            for place, point in zip(self._places.tolist(), as_list(own_twice), strict=True)
            if place >= 0 and point in theirs
        ]
        found = np.array(pairs, np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def confirm(self, positions: NDArray[np.int64], others: int) -> NDArray[np.int64]:
        """Return the places in `ids` of what the label holder says is in common.

        Parameters
        ----------
        positions : ndarray of int64, shape (c,)
            In this party's `first`.
        others : int
            Points that the label holder has sent.

        Raises
        ------
        InvalidInput
            Code ``bad-intersection``: more than the label holder has; a position out of range, named twice, or of
            padding.
        """
        if positions.ndim != 1 or positions.dtype != np.int64 or len(positions) > others:
            raise _bad_intersection(f"it is {positions.dtype} of shape {positions.shape}; the set has {others} ids")
        if len(positions) and not 0 <= positions.min() <= positions.max() < self.size:
            raise _bad_intersection(f"it names positions outside 0 to {self.size - 1}")
        if len(np.unique(positions)) != len(positions):
            raise _bad_intersection("it names a row twice")
        places = self._places[positions]
        if (places < 0).any():
            raise _bad_intersection("it names a row that is not there")
        return places


def hash_all(ids: Sequence[bytes]) -> list[bytes]:
    """Return the points of many ids."""
    return [hash_to_curve(value) for value in ids]


def intersect(ids: Sequence[bytes], others: Sequence[bytes]) -> list[bytes]:
    """Run both parties' steps here and return the ids in common, in the order of `ids`: for tests and measuring."""
    holder, feature = PrivateSet(ids), PrivateSet(others)
    sent, received = holder.first(), feature.first()
    twice = feature.second(sent)
    places, positions = holder.common(twice, holder.second(received))
    feature.confirm(positions, len(sent))
    return [ids[at] for at in sorted(places.tolist())]


def _shuffled(count: int) -> NDArray[np.int64]:
    """A permutation that nobody can foresee: the operating system's random numbers, sorted."""
    order: NDArray[np.int64] = np.argsort(np.frombuffer(secrets.token_bytes(8 * count), np.uint64)).astype(np.int64)
    return order


def _require_size(who: str, size: int, maximum: int) -> None:
    if size > maximum:
        raise InvalidInput(
            f"{who} has {size:,} ids; allowed are {maximum:,}.",
            code="too-many-ids",
            hint="Leave out rows that cannot be in common, or raise the limit at both parties.",
        )


def _require_points(points: NDArray[np.uint8]) -> None:
    if points.ndim != 2 or points.shape[1] != SIZE or points.dtype != np.uint8:
        raise InvalidInput(
            f"Points are {points.dtype} of shape {points.shape}; uint8 of shape (n, {SIZE}) is needed.",
            code="bad-point",
        )


def _bad_intersection(what: str) -> InvalidInput:
    return InvalidInput(
        f"The intersection that the label holder tells is not acceptable: {what}.",
        code="bad-intersection",
        hint="The label holder does not follow the protocol; nothing was sent to it.",
    )
