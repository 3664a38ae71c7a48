"""Group mode: robust rules on means of random groups, where secure aggregation hides single updates.

Rules that compare updates (median, Krum, …) cannot work on one sum. In group mode the members of a round are divided
at random into groups of g ≥ 3, every group opens a secure sum of its own, and the rule is applied to the groups' means.
With m malicious members at most m groups are spoilt, so a rule that stands m bad ones of k models stands m malicious
members of N ≥ g k. The price is privacy: an update hides among g, no longer among N.

Who chose the groups could put one member together with accomplices. So nobody chooses: every member commits itself to a
seed, reveals it when it has seen everybody's commitment, and the order of the members is the one that all seeds give
together. Whoever speaks last cannot choose: it has committed itself before. A seed that is withheld spoils the draw for
all, who draw again without that member; a member joins so many draws of a round only (`DRAWS`), which bounds what
somebody gains by spoiling draws until one suits.

Commit and reveal: Blum, "Coin Flipping by Telephone", CRYPTO 1981. Rules on means of buckets: Karimireddy, He and
Jaggi, "Byzantine-Robust Learning on Heterogeneous Datasets via Bucketing", ICLR 2022.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Self

from ..errors import Aborted, Conflict, FlaasError, InvalidInput
from .secure_aggregation import MINIMUM_MEMBERS, RoundSettings
from .secure_aggregation.member import Sign
from .secure_aggregation.messages import SIGNATURE_BYTES, Verify
from .secure_aggregation.settings import PROTOCOL

MINIMUM_GROUP = MINIMUM_MEMBERS
"""Smallest group: of two, each would learn the other's update from their sum."""

DRAWS = 5
"""Draws of groups that a member joins for one round and the same starting weights."""

SEED_BYTES = 32


@dataclass(frozen=True)
class Commitment:
    """What a member says of its seed before it knows the others'.

    Attributes
    ----------
    digest : bytes
        SHA-256 over the round, the member and its seed.
    signature : bytes
        Ed25519 by the node over `payload`.
    """

    digest: bytes
    signature: bytes

    def __post_init__(self) -> None:
        for name, size in (("digest", 32), ("signature", SIGNATURE_BYTES)):
            value = getattr(self, name)
            if not isinstance(value, bytes) or len(value) != size:
                raise _malformed(f"The {name} of a commitment has {size} bytes.")

    @staticmethod
    def payload(settings: RoundSettings, digest: bytes) -> bytes:
        """Return the bytes that are signed."""
        return b"commit|" + settings.context + digest

    def to_dict(self) -> dict[str, bytes]:
        """Return the fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Rebuild a commitment from `to_dict`; refuses anything else as ``secagg-malformed``."""
        if not isinstance(data, Mapping) or set(data) != {"digest", "signature"}:
            raise _malformed("A commitment has digest and signature, and nothing else.")
        return cls(data["digest"], data["signature"])


@dataclass(frozen=True)
class Assignment:
    """Who is in which group.

    Parameters
    ----------
    groups : tuple of tuple of str
        Each group's members, sorted; every member is in one group.
    """

    groups: tuple[tuple[str, ...], ...]

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 over the groups in their order."""
        digest = hashlib.sha256()
        for group in self.groups:
            digest.update(len(group).to_bytes(8, "big"))
            for member in group:
                name = member.encode()
                digest.update(len(name).to_bytes(8, "big") + name)
        return digest.digest()

    @cached_property
    def place(self) -> dict[str, int]:
        """Each member's group, from 0."""
        return {member: place for place, group in enumerate(self.groups) for member in group}


def group_count(members: int, size: int) -> int:
    """Return k = ⌊N/g⌋: how many groups of at least g members N members make."""
    return members // size


def assign(members: Collection[str], size: int, seed: bytes) -> Assignment:
    """Divide `members` into ⌊N/g⌋ groups of g or a few more, in the order that `seed` gives.

    Parameters
    ----------
    members : collection of str
        Distinct ids, in any order.
    size : int
        g, from `MINIMUM_GROUP` on.
    seed : bytes
        Whatever nobody chose. Members are ordered by SHA-256 of seed and id.

    Raises
    ------
    InvalidInput
        ``bad-group-size``: below `MINIMUM_GROUP`; ``too-few-clients``: fewer members than one group takes.
    """
    require_group_size(size)
    count = group_count(len(members), size)
    if count < 1:
        raise InvalidInput(
            f"{len(members)} members do not make a group of {size}.",
            code="too-few-clients",
            hint="Let more clients take part.",
            needed=size,
        )
    order = sorted(members, key=lambda member: hashlib.sha256(seed + member.encode()).digest())
    least, more = divmod(len(order), count)
    groups, start = [], 0
    for place in range(count):
        end = start + least + (place < more)
        groups.append(tuple(sorted(order[start:end])))
        start = end
    return Assignment(tuple(groups))


def require_group_size(size: object) -> int:
    """Return a group size, or refuse it with code ``bad-group-size``."""
    if isinstance(size, bool) or not isinstance(size, int) or size < MINIMUM_GROUP:
        raise InvalidInput(
            f"group_size must be an integer from {MINIMUM_GROUP} on, not {size!r}: of two, each would learn the "
            "other's update from their sum.",
            code="bad-group-size",
        )
    return size


def joint_seed(settings: RoundSettings, seeds: Mapping[str, bytes]) -> bytes:
    """Return the seed that all members' seeds make together, 32 bytes."""
    digest = hashlib.sha256(b"groups|" + settings.context)
    for member, seed in sorted(seeds.items()):
        digest.update(bytes.fromhex(member) + seed)
    return digest.digest()


def group_settings(settings: RoundSettings, assignment: Assignment, place: int) -> RoundSettings:
    """Return the settings of one group's secure sum; they are bound to the whole assignment.

    Members who were told of different groups so do not understand each other's masks.
    """
    terms = b"%s|group|%d|%s" % (settings.terms, place, assignment.digest)
    return replace(settings, members=assignment.groups[place], threshold=0, terms=terms)


def check_commitments(
    settings: RoundSettings, size: int, commitments: Mapping[str, Commitment], verify: Verify | None
) -> None:
    """Check that members of the round committed themselves, and enough for one group.

    Raises
    ------
    InvalidInput
        ``secagg-unknown-member``, ``secagg-malformed``; the details name the member at fault.
    NotAuthenticated
        From `verify`.
    Aborted
        ``secagg-below-threshold``: fewer than a group takes.
    """
    for member, commitment in commitments.items():
        if member not in settings.members:
            raise InvalidInput(
                f"A commitment names {str(member)[:12]!r}, which is not in the round.",
                code="secagg-unknown-member",
                member=str(member),
            )
        if not isinstance(commitment, Commitment):
            raise _malformed(f"Node {member[:12]} sent no commitment.", member=member)
        if verify is not None:
            try:
                verify(member, PROTOCOL, Commitment.payload(settings, commitment.digest), commitment.signature)
            except FlaasError as error:
                error.details["member"] = member
                raise
    if len(commitments) < size:
        raise Aborted(
            f"Only {len(commitments)} of {len(settings.members)} members committed themselves to a seed; a group "
            f"takes {size}. The round stops here and no update is revealed.",
            code="secagg-below-threshold",
            hint="Try the round again when more nodes are there.",
        )


def draw(
    settings: RoundSettings, size: int, commitments: Mapping[str, Commitment], seeds: Mapping[str, bytes]
) -> Assignment:
    """Return the groups that the revealed seeds give.

    Parameters
    ----------
    settings : RoundSettings
        Of the whole round.
    size : int
        g.
    commitments : mapping of str to Commitment
        Checked before.
    seeds : mapping of str to bytes
        One from each member that committed itself.

    Raises
    ------
    Aborted
        ``group-seed-withheld``: a seed is missing; the details name ``members``. Groups drawn without it could be
        chosen, by choosing whose seed to withhold.
    InvalidInput
        ``group-seed-wrong``: a seed is not the one its member was committed to; the details name the ``member``.
    """
    wrong = wrong_seeds(settings, commitments, seeds)
    if wrong:
        raise InvalidInput(
            f"Node {wrong[0][:12]} revealed another seed than the one it had committed itself to.",
            code="group-seed-wrong",
            hint="Its software is broken or dishonest: leave it out of the round.",
            member=wrong[0],
        )
    missing = sorted(commitments.keys() - seeds.keys())
    if missing:
        raise Aborted(
            f"{len(missing)} of {len(commitments)} members did not reveal their seed: "
            f"{', '.join(member[:12] for member in missing)}. Groups are drawn again, without them.",
            code="group-seed-withheld",
            hint="Who withholds its seed when it knows the others' could choose the groups.",
            members=missing,
        )
    return assign(commitments, size, joint_seed(settings, seeds))


def wrong_seeds(
    settings: RoundSettings, commitments: Mapping[str, Commitment], seeds: Mapping[str, object]
) -> list[str]:
    """Return those whose seed is not the one that they were committed to, or who were committed to none."""
    wrong = []
    for member, seed in seeds.items():
        known = commitments.get(member)
        if known is None or not isinstance(seed, bytes) or seed_digest(settings, member, seed) != known.digest:
            wrong.append(str(member))
    return wrong


def seed_digest(settings: RoundSettings, member: str, seed: bytes) -> bytes:
    """Return what a member commits itself with; of no use to another member, nor in another round."""
    return hashlib.sha256(b"seed|" + settings.context + bytes.fromhex(member) + seed).digest()


class GroupDraw:
    """One member's part in one draw of groups; make a new one for each attempt at a round.

    Parameters
    ----------
    settings : RoundSettings
        Of the whole round.
    size : int
        g.
    me : str
        This member's node id.
    sign : callable
        ``sign(context, payload)`` returns the node identity's signature.
    verify : callable
        As for `Member`.
    """

    def __init__(self, settings: RoundSettings, size: int, me: str, sign: Sign, verify: Verify) -> None:
        self._settings, self._size, self._me, self._verify = settings, require_group_size(size), me, verify
        self._seed = secrets.token_bytes(SEED_BYTES)
        digest = seed_digest(settings, me, self._seed)
        self._commitment = Commitment(digest, sign(PROTOCOL, Commitment.payload(settings, digest)))
        self._commitments: dict[str, Commitment] | None = None
        self._assignment: Assignment | None = None

    def commit(self) -> Commitment:
        """Return this member's commitment."""
        return self._commitment

    def reveal(self, commitments: Mapping[str, Commitment]) -> bytes:
        """Return this member's seed, for one set of commitments and no other.

        Raises
        ------
        InvalidInput, NotAuthenticated, Aborted
            See `check_commitments`.
        Conflict
            ``secagg-not-in-round``: this member's own commitment is missing or changed;
            ``group-draw-changed``: the seed was revealed for other commitments.
        """
        if self._commitments is not None and self._commitments != commitments:
            raise Conflict(
                "The aggregator showed two different sets of commitments for one draw of groups.",
                code="group-draw-changed",
                hint="Who knows a seed before the others are committed could choose the groups. "
                "Do not trust this aggregator.",
            )
        check_commitments(self._settings, self._size, commitments, self._verify)
        if commitments.get(self._me) != self._commitment:
            raise Conflict(
                f"The commitment of this node, {self._me[:12]}, is missing or not the one it made.",
                code="secagg-not-in-round",
            )
        self._commitments = dict(commitments)
        return self._seed

    def assigned(self, seeds: Mapping[str, bytes]) -> tuple[Assignment, RoundSettings]:
        """Return everybody's groups, and the settings of the secure sum of this member's.

        Raises
        ------
        InvalidInput, Aborted
            See `draw`.
        Conflict
            ``secagg-wrong-phase``: this member has revealed no seed yet.
        """
        if self._commitments is None:
            raise Conflict("Groups are drawn before this node has revealed its seed.", code="secagg-wrong-phase")
        assignment = draw(self._settings, self._size, self._commitments, seeds)
        return assignment, group_settings(self._settings, assignment, assignment.place[self._me])


def _malformed(message: str, **details: str) -> InvalidInput:
    return InvalidInput(message, code="secagg-malformed", **details)
