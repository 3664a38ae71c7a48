"""What somebody does with the own account."""

from __future__ import annotations

from sqlalchemy.orm import Session

from ...errors import Conflict, FlaasError, NotAllowed, NotFound
from ...governance.identity import attempts, authentication, persons, sign_ins
from ...governance.identity.oauth_errors import OAuthError
from ...governance.identity.passwords import require_good
from ...governance.identity.provider import IdentityProvider
from ...governance.identity.tables import Person, SignIn
from .. import hal
from ..access import View
from ..calls import Call


class OwnAccount:
    """The caller's account.

    Parameters
    ----------
    provider : IdentityProvider
        Keys, settings, hashing.
    call : Call
        Whose account it is.
    """

    def __init__(self, provider: IdentityProvider, call: Call) -> None:
        self._provider = provider
        self._call = call

    def change_password(self, old: str, new: str, address: str) -> None:
        """Change the password, and end all other sign-ins.

        Raises
        ------
        NotAllowed
            Code ``wrong-password``.
        Conflict
            Code ``too-many-attempts`` (429).
        InvalidInput
            Code ``weak-password``.
        """
        provider, caller = self._provider, self._call.view.caller
        with self._call.reading() as session:
            person = _person(session, caller.subject)
            require_good(
                new, (person.id, person.organisation, *filter(None, persons.told(session, person, provider.vault)))
            )
        try:
            authentication.authenticate(provider, self._call.hosted.database, caller.subject, old, address)
            hashed = provider.passwords.hash(new)
        except authentication.WrongPassword as error:
            raise NotAllowed(
                "The old password is wrong.", code="wrong-password", hint="If it is lost, ask for an invitation."
            ) from error
        except OAuthError as error:
            raise _too_many(error) from error
        # Not `Call.writing`: the audit log must not have a digest of a body with passwords in it.
        with self._call.hosted.database.writing() as session:
            person = _person(session, caller.subject)
            person.password, person.password_changed = hashed, provider.now()
            provider.audit(
                session,
                actor=person.id,
                operation="password:change",
                object=f"user/{person.id}",
                organisation=person.organisation,
                outcome="done",
                details={},
            )
            attempts.forget(session, persons.account_key(session, provider.vault, caller.subject))
            sign_ins.end_all(provider, session, person.id, "password-changed", but=caller.session)

    def set_key(self, key: str, proof: str, previous: str | None) -> None:
        """Register the approval key; see `persons.set_approval_key`."""
        with self._call.writing() as session:
            person = _person(session, self._call.view.caller.subject)
            persons.set_approval_key(session, person, key, proof, previous, self._provider.now())

    def end_session(self, session_id: str) -> None:
        """End a sign-in of the caller; `NotFound` (code ``unknown-session``) if it is none or has ended."""
        with self._call.writing() as session:
            row = session.get(SignIn, session_id)
            if row is None or row.person != self._call.view.caller.subject or row.ended is not None:
                raise NotFound(
                    f"You have no sign-in {session_id[:40]!r}.", code="unknown-session", hint="List /v1/me/sessions."
                )
            sign_ins.end(self._provider, session, row, "ended")


def sessions(session: Session, view: View) -> list[hal.Resource]:
    """Return the caller's sign-ins."""
    found = sign_ins.of_person(session, view.caller.subject, view.now)
    return [_show(row, view) for row in found]


def _show(row: SignIn, view: View) -> hal.Resource:
    href = f"/v1/me/sessions/{row.id}"
    body = {
        "id": row.id,
        "client": row.client,
        "scope": row.scope,
        "current": row.session == view.caller.session,
        "signed_in": hal.instant(row.authenticated),
        "last_used": hal.instant(row.used),
        "expires": hal.instant(row.expires),
    }
    end = hal.link(href, "DELETE") if view.caller.may("me:write") else None
    return {**body, "_links": {} if end is None else {"end": end}}


def _person(session: Session, user: str) -> Person:
    person = session.get(Person, user)
    if person is None or person.kind != "person":
        raise Conflict(
            f"{user} is no person with an account of its own.",
            code="no-account",
            hint="Sign in as a person with `flaas login`.",
        )
    return person


def _too_many(error: OAuthError) -> FlaasError:
    return Conflict(error.description, code="too-many-attempts", hint="Wait, then try again.")
