"""Organisations: whom people and nodes belong to."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from ...errors import Conflict, NotFound
from ...governance import scopes
from ...governance.identity import persons
from ...governance.identity.tables import Person
from .. import hal
from ..access import View
from ..schemas import OrganisationIn
from ..tables import Node, Organisation, ProjectOrganisation, Query, RecipeRow, Run, Token, Upload


def visible(view: View) -> Select[Organisation]:
    """Return the query of the organisations that `view` has: its own, or all."""
    query = select(Organisation)
    if view.everything:
        return query
    return query.where(Organisation.id.in_({view.caller.organisation, *view.held("organisation")}))


def find(session: Session, view: View, organisation_id: str) -> Organisation:
    """Return the organisation; `NotFound` (code ``unknown-organisation``) if the caller sees none."""
    found = session.scalar(visible(view).where(Organisation.id == organisation_id))
    if found is None:
        raise NotFound(
            f"There is no organisation {organisation_id[:80]!r} for you.",
            code="unknown-organisation",
            hint="You see your own; an administrator of the platform creates others.",
        )
    return found


def get(session: Session, organisation_id: str) -> Organisation:
    """Return the organisation, whoever asks; `NotFound` (code ``unknown-organisation``) if there is none."""
    found = session.get(Organisation, organisation_id)
    if found is None:
        raise NotFound(
            f"There is no organisation {organisation_id[:80]!r}.",
            code="unknown-organisation",
            hint="It was removed meanwhile.",
        )
    return found


def create(session: Session, body: OrganisationIn) -> Organisation:
    """Create an organisation; `Conflict` (code ``organisation-exists``) if the id is taken."""
    if session.get(Organisation, body.id) is not None:
        raise Conflict(
            f"There is an organisation {body.id!r} already.",
            code="organisation-exists",
            hint="Choose another id.",
        )
    return add(session, body.id, body.name)


def add(session: Session, organisation_id: str, name: str) -> Organisation:
    """Add an organisation whose id is free."""
    organisation = Organisation(id=organisation_id, name=name, created=datetime.now(UTC))
    session.add(organisation)
    session.flush()
    return organisation


def remove(session: Session, organisation: Organisation) -> None:
    """Remove an organisation that nothing refers to; else `Conflict` (code ``organisation-in-use``)."""
    session.execute(delete(Person).where(Person.organisation == organisation.id, Person.state == persons.REMOVED))
    for what, column in (
        ("people or services", Person.organisation),
        ("tokens", Token.organisation),
        ("projects", ProjectOrganisation.organisation),
        ("nodes", Node.organisation),
        ("runs", Run.organisation),
        ("queries", Query.organisation),
        ("recipes", RecipeRow.organisation),
        ("uploads", Upload.organisation),
    ):
        if session.scalar(select(column).where(column == organisation.id).limit(1)) is not None:
            raise Conflict(
                f"Organisation {organisation.id!r} has {what}.",
                code="organisation-in-use",
                hint="Remove these first; one that ever had nodes or runs stays for their history.",
            )
    session.delete(organisation)


def show(view: View, organisation: Organisation) -> hal.Resource:
    """Return the organisation as the caller sees it."""
    href = f"/v1/organisations/{organisation.id}"
    writes = view.may("organisation:write", scopes.organisation(organisation.id))
    removes = view.may("organisation:write", scopes.PLATFORM)
    return hal.resource(
        {"id": organisation.id, "name": organisation.name},
        href,
        edit=hal.link(href, "PATCH") if writes else None,
        delete=hal.link(href, "DELETE") if removes else None,
    )
