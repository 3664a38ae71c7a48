"""A step of a query: what a developer asks, signed with the developer's own key, from the notebook to every node.

A query is opened at the coordination API, which says which nodes it is about and which of them releases the result;
what is asked goes over the mesh, in steps that are signed one by one. Nodes believe neither the API nor the releaser:
they hold the step against both (docs/mesh.md). Documents are ``{"body", "signature"}`` over canonical JSON, for the
context `QUERY`.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..communications.directory import CLOCK_TOLERANCE
from ..communications.identity import Identity, canonical, open_document, require_node_id, sign_document
from ..errors import InvalidInput, NotAllowed
from ..protocols.secure_aggregation import default_threshold
from .dataset_name import is_name

QUERY = "flaas/query/1"
LIFETIME = 900
"""Seconds for which a step is good, as the query is."""
MOST_STEPS = 100_000
MINIMUM = 3
VIA = ("mpc", "he")
TRAINING = frozenset({"tree_histogram"})
"""Kinds of statistics that a model is made of: they take the operation ``train`` of the owner's policy."""
EXPLORING = "explore-"
"""What the operations of the explorer's views begin with; the rest names the view."""

_NAMES = frozenset(
    {
        "v", "query", "step", "project", "dataset", "operation", "summary", "statistic", "members", "releaser", "via",
        "developer", "nonce", "issued", "expires",
    }
)  # fmt: skip
_BODY_LIMIT = 3 << 20
_LONGEST = 200


@dataclass(frozen=True)
class QueryStep:
    """A step whose signature was verified; whether its signer may ask is for the node to find out.

    Parameters
    ----------
    query : str
        Id that the coordination API has given.
    step : int
        From 0.
    project, dataset : str
        Where.
    operation : str
        The query's, in a word.
    summary : dict
        What the query as a whole is about, for people; bound with `operation` by the digest that the API knows.
    statistic : dict
        What is computed, see `protocols.analytics`.
    members : tuple of str
        Node ids of all that are asked, sorted.
    releaser : str
        Which of them opens the sum, and releases what may be.
    via : str
        ``"mpc"`` or ``"he"``.
    developer : str
        Id (64 hex digits) of the notebook that signed.
    nonce : str
        The query's, 32 hex digits.
    issued, expires : int
        Unix seconds.
    sha256 : str
        Of the signed body, in hex.
    document : dict
        As it was signed, to be passed on.
    """

    query: str
    step: int
    project: str
    dataset: str
    operation: str
    summary: dict[str, Any]
    statistic: dict[str, Any]
    members: tuple[str, ...]
    releaser: str
    via: str
    developer: str
    nonce: str
    issued: int
    expires: int
    sha256: str
    document: dict[str, Any]

    @classmethod
    def parse(cls, document: object) -> QueryStep:
        """Verify the signature of a step and return it.

        Raises
        ------
        InvalidInput
            Code ``bad-query`` or ``bad-document``: it is no step of version 1.
        NotAuthenticated
            Code ``bad-signature``: the developer that it names did not sign it.
        """
        body = document.get("body") if isinstance(document, dict) else None
        if not isinstance(document, dict) or not isinstance(body, dict) or set(body) != _NAMES or body["v"] != 1:
            raise _bad("it is not a step of version 1")
        raw = canonical(body)
        if len(raw) > _BODY_LIMIT:
            raise _bad(f"it has {len(raw)} bytes, more than {_BODY_LIMIT}")
        open_document(document, QUERY, require_node_id(body["developer"]))
        for name in ("query", "project", "dataset", "operation", "via", "nonce", "releaser"):
            if not isinstance(body[name], str) or not 0 < len(body[name]) <= _LONGEST:
                raise _bad(f"its {name} is no text")
        for name in ("step", "issued", "expires"):
            if type(body[name]) is not int or body[name] < 0:
                raise _bad(f"its {name} is no count")
        if not is_name(body["dataset"]):
            raise _bad("its dataset is no name of a data set")
        if not isinstance(body["statistic"], dict) or not isinstance(body["summary"], dict):
            raise _bad("its statistic or summary is no object")
        members = body["members"]
        if not isinstance(members, list) or [require_node_id(member) for member in members] != sorted(set(members)):
            raise _bad("its members are not a sorted list of different nodes")
        if len(members) < MINIMUM:
            raise _bad(f"it has {len(members)} members, fewer than {MINIMUM}")
        if body["releaser"] not in members:
            raise _bad("its releaser is no member")
        if body["via"] not in VIA:
            raise _bad(f"it is to go via {body['via'][:20]!r}, not {' or '.join(VIA)}")
        if len(body["nonce"]) != 32 or body["step"] >= MOST_STEPS:
            raise _bad("its nonce or step is none")
        if not 0 < body["expires"] - body["issued"] <= LIFETIME:
            raise _bad(f"it is to be in force for longer than {LIFETIME} s, or not at all")
        fields = {name: body[name] for name in _NAMES if name != "v"}
        return cls(**{**fields, "members": tuple(members)}, sha256=hashlib.sha256(raw).hexdigest(), document=document)

    @property
    def threshold(self) -> int:
        """How many of the members must take part to the end: floor(2N/3) + 1, of all that are asked."""
        return default_threshold(len(self.members))

    @property
    def opening(self) -> str:
        """The digest by which the coordination API knows the query."""
        return opening_digest(self.operation, self.dataset, self.summary, self.nonce)

    def require_from(self, peer: str, what: str) -> None:
        """Refuse a step that another one than its signer hands in.

        Parameters
        ----------
        peer : str
            Who hands it in.
        what : str
            What the step is of: ``"query"`` or ``"view"``.

        Raises
        ------
        NotAllowed
            Code ``query-not-yours``.
        """
        if peer != self.developer:
            raise NotAllowed(
                f"The step was signed by {self.developer[:12]}, not by {peer[:12]}.",
                code="query-not-yours",
                hint=f"A {what} is handed in by whoever has signed it.",
            )

    def require_in_force(self, now: float) -> None:
        """Check that the step is good at `now` (Unix seconds), clocks being up to 60 s apart.

        Raises
        ------
        NotAllowed
            Code ``query-expired``.
        """
        if not self.issued - CLOCK_TOLERANCE <= now < self.expires + CLOCK_TOLERANCE:
            raise NotAllowed(
                f"The step was signed for {self.issued} to {self.expires} (Unix seconds); "
                f"this machine's clock says {int(now)}.",
                code="query-expired",
                hint="Ask again, or correct this machine's clock.",
            )

    def require_same(self, record: Mapping[str, Any]) -> None:
        """Check that the coordination API tells of the query as it was signed, and that it was not closed.

        Raises
        ------
        NotAllowed
            Codes ``query-altered``, which names what differs, and ``query-closed``.
        """
        told = {
            "id": record.get("id"),
            "project": record.get("project"),
            "dataset": record.get("dataset"),
            "operation": record.get("operation"),
            "via": record.get("via"),
            "digest": record.get("digest"),
            "submitter": record.get("submitter"),
            "purpose": record.get("purpose"),
            "releaser": record.get("releaser"),
            "members": sorted(str(each.get("node")) for each in record.get("participants") or ()),
        }
        signed = {
            "id": self.query,
            "project": self.project,
            "dataset": self.dataset,
            "operation": self.operation,
            "via": self.via,
            "digest": self.opening,
            "submitter": self.developer,
            "purpose": purpose_of(str(self.statistic.get("kind")), self.operation),
            "releaser": self.releaser,
            "members": list(self.members),
        }
        for name, value in signed.items():
            if told[name] != value:
                raise NotAllowed(
                    f"The coordination API tells of query {self.query[:40]} with another {name} than was signed.",
                    code="query-altered",
                    hint="Ask again. If it happens again, the API or the node that asks is not to be trusted.",
                    field=name,
                )
        if record.get("state") != "open":
            raise NotAllowed(
                f"Query {self.query} is {record.get('state')}.",
                code="query-closed",
                hint="Ask again: each call opens a query of its own.",
            )

    def require_present(self, present: object) -> tuple[str, ...]:
        """Return the members that take part in an attempt, if the releaser may go on with these.

        Raises
        ------
        InvalidInput
            Code ``query-members``: somebody else is named, or fewer than `threshold` are left.
        """
        if not isinstance(present, list | tuple) or not all(isinstance(each, str) for each in present):
            raise _members("The members of an attempt must be a list of node ids.")
        listed = tuple(present)
        if list(listed) != sorted(set(listed)) or not set(listed) <= set(self.members):
            raise _members("The releaser names members whom the developer has not signed for.")
        if len(listed) < self.threshold or self.releaser not in listed:
            raise _members(
                f"{len(listed)} of {len(self.members)} members are to take part; {self.threshold} have to, with "
                "the releaser among them."
            )
        return listed


def opening_digest(operation: str, dataset: str, summary: Mapping[str, Any], nonce: str) -> str:
    """Return the digest of what a query is about, which is all that the coordination API is told of it."""
    body = {"operation": operation, "dataset": dataset, "summary": dict(summary), "nonce": nonce}
    return hashlib.sha256(canonical(body)).hexdigest()


def purpose_of(kind: str, operation: str) -> str:
    """Return what the owners of nodes must allow: ``"analytics"``, ``"explore"`` or ``"train"``.

    Parameters
    ----------
    kind : str
        Of the statistic.
    operation : str
        The query's; those of the explorer begin with `EXPLORING`.
    """
    if operation.startswith(EXPLORING):
        return "explore"
    return "train" if kind in TRAINING else "analytics"


def new_nonce() -> str:
    """Return a query's nonce."""
    return secrets.token_hex(16)


def sign(
    identity: Identity,
    record: Mapping[str, Any],
    *,
    step: int,
    statistic: Mapping[str, Any],
    summary: Mapping[str, Any],
    nonce: str,
    now: float,
) -> dict[str, Any]:
    """Return the signed document for a step of an open query.

    Parameters
    ----------
    identity : Identity
        The developer's.
    record : mapping
        The query, as the coordination API has opened it.
    step : int
        From 0.
    statistic, summary : mapping
        See `QueryStep`.
    nonce : str
        The query's.
    now : float
        Unix seconds.
    """
    until = int(datetime.fromisoformat(str(record["expires"])).timestamp())
    issued = int(now)
    members: Sequence[str] = sorted(str(each["node"]) for each in record["participants"])
    body = {
        "v": 1,
        "query": record["id"],
        "step": step,
        "project": record["project"],
        "dataset": record["dataset"],
        "operation": record["operation"],
        "summary": dict(summary),
        "statistic": dict(statistic),
        "members": members,
        "releaser": record["releaser"],
        "via": record["via"],
        "developer": identity.node_id,
        "nonce": nonce,
        "issued": issued,
        "expires": max(issued + 1, min(issued + LIFETIME, until)),
    }
    return sign_document(identity, QUERY, body)


def _bad(why: str) -> InvalidInput:
    return InvalidInput(
        f"The signed step of a query cannot be used: {why}.",
        code="bad-query",
        hint="Use the same version of flaas_jupyter in the notebook and at the nodes.",
    )


def _members(message: str) -> InvalidInput:
    return InvalidInput(
        message,
        code="query-members",
        hint="Nothing was computed for it. If it happens again, have the releaser's node examined.",
    )
