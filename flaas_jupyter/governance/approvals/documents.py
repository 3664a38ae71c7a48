"""What approvers sign: the digest of one exact text that says which action, where, by whom, with which parameters.

The text is canonical JSON (`communications.identity.canonical`) of ``{"action", "body", "requester", "scope"}``. An
approval signs ``{"request", "sha256", "decision", "time"}``, so it is worth nothing for another request, another text
or the opposite decision, and whoever has the approver's public key can check it later without believing the API.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Sequence
from typing import Any

from ...communications.identity import Identity, canonical, verify
from ...errors import Conflict, FlaasError, InvalidInput, NotAllowed

CONTEXT = "flaas/approval/1"
APPROVE, DENY = "approve", "deny"
CLOCK_TOLERANCE = 300
"""Seconds by which the time in an approval may differ from the API's."""
_NAMES = {"action", "body", "requester", "scope"}
LONGEST = 65_536
"""Bytes of a document; approvers are to read it."""


def write(action: str, scope: str, requester: str, body: dict[str, Any]) -> tuple[str, str]:
    """Return the document and its SHA-256 in hex.

    Raises
    ------
    InvalidInput
        ``bad-document``: `body` is no JSON object; ``approval-too-long``.
    """
    if not isinstance(body, dict):
        raise InvalidInput("The body of an action is a JSON object.", code="bad-document")
    raw = canonical({"action": action, "body": body, "requester": requester, "scope": scope})
    if len(raw) > LONGEST:
        raise InvalidInput(
            f"The action's body has {len(raw)} bytes; approvers read at most {LONGEST}.",
            code="approval-too-long",
            hint="Split it into several requests.",
        )
    return raw.decode(), digest(raw.decode())


def digest(document: str) -> str:
    """Return the SHA-256 of a document in hex."""
    return hashlib.sha256(document.encode()).hexdigest()


def read(document: str, sha256: str) -> dict[str, Any]:
    """Return what a document says.

    Raises
    ------
    Conflict
        Code ``approval-tampered``: it is not what the digest was taken of, or no text that `write` makes (one in which
        a name stands twice could be read in two ways).
    """
    try:
        found = digest(document)
        content: Any = json.loads(document) if hmac.compare_digest(found.encode(), sha256.encode()) else None
        if isinstance(content, dict) and set(content) == _NAMES and isinstance(content["body"], dict):
            if canonical(content).decode() != document:
                raise ValueError("not canonical")
            return content
    except (ValueError, RecursionError, InvalidInput):
        found = "none"
    raise Conflict(
        f"The request's text has the digest {found}, and {sha256[:64]!r} was stored: it was changed after it was made.",
        code="approval-tampered",
        hint="Do not approve it. Have the data base examined, and ask for the action anew.",
    )


def statement(request_id: str, sha256: str, decision: str, time: int) -> bytes:
    """Return the bytes that a person signs."""
    return canonical({"request": request_id, "sha256": sha256, "decision": decision, "time": time})


def sign(identity: Identity, request_id: str, sha256: str, decision: str, time: int) -> str:
    """Return a person's signature in hex; `time` is in whole seconds since 1970 (UTC)."""
    return identity.sign(CONTEXT, statement(request_id, sha256, decision, time)).hex()


def check(key: str, request_id: str, sha256: str, decision: str, time: int, signature: str) -> None:
    """Check the signature of a decision.

    Raises
    ------
    NotAllowed
        Code ``bad-approval-signature``.
    """
    try:
        verify(key, CONTEXT, statement(request_id, sha256, decision, time), bytes.fromhex(signature))
    except (FlaasError, ValueError, TypeError) as error:
        raise NotAllowed(
            f"The signature is not one of the key {str(key)[:64]} for this decision on request {request_id[:64]}.",
            code="bad-approval-signature",
            hint="Sign request, sha256, decision and time with your own approval key: `flaas approvals approve`.",
        ) from error


def verified_approvers(bundle: dict[str, Any], keys: dict[str, str] | Sequence[str]) -> frozenset[str]:
    """Return which persons have validly approved what is in a bundle (see `bundles.bundle`).

    It needs neither the API nor its data base: this is what a node calls before it believes an approval.

    Parameters
    ----------
    bundle : dict
        As the API handed it over; it is not trusted.
    keys : dict of str to str, or sequence of str
        Public keys in hex that the caller trusts, by person; or without persons, then keys are returned.

    Returns
    -------
    frozenset of str
        Persons (or keys) other than the requester, each with a valid signature by a trusted key.

    Raises
    ------
    InvalidInput
        Code ``bad-document``: it has not the form of a bundle.
    Conflict
        Code ``approval-tampered``.
    """
    trusted = keys if isinstance(keys, dict) else {key: key for key in keys}
    try:
        request, sha256, document = bundle["request"], bundle["sha256"], bundle["document"]
        entries = [
            (entry["decider"], entry["decision"], entry["time"], entry["key"], entry["signature"])
            for entry in bundle["decisions"]
        ]
        sound = all(isinstance(text, str) for text in (request, sha256, document))
        sound = sound and all(isinstance(entry[0], str) and type(entry[2]) is int for entry in entries)
    except (TypeError, KeyError) as error:
        raise InvalidInput("A bundle has request, sha256, document and decisions.", code="bad-document") from error
    if not sound:
        raise InvalidInput("Request, digest and document of a bundle are texts.", code="bad-document")
    content = read(document, sha256)
    approvers: dict[str, str] = {}
    for decider, decision, time, key, signature in entries:
        who = decider if isinstance(keys, dict) else key
        if decision != APPROVE or trusted.get(str(who)) != key or decider == content["requester"]:
            continue
        try:
            check(key, request, sha256, APPROVE, time, signature)
        except NotAllowed:
            continue
        approvers[key] = str(who)  # one key is one person, under however many names
    return frozenset(approvers.values())
