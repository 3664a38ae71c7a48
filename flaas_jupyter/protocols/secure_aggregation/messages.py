"""What members say to each other by way of the aggregator, and how it is checked before it is believed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, cast

import numpy as np

from ...errors import Aborted, InvalidInput
from . import shamir
from .keys import KEY_BYTES
from .settings import PROTOCOL, RoundSettings
from .votes import Votes

SIGNATURE_BYTES = 64

Verify = Callable[[str, str, bytes, bytes], None]
"""``verify(node_id, context, payload, signature)``: raises `NotAuthenticated` unless that node signed it."""


@dataclass(frozen=True)
class Advertisement:
    """A member's public keys of one round, signed with its node identity.

    Attributes
    ----------
    seal_key : bytes
        X25519 key under which others seal their shares for this member.
    mask_key : bytes
        X25519 key from which the masks between pairs come.
    commitment : bytes
        Commits the member to its own seed.
    signature : bytes
        Ed25519 by the node over `payload`.
    """

    seal_key: bytes
    mask_key: bytes
    commitment: bytes
    signature: bytes

    def __post_init__(self) -> None:
        for item in fields(self):
            size = SIGNATURE_BYTES if item.name == "signature" else KEY_BYTES
            require_bytes(getattr(self, item.name), size, f"an advertisement's {item.name}")

    @staticmethod
    def payload(settings: RoundSettings, seal_key: bytes, mask_key: bytes, commitment: bytes) -> bytes:
        """Return the bytes that are signed."""
        return b"advertise|" + settings.context + seal_key + mask_key + commitment

    def to_dict(self) -> dict[str, bytes]:
        """Return the fields, values as bytes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Rebuild an advertisement from `to_dict`; refuses anything else as ``secagg-malformed``."""
        return cls(**_exactly(data, {item.name for item in fields(cls)}, "An advertisement"))


@dataclass(frozen=True)
class Reveal:
    """One share that a member gives out to open the sum.

    Attributes
    ----------
    kind : "seed" or "key"
        Of the seed, for a member whose vector is in the sum; of the mask key, for one whose vector is not.
    share : bytes
        The holder's Shamir share, 66 bytes.
    """

    kind: Literal["seed", "key"]
    share: bytes

    def __post_init__(self) -> None:
        if self.kind not in ("seed", "key"):
            raise malformed(f"A reveal is of a seed or a key, not {str(self.kind)[:20]!r}.")
        require_bytes(self.share, shamir.SHARE_BYTES, "a revealed share")

    def to_dict(self) -> dict[str, str | bytes]:
        """Return the fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Rebuild a reveal from `to_dict`; refuses anything else as ``secagg-malformed``."""
        return cls(**_exactly(data, {"kind", "share"}, "A reveal"))


def survivors_payload(session: bytes, survivors: Iterable[str], votes: Votes | None = None) -> bytes:
    """Return the bytes that survivors sign: who is in the sum and, where votes were given, what each counts for.

    Parameters
    ----------
    session : bytes
        Digest of the session, see `Session`.
    survivors : iterable of str
    votes : Votes, optional
    """
    listed = b"".join(map(bytes.fromhex, sorted(survivors)))
    if votes is None:
        return b"survivors|" + session + listed
    return b"survivors and votes|" + session + votes.digest + listed


def check_advertisements(
    settings: RoundSettings, advertisements: Mapping[str, Advertisement], verify: Verify | None
) -> None:
    """Check who is in the round: members, enough of them, keys all different, signatures theirs.

    Raises
    ------
    InvalidInput
        ``secagg-unknown-member``, ``secagg-malformed``, or ``secagg-bad-key`` for a key that appears twice.
    Aborted
        ``secagg-below-threshold``.
    NotAuthenticated
        From `verify`.
    """
    require_members(advertisements, settings.members, "Keys")
    seen: set[bytes] = set()
    for member, advertisement in advertisements.items():
        if not isinstance(advertisement, Advertisement):
            raise malformed(f"Node {member[:12]} sent no advertisement.", member=member)
        keys = {advertisement.seal_key, advertisement.mask_key}
        if len(keys) < 2 or keys & seen:
            raise InvalidInput(
                f"Node {member[:12]} advertised a key that is used twice in this round.",
                code="secagg-bad-key",
                hint="Keys are fresh and each member's own: leave that node out of the round.",
                member=member,
            )
        seen |= keys
        if verify is not None:
            signed = (advertisement.seal_key, advertisement.mask_key, advertisement.commitment)
            verify(member, PROTOCOL, Advertisement.payload(settings, *signed), advertisement.signature)
    require_threshold(settings, advertisements, "advertised keys")


def count_signatures(
    session: bytes,
    survivors: Collection[str],
    signatures: Mapping[str, bytes],
    verify: Callable[[str, bytes, bytes], bool],
    votes: Votes | None = None,
    *,
    enough: int,
) -> int:
    """Return how many survivors signed the list; a signature that does not verify does not count.

    Counting stops at `enough`.

    Parameters
    ----------
    session : bytes
        Digest of the session.
    survivors : collection of str
    signatures : mapping of str to bytes
    verify : callable
        ``verify(member, payload, signature)``: whether it is that member's.
    votes : Votes, optional
        That were signed with the list.
    enough : int
        How many are needed.
    """
    require_members(signatures, survivors, "Survivors' signatures")
    payload = survivors_payload(session, survivors, votes)
    for member, signature in signatures.items():
        require_bytes(signature, SIGNATURE_BYTES, f"the signature of node {member[:12]}")
    valid = 0
    for member, signature in signatures.items():
        valid += verify(member, payload, signature)
        if valid >= enough:
            break
    return valid


def require_members(named: object, allowed: Collection[str], what: str) -> None:
    """Refuse anything but a mapping whose keys are all among `allowed`."""
    if not isinstance(named, Mapping):
        raise malformed(f"{what} must come as a mapping from node id, not as {type(named).__name__}.")
    for member in named:
        if not isinstance(member, str) or member not in allowed:
            raise unknown_member(member, what)


def require_threshold(settings: RoundSettings, there: Collection[str], did: str) -> None:
    """Abort unless at least T members are `there`."""
    if len(there) < settings.threshold:
        raise below_threshold(settings, len(there), did)


def require_bytes(value: object, size: int, what: str) -> None:
    """Refuse anything but `size` bytes."""
    if not isinstance(value, bytes) or len(value) != size:
        got = f"{len(value)} bytes" if isinstance(value, bytes) else type(value).__name__
        raise malformed(f"{what[0].upper()}{what[1:]} has {size} bytes; got {got}.")


def require_row(vector: object, what: str, **details: str) -> None:
    """Refuse anything but a one-dimensional array of uint32."""
    if not isinstance(vector, np.ndarray) or vector.dtype != np.uint32 or vector.ndim != 1:
        raise malformed(f"{what} is not a row of uint32.", **details)


def below_threshold(settings: RoundSettings, there: int, did: str) -> Aborted:
    """Return the error of a round with too few left."""
    return Aborted(
        f"Only {there} of {len(settings.members)} members {did}; {settings.threshold} are needed. "
        "The round stops here and no update is revealed.",
        code="secagg-below-threshold",
        hint="Try the round again when more nodes are there.",
        needed=settings.threshold,
        there=there,
    )


def unknown_member(member: object, what: str) -> InvalidInput:
    """Return the error of a name that does not belong here."""
    return InvalidInput(
        f"{what} name {str(member)[:12]!r}, which is not among the members in question.",
        code="secagg-unknown-member",
    )


def malformed(message: str, **details: str) -> InvalidInput:
    """Return the error of a message that has not the agreed form."""
    return InvalidInput(message, code="secagg-malformed", **details)


def _exactly(data: object, names: set[str], what: str) -> dict[str, Any]:
    if not isinstance(data, Mapping) or set(data) != names:
        raise malformed(f"{what} has {', '.join(sorted(names))}, and nothing else.")
    return dict(cast("Mapping[str, Any]", data))
