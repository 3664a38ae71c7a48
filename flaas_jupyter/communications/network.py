"""What a domain's administrators say of its network: relays, reflectors, and whether peers may connect directly.

It is one document, signed with the domain key, which the coordination API does not have: a broken API can withhold
it; it cannot send everybody's traffic through a relay of its own, nor bring back an older one, because the serial
only ever rises.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal, cast, get_args

from cryptography.x509 import load_pem_x509_certificates

from ..errors import InvalidInput
from .domain_key import DomainKey, open_domain_document, sign_domain_document
from .identity import Body, require_node_id
from .signed_fields import Fields, require_relay_url

NETWORK = "flaas/network/1"
"""Context of the signature."""
Direct = Literal["prefer", "only", "never"]
"""Whether peers connect directly where they can, always, or never: then by relays alone, which hides addresses."""

_MOST_RELAYS = 8
_MOST_REFLECTORS = 8
_MOST_ADDRESSES = 4
_LONGEST_NAME = 60
_LONGEST_CA = 16_384


@dataclass(frozen=True)
class RelaySite:
    """A relay of the domain.

    Parameters
    ----------
    name : str
        What people call it; 1 to 60 printable characters, once in the document.
    url : str
        ``https://host[:port]``, or ``http://`` on an address of this machine.
    ca : str
        PEM of the certificates that its TLS certificate is checked against; empty for those that the system trusts.
    """

    name: str
    url: str
    ca: str = ""


@dataclass(frozen=True)
class ReflectorSite:
    """A service that tells nodes by which address the outside sees them.

    Parameters
    ----------
    node_id : str
        Its key (64 hex digits).
    addresses : tuple of str
        ``ip:port`` or ``[ip6]:port`` of QUIC over UDP; 1 to 4.
    """

    node_id: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Network:
    """The network of a domain.

    Parameters
    ----------
    domain : str
        The project's id.
    relays : tuple of RelaySite
        At most 8, in the order in which they are to be tried.
    reflectors : tuple of ReflectorSite
        At most 8.
    direct : {"prefer", "only", "never"}
        See `Direct`; a node's own settings may be stricter.
    serial : int
        Rises with every document: the highest counts.
    """

    domain: str
    relays: tuple[RelaySite, ...] = ()
    reflectors: tuple[ReflectorSite, ...] = ()
    direct: Direct = "prefer"
    serial: int = 0

    @classmethod
    def parse(cls, document: object, domain_key: str) -> Network:
        """Verify a network document signed by the key `domain_key` (64 hex digits) and return it.

        Raises
        ------
        InvalidInput
            Code ``bad-network``, ``bad-relay-url``, ``bad-node-id`` or ``bad-document``.
        NotAuthenticated
            Code ``bad-signature``: not signed by the domain key.
        """
        return cls.of(open_domain_document(document, NETWORK, domain_key))

    @classmethod
    def of(cls, body: Body) -> Network:
        """Read the body of a network document, whoever has signed it."""
        fields = Fields(body, "network", {"domain", "relays", "reflectors", "direct", "serial"})
        direct = fields.text("direct")
        if direct not in get_args(Direct):
            raise fields.refused("direct", f"one of {', '.join(get_args(Direct))}")
        network = cls(
            domain=fields.text("domain"),
            relays=tuple(_relay(entry) for entry in fields.entries("relays", _MOST_RELAYS, {"name", "url", "ca"})),
            reflectors=tuple(
                _reflector(entry) for entry in fields.entries("reflectors", _MOST_REFLECTORS, {"node_id", "addresses"})
            ),
            direct=cast(Direct, direct),
            serial=fields.integer("serial"),
        )
        _require_once("name of a relay", [relay.name for relay in network.relays])
        _require_once("URL of a relay", [relay.url for relay in network.relays])
        _require_once("key of a reflector", [reflector.node_id for reflector in network.reflectors])
        if network.direct == "never" and not network.relays:
            raise InvalidInput(
                'With direct = "never" there is no way between peers without a relay.',
                code="bad-network",
                hint="Name a relay, or let peers connect directly.",
            )
        return network


def sign_network(key: DomainKey, network: Network) -> dict[str, Any]:
    """Return the document signed by this holder of the domain key; see `Network.parse` for what is refused."""
    body = {
        "v": 1,
        "domain": network.domain,
        "relays": [asdict(relay) for relay in network.relays],
        "reflectors": [{**asdict(each), "addresses": list(each.addresses)} for each in network.reflectors],
        "direct": network.direct,
        "serial": network.serial,
    }
    Network.of(body)
    return sign_domain_document(key, NETWORK, body)


def _relay(fields: Fields) -> RelaySite:
    name = fields.text("name", most=_LONGEST_NAME)
    ca = fields.block("ca", _LONGEST_CA)
    if ca:
        try:
            load_pem_x509_certificates(ca.encode())
        except ValueError as error:
            raise fields.refused("ca", "certificates in PEM") from error
    return RelaySite(name, require_relay_url(fields.text("url", most=300)), ca)


def _reflector(fields: Fields) -> ReflectorSite:
    addresses = fields.addresses("addresses", _MOST_ADDRESSES)
    if not addresses:
        raise fields.refused("addresses", "at least one ip:port")
    return ReflectorSite(require_node_id(fields.text("node_id")), addresses)


def _require_once(what: str, values: list[str]) -> None:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise InvalidInput(f"The {what} {twice[0]!r} stands in it twice.", code="bad-network")
