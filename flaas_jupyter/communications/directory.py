"""Who belongs to a domain and where it is, believed only as far as it is signed.

Memberships and revocations are signed by the domain key, which the coordination API does not hold; a *record* says
where a node can be dialled and is signed by that node. The API passes them on. It can withhold or delay them; it
cannot make one, nor bring back an older one, because sequences of records and serials only ever rise.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from ..errors import FlaasError, InvalidInput, NotAllowed, NotAuthenticated
from .carrier import Whereabouts
from .identity import RECORD, Identity, open_document, require_node_id, sign_document
from .membership import ROLES, Membership, sign_membership
from .network import Network
from .signed_fields import Fields, body_of, checked, require_relay_url
from .statements import KINDS, WORDS, Statements

__all__ = ["ROLES", "Directory", "Membership", "Peer", "Peers", "Record", "sign_membership"]

logger = logging.getLogger(__name__)

RECORD_VERSION = 2
_RECORD_LISTS = ("addresses", "tls", "relays")
_INCLUDED = {"developer": "explorer"}
"""A developer may do what an explorer may: look at a data set as a whole."""
RECORD_SECONDS = 900
CLOCK_TOLERANCE = 60
_MAX_ADDRESSES = 16
_MAX_RELAYS = 8


@dataclass(frozen=True)
class Record:
    """Where a node can be dialled, as the node itself says.

    Parameters
    ----------
    domain, node_id : str
        The domain it is for, and the node (64 hex digits).
    addresses, tls : tuple of str
        ``ip:port`` or ``[ip6]:port`` of QUIC over UDP, and of TLS over TCP; at most 16 each.
    relays : tuple of str
        URLs of the relays at which it waits, the one it prefers first; at most 8.
    sequence : int
        Rises with every record that the node makes.
    issued, expires : int
        Unix seconds; at most 900 apart.
    """

    domain: str
    node_id: str
    addresses: tuple[str, ...]
    tls: tuple[str, ...]
    relays: tuple[str, ...]
    sequence: int
    issued: int
    expires: int

    @property
    def whereabouts(self) -> Whereabouts:
        """Where the node can be reached."""
        return Whereabouts(self.addresses, self.tls, self.relays)

    def sign(self, identity: Identity) -> dict[str, Any]:
        """Return the signed document; `identity` is the node's own."""
        if identity.node_id != self.node_id:
            raise NotAllowed(f"Only {self.node_id} can sign its record.", code="wrong-signer")
        lists = {name: list(getattr(self, name)) for name in _RECORD_LISTS}
        body = {"v": RECORD_VERSION, **asdict(self), **lists}
        return checked(sign_document(identity, RECORD, body), Record.parse)

    def in_force(self, now: float) -> bool:
        """Tell whether the record may be used at `now` (Unix seconds), clocks being up to 60 s apart."""
        return self.issued - CLOCK_TOLERANCE <= now < self.expires + CLOCK_TOLERANCE

    @classmethod
    def parse(cls, document: object) -> Record:
        """Verify a signed record and return it; expiry is judged when it is used.

        Raises
        ------
        InvalidInput
            Code ``bad-record`` or ``bad-document``: not a record of version 2.
        NotAuthenticated
            Code ``bad-signature``: not signed by the node that it is about.
        """
        body = body_of(document)
        node_id = require_node_id(body.get("node_id"))
        open_document(document, RECORD, node_id)
        names = {"domain", "node_id", *_RECORD_LISTS, "sequence", "issued", "expires"}
        fields = Fields(body, "record", names, version=RECORD_VERSION)
        addresses, tls = fields.addresses("addresses", _MAX_ADDRESSES), fields.addresses("tls", _MAX_ADDRESSES)
        relays = fields.texts("relays", _MAX_RELAYS)
        for relay in relays:
            require_relay_url(relay)
        record = cls(
            domain=fields.text("domain"),
            node_id=node_id,
            addresses=addresses,
            tls=tls,
            relays=relays,
            sequence=fields.integer("sequence"),
            issued=fields.moment("issued"),
            expires=fields.moment("expires"),
        )
        if not 0 < record.expires - record.issued <= RECORD_SECONDS:
            raise fields.refused("expires", f"within {RECORD_SECONDS} s after issued")
        return record


@dataclass(frozen=True)
class Peer:
    """A node that is a member now; `whereabouts` is empty while it has no record in force."""

    node_id: str
    organisation: str
    roles: tuple[str, ...]
    whereabouts: Whereabouts


class Peers(Protocol):
    """Who may be connected, as the mesh asks: a `Directory`, or several of them."""

    @property
    def domain(self) -> str:
        """Name of the domain, for messages."""

    def peer(self, node_id: str, now: float | None = None) -> Peer:
        """Return the member `node_id`, or raise `NotAllowed`."""

    def require(self, node_id: str, role: str, now: float | None = None) -> Peer:
        """Return the member `node_id` if it has `role`, or raise `NotAllowed`."""


class Directory:
    """The members of one domain, as far as signatures prove them.

    Parameters
    ----------
    domain : str
        The project's id.
    domain_key : str
        What was pinned when the node joined (64 hex digits); see `domain_key`.
    path : Path, optional
        File that keeps what the domain's administrators have signed, over restarts; see `Statements`.
    admit : function of Peer, optional
        Raises `NotAllowed` for a member that this machine's owner does not let in.
    """

    def __init__(
        self, domain: str, domain_key: str, path: Path | None = None, admit: Callable[[Peer], None] | None = None
    ) -> None:
        self._domain = domain
        self.domain_key = require_node_id(domain_key)
        self.statements = Statements(domain, domain_key, path)
        self._admit = admit
        self._records: dict[str, Record] = {}
        self._listed: frozenset[str] = frozenset()
        self._unkept = False

    @property
    def domain(self) -> str:
        """The project's id."""
        return self._domain

    @property
    def network(self) -> Network | None:
        """Its relays, reflectors and rule for direct connections; None while nothing has been signed."""
        return self.statements.network

    @property
    def members(self) -> frozenset[str]:
        """Keys for which a membership is listed, in force or not."""
        return self._listed

    def update(self, listing: object) -> frozenset[str]:
        """Take over what the coordination API lists; entries that do not verify are dropped and logged.

        A node that is no longer listed is no longer a peer. What was seen of it is remembered, so that
        listing it again cannot bring back an older record or membership.

        Returns
        -------
        frozenset of str
            The kinds (see `KINDS`) of which there was something newer that the domain's administrators have signed.

        Raises
        ------
        InvalidInput
            Code ``bad-directory``: not a directory, or that of another domain.
        NotAuthenticated
            Code ``domain-key-changed``: the API names another domain key than the pinned one.
        """
        documents, records = self._entries(listing)
        subjects, news = self._learn(documents)
        listed = subjects["memberships"]
        for document in records:
            self._learn_record(document, listed)
        self._listed = frozenset(listed)
        return news

    def learn(self, documents: dict[str, list[Any]]) -> frozenset[str]:
        """Take over what a peer shows, by kind; return the kinds of which something is newer and verifies.

        A peer can make nobody a member whom the API does not list: it brings what the API has withheld of those whom it
        does list, above all revocations. At the first that does not verify the rest is not looked at: an honest peer
        shows what it has verified itself.
        """
        return self._learn(documents, whole=False)[1]

    def learn_record(self, document: object) -> None:
        """Take over a record that came with a signal to connect back; see `dial_signal`."""
        self._learn_record(document, self._listed)

    def peer(self, node_id: str, now: float | None = None) -> Peer:
        """Return the member `node_id` as it is at `now` (Unix seconds; default: the present).

        Raises
        ------
        NotAllowed
            Codes ``unknown-peer``, ``membership-revoked``, ``membership-expired``, ``membership-not-yet``, and those of
            this machine's owner.
        """
        peer = self.member(node_id, now)
        if self._admit is not None:
            self._admit(peer)
        return peer

    def member(self, node_id: str, now: float | None = None) -> Peer:
        """Return the member `node_id`, whatever this machine's owner says of it; see `peer`."""
        now = time.time() if now is None else now
        if (revocation := self.statements.revocation(node_id)) is not None:
            raise NotAllowed(
                f"{node_id} was taken out of {self.domain!r} at {_utc(revocation.time)}"
                f"{f': {revocation.reason}' if revocation.reason else ''}.",
                code="membership-revoked",
                hint="An administrator of the project must sign a new membership if this was a mistake.",
                node=node_id,
            )
        membership = self.statements.membership(node_id) if node_id in self._listed else None
        if membership is None:
            raise NotAllowed(
                f"{str(node_id)[:64]} is not a member of {self.domain!r}.",
                code="unknown-peer",
                hint="An administrator of the project must sign a membership for it.",
                node=str(node_id)[:64],
            )
        if now >= membership.not_after:
            raise self._out_of_force(membership, "expired", "ended", membership.not_after, now)
        if now < membership.not_before - CLOCK_TOLERANCE:
            raise self._out_of_force(membership, "not-yet", "begins", membership.not_before, now)
        record = self._records.get(node_id)
        known = record is not None and record.in_force(now)
        whereabouts = record.whereabouts if record is not None and known else Whereabouts()
        return Peer(node_id, membership.organisation, membership.roles, whereabouts)

    def require(self, node_id: str, role: str, now: float | None = None) -> Peer:
        """Return the member `node_id` if it has `role`.

        Raises
        ------
        NotAllowed
            As `peer`, and ``role-missing``.
        """
        peer = self.peer(node_id, now)
        if role not in peer.roles and not any(_INCLUDED.get(held) == role for held in peer.roles):
            raise NotAllowed(
                f"{node_id} is in {self.domain!r} as {', '.join(peer.roles) or 'nothing'}, not as {role}.",
                code="role-missing",
                hint=f"An administrator of the project can sign a membership with the role {role}.",
                node=node_id,
                role=role,
            )
        return peer

    def _entries(self, listing: object) -> tuple[dict[str, list[Any]], list[Any]]:
        if not isinstance(listing, dict) or listing.get("domain") != self.domain:
            raise InvalidInput(
                f"The API did not answer with the directory of {self.domain!r}.",
                code="bad-directory",
                hint="Check the project's id and the API's URL.",
            )
        if listing.get("domain_key") != self.domain_key:
            raise NotAuthenticated(
                f"The API gives {str(listing.get('domain_key'))[:64]!r} as domain key of {self.domain!r}; "
                f"pinned is {self.domain_key}.",
                code="domain-key-changed",
                hint="Ask the project's administrator over another channel before joining anew.",
            )
        memberships, records = listing.get("memberships"), listing.get("records")
        revocations, network = listing.get("revocations", []), listing.get("network")
        if not (isinstance(memberships, list) and isinstance(records, list) and isinstance(revocations, list)):
            raise InvalidInput("A directory lists memberships, revocations and records.", code="bad-directory")
        networks = [] if network is None else [network]
        return {"memberships": memberships, "revocations": revocations, "networks": networks}, records

    def _learn(self, documents: dict[str, list[Any]], whole: bool = True) -> tuple[dict[str, set[str]], frozenset[str]]:
        """Learn what verifies; return, by kind, what the documents are about, and the kinds of newer ones.

        What does not verify is passed over; unless `whole`, it ends the look.
        """
        subjects: dict[str, set[str]] = {kind: set() for kind in KINDS}
        news: set[str] = set()
        for kind, document in ((each, document) for each in KINDS for document in documents.get(each, [])):
            try:
                subject, newer = self.statements.learn(kind, document)
            except FlaasError as error:
                logger.warning("%s: a %s was dropped: %s", self.domain, WORDS[kind], error)
                if whole:
                    continue
                break
            subjects[kind].add(subject)
            news |= {kind} if newer else set()
        if news or self._unkept:
            self._keep()
        return subjects, frozenset(news)

    def _keep(self) -> None:
        """Write down what was learned; a disk that is full ends nobody, and is tried again with the next look."""
        try:
            self.statements.save()
        except OSError as error:
            if not self._unkept:
                logger.error("%s: what was signed is known, but not kept: %s", self.domain, error)
            self._unkept = True
        else:
            self._unkept = False

    def _learn_record(self, document: object, listed: Collection[str]) -> None:
        try:
            record = Record.parse(document)
            self._require_domain(record.domain)
        except FlaasError as error:
            logger.warning("%s: a record was dropped: %s", self.domain, error)
            return
        if record.node_id not in listed:
            logger.warning("%s: the record of %s was dropped: not a member", self.domain, record.node_id)
            return
        known = self._records.get(record.node_id)
        if known is None or record.sequence > known.sequence:
            self._records[record.node_id] = record
        elif record.sequence < known.sequence:
            logger.info("%s: an older record of %s was passed over", self.domain, record.node_id)

    def _require_domain(self, domain: str) -> None:
        if domain != self.domain:
            raise InvalidInput(f"It is for {domain[:64]!r}, not {self.domain!r}.", code="wrong-domain")

    def _out_of_force(self, membership: Membership, code: str, verb: str, when: int, now: float) -> NotAllowed:
        return NotAllowed(
            f"The membership of {membership.node_id} in {self.domain!r} {verb} at {_utc(when)}; "
            f"this machine's clock says {_utc(now)}.",
            code=f"membership-{code}",
            hint="Correct the clock if it is wrong; else the project's administrator signs a new membership.",
            node=membership.node_id,
        )


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
