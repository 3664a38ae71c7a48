"""What all members of one secure sum agree on before it starts, and the 32 bytes that bind everything to it.

Whatever an aggregator could tell one member and not another to single its update out of the sum (other
starting weights, another clip, other members) goes into `RoundSettings.context`. Keys, signatures and sealed
shares are made for one context and worthless in any other, so members who were told different things cannot
complete a sum together (for the attack see Pasquini, Francati and Ateniese, "Eluding Secure Aggregation in
Federated Learning via Model Inconsistency", CCS 2022).
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import cached_property

from ...errors import InvalidInput
from .graph import FULL_UP_TO, MINIMUM_DEGREE

PROTOCOL = "flaas/secagg/1"
"""Context of every signature of a secure sum."""

MINIMUM_MEMBERS = 3
MAXIMUM_MEMBERS = 1000
MINIMUM_BITS = 8


def default_threshold(members: int) -> int:
    """Return T = floor(2N/3) + 1, so that two lists of T signers share more than N/3 members."""
    return 2 * members // 3 + 1


@dataclass(frozen=True)
class RoundSettings:
    """One attempt at one secure sum.

    Parameters
    ----------
    domain, run : str
        Where the sum belongs.
    round, attempt : int
        Which round of the run, and which attempt at it; at least 0.
    members : tuple of str
        Node ids (64 hex digits) of all members, 3 to 1,000; kept sorted. A member's place is its Shamir
        abscissa.
    model_digest : str
        Digest of the global weights that every member starts from.
    clip : float
        Every coordinate of an update is clipped to [-clip, clip].
    threshold : int, optional
        T: how many members must survive to open the sum. At least, and by default, floor(2N/3) + 1.
    terms : bytes, optional
        Whatever else all members must have been told alike because it shapes what they send: the largest
        example count, the learning rate, the metrics' names. Any canonical encoding.
    degree : int, optional
        With how many others each member shares secrets and masks: even, from 4; or all others. By default all others
        up to 64 members, and above as many as `graph.choose` asks for.
    bits : int, optional
        Of a value before it is summed, 8 at least; by default, and at most, as many as leave 32 bits for the sum. With
        fewer, masked vectors are sent packed (`packing`).

    Raises
    ------
    InvalidInput
        ``secagg-too-few-nodes``, ``secagg-too-many-nodes`` or ``secagg-bad-settings``.
    """

    domain: str
    run: str
    round: int
    attempt: int
    members: tuple[str, ...]
    model_digest: str
    clip: float
    threshold: int = 0
    terms: bytes = b""
    degree: int | None = None
    bits: int | None = None

    def __post_init__(self) -> None:
        _check_members(self.members)
        object.__setattr__(self, "members", tuple(sorted(self.members)))
        if not all(isinstance(text, str) for text in (self.domain, self.run, self.model_digest)):
            raise _bad_settings("Domain, run and model digest must be text.")
        if not all(isinstance(n, int) and 0 <= n < 1 << 63 for n in (self.round, self.attempt)):
            raise _bad_settings(f"Round {self.round!r} and attempt {self.attempt!r} must be integers from 0 on.")
        if not isinstance(self.terms, bytes):
            raise _bad_settings(f"Terms must be bytes, not {type(self.terms).__name__}.")
        if not isinstance(self.clip, int | float) or not math.isfinite(self.clip) or self.clip <= 0:
            raise _bad_settings(f"The clip must be a finite number above 0, not {self.clip!r}.")
        least = default_threshold(len(self.members))
        if self.threshold == 0:
            object.__setattr__(self, "threshold", least)
        if not isinstance(self.threshold, int) or not least <= self.threshold <= len(self.members):
            raise _bad_settings(
                f"The threshold of {len(self.members)} members must be {least} to {len(self.members)}, "
                f"not {self.threshold!r}."
            )
        self._check_degree()
        room = 32 - (len(self.members) - 1).bit_length()
        if self.bits is not None and (type(self.bits) is not int or not MINIMUM_BITS <= self.bits <= room):
            raise _bad_settings(
                f"A value of {len(self.members)} members' sum must have {MINIMUM_BITS} to {room} bits, "
                f"not {self.bits!r}."
            )

    def _check_degree(self) -> None:
        degree, others = self.degree, len(self.members) - 1
        if degree is None:
            return
        if (
            isinstance(degree, bool)
            or not isinstance(degree, int)
            or not (degree == others or (MINIMUM_DEGREE <= degree < others and degree % 2 == 0))
        ):
            raise InvalidInput(
                f"Each of {others + 1} members was to have {degree!r} neighbours; allowed are even numbers from "
                f"{MINIMUM_DEGREE} and {others}, which is all of them.",
                code="secagg-bad-settings",
                hint=f"Leave degree away: up to {FULL_UP_TO} members it is all others, above it is computed.",
            )

    @cached_property
    def context(self) -> bytes:
        """SHA-256 over all fields, each with its length before it."""
        digest = hashlib.sha256()
        for part in (
            PROTOCOL.encode(),
            self.domain.encode(),
            self.run.encode(),
            str(self.round).encode(),
            str(self.attempt).encode(),
            self.model_digest.encode(),
            float(self.clip).hex().encode(),
            str(self.threshold).encode(),
            self.terms,
            *(member.encode() for member in self.members),
            *(() if self.degree is None else (f"degree {self.degree}".encode(),)),
            *(() if self.bits is None else (f"bits {self.bits}".encode(),)),
        ):
            digest.update(len(part).to_bytes(8, "big") + part)
        return digest.digest()

    @cached_property
    def places(self) -> dict[str, int]:
        """The Shamir abscissa of each member, from 1."""
        return {member: place for place, member in enumerate(self.members, start=1)}


def _check_members(members: object) -> None:
    if not isinstance(members, tuple) or not all(isinstance(member, str) for member in members):
        raise _bad_settings("Members must be a tuple of node ids.")
    for member in members:
        if len(member) != 64 or not set(member) <= set("0123456789abcdef"):
            raise _bad_settings(f"{member[:80]!r} is not a node id, which has 64 lower-case hex digits.")
    if len(set(members)) != len(members):
        raise _bad_settings("A member is listed twice.")
    if len(members) < MINIMUM_MEMBERS:
        raise InvalidInput(
            f"Secure aggregation needs at least {MINIMUM_MEMBERS} participants, not {len(members)}: "
            "of two, each would learn the other's update from the sum.",
            code="secagg-too-few-nodes",
            hint="Wait for more nodes, or run without secure aggregation.",
        )
    if len(members) > MAXIMUM_MEMBERS:
        raise InvalidInput(
            f"Secure aggregation takes at most {MAXIMUM_MEMBERS} participants a round, not {len(members)}: "
            "the limbs of its exact sums are made for so many, and each checks the signatures of all.",
            code="secagg-too-many-nodes",
            hint=f"Set clients_per_round to {MAXIMUM_MEMBERS} or less.",
        )


def _bad_settings(message: str) -> InvalidInput:
    return InvalidInput(message, code="secagg-bad-settings")
