"""Who belongs to a domain and where it is, believed only as far as it is signed.

A *membership* is signed by the domain key, which the coordination API does not hold; a *record* says where
a node can be dialled and is signed by that node. The API passes both on. It can withhold or delay them; it
cannot make one, nor bring back an older one, because a record's sequence and a membership's serial only
ever rise.
"""

from __future__ import annotations

import ipaddress
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from ..errors import FlaasError, InvalidInput, NotAllowed, NotAuthenticated
from .identity import MEMBER, RECORD, Identity, open_document, require_node_id, sign_document

logger = logging.getLogger(__name__)

ROLES = ("node", "developer", "explorer")
_INCLUDED = {"developer": "explorer"}
"""A developer may do what an explorer may: look at a data set as a whole."""
RECORD_SECONDS = 900
CLOCK_TOLERANCE = 60
_MAX_ADDRESSES = 16
_YEAR_10000 = 253402300800

DomainKey = Identity
"""The identity that signs a domain's memberships; kept by its administrators."""


@dataclass(frozen=True)
class Record:
    """Where a node can be dialled, as the node itself says.

    Parameters
    ----------
    domain, node_id : str
        The domain it is for, and the node (64 hex digits).
    addresses : tuple of str
        ``ip:port`` or ``[ip6]:port``; at most 16.
    sequence : int
        Rises with every record that the node makes.
    issued, expires : int
        Unix seconds; at most 900 apart.
    """

    domain: str
    node_id: str
    addresses: tuple[str, ...]
    sequence: int
    issued: int
    expires: int

    def sign(self, identity: Identity) -> dict[str, Any]:
        """Return the signed document; `identity` is the node's own."""
        if identity.node_id != self.node_id:
            raise NotAllowed(f"Only {self.node_id} can sign its record.", code="wrong-signer")
        body = {"v": 1, **asdict(self), "addresses": list(self.addresses)}
        return _checked(sign_document(identity, RECORD, body), Record.parse)

    def in_force(self, now: float) -> bool:
        """Tell whether the record may be used at `now` (Unix seconds), clocks being up to 60 s apart."""
        return self.issued - CLOCK_TOLERANCE <= now < self.expires + CLOCK_TOLERANCE

    @classmethod
    def parse(cls, document: object) -> Record:
        """Verify a signed record and return it; expiry is judged when it is used.

        Raises
        ------
        InvalidInput
            Code ``bad-record`` or ``bad-document``: not a record of version 1.
        NotAuthenticated
            Code ``bad-signature``: not signed by the node that it is about.
        """
        body = _body(document)
        node_id = require_node_id(body.get("node_id"))
        open_document(document, RECORD, node_id)
        fields = _Fields(body, "record", {"domain", "node_id", "addresses", "sequence", "issued", "expires"})
        addresses = fields.texts("addresses", _MAX_ADDRESSES)
        for address in addresses:
            _require_address(address)
        record = cls(
            domain=fields.text("domain"),
            node_id=node_id,
            addresses=addresses,
            sequence=fields.integer("sequence"),
            issued=fields.moment("issued"),
            expires=fields.moment("expires"),
        )
        if not 0 < record.expires - record.issued <= RECORD_SECONDS:
            raise fields.refused("expires", f"within {RECORD_SECONDS} s after issued")
        return record


@dataclass(frozen=True)
class Membership:
    """What a domain's administrators say of a node: its organisation, its roles, and for how long.

    Parameters
    ----------
    domain, node_id, organisation : str
        The domain, the node (64 hex digits) and the organisation that it belongs to.
    roles : tuple of str
        Of `ROLES`.
    not_before, not_after : int
        Unix seconds.
    serial : int
        Rises with every membership signed for the node: the highest counts, so one in the past revokes.
    """

    domain: str
    node_id: str
    organisation: str
    roles: tuple[str, ...]
    not_before: int
    not_after: int
    serial: int

    @classmethod
    def parse(cls, document: object, domain_key: str) -> Membership:
        """Verify a membership signed by the key `domain_key` (64 hex digits) and return it.

        Raises
        ------
        InvalidInput
            Code ``bad-membership`` or ``bad-document``: not a membership of version 1.
        NotAuthenticated
            Code ``bad-signature``: not signed by the domain key.
        """
        body = open_document(document, MEMBER, domain_key)
        fields = _Fields(
            body,
            "membership",
            {"domain", "node_id", "organisation", "roles", "not_before", "not_after", "serial"},
        )
        membership = cls(
            domain=fields.text("domain"),
            node_id=require_node_id(body["node_id"]),
            organisation=fields.text("organisation"),
            roles=fields.texts("roles", len(ROLES)),
            not_before=fields.moment("not_before"),
            not_after=fields.moment("not_after"),
            serial=fields.integer("serial"),
        )
        if not set(membership.roles) <= set(ROLES):
            raise fields.refused("roles", f"of {', '.join(ROLES)}")
        return membership


def sign_membership(domain_key: DomainKey, membership: Membership) -> dict[str, Any]:
    """Return the signed document that makes a node a member."""
    body = {"v": 1, **asdict(membership), "roles": list(membership.roles)}
    return _checked(sign_document(domain_key, MEMBER, body), lambda made: Membership.parse(made, domain_key.node_id))


@dataclass(frozen=True)
class Peer:
    """A node that is a member now; `addresses` is empty while it has no record in force."""

    node_id: str
    organisation: str
    roles: tuple[str, ...]
    addresses: tuple[str, ...]


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
        Its public key (64 hex digits), as pinned when the node joined.
    """

    def __init__(self, domain: str, domain_key: str) -> None:
        self._domain = domain
        self.domain_key = require_node_id(domain_key)
        self._memberships: dict[str, Membership] = {}
        self._records: dict[str, Record] = {}
        self._listed: frozenset[str] = frozenset()

    @property
    def domain(self) -> str:
        """The project's id."""
        return self._domain

    def update(self, listing: object) -> None:
        """Take over what the coordination API lists; entries that do not verify are dropped and logged.

        A node that is no longer listed is no longer a peer. What was seen of it is remembered, so that
        listing it again cannot bring back an older record or membership.

        Raises
        ------
        InvalidInput
            Code ``bad-directory``: not a directory, or that of another domain.
        NotAuthenticated
            Code ``domain-key-changed``: the API names another domain key than the pinned one.
        """
        memberships, records = self._entries(listing)
        listed = {node for document in memberships if (node := self._learn_membership(document))}
        for document in records:
            self._learn_record(document, listed)
        self._listed = frozenset(listed)

    def peer(self, node_id: str, now: float | None = None) -> Peer:
        """Return the member `node_id` as it is at `now` (Unix seconds; default: the present).

        Raises
        ------
        NotAllowed
            Codes ``unknown-peer``, ``membership-expired``, ``membership-not-yet``.
        """
        now = time.time() if now is None else now
        membership = self._memberships.get(node_id) if node_id in self._listed else None
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
        addresses = record.addresses if record is not None and record.in_force(now) else ()
        return Peer(node_id, membership.organisation, membership.roles, addresses)

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

    def _entries(self, listing: object) -> tuple[list[Any], list[Any]]:
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
        if not isinstance(memberships, list) or not isinstance(records, list):
            raise InvalidInput("A directory lists memberships and records.", code="bad-directory")
        return memberships, records

    def _learn_membership(self, document: object) -> str | None:
        try:
            membership = Membership.parse(document, self.domain_key)
            self._require_domain(membership.domain)
        except FlaasError as error:
            logger.warning("%s: a membership was dropped: %s", self.domain, error)
            return None
        known = self._memberships.get(membership.node_id)
        if known is None or membership.serial > known.serial:
            self._memberships[membership.node_id] = membership
        return membership.node_id

    def _learn_record(self, document: object, listed: set[str]) -> None:
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


class _Fields:
    """Typed access to the body of a signed document of version 1 that has exactly the given fields."""

    def __init__(self, body: dict[str, Any], kind: str, names: set[str]) -> None:
        self._body, self._kind = body, kind
        if set(body) != {"v", *names} or body["v"] != 1:
            raise InvalidInput(f"It is not a {kind} of version 1.", code=f"bad-{kind}")

    def refused(self, name: str, allowed: str) -> InvalidInput:
        value = str(self._body[name])[:80]
        return InvalidInput(f"Its {name} is {value!r}, not {allowed}.", code=f"bad-{self._kind}")

    def text(self, name: str) -> str:
        value = self._body[name]
        if not isinstance(value, str) or not 0 < len(value) <= 200:
            raise self.refused(name, "a text of 1 to 200 characters")
        return value

    def integer(self, name: str, below: int = 1 << 53) -> int:
        value = self._body[name]
        if type(value) is not int or not 0 <= value < below:
            raise self.refused(name, f"a whole number from 0, below {below}")
        return value

    def moment(self, name: str) -> int:
        return self.integer(name, below=_YEAR_10000)

    def texts(self, name: str, most: int) -> tuple[str, ...]:
        value = self._body[name]
        if not isinstance(value, list) or len(value) > most or not all(isinstance(item, str) for item in value):
            raise self.refused(name, f"a list of at most {most} texts")
        return tuple(value)


def _body(document: object) -> dict[str, Any]:
    body = document.get("body") if isinstance(document, dict) else None
    if not isinstance(body, dict):
        raise InvalidInput("A signed document has a body and a signature.", code="bad-document")
    return body


def _checked(document: dict[str, Any], parse: Callable[[object], object]) -> dict[str, Any]:
    """Return `document`, having made sure that readers will accept it."""
    parse(document)
    return document


def _require_address(address: str) -> None:
    """Refuse anything but ``ip:port``: a name would have every peer ask the DNS."""
    host, _, port = address.rpartition(":")
    try:
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536 and len(port) <= 5):
            raise ValueError("port")
        ip = ipaddress.ip_address(host[1:-1] if host.startswith("[") and host.endswith("]") else host)
        if (ip.version == 6) != host.startswith("["):
            raise ValueError("brackets")
    except ValueError as error:
        raise InvalidInput(f"{address[:80]!r} is not ip:port.", code="bad-record") from error


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
