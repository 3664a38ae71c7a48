"""An approval as a thing that can be handed on: whoever gets it checks by itself which persons have approved."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from . import documents
from .decisions import decisions_on
from .requests import find, seats_of


def bundle(session: Session, request_id: str) -> dict[str, Any]:
    """Return a request with everything that proves its approvals.

    Returns
    -------
    dict
        ``request`` (id), ``action``, ``scope``, ``requester``, ``document`` (the exact text), ``sha256``, ``body``
        (the parameters in the document), ``factors`` and ``decisions``, each with ``decider``, ``decision``, ``role``,
        ``time``, ``key`` and ``signature``. `documents.verified_approvers` checks it.

    Raises
    ------
    NotFound
        Code ``unknown-approval``.
    Conflict
        Code ``approval-tampered``.
    """
    request = find(session, request_id)
    content = documents.read(request.document, request.sha256)
    return {
        "request": request.id,
        "action": content["action"],
        "scope": content["scope"],
        "requester": content["requester"],
        "document": request.document,
        "sha256": request.sha256,
        "body": content["body"],
        "factors": [seats.to_dict() for seats in seats_of(request)],
        "decisions": [
            {
                "decider": row.decider,
                "decision": row.decision,
                "role": row.role,
                "time": row.time,
                "key": row.key,
                "signature": row.signature,
            }
            for row in decisions_on(session, request)
        ],
    }
