"""Secure sums: the aggregator learns the sum of the members' vectors and nothing else.

The double-masking protocol of Bonawitz et al. (CCS 2017) with fresh keys each round and a signed list of survivors, for
3 to 1,000 members: on the full graph up to 64, above on the k-regular graph of Bell et al. (CCS 2020, SecAgg+; see
`graph`). `Member` and `SecureSum` are the two sides; they exchange what their methods take and return, in five steps,
and do no input or output themselves:

================  ===============================================  =========================================
step              each member                                      the aggregator
================  ===============================================  =========================================
1 keys            ``advertise() -> Advertisement``                 ``advertised({member: advertisement})``
2 shares          ``share(advertisements) -> {recipient: bytes}``  ``shared({sender: shares}) -> inboxes``
3 masked vectors  ``mask(encode_update(...), inbox)``              ``add(member, masked)``, ``survivors``
4 survivors       ``confirm(survivors) -> signature``              ``confirmed({member: signature})``
5 opening         ``unmask(signatures) -> {member: Reveal}``       ``open({member: reveals})``, `decode_sum`
================  ===============================================  =========================================

Integers and reals are summed exactly with `encode_integers` and `encode_reals`. Long vectors go in blocks:
``mask_blocks(encode_update_blocks(...), inbox)`` at each member, ``add_block`` and ``open_blocks`` at the aggregator.
In a sharded sum each member aggregates a part (`sharding`): ``mask_shards`` at each member, a `ShardSum` at each
aggregator.

Where members count for different shares of the sum, `Votes` go between steps 2 and 3: ``announce(votes)`` at the
aggregator, ``mask(…, votes=votes)`` at each member.

Protected are single updates: against anybody on the way; against an aggregator that keeps to the protocol
together with fewer than T = floor(2N/3) + 1 members; and against an aggregator that lies about the survivors
together with at most 2T - N - 1 members; on the k-regular graph, with a tenth of the members in either case, up to a
probability of 2^-40. An aggregator that is a member itself counts as one of them. They
learn the sum of the honest survivors, of whom there must be at least two. Not protected: what the sum itself
tells (so that the same start is never opened for two different sets of members), poisoning by a member, and
availability.
"""

from .aggregator import SecureSum, ShardSum
from .encoding import (
    OpenedSum,
    decode_sum,
    encode_update,
    encode_update_blocks,
    encoded_length,
    error_bound,
    mean_error_bound,
    rounding_norm,
)
from .limbs import (
    decode_integers,
    decode_reals,
    encode_integers,
    encode_reals,
    integer_limit,
    real_error_bound,
    real_limit,
)
from .member import Member
from .messages import Advertisement, Reveal
from .packing import pack, packed_size, unpack
from .session import Session
from .settings import MAXIMUM_MEMBERS, MINIMUM_MEMBERS, RoundSettings, default_threshold
from .sharding import Plan, Shard, shards
from .sum_range import SumRange
from .votes import LEAST_SHARE, Votes, minimum_voters

__all__ = [
    "LEAST_SHARE",
    "MAXIMUM_MEMBERS",
    "MINIMUM_MEMBERS",
    "Advertisement",
    "Member",
    "OpenedSum",
    "Plan",
    "Reveal",
    "RoundSettings",
    "SecureSum",
    "Session",
    "Shard",
    "ShardSum",
    "SumRange",
    "Votes",
    "decode_integers",
    "decode_reals",
    "decode_sum",
    "default_threshold",
    "encode_integers",
    "encode_reals",
    "encode_update",
    "encode_update_blocks",
    "encoded_length",
    "error_bound",
    "integer_limit",
    "mean_error_bound",
    "minimum_voters",
    "pack",
    "packed_size",
    "real_error_bound",
    "real_limit",
    "rounding_norm",
    "shards",
    "unpack",
]
