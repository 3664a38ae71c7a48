"""People and services of organisations: who they are, and which roles they hold where."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from ...errors import Conflict, InvalidInput, NotAllowed, NotFound
from ...governance import scopes, tokens
from ...governance.approvals import founding
from ...governance.confidentiality import Vault, person
from ...governance.identity import invitations, persons, role_sessions
from ...governance.identity.tables import Person
from ...governance.permissions import COST_MANAGER, DEVELOPER, OPERATOR, VIEWER
from ...governance.rbac import core as rbac
from ...governance.rbac import delegation, review
from ...governance.rbac.tables import Assignment
from .. import hal
from ..access import View
from ..member_schemas import RoleHeld, UserIn
from ..tables import ProjectOrganisation
from . import organisations

_WORK_IN_PROJECTS = frozenset({VIEWER, DEVELOPER, OPERATOR, COST_MANAGER})
_IN_THE_NAME = frozenset(
    {
        "run:create",
        "analytics:query",
        "data:explore",
        "dataset:upload",
        "recipe:write",
        "node:register",
        "launch:write",
        "costs:manage",
    }
)
"""What is done in a project in the name of the caller's organisation, and at its cost."""


def visible(view: View) -> Select[Person]:
    """Return the query of the people and services that `view` has, and always of the caller itself."""
    query = select(Person).where(Person.state != persons.REMOVED)
    if view.everything:
        return query
    in_projects = [scopes.project(project) for project in view.held("project")]
    with_role = select(Assignment.user).where(Assignment.scope.in_(in_projects))
    return query.where(
        Person.organisation.in_(view.held("organisation"))
        | Person.id.in_(with_role)
        | (Person.id == view.caller.subject)
    )


def find(session: Session, view: View, user_id: str) -> Person:
    """Return the person or service; `NotFound` (code ``unknown-user``) if the caller sees none."""
    found = session.scalar(visible(view).where(Person.id == user_id))
    if found is None:
        raise NotFound(
            f"There is no user {user_id[:80]!r} for you.",
            code="unknown-user",
            hint="List the users; an administrator of an organisation sees the people of that organisation.",
        )
    return found


def create(session: Session, view: View, vault: Vault, body: UserIn) -> tuple[Person, dict[str, Any]]:
    """Add a person or service of an organisation.

    Returns
    -------
    (Person, dict)
        The row, and what is shown this once: ``invitation`` of a person, ``token`` of a service.

    Raises
    ------
    NotFound
        Code ``unknown-organisation``.
    NotAllowed
        The caller does not administer that organisation.
    Conflict
        Code ``user-exists``.
    InvalidInput
        Code ``bad-user``: a person without an e-mail address, or a service with one.
    """
    organisations.find(session, view, body.organisation)
    require_administered(view, body.organisation)
    user = body.id or f"{body.kind[0]}-{secrets.token_hex(6)}"
    if session.get(Person, user) is not None:
        raise Conflict(
            f"There is a user {user!r} already, or was.", code="user-exists", hint="Choose another id, or none."
        )
    if body.kind == "person":
        if body.email is None:
            raise InvalidInput(
                "A person signs in with an e-mail address, and there is none.",
                code="bad-user",
                hint='Give "email", or make a service (kind "service").',
            )
        rbac.add_user(session, user)
        secret = invitations.invite(
            session,
            user=user,
            organisation=body.organisation,
            name=body.name,
            email=body.email,
            by=view.caller.subject,
            now=view.now,
            vault=vault,
        )
        return session.get_one(Person, user), {"invitation": secret}
    if body.email is not None:
        raise InvalidInput(
            "A service has no e-mail address.", code="bad-user", hint="It signs in with the token that is answered."
        )
    service = add_service(session, vault, user, body.organisation, body.name, view.now)
    expires = None if body.expires_in is None else view.now + timedelta(seconds=body.expires_in)
    _, plain = tokens.issue(session, user=user, organisation=body.organisation, note="service", expires=expires)
    return service, {"token": plain}


def add_service(
    session: Session, vault: Vault, user: str, organisation: str, name: str | None, now: datetime
) -> Person:
    """Add a service: a user that signs in with a token, and that can hold roles but approve nothing."""
    rbac.add_user(session, user)
    return persons.add(session, user=user, organisation=organisation, kind="service", name=name, now=now, vault=vault)


def require_administered(view: View, organisation: str) -> None:
    """Check that the caller may change the people of `organisation`."""
    if not view.may(view.operation, scopes.organisation(organisation)):
        raise NotAllowed(
            f"You do not administer the people of {organisation!r}.",
            hint="Who does holds org-admin in that organisation, or governance-admin on the platform.",
            operation=view.operation,
        )


def require_assignable(session: Session, view: View, user: Person, wanted: RoleHeld) -> None:
    """Check that the caller may give or take a role, and that it makes sense for this user.

    Raises
    ------
    NotFound
        ``unknown-role``.
    NotAllowed
        The caller may not hand out this role there (see `rbac.delegation`), or not to this user.
    InvalidInput
        ``bad-scope``; ``foreign-scope``: the user's organisation has no part in it.
    """
    scope = scopes.parse(wanted.scope)
    if user.id == view.caller.subject:
        raise NotAllowed(
            "Nobody gives or takes their own roles.",
            code="own-roles",
            hint="Somebody else who administers the organisation or the platform does.",
        )
    kind, name = scopes.kind_of(scope), scopes.id_of(scope)
    delegation.require_may_assign(session, view.caller, wanted.role, scope, *_around(user, wanted.role, scope))
    if kind == "project":
        _require_own_name(session, view, user, wanted.role)
    if kind == "organisation" and name != user.organisation:
        raise InvalidInput(
            f"{user.id} belongs to {user.organisation!r}, not to {name[:63]!r}.",
            code="foreign-scope",
            hint="People hold roles in their own organisation, in its projects, or on the platform.",
        )
    if kind == "project" and session.get(ProjectOrganisation, (name, user.organisation)) is None:
        raise InvalidInput(
            f"{user.organisation!r} is not in project {name[:63]!r}.",
            code="foreign-scope",
            hint="People hold roles in projects that their organisation takes part in.",
        )


def _require_own_name(session: Session, view: View, user: Person, role: str) -> None:
    """Refuse that an administrator of a project lets others spend and register in the name of their organisation."""
    own = scopes.organisation(user.organisation)
    if user.organisation == view.caller.organisation or view.may("member:manage", own):
        return
    granted = {f"{object}:{operation}" for operation, object in review.role_permissions(session, role)}
    if acted := sorted(granted & _IN_THE_NAME):
        raise NotAllowed(
            f"{user.id} would act in the name of {user.organisation!r} with the role {role!r} ({', '.join(acted)}).",
            code="may-not-assign",
            hint=f"An administrator of {user.organisation!r}, or of the platform, gives or takes it.",
            role=role,
            missing=["member:manage"],
        )


def require_outranked(session: Session, view: View, user: Person, *, removes: bool) -> None:
    """Check that the caller may remove `user`, or invite it anew.

    Whoever invites somebody anew could take that account over: it takes what giving all its roles would. Removing
    somebody takes less: those who administer an organisation part with people who work in shared projects, too.

    Raises
    ------
    NotAllowed
        ``own-roles``: it is the caller itself; ``may-not-assign``: the user holds a role that the caller may not give.
    """
    require_administered(view, user.organisation)
    if user.id == view.caller.subject:
        raise NotAllowed(
            "Nobody removes or invites themselves.",
            code="own-roles",
            hint="Somebody else who administers the organisation or the platform does.",
        )
    for role, scope in sorted(review.assignments(session, user.id)):
        delegation.require_may_assign(session, view.caller, role, *_places(user, role, scope, removes=removes))


def _places(user: Person, role: str, scope: str, *, removes: bool) -> tuple[str, ...]:
    """Return where it is decided whether `user` may be parted from a role, or be invited anew in spite of it."""
    if removes and scope != scopes.PLATFORM:
        return (scope, scopes.organisation(user.organisation))
    return (scope, *_around(user, role, scope))


def _around(user: Person, role: str, scope: str) -> tuple[str, ...]:
    """Return where else giving `role` in `scope` may be decided.

    What a role in a project gives to somebody is part of what the same role in their organisation would give.
    """
    part = scopes.kind_of(scope) == "project" and role in _WORK_IN_PROJECTS
    return (scopes.organisation(user.organisation),) if part else ()


def invite_again(session: Session, view: View, vault: Vault, user: Person) -> str:
    """Return the secret of a new invitation; once the founding phase is over, it takes the roles that were held.

    Whoever has the new invitation chooses the password and the approval key. If the roles stayed, one administrator
    could approve in the names of others: they are given again, with the approvals that giving them needs.

    Raises
    ------
    NotAllowed
        See `require_outranked`.
    InvalidInput
        Code ``bad-user``: it is a service.
    """
    require_outranked(session, view, user, removes=False)
    if user.kind != "person":
        raise InvalidInput(
            f"{user.id} is a service, and services are not invited.",
            code="bad-user",
            hint="Make a new service: its token is shown once.",
        )
    if user.state != persons.INVITED and not founding.is_open(session):
        for role, scope in sorted(review.assignments(session, user.id)):
            take(session, user.id, role, scope)
    return invitations.invite(
        session, user=user.id, organisation=user.organisation, by=view.caller.subject, now=view.now, vault=vault
    )


def give(session: Session, user: str, role: str, scope: str) -> None:
    """Give a role; a service has it in its open sessions at once, a person when it next signs in.

    Raises
    ------
    RbacError
        A precondition of AssignUser fails, for instance separation of duties.
    """
    rbac.assign_user(session, user, role, scope)
    if session.get_one(Person, user).kind == "service":
        for token in tokens.of_user(session, user):
            role_sessions.activate(session, user, token.session, [(role, scope)])


def require_possible(session: Session, user: str, role: str, scope: str) -> None:
    """Try out whether a role can be given, and undo it: nobody is asked to approve what cannot be done.

    Raises
    ------
    RbacError
        As `give`.
    """
    attempt = session.begin_nested()
    try:
        give(session, user, role, scope)
    finally:
        attempt.rollback()


def take(session: Session, user: str, role: str, scope: str) -> None:
    """Take a role away, from open sessions at once.

    Raises
    ------
    RbacError
        The user does not hold it.
    """
    rbac.deassign_user(session, user, role, scope)


def show_all(session: Session, view: View, vault: Vault, found: Sequence[Person]) -> list[hal.Resource]:
    """Return people and services as the caller sees them."""
    ids = [row.id for row in found]
    held: dict[str, list[dict[str, str]]] = {user: [] for user in ids}
    query = select(Assignment).where(Assignment.user.in_(ids)).order_by(Assignment.role, Assignment.scope)
    for assignment in session.scalars(query):
        held[assignment.user].append({"role": assignment.role, "scope": assignment.scope})
    vault.preload(session, [person(user) for user in ids])
    assignable: dict[tuple[str, ...], bool] = {}
    return [_show(session, view, vault, row, held[row.id], assignable) for row in found]


def show(session: Session, view: View, vault: Vault, user: Person, once: dict[str, Any] | None = None) -> hal.Resource:
    """Return one as the caller sees it, with what is shown `once`."""
    (shown,) = show_all(session, view, vault, [user])
    return {**shown, **(once or {})}


def _outranks(
    session: Session,
    view: View,
    user: Person,
    held: list[dict[str, str]],
    assignable: dict[tuple[str, ...], bool],
    *,
    removes: bool,
) -> bool:
    """Tell whether `require_outranked` lets the caller; `assignable` keeps what was found for others of a list."""
    for each in held:
        asked = (each["role"], *_places(user, each["role"], each["scope"], removes=removes))
        if asked not in assignable:
            try:
                delegation.require_may_assign(session, view.caller, *asked)
                assignable[asked] = True
            except NotAllowed:
                assignable[asked] = False
        if not assignable[asked]:
            return False
    return True


def _show(
    session: Session,
    view: View,
    vault: Vault,
    user: Person,
    held: list[dict[str, str]],
    assignable: dict[tuple[str, ...], bool],
) -> hal.Resource:
    href = f"/v1/users/{user.id}"
    within = scopes.organisation(user.organisation)
    knows = user.id == view.caller.subject or view.may("member:read", within)
    manages = view.may("member:manage", within) and user.id != view.caller.subject
    removes = manages and _outranks(session, view, user, held, assignable, removes=True)
    invites = manages and user.kind == "person" and _outranks(session, view, user, held, assignable, removes=False)
    name, email = persons.told(session, user, vault) if knows else (None, None)
    body = {
        "id": user.id,
        "kind": user.kind,
        "organisation": user.organisation,
        "name": name,
        "email": email,
        "state": user.state,
        "roles": held,
        "has_key": user.approval_key is not None,
    }
    return hal.resource(
        body,
        href,
        roles=hal.link(f"{href}/roles", "POST") if manages else None,
        take_role=hal.link(f"{href}/roles/{{role}}/{{scope}}", "DELETE", templated=True) if manages else None,
        invitation=hal.link(f"{href}/invitation", "POST") if invites else None,
        remove=hal.link(href, "DELETE") if removes else None,
    )
