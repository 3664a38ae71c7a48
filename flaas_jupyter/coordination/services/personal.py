"""What is kept about one person: all of it to the person, and none of it once the person is erased.

Erasing (Regulation (EU) 2016/679, article 17) takes names, addresses, password, keys, sessions and tokens, and deletes
the person's data key, so that copies of sealed fields elsewhere cannot be read, either. The id stays, in the audit log
and in what the person has made: it says nothing about the person, and without it the chain of the log would not hold.
"""

from __future__ import annotations

import contextlib
from typing import Any

from sqlalchemy import ColumnElement, delete, select
from sqlalchemy.orm import Session

from ...costs.launch.tables import LaunchRow
from ...errors import NotFound
from ...governance import tokens
from ...governance.approvals.tables import Decision
from ...governance.approvals.tables import Request as ApprovalRequest
from ...governance.audit.tables import AuditEntry
from ...governance.confidentiality import Vault, person
from ...governance.identity import attempts, persons
from ...governance.identity.tables import AuthorizationCode, BrowserSignIn, DeviceCode, Invitation, Person, SignIn
from ...governance.rbac import core as rbac
from ...governance.rbac import sessions as role_sessions
from ...governance.rbac.errors import RbacError
from ...governance.rbac.tables import Assignment
from ...governance.tables import Token
from .. import hal
from ..tables import PendingDocument, Query, RecipeRow, Run, Upload


def export(session: Session, vault: Vault, user: str) -> dict[str, Any]:
    """Return all that is kept about `user`, as JSON values; of secrets, only that there is one.

    Raises
    ------
    NotFound
        Code ``unknown-user``: it is no person or service, or was removed.
    """
    row = persons.find(session, user)
    name, email = persons.told(session, row, vault)
    return {
        "person": {
            "id": row.id,
            "kind": row.kind,
            "organisation": row.organisation,
            "name": name,
            "email": email,
            "state": row.state,
            "created": hal.instant(row.created),
            "has_password": row.password is not None,
            "password_changed": hal.instant(row.password_changed),
            "approval_key": row.approval_key,
            "approval_key_changed": hal.instant(row.approval_key_changed),
        },
        "roles": [
            {"role": each.role, "scope": each.scope}
            for each in session.scalars(
                select(Assignment).where(Assignment.user == user).order_by(Assignment.role, Assignment.scope)
            )
        ],
        "sessions": [_session(each) for each in _of(session, SignIn, SignIn.person == user)],
        "tokens": [
            {
                "id": each.id,
                "note": each.note,
                "created": hal.instant(each.created),
                "expires": hal.instant(each.expires),
            }
            for each in _of(session, Token, Token.user == user)
        ],
        "approvals": {
            "requests": [
                {"id": each.id, "action": each.action, "state": each.state, "created": hal.instant(each.created)}
                for each in _of(session, ApprovalRequest, ApprovalRequest.requester == user)
            ],
            "decisions": [
                {"request": each.request, "decision": each.decision, "time": each.time, "key": each.key}
                for each in session.scalars(
                    select(Decision).where(Decision.decider == user).order_by(Decision.time, Decision.request)
                )
            ],
        },
        "runs": list(session.scalars(select(Run.id).where(Run.created_by == user).order_by(Run.number))),
        "queries": list(session.scalars(select(Query.id).where(Query.created_by == user).order_by(Query.number))),
        "recipes": list(
            session.scalars(select(RecipeRow.id).where(RecipeRow.created_by == user).order_by(RecipeRow.number))
        ),
        "uploads": list(session.scalars(select(Upload.id).where(Upload.created_by == user).order_by(Upload.number))),
        "pending_documents": list(
            session.scalars(
                select(PendingDocument.digest)
                .where(PendingDocument.created_by == user)
                .order_by(PendingDocument.digest)
            )
        ),
        "launches": list(
            session.scalars(select(LaunchRow.id).where(LaunchRow.created_by == user).order_by(LaunchRow.id))
        ),
        "audit": [
            {
                "sequence": each.sequence,
                "time": hal.instant(each.time),
                "operation": each.operation,
                "object": each.object,
                "outcome": each.outcome,
            }
            for each in session.scalars(
                select(AuditEntry)
                .where((AuditEntry.actor == user) | (AuditEntry.object == user))
                .order_by(AuditEntry.sequence)
            )
        ],
    }


def erase(session: Session, vault: Vault, user: str) -> None:
    """Erase a person or service, in the caller's transaction; the id and what was audited stay.

    Once more does no harm: what is gone is gone.

    Raises
    ------
    NotFound
        Code ``unknown-user``: there never was one.
    """
    row = session.get(Person, user)
    if row is None:
        raise NotFound(f"There is no user {user[:80]!r}.", code="unknown-user", hint="List the users.")
    for token in tokens.of_user(session, user):
        tokens.revoke(session, token)
    for sign_in in _of(session, SignIn, SignIn.person == user):
        with contextlib.suppress(RbacError):  # it has expired, or was ended
            role_sessions.delete_session(session, user, sign_in.session)
    # Refresh tokens go with their sign-ins (ON DELETE CASCADE).
    for table in (AuthorizationCode, BrowserSignIn, DeviceCode, SignIn, Invitation):
        session.execute(delete(table).where(table.person == user))
    _forget_attempts(session, vault, row)
    with contextlib.suppress(RbacError):
        rbac.delete_user(session, user)
    persons.remove(session, row)
    row.password_changed = row.approval_key_changed = None
    vault.shred(session, person(user))
    session.flush()


def _forget_attempts(session: Session, vault: Vault, row: Person) -> None:
    attempts.forget(session, persons.account_key(session, vault, row.id))
    if row.login is not None:
        attempts.forget(session, f"account:{row.login}")


def _of(session: Session, table: Any, condition: ColumnElement[bool]) -> list[Any]:
    return list(session.scalars(select(table).where(condition).order_by(table.id)))


def _session(row: SignIn) -> dict[str, Any]:
    return {
        "id": row.id,
        "client": row.client,
        "scope": row.scope,
        "signed_in": hal.instant(row.authenticated),
        "last_used": hal.instant(row.used),
        "expires": hal.instant(row.expires),
        "ended": hal.instant(row.ended),
        "reason": row.reason,
    }
