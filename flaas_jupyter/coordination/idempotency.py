"""Requests that may be repeated: the answer is kept with the change, in the same transaction.

So the change has happened if and only if its answer is there to be repeated, whatever crashed meanwhile; and a
repetition that comes while the first is at work waits for its turn to write, then gets the first one's answer.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy import delete
from sqlalchemy.orm import Session

from ..errors import InvalidInput
from ..governance.confidentiality import INSTALLATION, Vault
from ..governance.identity import Caller
from .hal import HalResponse
from .tables import Keyed

KEPT = timedelta(hours=24)
_LONGEST_KEY = 200
_SECRETS = {"token", "invitation"}
_HEADERS = ("Location", "ETag", "Cache-Control", "Vary")


def key_of(request: Request) -> str | None:
    """Return the request's idempotency key.

    Raises
    ------
    InvalidInput
        Code ``bad-idempotency-key``.
    """
    key = request.headers.get("Idempotency-Key")
    if key is None or (0 < len(key) <= _LONGEST_KEY and key.isascii() and key.isprintable()):
        return key
    raise InvalidInput(
        f"An Idempotency-Key has 1 to {_LONGEST_KEY} printable ASCII characters.",
        code="bad-idempotency-key",
        hint="A random UUID will do.",
    )


def find(session: Session, vault: Vault, caller: Caller, key: str, request: Request) -> Response | None:
    """Return the answer that `key` was given before, or None.

    Raises
    ------
    InvalidInput
        Code ``idempotency-mismatch``: the key was used for another request.
    """
    kept = session.get(Keyed, (_name(caller), key))
    if kept is None:
        return None
    if kept.created < datetime.now(UTC) - KEPT:
        session.delete(kept)
        session.flush()
        return None
    if kept.fingerprint != _fingerprint(request):
        raise InvalidInput(
            f"The Idempotency-Key {key!r} was used for another request.",
            code="idempotency-mismatch",
            hint="Use a new key for each new request, and the same only to repeat one.",
        )
    headers = {**kept.headers, "Idempotent-Replayed": "true"}
    body = vault.open(session, _purpose(caller, key), INSTALLATION, kept.body)
    return HalResponse(body, kept.status, headers=headers)


def keep(session: Session, vault: Vault, caller: Caller, key: str, request: Request, answer: Response) -> None:
    """Keep `answer`, sealed, for repetitions of `request`; a secret in it is not kept: it is shown once."""
    body = json.loads(bytes(answer.body))
    for secret in _SECRETS & set(body):
        body[secret] = None
    session.add(
        Keyed(
            caller=_name(caller),
            key=key,
            fingerprint=_fingerprint(request),
            status=answer.status_code,
            headers={name: answer.headers[name] for name in _HEADERS if name in answer.headers},
            body=vault.seal(session, _purpose(caller, key), INSTALLATION, json.dumps(body)),
            created=datetime.now(UTC),
        )
    )


def purge(session: Session) -> None:
    """Remove what was kept long enough."""
    session.execute(delete(Keyed).where(Keyed.created < datetime.now(UTC) - KEPT))


def _name(caller: Caller) -> str:
    return f"{caller.kind}/{caller.organisation}/{caller.subject}"


def _purpose(caller: Caller, key: str) -> str:
    return f"idempotency.body/{_name(caller)}/{key}"


def _fingerprint(request: Request) -> str:
    """The request in one digest; `traffic` has taken the body's."""
    body: str = request.scope["flaas.body_sha256"]
    return hashlib.sha256(f"{request.method} {request.url.path} {body}".encode()).hexdigest()
