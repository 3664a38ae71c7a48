"""A rotation: a node goes over to a new key, and both keys say so.

The old key's signature shows that the node itself wants it, the new one's that whoever wants it has the new key. It
makes nobody a member: the domain's administrators sign for the new key, and let the old one's membership end.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import InvalidInput
from .identity import ROTATE, Identity, canonical, require_node_id, verify
from .signed_fields import Fields


@dataclass(frozen=True)
class Rotation:
    """That the node with the key `old` will have the key `new`.

    Parameters
    ----------
    old, new : str
        Node ids (64 hex digits each).
    time : int
        When it was signed, in Unix seconds.
    """

    old: str
    new: str
    time: int

    @classmethod
    def parse(cls, document: object) -> Rotation:
        """Verify a statement signed by both keys and return it.

        Raises
        ------
        InvalidInput
            Code ``bad-rotation``: not a statement of version 1, or the two keys are one.
        NotAuthenticated
            Code ``bad-signature``: one of the keys did not sign it.
        """
        if not isinstance(document, dict) or set(document) != {"body", "signatures"}:
            raise _bad("It is not a body with two signatures.")
        body, signatures = document["body"], document["signatures"]
        if not isinstance(body, dict) or not isinstance(signatures, dict) or set(signatures) != {"old", "new"}:
            raise _bad("It is not a body with the signatures of the old and the new key.")
        fields = Fields(body, "rotation", {"old", "new", "time"})
        rotation = cls(require_node_id(body["old"]), require_node_id(body["new"]), fields.moment("time"))
        if rotation.old == rotation.new:
            raise _bad("The new key is the old one.")
        for which, node_id in (("old", rotation.old), ("new", rotation.new)):
            try:
                signature = bytes.fromhex(signatures[which])
            except (TypeError, ValueError) as error:
                raise _bad("A signature is not hex digits.") from error
            verify(node_id, ROTATE, canonical(body), signature)
        return rotation


def sign_rotation(old: Identity, new: Identity, time: int) -> dict[str, Any]:
    """Return the statement, signed with both keys."""
    body = {"v": 1, **asdict(Rotation(old.node_id, new.node_id, time))}
    payload = canonical(body)
    signatures = {"old": old.sign(ROTATE, payload).hex(), "new": new.sign(ROTATE, payload).hex()}
    return {"body": body, "signatures": signatures}


def _bad(message: str) -> InvalidInput:
    return InvalidInput(message, code="bad-rotation")
