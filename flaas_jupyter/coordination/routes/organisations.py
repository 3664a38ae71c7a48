"""Organisations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from ...governance import scopes
from .. import hal, schemas
from ..calls import ASKED, Call, Cursor, Limit, created, requires
from ..paging import DEFAULT
from ..services import organisations
from ..tables import Organisation

router = APIRouter(prefix="/v1/organisations", tags=["organisations"])


@router.get("", response_model=schemas.Organisations)
def list_organisations(
    call: Annotated[Call, requires("organisation:read")], limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """The caller's own organisation; all of them for administrators."""
    page = call.page(limit, cursor)
    with call.reading() as session:
        found = page.rows(session, organisations.visible(call.view), Organisation.id)
        return page.answer("organisations", found, lambda row: organisations.show(call.view, row), lambda row: row.id)


@router.post("", status_code=201, response_model=schemas.Organisation, responses=ASKED)
def create_organisation(
    body: schemas.OrganisationIn, call: Annotated[Call, requires("organisation:write")]
) -> Response:
    """Create an organisation."""
    call.view.require_platform()

    def act(session: Session) -> Response:
        waits = call.critical(session, "organisation.add", scopes.PLATFORM, body.model_dump())
        if waits is not None:
            return waits
        organisation = organisations.create(session, body)
        return created(organisations.show(call.view, organisation), f"/v1/organisations/{organisation.id}")

    return call.once(act)


@router.get("/{organisation_id}", response_model=schemas.Organisation)
def read_organisation(organisation_id: str, call: Annotated[Call, requires("organisation:read")]) -> Response:
    """One organisation."""
    return call.read(
        lambda session: organisations.show(call.view, organisations.find(session, call.view, organisation_id))
    )


@router.patch("/{organisation_id}", response_model=schemas.Organisation)
def change_organisation(
    organisation_id: str,
    body: schemas.OrganisationPatch,
    call: Annotated[Call, requires("organisation:write")],
) -> Response:
    """Rename an organisation."""
    with call.writing() as session:
        organisation = organisations.find(session, call.view, organisation_id)
        hal.require_match(call.request, organisations.show(call.view, organisation))
        organisation.name = body.name
        return hal.answer(organisations.show(call.view, organisation))


@router.delete("/{organisation_id}", status_code=204, responses=ASKED)
def delete_organisation(organisation_id: str, call: Annotated[Call, requires("organisation:write")]) -> Response:
    """Remove an organisation that nothing refers to."""
    with call.writing() as session:
        organisation = organisations.find(session, call.view, organisation_id)
        call.view.require_platform()
        hal.require_match(call.request, organisations.show(call.view, organisation))
        scope = scopes.organisation(organisation.id)
        waits = call.critical(session, "organisation.remove", scope, {"organisation": organisation.id})
        if waits is not None:
            return waits
        organisations.remove(session, organisation)
    return Response(status_code=204)
