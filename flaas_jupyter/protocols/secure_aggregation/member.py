"""One member's side of one secure sum: double masking of Bonawitz et al., with the signed survivor round.

Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal and Seth, "Practical Secure Aggregation
for Privacy-Preserving Machine Learning", CCS 2017, in the variant against an active adversary. A member's
vector leaves under one mask for each of its neighbours (all other members, or some: see `graph`), which cancels in
the sum, and one of its own. Who helps to open the sum gives, for each neighbour, either a share of its own mask (its
vector is in the sum) or a share of the key of its pair masks (it dropped out); both together would open a single
vector, and are never given.

The secrets live no longer than needed: private keys are dropped when the vector leaves, and of the two shares
held of each member one is forgotten the moment the list of survivors is signed.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from ...errors import Conflict, FlaasError, InvalidInput
from . import keys, shamir
from .keystream import Masks
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
    survivors_payload,
    unknown_member,
)
from .session import Session
from .settings import PROTOCOL, RoundSettings
from .sharding import Plan
from .votes import Votes

Sign = Callable[[str, bytes], bytes]
"""``sign(context, payload)``: the node identity's signature."""


class _Phase(enum.IntEnum):
    """What was done last."""

    ADVERTISED = 1
    SHARED = 2
    MASKED = 3
    CONFIRMED = 4
    ABORTED = 5


class Member:
    """One member's side of one round; make a new one for each attempt.

    Parameters
    ----------
    settings : RoundSettings
        What the members agree on.
    me : str
        This member's node id.
    sign : callable
        ``sign(context, payload)`` returns the node identity's signature.
    verify : callable
        ``verify(node_id, context, payload, signature)`` raises `NotAuthenticated` unless that node, a member
        of the domain by its signed membership, made the signature. It must not ask the aggregator.

    Notes
    -----
    The methods are called once each, in the order in which they stand here, of `mask`, `mask_blocks` and `mask_shards`
    one; a call that raises changes nothing. Asking again for the same signature or the same reveals is fine; to share
    or mask twice is refused, because two messages under the same keys would give away their difference. After `abort`
    everything is refused.
    """

    def __init__(self, settings: RoundSettings, me: str, sign: Sign, verify: Verify) -> None:
        if me not in settings.members:
            raise unknown_member(me, "The settings")
        self._settings, self._me, self._sign, self._verify = settings, me, sign, verify
        self._phase = _Phase.ADVERTISED
        seal_key, mask_key, seed = (
            X25519PrivateKey.generate(),
            X25519PrivateKey.generate(),
            secrets.token_bytes(32),
        )
        self._secrets: tuple[X25519PrivateKey, X25519PrivateKey, bytes] | None = (seal_key, mask_key, seed)
        public = (
            seal_key.public_key().public_bytes_raw(),
            mask_key.public_key().public_bytes_raw(),
            keys.seed_commitment(settings.context, seed, me),
        )
        self._advertisement = Advertisement(*public, sign(PROTOCOL, Advertisement.payload(settings, *public)))
        self._session: Session | None = None
        self._channels: dict[str, bytes] = {}
        self._pair_masks: dict[str, bytes] = {}
        self._self_mask = b""
        self._own: tuple[int, int] = (0, 0)
        self._votes: Votes | None = None
        self._held: dict[str, tuple[int, int]] = {}
        self._survivors: frozenset[str] = frozenset()
        self._reveals: dict[str, Reveal] = {}

    def __repr__(self) -> str:
        return f"Member(me={self._me!r}, phase={self._phase.name})"

    def advertise(self) -> Advertisement:
        """Return this member's public keys of the round, signed."""
        if self._phase is _Phase.ABORTED:
            self._require_phase(_Phase.ADVERTISED)
        return self._advertisement

    def share(self, advertisements: Mapping[str, Advertisement]) -> dict[str, bytes]:
        """Check everybody's keys; return this member's secrets, shared out and sealed per recipient.

        Parameters
        ----------
        advertisements : mapping of str to Advertisement
            Of this member and at least T in all; a member that is missing is out of the round.

        Returns
        -------
        dict of str to bytes
            For each neighbour of this member, what only that neighbour can open.

        Raises
        ------
        InvalidInput, NotAuthenticated, Aborted
            See `check_advertisements`; ``secagg-bad-key`` also for a point of low order.
        Conflict
            ``secagg-not-in-round`` if this member's own keys are missing or changed; ``secagg-wrong-phase``.
        """
        self._require_phase(_Phase.ADVERTISED)
        settings, me = self._settings, self._me
        check_advertisements(settings, advertisements, self._verify)
        if advertisements.get(me) != self._advertisement:
            raise Conflict(
                f"The keys of this node, {me[:12]}, are missing or not the ones it advertised.",
                code="secagg-not-in-round",
            )
        session = Session(settings, advertisements)
        graph = session.graph
        assert self._secrets is not None  # the phase says so
        seal_key, mask_key, seed = self._secrets
        others = {member: advertisements[member] for member in graph.neighbours(me)}
        channels = {member: keys.agree(seal_key, adv.seal_key, member) for member, adv in others.items()}
        agreed = {member: keys.agree(mask_key, adv.mask_key, member) for member, adv in others.items()}
        holders = graph.holders(me)
        places = [settings.places[holder] for holder in holders]
        key_shares = shamir.deal(mask_key.private_bytes_raw(), places, graph.threshold)
        seed_shares = shamir.deal(seed, places, graph.threshold)
        shares = dict(zip(holders, zip(key_shares, seed_shares, strict=True), strict=True))
        self._session, self._channels, self._own = session, channels, shares[me]
        self._pair_masks = {m: keys.pair_mask_key(session.digest, secret, me, m) for m, secret in agreed.items()}
        self._self_mask = keys.self_mask_key(session.digest, seed, me)
        self._secrets = None
        self._phase = _Phase.SHARED
        return {
            member: keys.seal(session.digest, channel, me, member, *shares[member])
            for member, channel in channels.items()
        }

    def mask(
        self, encoded: NDArray[np.uint32], inbox: Mapping[str, bytes], *, votes: Votes | None = None
    ) -> NDArray[np.uint32]:
        """Return `encoded` under this member's masks.

        Parameters
        ----------
        encoded : ndarray of uint32, shape (m,)
            This member's vector, see `encode_update`; left as it is.
        inbox : mapping of str to bytes
            Sealed shares for this member, one from each of its neighbours that shared.
        votes : Votes, optional
            What every member's vector counts for, as `encoded` was made with. Part of the masks, and signed with
            the list of survivors.

        Returns
        -------
        ndarray of uint32, shape (m,)
            Uniformly distributed to whoever lacks the masks.

        Raises
        ------
        InvalidInput
            ``secagg-malformed``, ``secagg-unknown-member``; ``secagg-bad-votes``: this member has no share.
        NotAuthenticated
            ``secagg-bad-share``: a share does not open; the message names its sender.
        Aborted
            ``secagg-below-threshold``, ``secagg-neighbours-lost``: too few shared. ``secagg-too-few-voters``: the sum
            of those with a vote would not hide one of them.
        Conflict
            ``secagg-wrong-phase``.
        """
        self._require_phase(_Phase.SHARED)
        require_row(encoded, "The encoded vector")
        masked = np.array(encoded)
        Masks(*self._take(inbox, votes)).apply(masked)
        return masked

    def mask_blocks(
        self, blocks: Iterable[NDArray[np.uint32]], inbox: Mapping[str, bytes], *, votes: Votes | None = None
    ) -> Iterator[NDArray[np.uint32]]:
        """Return the vector under this member's masks block by block; for vectors longer than memory.

        Parameters
        ----------
        blocks : iterable of ndarray of uint32, each of shape (b,)
            This member's vector in order, in blocks of any lengths; each is taken when its masked block is asked for.
        inbox, votes
            As for `mask`.

        Returns
        -------
        iterator of ndarray of uint32
            As long as the blocks. The inbox was checked, and the keys are used up, when this method returns.

        Raises
        ------
        InvalidInput, NotAuthenticated, Aborted, Conflict
            As `mask`; ``secagg-malformed`` from the iterator, for a bad block.
        """
        self._require_phase(_Phase.SHARED)
        masks = Masks(*self._take(inbox, votes))

        def masked_blocks() -> Iterator[NDArray[np.uint32]]:
            offset = 0
            for block in blocks:
                require_row(block, f"The block at {offset} of the encoded vector")
                masked = np.array(block)
                masks.apply(masked, offset)
                offset += masked.size
                yield masked

        return masked_blocks()

    def mask_shards(
        self, encoded: NDArray[np.uint32], inbox: Mapping[str, bytes], plan: Plan, *, votes: Votes | None = None
    ) -> dict[str, NDArray[np.uint32]]:
        """Return the shards of `encoded`, each for its own aggregator under masks of its own.

        Parameters
        ----------
        encoded : ndarray of uint32, shape (plan.length,)
        inbox, votes
            As for `mask`.
        plan : Plan
            Who adds up what; the same for all members, or nothing but noise is opened.

        Returns
        -------
        dict of aggregator to ndarray of uint32

        Raises
        ------
        InvalidInput, NotAuthenticated, Aborted, Conflict
            As `mask`.
        """
        self._require_phase(_Phase.SHARED)
        require_row(encoded, "The encoded vector")
        if encoded.size != plan.length:
            raise malformed(f"The encoded vector has {encoded.size} values; the plan is for {plan.length}.")
        add, subtract = self._take(inbox, votes)
        parts = {}
        for shard in plan.shards:
            part = np.array(encoded[shard.start : shard.stop])
            bound = [[keys.bound_to_shard(key, plan.digest, shard.place) for key in some] for some in (add, subtract)]
            Masks(*bound).apply(part)
            parts[shard.aggregator] = part
        return parts

    def _take(self, inbox: Mapping[str, bytes], votes: Votes | None) -> tuple[list[bytes], list[bytes]]:
        """Check and keep the shares of others; return the keys of the masks to add and to subtract, for once."""
        session = self._agreed_session
        require_members(inbox, self._channels, "Shares")
        if session.graph.is_complete:
            require_threshold(self._settings, [self._me, *inbox], "shared their keys")
        else:
            session.graph.require_hidden(self._me, inbox)
        if votes is not None:
            # Of those who are no neighbours this member cannot know whether they shared.
            voters = {self._me, *inbox} if session.graph.is_complete else session.advertisements
            require_members(votes.shares, voters, "Votes")
            votes.share_of(self._me)
            votes.require_hiding(self._settings, votes.shares)
        held = {self._me: self._own}
        for sender, sealed in inbox.items():
            require_bytes(sealed, keys.SEALED_BYTES, f"the share from node {sender[:12]}")
            held[sender] = keys.unseal(session.digest, self._channels[sender], sender, self._me, sealed)
        pairs = {member: self._pair_masks[member] for member in inbox}
        if votes is not None:
            pairs = {member: keys.bound_to_votes(key, votes.digest) for member, key in pairs.items()}
        add = [self._self_mask, *(key for member, key in pairs.items() if member > self._me)]
        subtract = [key for member, key in pairs.items() if member < self._me]
        self._held, self._votes = held, votes
        self._channels, self._pair_masks, self._self_mask = {}, {}, b""
        self._phase = _Phase.MASKED
        return add, subtract

    def confirm(self, survivors: Sequence[str]) -> bytes:
        """Sign the list of those whose vectors are in the sum; only one list is ever signed.

        Raises
        ------
        InvalidInput
            ``secagg-malformed``: not a list of distinct ids; ``secagg-unknown-member``: somebody is on it who
            advertised no keys, or a neighbour who did not share with this member.
        Aborted
            ``secagg-below-threshold``: fewer than T; ``secagg-neighbours-lost``: the list cuts the ring, so that parts
            of the sum might stand alone; ``secagg-too-few-voters``: as for `mask`, of those left.
        Conflict
            ``secagg-not-a-survivor``: this member sent its vector and is not on the list;
            ``secagg-survivors-changed``: another list was signed before; ``secagg-wrong-phase``.
        """
        listed = _distinct(survivors)
        if self._phase is _Phase.CONFIRMED and listed != self._survivors:
            raise Conflict(
                "The aggregator announced two different lists of survivors.",
                code="secagg-survivors-changed",
                hint="Who opened both sums would learn single updates. Do not trust this aggregator.",
            )
        if self._phase is not _Phase.CONFIRMED:
            self._require_phase(_Phase.MASKED)
            self._choose(listed)
        return self._sign(PROTOCOL, survivors_payload(self._agreed_session.digest, listed, self._votes))

    def unmask(self, signatures: Mapping[str, bytes]) -> dict[str, Reveal]:
        """Give out one share per member, once T survivors signed the list that this member signed.

        Parameters
        ----------
        signatures : mapping of str to bytes
            By survivors; one that does not verify does not count.

        Returns
        -------
        dict of str to Reveal
            For this member and each neighbour that shared: a share of its seed if it survived, else of its mask key.

        Raises
        ------
        InvalidInput
            ``secagg-malformed``, ``secagg-unknown-member``.
        Aborted
            ``secagg-below-threshold``: too few signed this list.
        Conflict
            ``secagg-wrong-phase``.
        """
        self._require_phase(_Phase.CONFIRMED)
        session, enough = self._agreed_session.digest, self._settings.threshold
        valid = count_signatures(session, self._survivors, signatures, self._is_signed, self._votes, enough=enough)
        if valid < enough:
            raise below_threshold(self._settings, valid, "signed the list of survivors that this node signed")
        return dict(self._reveals)

    def abort(self) -> None:
        """Take no further part: forget every secret, and refuse whatever is asked for afterwards."""
        self._secrets = None
        self._channels, self._pair_masks, self._self_mask, self._own = {}, {}, b"", (0, 0)
        self._held, self._reveals = {}, {}
        self._phase = _Phase.ABORTED

    @property
    def _agreed_session(self) -> Session:
        assert self._session is not None  # the phase says so
        return self._session

    def _choose(self, survivors: frozenset[str]) -> None:
        """Keep of each member the share that this list asks for, and forget the other for good."""
        graph = self._agreed_session.graph
        known = self._held.keys() | (self._agreed_session.advertisements.keys() - set(graph.holders(self._me)))
        strangers = survivors - known
        if strangers:
            raise unknown_member(min(strangers), "Survivors")
        require_threshold(self._settings, survivors, "sent their vectors")
        graph.require_connected(survivors)
        if self._votes is not None:
            self._votes.require_hiding(self._settings, survivors)
        if self._me not in survivors:
            raise Conflict(
                f"This node, {self._me[:12]}, sent its vector and is not among the survivors.",
                code="secagg-not-a-survivor",
                hint="Its vector came too late, or the aggregator lies; it can take part in the next round.",
            )
        self._reveals = {
            member: Reveal("seed", shamir.to_bytes(seed))
            if member in survivors
            else Reveal("key", shamir.to_bytes(key))
            for member, (key, seed) in self._held.items()
        }
        self._survivors, self._held, self._own = survivors, {}, (0, 0)
        self._phase = _Phase.CONFIRMED

    def _is_signed(self, member: str, payload: bytes, signature: bytes) -> bool:
        try:
            self._verify(member, PROTOCOL, payload, signature)
        except FlaasError:
            return False
        return True

    def _require_phase(self, phase: _Phase) -> None:
        if self._phase is _Phase.ABORTED:
            raise Conflict(
                "This member has given up the attempt and forgotten its secrets.",
                code="secagg-aborted",
                hint="A new attempt starts with new keys.",
            )
        if self._phase is not phase:
            raise Conflict(
                f"This member is at {self._phase.name.lower()}; that step follows {phase.name.lower()}.",
                code="secagg-wrong-phase",
                hint="Each attempt takes its steps once, in order; a new attempt starts with new keys.",
            )


def _distinct(survivors: object) -> frozenset[str]:
    if not isinstance(survivors, list | tuple) or not all(isinstance(member, str) for member in survivors):
        raise malformed("Survivors must come as a list of node ids.")
    listed = frozenset(survivors)
    if len(listed) != len(survivors):
        raise InvalidInput("A survivor is listed twice.", code="secagg-malformed")
    return listed
