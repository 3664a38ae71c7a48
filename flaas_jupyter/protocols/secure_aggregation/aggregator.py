"""The aggregator's side of one secure sum: pass messages on, add up, rebuild what masks are left, subtract.

It holds one vector, whatever the number of members, and never a member's vector without its masks; beside it, of
vectors that come in blocks, one for each member that is still sending. What the members guarantee each other does not
rest on anything that is checked here; the checks here name the member at fault before others are troubled with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from ...errors import Aborted, Conflict, FlaasError
from . import keys, shamir
from .keystream import BLOCK_BYTES, Masks
from .messages import (
    Advertisement,
    Reveal,
    Verify,
    below_threshold,
    check_advertisements,
    count_signatures,
    malformed,
    require_bytes,
    require_members,
    require_row,
    require_threshold,
)
from .session import Session
from .settings import PROTOCOL, RoundSettings
from .sharding import Plan
from .votes import Votes

Vector = NDArray[np.uint32]


class SecureSum:
    """The sum of the members' encoded vectors, opened only as a whole.

    Parameters
    ----------
    settings : RoundSettings
        What the members agree on.
    verify : callable, optional
        As for `Member`. With it, the aggregator finds bad signatures itself, before the members refuse them.
    length : int, optional
        Number of values in a vector; otherwise the first vector decides.
    room : callable, optional
        ``room(length) -> ndarray of uint32``: where vectors are kept, by default in memory; for longer ones it may map
        a file (`numpy.memmap`).
    """

    def __init__(
        self,
        settings: RoundSettings,
        *,
        verify: Verify | None = None,
        length: int | None = None,
        room: Callable[[int], Vector] | None = None,
    ) -> None:
        self._settings, self._verify, self._length = settings, verify, length
        self._room = room or (lambda values: np.empty(values, dtype=np.uint32))
        self._session: Session | None = None
        self._sharers: frozenset[str] = frozenset()
        self._votes: Votes | None = None
        self._added: set[str] = set()
        self._arriving: dict[str, tuple[Vector, int]] = {}
        self._sum: Vector | None = None
        self._survivors: tuple[str, ...] | None = None
        self._confirmed = False

    def advertised(self, advertisements: Mapping[str, Advertisement]) -> None:
        """Take the members' keys; whoever is missing is out of the round.

        Raises
        ------
        InvalidInput, NotAuthenticated, Aborted
            As `Member.share`; the error names the member at fault.
        """
        self._require(self._session is None, "keys were taken already")
        check_advertisements(self._settings, advertisements, self._verify)
        probe = X25519PrivateKey.generate()
        for member, advertisement in advertisements.items():
            keys.agree(probe, advertisement.seal_key, member)
            keys.agree(probe, advertisement.mask_key, member)
        self._session = Session(self._settings, advertisements)

    def shared(self, shares: Mapping[str, Mapping[str, bytes]]) -> dict[str, dict[str, bytes]]:
        """Sort sealed shares by recipient.

        Parameters
        ----------
        shares : mapping of sender to (mapping of recipient to bytes)
            Whoever is missing as a sender has dropped out, and no masks with it are used.

        Returns
        -------
        dict of recipient to (dict of sender to bytes)
            The inbox of each member that shared.

        Raises
        ------
        InvalidInput
            ``secagg-unknown-member``, ``secagg-malformed``.
        Aborted
            ``secagg-below-threshold``; ``secagg-neighbours-lost``: too few are left around one of them.
        """
        session = self._require_session()
        self._require(not self._sharers, "shares were taken already")
        require_members(shares, session.advertisements, "Shares")
        for sender, sealed in shares.items():
            recipients = set(session.graph.neighbours(sender))
            require_members(sealed, recipients, f"The shares of node {sender[:12]}")
            if sealed.keys() != recipients:
                raise malformed(f"Node {sender[:12]} did not share with every neighbour.", member=sender)
            for recipient, blob in sealed.items():
                require_bytes(blob, keys.SEALED_BYTES, f"the share of node {sender[:12]} for {recipient[:12]}")
        require_threshold(self._settings, shares, "shared their keys")
        session.graph.require_connected(shares)
        self._sharers = frozenset(shares)
        inboxes: dict[str, dict[str, bytes]] = {recipient: {} for recipient in shares}
        for sender, sealed in shares.items():
            for recipient in sealed.keys() & inboxes.keys():
                inboxes[recipient][sender] = sealed[recipient]
        return inboxes

    def joined(self, sharers: Collection[str]) -> None:
        """Take it from the leader who shared their keys; for those who add up a shard and pass on no shares.

        Raises
        ------
        InvalidInput
            ``secagg-unknown-member``.
        Aborted
            ``secagg-below-threshold``.
        Conflict
            ``secagg-wrong-phase``.
        """
        session = self._require_session()
        self._require(not self._sharers, "shares were taken already")
        require_members(dict.fromkeys(sharers), session.advertisements, "Shares")
        require_threshold(self._settings, set(sharers), "shared their keys")
        self._sharers = frozenset(sharers)

    def announce(self, votes: Votes) -> None:
        """Say what each member's vector is going to count for; before the first vector is added.

        Raises
        ------
        InvalidInput
            ``secagg-unknown-member``: somebody with a vote did not share its keys.
        Conflict
            ``secagg-wrong-phase``.
        """
        self._require(not self._added and self._votes is None, "votes come once, before the first vector")
        require_members(votes.shares, self._sharers, "Votes")
        self._votes = votes

    def add(self, member: str, masked: NDArray[np.uint32]) -> None:
        """Add a member's masked vector of shape (m,) to the sum.

        Raises
        ------
        InvalidInput
            ``secagg-unknown-member``; ``secagg-malformed``: not uint32, not one-dimensional, or of another
            length.
        Conflict
            ``secagg-wrong-phase``: this member's vector is in the sum already, or survivors were announced.
        """
        self._require_expected(member)
        require_row(masked, f"The vector of node {member[:12]}", member=member)
        expected = self._length if self._sum is None else self._sum.size
        if expected is not None and masked.size != expected:
            raise malformed(
                f"The vector of node {member[:12]} has {masked.size} values, expected are {expected}.",
                member=member,
            )
        self._enter(member, masked)

    def add_block(self, member: str, offset: int, block: Vector) -> bool:
        """Take the next block of a member's masked vector; it counts when the last one is there.

        A member that drops out halfway leaves the sum as it was, which is why its blocks are kept apart until then.

        Parameters
        ----------
        member : str
        offset : int
            Place of the block's first value; blocks come in order.
        block : ndarray of uint32, shape (b,)

        Returns
        -------
        bool
            Whether the vector is complete, and in the sum.

        Raises
        ------
        InvalidInput
            ``secagg-unknown-member``; ``secagg-malformed``: not uint32, not one-dimensional, out of order, or beyond
            the vector's end.
        Conflict
            ``secagg-wrong-phase``: as for `add`, or the sum was made without `length`.
        """
        self._require_expected(member)
        length = self._length
        if length is None:
            raise _out_of_order("a sum that takes blocks must know the vectors' length beforehand")
        require_row(block, f"The block of node {member[:12]}", member=member)
        held, there = self._arriving.get(member) or (self._room(length), 0)
        if offset != there or there + block.size > length:
            raise malformed(
                f"Node {member[:12]} sent {block.size} values for place {offset} of {length}; next is place {there}.",
                member=member,
            )
        held[there : there + block.size] = block
        there += block.size
        if there < length:
            self._arriving[member] = (held, there)
            return False
        self._arriving.pop(member, None)
        self._enter(member, held, keep=True)
        return True

    def _require_expected(self, member: str) -> None:
        self._require(self._survivors is None, "the survivors were announced already")
        expected = self._sharers if self._votes is None else self._votes.shares
        require_members({member: None}, expected, "Vectors")
        self._require(member not in self._added, f"the vector of node {member[:12]} is in the sum already")

    def _enter(self, member: str, masked: Vector, *, keep: bool = False) -> None:
        """Add a whole vector; `keep` it as the sum if it is the first and nobody else's."""
        if self._sum is not None:
            np.add(self._sum, masked, out=self._sum)
        elif keep:
            self._sum = masked
        else:
            self._sum = self._room(masked.size)
            self._sum[:] = masked
        self._added.add(member)

    @property
    def survivors(self) -> tuple[str, ...]:
        """Those whose vectors are in the sum, sorted. Asking for them closes the sum.

        Raises
        ------
        Aborted
            ``secagg-below-threshold``; ``secagg-neighbours-lost``: too few are left around one of them;
            ``secagg-too-few-voters``: too few of those with a vote are left.
        """
        if self._survivors is None:
            self._require_survivors(self._added)
            self._survivors = tuple(sorted(self._added))
            self._arriving = {}
        return self._survivors

    def _require_survivors(self, listed: Collection[str]) -> None:
        require_threshold(self._settings, listed, "sent their vectors")
        self._require_session().graph.require_connected(listed)
        if self._votes is not None:
            self._votes.require_hiding(self._settings, listed)

    def confirmed(self, signatures: Mapping[str, bytes]) -> None:
        """Check that at least T survivors signed the list of survivors.

        Raises
        ------
        InvalidInput
            ``secagg-unknown-member``, ``secagg-malformed``.
        Aborted
            ``secagg-below-threshold``.
        """
        survivors, session, enough = self.survivors, self._require_session().digest, self._settings.threshold
        valid = count_signatures(session, survivors, signatures, self._is_signed, self._votes, enough=enough)
        if valid < enough:
            raise below_threshold(self._settings, valid, "signed the list of survivors")
        self._confirmed = True

    def open(self, reveals: Mapping[str, Mapping[str, Reveal]]) -> Vector:
        """Return the sum of the survivors' encoded vectors, modulo 2^32.

        Parameters
        ----------
        reveals : mapping of holder to (mapping of member to Reveal)
            What `Member.unmask` gave out; of the holders of each member's secrets at least the threshold, which are T
            survivors where everybody is everybody's neighbour.

        Raises
        ------
        InvalidInput
            ``secagg-unknown-member``, ``secagg-malformed``.
        Aborted
            ``secagg-below-threshold``; ``secagg-bad-share`` when the shares do not give back the secret that
            its member had advertised, so that no sum is returned with masks left in it.
        Conflict
            ``secagg-wrong-phase``.
        """
        total, masks = self._unmasking(reveals)
        masks.apply(total)
        return total

    def open_blocks(
        self, reveals: Mapping[str, Mapping[str, Reveal]], values: int = BLOCK_BYTES // 4
    ) -> Iterator[Vector]:
        """Return the opened sum in blocks of so many values; beside the sum itself it needs memory for one.

        Parameters
        ----------
        reveals
            As for `open`.
        values : int
            Of a block; the last may be shorter.

        Raises
        ------
        InvalidInput, Aborted, Conflict
            As `open`, before the first block.
        """
        total, masks = self._unmasking(reveals)

        def blocks() -> Iterator[Vector]:
            for start in range(0, total.size, values):
                block = np.array(total[start : start + values])
                masks.apply(block, start)
                yield block

        return blocks()

    def abort(self) -> None:
        """Give the sum up and forget the vectors."""
        self._sum, self._arriving, self._confirmed = None, {}, False

    def _unmasking(self, reveals: Mapping[str, Mapping[str, Reveal]]) -> tuple[Vector, Masks]:
        """Return the masked sum, for once, and the masks that are left in it, of either sign as they are taken away."""
        self._require(self._confirmed, "the survivors were not confirmed yet")
        total = self._sum
        if total is None:
            raise _out_of_order("the sum was opened already")
        add, subtract = self._masks_left(reveals)
        self._sum = None
        return total, Masks(add, subtract)

    def _masks_left(self, reveals: Mapping[str, Mapping[str, Reveal]]) -> tuple[list[bytes], list[bytes]]:
        session, survivors = self._require_session(), frozenset(self.survivors)
        require_members(reveals, survivors, "Reveals")
        for holder, revealed in reveals.items():
            self._check_reveals(holder, revealed, survivors)
        if session.graph.is_complete:
            require_threshold(self._settings, reveals, "revealed shares")
        factors: dict[tuple[str, ...], list[int]] = {}
        add: list[bytes] = []
        subtract: list[bytes] = []
        for member in sorted(self._sharers):
            holders = tuple(h for h in session.graph.holders(member) if h in reveals)[: session.graph.threshold]
            if len(holders) < session.graph.threshold:
                raise self._too_few_holders(member, len(holders))
            if holders not in factors:
                factors[holders] = shamir.lagrange_at_zero([self._settings.places[holder] for holder in holders])
            secret = self._rebuild(member, factors[holders], [reveals[holder][member] for holder in holders])
            if member in survivors:
                subtract.append(self._bound(keys.self_mask_key(session.digest, secret, member)))
                continue
            private = X25519PrivateKey.from_private_bytes(secret)
            for survivor in survivors.intersection(session.graph.neighbours(member)):
                agreed = keys.agree(private, session.advertisements[survivor].mask_key, survivor)
                pair = keys.pair_mask_key(session.digest, agreed, member, survivor)
                if self._votes is not None:
                    pair = keys.bound_to_votes(pair, self._votes.digest)
                # The survivor added the mask if the lost member's id is above its own: take it away again.
                (subtract if member > survivor else add).append(self._bound(pair))
        return add, subtract

    def _bound(self, key: bytes) -> bytes:
        """Return the key of a mask as it lies on what is summed here."""
        return key

    def _too_few_holders(self, member: str, there: int) -> Aborted:
        needed = self._require_session().graph.threshold
        return Aborted(
            f"Only {there} of those who hold shares of node {member[:12]} revealed one; {needed} are needed. "
            "The round stops here and no update is revealed.",
            code="secagg-below-threshold",
            hint="Try the round again when more nodes are there.",
            member=member,
            needed=needed,
            there=there,
        )

    def _check_reveals(self, holder: str, revealed: Mapping[str, Reveal], survivors: frozenset[str]) -> None:
        about = self._sharers.intersection(self._require_session().graph.holders(holder))
        require_members(revealed, about, f"The reveals of node {holder[:12]}")
        if revealed.keys() != about:
            raise malformed(f"Node {holder[:12]} did not reveal a share for everybody it holds one of.", member=holder)
        for member, reveal in revealed.items():
            wanted = "seed" if member in survivors else "key"
            if not isinstance(reveal, Reveal) or reveal.kind != wanted:
                raise malformed(
                    f"Node {holder[:12]} should have revealed a {wanted} share of {member[:12]}.",
                    member=holder,
                )

    def _rebuild(self, member: str, factors: list[int], revealed: list[Reveal]) -> bytes:
        """Return a member's seed or private mask key, checked against what the member advertised."""
        kind, advertisement = revealed[0].kind, self._require_session().advertisements[member]
        with contextlib.suppress(ValueError):
            secret = shamir.combine(factors, [shamir.from_bytes(reveal.share) for reveal in revealed])
            commitment = keys.seed_commitment(self._settings.context, secret, member)
            if kind == "seed" and advertisement.commitment == commitment:
                return secret
            if kind == "key" and advertisement.mask_key == keys.public_of(secret):
                return secret
        raise Aborted(
            f"The shares given do not restore the {kind} that node {member[:12]} advertised.",
            code="secagg-bad-share",
            hint="That node shared wrongly, or one of those who revealed did; try the round again.",
            member=member,
        )

    def _is_signed(self, member: str, payload: bytes, signature: bytes) -> bool:
        if self._verify is None:
            return True  # the members check every signature themselves before they reveal anything
        try:
            self._verify(member, PROTOCOL, payload, signature)
        except FlaasError:
            return False
        return True

    def _require_session(self) -> Session:
        if self._session is None:
            raise _out_of_order("no keys were taken yet")
        return self._session

    def _require(self, in_order: bool, otherwise: str) -> None:
        if not in_order:
            raise _out_of_order(otherwise)


class ShardSum(SecureSum):
    """The sum of one shard, added up by one of the members (see `sharding`).

    It keeps the members' parts, together as much as one whole vector, until the leader has said whose shards reached
    every aggregator.

    Parameters
    ----------
    settings : RoundSettings
    plan : Plan
    me : str
        The member that adds up.
    verify : callable, optional
        As for `Member`.
    """

    def __init__(self, settings: RoundSettings, plan: Plan, me: str, *, verify: Verify | None = None) -> None:
        self._plan, self._shard = plan, plan.of(me)
        self._parts: dict[str, Vector] = {}
        super().__init__(settings, verify=verify, length=self._shard.length)

    @property
    def received(self) -> tuple[str, ...]:
        """Those whose parts are here, sorted."""
        return tuple(sorted(self._added))

    def settle(self, survivors: Collection[str]) -> None:
        """Take the leader's list of survivors, and add up their parts.

        Raises
        ------
        InvalidInput
            ``secagg-unknown-member``: the part of somebody on the list never came.
        Aborted
            As `survivors`.
        Conflict
            ``secagg-wrong-phase``.
        """
        self._require(self._survivors is None, "the survivors were announced already")
        require_members(dict.fromkeys(survivors), self._added, "Survivors")
        self._require_survivors(frozenset(survivors))
        total = np.zeros(self._shard.length, dtype=np.uint32)
        for member in set(survivors):
            np.add(total, self._parts[member], out=total)
        self._sum, self._parts = total, {}
        self._survivors = tuple(sorted(set(survivors)))

    @property
    def survivors(self) -> tuple[str, ...]:
        """Those who are in the sum, as the leader settled it.

        Raises
        ------
        Conflict
            ``secagg-wrong-phase``: not settled yet.
        """
        if self._survivors is None:
            raise _out_of_order("the leader has not settled the survivors yet")
        return self._survivors

    def abort(self) -> None:
        """Give the sum up and forget the parts."""
        self._parts = {}
        super().abort()

    def _enter(self, member: str, masked: Vector, *, keep: bool = False) -> None:
        self._parts[member] = masked if keep else np.array(masked)
        self._added.add(member)

    def _bound(self, key: bytes) -> bytes:
        return keys.bound_to_shard(key, self._plan.digest, self._shard.place)


def _out_of_order(reason: str) -> Conflict:
    return Conflict(f"This step of the secure sum is out of order: {reason}.", code="secagg-wrong-phase")
