"""Secure sums: the aggregator learns the sum of the members' vectors and nothing else.

The double-masking protocol of Bonawitz et al. (CCS 2017) on the full graph of 3 to 64 members, with fresh
keys each round and a signed list of survivors. `Member` and `SecureSum` are the two sides; they exchange what
their methods take and return, in five steps, and do no input or output themselves:

================  ===============================================  =========================================
step              each member                                      the aggregator
================  ===============================================  =========================================
1 keys            ``advertise() -> Advertisement``                 ``advertised({member: advertisement})``
2 shares          ``share(advertisements) -> {recipient: bytes}``  ``shared({sender: shares}) -> inboxes``
3 masked vectors  ``mask(encode_update(...), inbox)``              ``add(member, masked)``, ``survivors``
4 survivors       ``confirm(survivors) -> signature``              ``confirmed({member: signature})``
5 opening         ``unmask(signatures) -> {member: Reveal}``       ``open({member: reveals})``, `decode_sum`
================  ===============================================  =========================================

Where members count for different shares of the sum, `Votes` go between steps 2 and 3: ``announce(votes)`` at the
aggregator, ``mask(…, votes=votes)`` at each member.

Protected are single updates: against anybody on the way; against an aggregator that keeps to the protocol
together with fewer than T = floor(2N/3) + 1 members; and against an aggregator that lies about the survivors
together with at most 2T - N - 1 members. An aggregator that is a member itself counts as one of them. They
learn the sum of the honest survivors, of whom there must be at least two. Not protected: what the sum itself
tells (so that the same start is never opened for two different sets of members), poisoning by a member, and
availability.
"""

from .aggregator import SecureSum
from .encoding import (
    OpenedSum,
    decode_sum,
    encode_update,
    encoded_length,
    error_bound,
    mean_error_bound,
    rounding_norm,
)
from .member import Member
from .messages import Advertisement, Reveal
from .settings import MAXIMUM_MEMBERS, MINIMUM_MEMBERS, RoundSettings, default_threshold
from .votes import LEAST_SHARE, Votes, minimum_voters

__all__ = [
    "LEAST_SHARE",
    "MAXIMUM_MEMBERS",
    "MINIMUM_MEMBERS",
    "Advertisement",
    "Member",
    "OpenedSum",
    "Reveal",
    "RoundSettings",
    "SecureSum",
    "Votes",
    "decode_sum",
    "default_threshold",
    "encode_update",
    "encoded_length",
    "error_bound",
    "mean_error_bound",
    "minimum_voters",
    "rounding_norm",
]
