"""One member's side of one secure sum: double masking of Bonawitz et al., with the signed survivor round.

Bonawitz, Ivanov, Kreuter, Marcedone, McMahan, Patel, Ramage, Segal and Seth, "Practical Secure Aggregation
for Privacy-Preserving Machine Learning", CCS 2017, in the variant against an active adversary. A member's
vector leaves under one mask for each other member, which cancels in the sum, and one of its own. Who helps to
open the sum gives, for each member, either a share of its own mask (its vector is in the sum) or a share of
the key of its pair masks (it dropped out); both together would open a single vector, and are never given.

The secrets live no longer than needed: private keys are dropped when the vector leaves, and of the two shares
held of each member one is forgotten the moment the list of survivors is signed.
"""

from __future__ import annotations

import enum
import secrets
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from ...errors import Conflict, FlaasError, InvalidInput
from . import keys, shamir
from .keystream import apply_masks
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
    require_threshold,
    survivors_payload,
    unknown_member,
)
from .settings import PROTOCOL, RoundSettings
from .votes import Votes

Sign = Callable[[str, bytes], bytes]
"""``sign(context, payload)``: the node identity's signature."""


class _Phase(enum.IntEnum):
    """What was done last."""

    ADVERTISED = 1
    SHARED = 2
    MASKED = 3
    CONFIRMED = 4


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

    Notes ----- The methods are called once each, in the order in which they stand here; a call that raises
    changes nothing. Asking again for the same signature or the same reveals is fine; to share or mask twice
    is refused, because two messages under the same keys would give away their difference.
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
        self._secrets = (seal_key, mask_key, seed)
        public = (
            seal_key.public_key().public_bytes_raw(),
            mask_key.public_key().public_bytes_raw(),
            keys.seed_commitment(settings, seed, me),
        )
        self._advertisement = Advertisement(*public, sign(PROTOCOL, Advertisement.payload(settings, *public)))
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
            For each other member in the round, what only that member can open.

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
        seal_key, mask_key, seed = self._secrets
        others = {member: adv for member, adv in advertisements.items() if member != me}
        channels = {member: keys.agree(seal_key, adv.seal_key, member) for member, adv in others.items()}
        agreed = {member: keys.agree(mask_key, adv.mask_key, member) for member, adv in others.items()}
        key_shares = shamir.split(mask_key.private_bytes_raw(), len(settings.members), settings.threshold)
        seed_shares = shamir.split(seed, len(settings.members), settings.threshold)
        shares = dict(zip(settings.members, zip(key_shares, seed_shares, strict=True), strict=True))
        self._channels, self._own = channels, shares[me]
        self._pair_masks = {m: keys.pair_mask_key(settings, secret, me, m) for m, secret in agreed.items()}
        self._self_mask = keys.self_mask_key(settings, seed, me)
        del self._secrets
        self._phase = _Phase.SHARED
        return {
            member: keys.seal(settings, channel, me, member, *shares[member]) for member, channel in channels.items()
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
            Sealed shares for this member, one from each other member that shared.
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
            ``secagg-below-threshold``: too few shared. ``secagg-too-few-voters``: the sum of those with a vote
            would not hide one of them.
        Conflict
            ``secagg-wrong-phase``.
        """
        self._require_phase(_Phase.SHARED)
        if not isinstance(encoded, np.ndarray) or encoded.dtype != np.uint32 or encoded.ndim != 1:
            raise malformed("The encoded vector must be a one-dimensional array of uint32.")
        require_members(inbox, self._channels, "Shares")
        require_threshold(self._settings, [self._me, *inbox], "shared their keys")
        if votes is not None:
            require_members(votes.shares, {self._me, *inbox}, "Votes")
            votes.share_of(self._me)
            votes.require_hiding(self._settings, votes.shares)
        held = {self._me: self._own}
        for sender, sealed in inbox.items():
            require_bytes(sealed, keys.SEALED_BYTES, f"the share from node {sender[:12]}")
            held[sender] = keys.unseal(self._settings, self._channels[sender], sender, self._me, sealed)
        pairs = {member: self._pair_masks[member] for member in inbox}
        if votes is not None:
            pairs = {member: keys.bound_to_votes(key, votes.digest) for member, key in pairs.items()}
        above = [key for member, key in pairs.items() if member > self._me]
        below = [key for member, key in pairs.items() if member < self._me]
        masked = np.array(encoded)
        apply_masks(masked, add=[self._self_mask, *above], subtract=below)
        self._held, self._votes = held, votes
        self._channels, self._pair_masks, self._self_mask = {}, {}, b""
        self._phase = _Phase.MASKED
        return masked

    def confirm(self, survivors: Sequence[str]) -> bytes:
        """Sign the list of those whose vectors are in the sum; only one list is ever signed.

        Raises
        ------
        InvalidInput
            ``secagg-malformed``: not a list of distinct ids; ``secagg-unknown-member``: somebody is on it who
            did not share with this member.
        Aborted
            ``secagg-below-threshold``: fewer than T; ``secagg-too-few-voters``: as for `mask`, of those left.
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
        return self._sign(PROTOCOL, survivors_payload(self._settings, listed, self._votes))

    def unmask(self, signatures: Mapping[str, bytes]) -> dict[str, Reveal]:
        """Give out one share per member, once T survivors signed the list that this member signed.

        Parameters
        ----------
        signatures : mapping of str to bytes
            By survivors; one that does not verify does not count.

        Returns
        -------
        dict of str to Reveal
            For each member that shared: a share of its seed if it survived, else of its mask key.

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
        valid = count_signatures(self._settings, self._survivors, signatures, self._is_signed, self._votes)
        if valid < self._settings.threshold:
            raise below_threshold(self._settings, valid, "signed the list of survivors that this node signed")
        return dict(self._reveals)

    def _choose(self, survivors: frozenset[str]) -> None:
        """Keep of each member the share that this list asks for, and forget the other for good."""
        strangers = survivors - self._held.keys()
        if strangers:
            raise unknown_member(min(strangers), "Survivors")
        require_threshold(self._settings, survivors, "sent their vectors")
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
