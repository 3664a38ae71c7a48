"""A membership: the domain's administrators say whose a key is, what it may do, and for how long."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .domain_key import DomainKey, open_domain_document, sign_domain_document
from .identity import MEMBER, Body, require_node_id
from .signed_fields import Fields

ROLES = ("node", "developer", "explorer", "relay")


@dataclass(frozen=True)
class Membership:
    """What a domain's administrators say of a key: its organisation, its roles, and for how long.

    Parameters
    ----------
    domain, node_id, organisation : str
        The domain, the node's or person's key (64 hex digits) and the organisation that it belongs to.
    roles : tuple of str
        Of `ROLES`.
    not_before, not_after : int
        Unix seconds.
    serial : int
        Rises with every membership and revocation signed for the key: the highest counts.
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
        """Verify a membership signed by the domain key (64 hex digits) and return it.

        Raises
        ------
        InvalidInput
            Code ``bad-membership`` or ``bad-document``: not a membership of version 1.
        NotAuthenticated
            ``bad-signature``, ``signatures-missing``: not signed by the domain key.
        """
        return cls.of(open_domain_document(document, MEMBER, domain_key))

    @classmethod
    def of(cls, body: Body) -> Membership:
        """Read the body of a membership."""
        names = {"domain", "node_id", "organisation", "roles", "not_before", "not_after", "serial"}
        fields = Fields(body, "membership", names)
        membership = cls(
            domain=fields.text("domain"),
            node_id=require_node_id(body["node_id"]),
            organisation=fields.text("organisation"),
            roles=fields.texts("roles", len(ROLES)),
            not_before=fields.moment("not_before"),
            not_after=fields.moment("not_after"),
            serial=fields.integer("serial"),
        )
        if membership.not_after <= membership.not_before:
            raise fields.refused("not_after", "later than not_before")
        if not set(membership.roles) <= set(ROLES):
            raise fields.refused("roles", f"of {', '.join(ROLES)}")
        return membership


def sign_membership(domain_key: DomainKey, membership: Membership) -> dict[str, Any]:
    """Return the document that makes a key a member, signed by this one holder of the domain key."""
    body = {"v": 1, **asdict(membership), "roles": list(membership.roles)}
    Membership.of(body)
    return sign_domain_document(domain_key, MEMBER, body)
