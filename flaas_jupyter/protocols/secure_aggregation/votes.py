"""Votes: a secure sum to which the members' vectors contribute in different, announced shares.

Rules such as quadratic voting weight each client by one number that it reports. Under secure aggregation the
aggregator makes of these numbers a vote for each member, and each member sends its update times its share,
vote / largest vote, under its masks; whoever has no vote sends a masked zero.

Whoever sets the weights of a sum could set all but one to zero and so read one update. Against that:

* every member is told everybody's share, and takes part only if at least V = max(3, floor(N/3) + 1) of the N
  members have at least `LEAST_SHARE` of the largest vote, among those announced and again among the survivors;
* the masks between two members depend on the shares that each was told: where these differ, the masks do not
  cancel and the sum is noise;
* the shares are signed together with the list of survivors, and nobody helps to open a sum before T members
  have signed the same shares and the same survivors.

So an aggregator that colludes with c of the members, c <= 2T - N - 1 and c < V - 1, learns a weighted sum of at
least V - c updates of others, each of which counts for at least `LEAST_SHARE` of the one that counts for most.
V is lower than the threshold T of an unweighted sum, for rules with votes silence some members on purpose:
quadratic voting at least two in each round.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from ...errors import Aborted, InvalidInput
from .settings import MINIMUM_MEMBERS, RoundSettings

LEAST_SHARE = 1 / 16
"""Share of the largest vote from which on a member helps to hide the others."""


def minimum_voters(members: int) -> int:
    """Return V = max(3, floor(N/3) + 1): how many of N members must have a vote that counts."""
    return max(MINIMUM_MEMBERS, members // 3 + 1)


@dataclass(frozen=True)
class Votes:
    """What each member's vector counts for in one sum.

    Parameters
    ----------
    shares : mapping of str to float
        Node id to vote / largest vote, 0 to 1; the largest is 1.

    Raises
    ------
    InvalidInput
        Code ``secagg-bad-votes``; the message names the member whose share is not acceptable.
    """

    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        if not isinstance(self.shares, Mapping) or not self.shares:
            raise _bad_votes("they must come as a mapping from node id to share")
        for member, share in self.shares.items():
            if not isinstance(member, str) or not isinstance(share, float) or not 0.0 <= share <= 1.0:
                raise _bad_votes(f"the share of node {str(member)[:12]} is {share!r}, allowed is a number from 0 to 1")
        if max(self.shares.values()) != 1.0:
            raise _bad_votes(f"the largest share is {max(self.shares.values())!r}, not 1")

    @classmethod
    def of(cls, votes: Mapping[str, float]) -> Votes:
        """Make the shares of `votes`, numbers from 0 on of which one is above 0."""
        largest = max(votes.values(), default=0.0)
        if not (math.isfinite(largest) and largest > 0.0):
            raise _bad_votes(f"the largest vote is {largest!r}, needed is a number above 0")
        return cls({member: float(vote / largest) for member, vote in votes.items()})

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the shares, sorted by member."""
        digest = hashlib.sha256()
        for member, share in sorted(self.shares.items()):
            text = f"{member} {float(share).hex()};"
            digest.update(text.encode())
        return digest.digest()

    def share_of(self, member: str) -> float:
        """Return a member's share.

        Raises
        ------
        InvalidInput
            Code ``secagg-bad-votes``: it is not listed.
        """
        if member not in self.shares:
            raise _bad_votes(f"node {member[:12]} has no share")
        return self.shares[member]

    def hide(self, settings: RoundSettings, summed: Collection[str]) -> bool:
        """Tell whether enough of the members `summed` have a share that counts."""
        return self._counting(summed) >= minimum_voters(len(settings.members))

    def require_hiding(self, settings: RoundSettings, summed: Collection[str]) -> None:
        """Refuse a sum in which too few of the members `summed` count for something.

        Raises
        ------
        InvalidInput
            Code ``secagg-bad-votes``: somebody summed has no share.
        Aborted
            Code ``secagg-too-few-voters``.
        """
        for member in summed:
            self.share_of(member)
        if not self.hide(settings, summed):
            needed, there = minimum_voters(len(settings.members)), self._counting(summed)
            raise Aborted(
                f"Only {there} of {len(settings.members)} members have at least {LEAST_SHARE:g} of the largest vote; "
                f"{needed} are needed, so that the sum hides each of them. No update is revealed.",
                code="secagg-too-few-voters",
                hint="Use more nodes, options of the rule that silence fewer, or no secure aggregation.",
                needed=needed,
                there=there,
            )

    def _counting(self, summed: Collection[str]) -> int:
        return sum(self.shares.get(member, 0.0) >= LEAST_SHARE for member in summed)


def _bad_votes(why: str) -> InvalidInput:
    return InvalidInput(f"The votes of a secure sum are not acceptable: {why}.", code="secagg-bad-votes")
