"""The run request: what a developer wants done, signed with the developer's own key, from notebook to node.

The coordination API carries it and cannot make or change one: every node holds what the API tells of a run against
what was signed, and the signer against the memberships that the project's domain key has signed (`consent`). The
document is ``{"body", "signature"}`` over canonical JSON, for the context `RUN` (docs/control.md).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..communications.directory import CLOCK_TOLERANCE
from ..communications.identity import Identity, canonical, open_document, require_node_id, sign_document
from ..errors import InvalidInput, NotAllowed

RUN = "flaas/run/1"
LIFETIME, LONGEST_LIFETIME = 7 * 86_400, 30 * 86_400
"""Seconds within which nodes must have accepted a run: what notebooks ask for, and the most that nodes agree to."""

TERMS = (
    "dataset",
    "rounds",
    "local_epochs",
    "batch_size",
    "secure_aggregation",
    "clip",
    "aggregation",
    "aggregation_options",
    "privacy",
    "clients_per_round",
    "minimum_nodes",
    "seed",
    "parameters",
    "model_digest",
    "start_digest",
)
"""Fields of a run that are signed: all that decides what is done with data, and how well it is protected."""

VERTICAL = ("kind", "parties", "id_column", "label", "mode")
"""Further signed fields of a vertical run; signed together or not at all. A run that is told with them and was signed
without is altered."""

MASKED = ("group_size", "sharded")
"""How secure aggregation works beyond one sum at one node; signed together or not at all."""

_TERM_SETS = tuple({*TERMS, *vertical, *masked} for vertical in ((), VERTICAL) for masked in ((), MASKED))
_NAMES = frozenset({"v", "project", "developer", "nonce", "issued", "expires", "terms"})
_DIGEST = re.compile(r"[0-9a-f]{64}")
_BODY_LIMIT = 64 << 10


@dataclass(frozen=True)
class RunRequest:
    """A request whose signature was verified; whether its signer may ask is for `consent` to find out.

    Parameters
    ----------
    project : str
        For which it was made.
    developer : str
        Id (64 hex digits) of the notebook that signed it, and that may hand over and follow weights.
    nonce : str
        Names this one run: a node accepts it once.
    issued, expires : int
        Unix seconds; a node that has not accepted it by then does not any more.
    terms : dict
        The values of `TERMS`, and of `VERTICAL` for a vertical run; with newer notebooks those of `MASKED`.
    sha256 : str
        Of the signed body, in hex.
    """

    project: str
    developer: str
    nonce: str
    issued: int
    expires: int
    terms: dict[str, Any]
    sha256: str

    @classmethod
    def parse(cls, document: object) -> RunRequest:
        """Verify the signature of a run request and return it.

        Raises
        ------
        InvalidInput
            Code ``bad-run-request`` or ``bad-document``: it is no request of version 1.
        NotAuthenticated
            Code ``bad-signature``: the developer that it names did not sign it.
        """
        body = document.get("body") if isinstance(document, dict) else None
        if not isinstance(body, dict) or set(body) != _NAMES or body["v"] != 1:
            raise _bad("it is not a run request of version 1")
        raw = canonical(body)
        if len(raw) > _BODY_LIMIT:
            raise _bad(f"it has {len(raw)} bytes, more than {_BODY_LIMIT}")
        open_document(document, RUN, require_node_id(body["developer"]))
        terms = body["terms"]
        if not isinstance(terms, dict) or set(terms) not in _TERM_SETS:
            raise _bad("its terms are not those of a run")
        if not isinstance(body["project"], str) or not isinstance(body["nonce"], str) or len(body["nonce"]) != 32:
            raise _bad("its project or nonce is none")
        if not isinstance(terms["start_digest"], str) or not _DIGEST.fullmatch(terms["start_digest"]):
            raise _bad("its start_digest is none")
        for name in ("issued", "expires"):
            if type(body[name]) is not int:
                raise _bad(f"{name} is no time in seconds")
        if not 0 < body["expires"] - body["issued"] <= LONGEST_LIFETIME:
            raise _bad(f"it is to be in force for longer than {LONGEST_LIFETIME // 86_400} days, or not at all")
        return cls(
            project=body["project"],
            developer=body["developer"],
            nonce=body["nonce"],
            issued=body["issued"],
            expires=body["expires"],
            terms=terms,
            sha256=hashlib.sha256(raw).hexdigest(),
        )

    def require_same(self, run: Mapping[str, Any]) -> None:
        """Check that the API tells of the run as it was signed.

        Raises
        ------
        NotAllowed
            Code ``run-altered``: the message names what differs, as it was signed and as it is told.
        """
        told = {**{name: run.get(name) for name in TERMS}, "project": run["project"], "submitter": run["submitter"]}
        told |= vertical_terms(run) | masked_terms(run)
        signed = {
            **vertical_terms({}),
            **masked_terms({}),
            **self.terms,
            "project": self.project,
            "submitter": self.developer,
        }
        for name, value in signed.items():
            if not _equal(told[name], value):
                raise NotAllowed(
                    f"The coordination API tells of a run with {name} = {_short(told[name])}; "
                    f"its developer signed {name} = {_short(value)}.",
                    code="run-altered",
                    hint="Start a new run. If nobody changed this one by mistake, the API is not to be trusted.",
                    field=name,
                )

    def require_in_force(self, now: float) -> None:
        """Check that the request may still be accepted at `now` (Unix seconds), clocks being up to 60 s apart.

        Raises
        ------
        NotAllowed
            Code ``run-request-expired``.
        """
        if not self.issued - CLOCK_TOLERANCE <= now < self.expires + CLOCK_TOLERANCE:
            raise NotAllowed(
                f"The run was signed to be accepted from {self.issued} to {self.expires} (Unix seconds); "
                f"this machine's clock says {int(now)}.",
                code="run-request-expired",
                hint="Start a new run, or correct this machine's clock.",
            )


def sign(identity: Identity, project: str, run: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Return the signed document for a run that is about to be created.

    Parameters
    ----------
    identity : Identity
        The developer's.
    project : str
        Where.
    run : mapping
        The run as the coordination API is to be asked for it; all of `TERMS` must be in it, all of `VERTICAL` if it is
        a vertical one, and those of `MASKED` where it says how it is masked.
    now : float
        Unix seconds.
    """
    body = {
        "v": 1,
        "project": project,
        "developer": identity.node_id,
        "nonce": secrets.token_hex(16),
        "issued": int(now),
        "expires": int(now) + LIFETIME,
        "terms": {
            **{name: run[name] for name in (*TERMS, *(VERTICAL if run.get("kind") == "vertical" else ()))},
            **(masked_terms(run) if "group_size" in run else {}),
        },
    }
    return sign_document(identity, RUN, body)


def masked_terms(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `MASKED` as `run` has them; of a run that says nothing of them, those of one plain sum."""
    return {"group_size": run.get("group_size"), "sharded": bool(run.get("sharded"))}


def vertical_terms(run: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `VERTICAL` as `run` has them; of a run that says nothing of them, those of a horizontal."""
    return {name: run.get(name) for name in VERTICAL} | {"kind": run.get("kind") or "horizontal"}


def _equal(told: Any, signed: Any) -> bool:
    """Compare JSON values; True is not 1, but 8 is 8.0, which JSON does not tell apart."""
    if isinstance(told, bool) or isinstance(signed, bool):
        return told is signed
    if isinstance(signed, dict):
        return isinstance(told, dict) and told.keys() == signed.keys() and all(_equal(told[k], signed[k]) for k in told)
    if isinstance(signed, list):
        return isinstance(told, list) and len(told) == len(signed) and all(map(_equal, told, signed))
    same: bool = told == signed
    return same


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _bad(why: str) -> InvalidInput:
    return InvalidInput(
        f"The signed run request cannot be used: {why}.",
        code="bad-run-request",
        hint="Use the same version of flaas_jupyter in the notebook and at the nodes.",
    )
