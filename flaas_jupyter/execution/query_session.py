"""One attempt at one step of a query, as a node that has rows lives it.

Each method answers one message of the releaser (docs/mesh.md): keys and shares while the rows are gone through in a
thread, the masked vector, then, when it is settled who is in the sum, the ledger's entry before the signature that
opens it. By homomorphic encryption (``via="he"``) a ciphertext takes the place of the masked vector, and the key
holder decrypts the sum once enough of those in it have signed.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..communications.identity import Identity
from ..communications.wire import Message
from ..errors import Aborted, Conflict, FlaasError, InvalidInput
from ..protocols.secure_aggregation import Advertisement, Member, RoundSettings, encode_integers
from .query_request import QueryStep

if TYPE_CHECKING:
    from ..protocols.analytics.statistics import Local, Statistic

Verify = Callable[[str, str, bytes, bytes], None]
"""Node id, context, payload, signature."""

KEY, SUM = "flaas/query-key/1", "flaas/query-sum/1"
"""Contexts of the signatures of a key holder over its key, and of a member over the sum that it is in."""


def settings_of(step: QueryStep, present: tuple[str, ...], attempt: int) -> RoundSettings:
    """Return what all members of an attempt agree on; the signed step is part of it."""
    return RoundSettings(
        domain=step.project,
        run=step.query,
        round=step.step,
        attempt=attempt,
        members=present,
        model_digest=step.sha256,
        clip=1.0,
        threshold=step.threshold,
        terms=f"{step.via}|{step.releaser}".encode(),
    )


@dataclass(frozen=True)
class Contribution:
    """What a node puts into the sum of one step: its rows are gone through once, whatever the number of attempts."""

    statistic: Statistic
    local: asyncio.Future[Local]


class QuerySession:
    """The part of this node in an attempt.

    Parameters
    ----------
    step : QueryStep
        Verified.
    present : tuple of str
        Who takes part.
    attempt : int
        From 1.
    contribution : Contribution
        Of this node to the step.
    identity : Identity
        This node's.
    verify : callable
        Checks a signature of a node of the project.
    check : coroutine function of (Local)
        Raises if the owner's rules do not let this be answered; changes nothing.
    settle : coroutine function of (Local, frozenset of str)
        As `check`, and enters the answer into the ledger, on disk, before it returns.
    """

    def __init__(
        self,
        step: QueryStep,
        present: tuple[str, ...],
        attempt: int,
        contribution: Contribution,
        *,
        identity: Identity,
        verify: Verify,
        check: Callable[[Local], Awaitable[None]],
        settle: Callable[[Local, frozenset[str]], Awaitable[None]],
    ) -> None:
        self.step, self.present, self.attempt = step, present, attempt
        self._contribution = contribution
        self._identity, self._verify = identity, verify
        self._check, self._settle = check, settle
        self._settings = settings_of(step, present, attempt)
        self._secure = Member(self._settings, identity.node_id, identity.sign, verify) if step.via == "mpc" else None
        self._survivors: frozenset[str] | None = None
        self._encrypted = b""
        self._key: Any = None
        self._decrypted = False

    messages: ClassVar[dict[str, str]] = {
        "query/share": "share",
        "query/masked": "masked",
        "query/survivors": "survivors",
        "query/unmask": "unmask",
        "query/key": "key",
        "query/encrypt": "encrypt",
        "query/decrypt": "decrypt",
    }
    """Message type to the method that answers it."""

    async def answer(self, message: Message) -> Message:
        """Answer one of the releaser's `messages`."""
        handler: Callable[[Message], Awaitable[Message]] = getattr(self, self.messages[message.type])
        return await handler(message)

    def begin(self) -> dict[str, Any]:
        """Return what the releaser is told when the attempt begins: fresh signed keys, unless a key holder has one."""
        return {} if self._secure is None else {"advertisement": self._secure.advertise().to_dict()}

    # ---- by secure sums -----------------------------------------------------------------------------------------

    async def share(self, message: Message) -> Message:
        """Check everybody's keys and answer with this node's secrets, shared and sealed per recipient."""
        given = _mapping(message, "advertisements")
        advertisements = {member: Advertisement.from_dict(entry) for member, entry in given.items()}
        return Message("ok", {"shares": self._masks().share(advertisements)})

    async def masked(self, message: Message) -> Message:
        """Answer with the masked vector, when the rows were gone through."""
        secure, inbox = self._masks(), _mapping(message, "inbox")
        encoded = await self._encoded()
        vector = await asyncio.to_thread(secure.mask, encoded, inbox)
        return Message("ok", {}, {"masked": vector})

    async def survivors(self, message: Message) -> Message:
        """Sign who is in the sum, once the answer is in the ledger: from here on it counts as given."""
        listed = message.body.get("survivors")
        survivors = frozenset(self._listed(listed))
        if self._survivors is not None and survivors != self._survivors:
            raise Conflict(
                "The releaser announced two different lists of those who are in the sum.",
                code="secagg-survivors-changed",
                hint="Who opened both would learn single figures. Do not trust this releaser.",
            )
        local = await self._contribution.local
        if self._survivors is None:
            await self._settle(local, survivors)
            self._survivors = survivors
        if self._secure is not None:
            return Message("ok", {"signature": self._secure.confirm(sorted(survivors))})
        if not self._encrypted:
            raise Conflict("This node has encrypted nothing yet.", code="secagg-wrong-phase")
        return Message("ok", {"signature": self._identity.sign(SUM, self._summed(survivors))})

    async def unmask(self, message: Message) -> Message:
        """Reveal one share per member, once enough of those in the sum have signed the same list."""
        reveals = self._masks().unmask(_mapping(message, "signatures"))
        return Message("ok", {"reveals": {member: reveal.to_dict() for member, reveal in reveals.items()}})

    def _masks(self) -> Member:
        if self._secure is None:
            raise Conflict("This query goes by homomorphic encryption, without masks.", code="secagg-wrong-phase")
        return self._secure

    # ---- by homomorphic encryption ------------------------------------------------------------------------------

    async def key(self, message: Message) -> Message:
        """As the key holder, make the attempt's key pair and answer with its public half, signed."""
        from ..protocols.analytics import he

        if self.step.via != "he" or self._holder != self._identity.node_id:
            raise Conflict("This node holds no key in this attempt.", code="secagg-wrong-phase")
        if self._key is None:
            self._key = await asyncio.to_thread(he.make_key, len(self.present))
        public: bytes = self._key.public
        signature = self._identity.sign(KEY, self._settings.context + hashlib.sha256(public).digest())
        return Message("ok", {"signature": signature}, {"public": np.frombuffer(public, np.uint8)})

    async def encrypt(self, message: Message) -> Message:
        """Answer with this node's vector, encrypted under the key that the key holder has signed."""
        from ..protocols.analytics import he

        public = _octets(message, "public")
        signed = self._settings.context + hashlib.sha256(public).digest()
        signature = message.body.get("signature")
        if self.step.via != "he" or not isinstance(signature, bytes):
            raise InvalidInput("This query goes by masks, or its key is not signed.", code="bad-query")
        self._verify(self._holder, KEY, signed, signature)
        if self._encrypted:
            raise Conflict("This node has encrypted its vector in this attempt already.", code="secagg-wrong-phase")
        encoded = await self._encoded()
        self._encrypted = hashlib.sha256(public).digest()
        ciphertext = await asyncio.to_thread(he.encrypt, public, encoded)
        return Message("ok", {"length": int(encoded.size)}, {"ciphertext": np.frombuffer(ciphertext, np.uint8)})

    async def decrypt(self, message: Message) -> Message:
        """As the key holder, decrypt the sum, once, when enough of those in it have signed for it."""
        from ..protocols.analytics import he

        if self._key is None or self._decrypted:
            raise Conflict("This node has no key for this sum, or has used it.", code="secagg-wrong-phase")
        survivors = frozenset(self._listed(message.body.get("survivors")))
        signatures = _mapping(message, "signatures")
        valid = sum(self._has_signed(member, self._summed(survivors), signatures.get(member)) for member in survivors)
        if valid < self._settings.threshold:
            raise Aborted(
                f"{valid} of the {len(survivors)} members in the sum have signed for it; "
                f"{self._settings.threshold} are needed.",
                code="secagg-below-threshold",
                hint="Ask again when more nodes are there.",
            )
        self._decrypted = True
        total = await asyncio.to_thread(
            he.decrypt, self._key, _octets(message, "ciphertext"), int(message.body.get("length", 0))
        )
        return Message("ok", {}, {"sum": total})

    @property
    def _holder(self) -> str:
        """Who holds the key of this attempt: the member that follows the releaser among those who take part."""
        return key_holder(self.present, self.step.releaser)

    def _summed(self, survivors: frozenset[str]) -> bytes:
        return self._settings.context + b"".join(bytes.fromhex(member) for member in sorted(survivors))

    def _has_signed(self, member: str, payload: bytes, signature: object) -> bool:
        if not isinstance(signature, bytes):
            return False
        try:
            self._verify(member, SUM, payload, signature)
        except FlaasError:
            return False
        return True

    # ---- both ---------------------------------------------------------------------------------------------------

    async def _encoded(self) -> NDArray[np.uint32]:
        """Return this node's integers as limbs, with its share of the noise if privacy is asked for."""
        contribution = self._contribution
        local = await asyncio.shield(contribution.local)
        await self._check(local)

        def encode() -> NDArray[np.uint32]:
            numbers = contribution.statistic.encode(local)
            if contribution.statistic.epsilon is not None:
                members, threshold = len(self.present), self._settings.threshold
                numbers = numbers + contribution.statistic.noise(members, threshold, secrets.token_bytes(32))
            return encode_integers(numbers, self._settings)

        return await asyncio.to_thread(encode)

    def _listed(self, listed: object) -> list[str]:
        if not isinstance(listed, list | tuple) or not all(isinstance(each, str) for each in listed):
            raise InvalidInput("Those in the sum must come as a list of node ids.", code="secagg-malformed")
        if len(set(listed)) != len(listed) or not set(listed) <= set(self.present):
            raise InvalidInput("Somebody is in the sum who takes no part.", code="secagg-unknown-member")
        if len(listed) < self._settings.threshold:
            raise Aborted(
                f"{len(listed)} members are in the sum; {self._settings.threshold} are needed.",
                code="secagg-below-threshold",
                hint="Ask again when more nodes are there.",
            )
        if self._identity.node_id not in listed:
            raise Conflict(
                "This node has sent its vector and is not in the sum.",
                code="secagg-not-a-survivor",
                hint="Its vector came too late, or the releaser lies; ask again.",
            )
        return list(listed)


def key_holder(present: tuple[str, ...], releaser: str) -> str:
    """Return who holds the key in a sum by homomorphic encryption: the member that follows the releaser."""
    return present[(present.index(releaser) + 1) % len(present)]


def _mapping(message: Message, name: str) -> Mapping[str, Any]:
    given = message.body.get(name)
    if not isinstance(given, Mapping):
        raise InvalidInput(f"{message.type} needs {name}, by node id.", code="secagg-malformed")
    return given


def _octets(message: Message, name: str) -> bytes:
    array = message.tensors.get(name)
    if array is None or array.dtype != np.uint8 or array.ndim != 1:
        raise InvalidInput(f"{message.type} needs {name}, a row of bytes.", code="secagg-malformed")
    return array.tobytes()
