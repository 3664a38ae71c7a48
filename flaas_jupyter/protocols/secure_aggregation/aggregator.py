"""The aggregator's side of one secure sum: pass messages on, add up, rebuild what masks are left, subtract.

It holds one vector, whatever the number of members, and never a member's vector without its masks. What the
members guarantee each other does not rest on anything that is checked here; the checks here name the member
at fault before others are troubled with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from ...errors import Aborted, Conflict, FlaasError
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
)
from .settings import PROTOCOL, RoundSettings
from .votes import Votes


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
    """

    def __init__(self, settings: RoundSettings, *, verify: Verify | None = None, length: int | None = None) -> None:
        self._settings, self._verify, self._length = settings, verify, length
        self._advertisements: dict[str, Advertisement] = {}
        self._sharers: frozenset[str] = frozenset()
        self._votes: Votes | None = None
        self._added: set[str] = set()
        self._sum: NDArray[np.uint32] | None = None
        self._survivors: tuple[str, ...] | None = None
        self._confirmed = False

    def advertised(self, advertisements: Mapping[str, Advertisement]) -> None:
        """Take the members' keys; whoever is missing is out of the round.

        Raises
        ------
        InvalidInput, NotAuthenticated, Aborted
            As `Member.share`; the error names the member at fault.
        """
        self._require(not self._advertisements, "keys were taken already")
        check_advertisements(self._settings, advertisements, self._verify)
        probe = X25519PrivateKey.generate()
        for member, advertisement in advertisements.items():
            keys.agree(probe, advertisement.seal_key, member)
            keys.agree(probe, advertisement.mask_key, member)
        self._advertisements = dict(advertisements)

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
            ``secagg-below-threshold``.
        """
        self._require(bool(self._advertisements), "no keys were taken yet")
        self._require(not self._sharers, "shares were taken already")
        require_members(shares, self._advertisements, "Shares")
        for sender, sealed in shares.items():
            recipients = self._advertisements.keys() - {sender}
            require_members(sealed, recipients, f"The shares of node {sender[:12]}")
            if sealed.keys() != recipients:
                raise malformed(f"Node {sender[:12]} did not share with every member.", member=sender)
            for recipient, blob in sealed.items():
                require_bytes(blob, keys.SEALED_BYTES, f"the share of node {sender[:12]} for {recipient[:12]}")
        require_threshold(self._settings, shares, "shared their keys")
        self._sharers = frozenset(shares)
        return {
            recipient: {sender: sealed[recipient] for sender, sealed in shares.items() if sender != recipient}
            for recipient in shares
        }

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
        self._require(self._survivors is None, "the survivors were announced already")
        require_members({member: masked}, self._sharers if self._votes is None else self._votes.shares, "Vectors")
        self._require(member not in self._added, f"the vector of node {member[:12]} is in the sum already")
        if not isinstance(masked, np.ndarray) or masked.dtype != np.uint32 or masked.ndim != 1:
            raise malformed(f"The vector of node {member[:12]} is not a row of uint32.", member=member)
        expected = self._length if self._sum is None else self._sum.size
        if expected is not None and masked.size != expected:
            raise malformed(
                f"The vector of node {member[:12]} has {masked.size} values, expected are {expected}.",
                member=member,
            )
        if self._sum is None:
            self._sum = np.array(masked)
        else:
            np.add(self._sum, masked, out=self._sum)
        self._added.add(member)

    @property
    def survivors(self) -> tuple[str, ...]:
        """Those whose vectors are in the sum, sorted. Asking for them closes the sum.

        Raises
        ------
        Aborted
            ``secagg-below-threshold``; ``secagg-too-few-voters``: too few of those with a vote are left.
        """
        if self._survivors is None:
            require_threshold(self._settings, self._added, "sent their vectors")
            if self._votes is not None:
                self._votes.require_hiding(self._settings, self._added)
            self._survivors = tuple(sorted(self._added))
        return self._survivors

    def confirmed(self, signatures: Mapping[str, bytes]) -> None:
        """Check that at least T survivors signed the list of survivors.

        Raises
        ------
        InvalidInput
            ``secagg-unknown-member``, ``secagg-malformed``.
        Aborted
            ``secagg-below-threshold``.
        """
        valid = count_signatures(self._settings, self.survivors, signatures, self._is_signed, self._votes)
        if valid < self._settings.threshold:
            raise below_threshold(self._settings, valid, "signed the list of survivors")
        self._confirmed = True

    def open(self, reveals: Mapping[str, Mapping[str, Reveal]]) -> NDArray[np.uint32]:
        """Return the sum of the survivors' encoded vectors, modulo 2^32.

        Parameters
        ----------
        reveals : mapping of holder to (mapping of member to Reveal)
            From at least T survivors, what `Member.unmask` gave out.

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
        self._require(self._confirmed, "the survivors were not confirmed yet")
        total, survivors = self._sum, self.survivors
        if total is None:
            raise _out_of_order("the sum was opened already")
        require_members(reveals, survivors, "Reveals")
        for holder, revealed in reveals.items():
            self._check_reveals(holder, revealed)
        require_threshold(self._settings, reveals, "gave their shares")
        holders = sorted(reveals)[: self._settings.threshold]
        factors = shamir.lagrange_at_zero([self._settings.places[holder] for holder in holders])
        add: list[bytes] = []
        subtract: list[bytes] = []
        for member in sorted(self._sharers):
            secret = self._rebuild(member, factors, [reveals[holder][member] for holder in holders])
            if member in survivors:
                subtract.append(keys.self_mask_key(self._settings, secret, member))
                continue
            private = X25519PrivateKey.from_private_bytes(secret)
            for survivor in survivors:
                agreed = keys.agree(private, self._advertisements[survivor].mask_key, survivor)
                pair = keys.pair_mask_key(self._settings, agreed, member, survivor)
                if self._votes is not None:
                    pair = keys.bound_to_votes(pair, self._votes.digest)
                # The survivor added the mask if the lost member's id is above its own: take it away again.
                (subtract if member > survivor else add).append(pair)
        self._sum = None
        apply_masks(total, add=add, subtract=subtract)
        return total

    def _check_reveals(self, holder: str, revealed: Mapping[str, Reveal]) -> None:
        require_members(revealed, self._sharers, f"The reveals of node {holder[:12]}")
        if revealed.keys() != self._sharers:
            raise malformed(f"Node {holder[:12]} did not reveal a share for every member.", member=holder)
        for member, reveal in revealed.items():
            wanted = "seed" if member in self.survivors else "key"
            if not isinstance(reveal, Reveal) or reveal.kind != wanted:
                raise malformed(
                    f"Node {holder[:12]} should have revealed a {wanted} share of {member[:12]}.",
                    member=holder,
                )

    def _rebuild(self, member: str, factors: list[int], revealed: list[Reveal]) -> bytes:
        """Return a member's seed or private mask key, checked against what the member advertised."""
        kind, advertisement = revealed[0].kind, self._advertisements[member]
        with contextlib.suppress(ValueError):
            secret = shamir.combine(factors, [shamir.from_bytes(reveal.share) for reveal in revealed])
            if kind == "seed" and advertisement.commitment == keys.seed_commitment(self._settings, secret, member):
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

    def _require(self, in_order: bool, otherwise: str) -> None:
        if not in_order:
            raise _out_of_order(otherwise)


def _out_of_order(reason: str) -> Conflict:
    return Conflict(f"This step of the secure sum is out of order: {reason}.", code="secagg-wrong-phase")
