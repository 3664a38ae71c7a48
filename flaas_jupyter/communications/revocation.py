"""A revocation: the domain's administrators say that a key is not to be dealt with any more.

It is a document of its own and not a membership out of force, because it needs nothing but the key: neither its
organisation nor its roles, so that it can be signed wherever the domain key is, also for an organisation that has left.
Serials of memberships and revocations of a key count together, and the higher one holds: an older membership can never
bring back a revoked key, and a newer one can, if the administrators sign it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .domain_key import DomainKey, open_domain_document, sign_domain_document
from .identity import REVOKE, Body, require_node_id
from .signed_fields import Fields


@dataclass(frozen=True)
class Revocation:
    """That a key is out of a domain.

    Parameters
    ----------
    domain, node_id : str
        The domain, and the node's or person's key (64 hex digits).
    serial : int
        Memberships of the key up to this serial are worth nothing.
    reason : str
        For people; up to 200 characters.
    time : int
        When it was signed, in Unix seconds. It holds as soon as it is seen.
    """

    domain: str
    node_id: str
    serial: int
    reason: str
    time: int

    @classmethod
    def parse(cls, document: object, domain_key: str) -> Revocation:
        """Verify a revocation signed by the domain key (64 hex digits) and return it.

        Raises
        ------
        InvalidInput
            Code ``bad-revocation`` or ``bad-document``: not a revocation of version 1.
        NotAuthenticated
            ``bad-signature``, ``signatures-missing``: not signed by the domain key.
        """
        return cls.of(open_domain_document(document, REVOKE, domain_key))

    @classmethod
    def of(cls, body: Body) -> Revocation:
        """Read the body of a revocation."""
        fields = Fields(body, "revocation", {"domain", "node_id", "serial", "reason", "time"})
        return cls(
            domain=fields.text("domain"),
            node_id=require_node_id(body["node_id"]),
            serial=fields.integer("serial"),
            reason=fields.text("reason", least=0),
            time=fields.moment("time"),
        )


def sign_revocation(domain_key: DomainKey, revocation: Revocation) -> dict[str, Any]:
    """Return the signed document that takes a key out of a domain."""
    body = {"v": 1, **asdict(revocation)}
    Revocation.of(body)
    return sign_domain_document(domain_key, REVOKE, body)
