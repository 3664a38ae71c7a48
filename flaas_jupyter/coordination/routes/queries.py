"""Queries: opened by developers, looked up by their nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.orm import Session

from .. import hal, query_schemas, tables
from ..access import View, find_project
from ..calls import Call, Cursor, Limit, created, requires
from ..paging import DEFAULT
from ..services import queries

router = APIRouter(prefix="/v1", tags=["queries"])

Named = Annotated[str | None, Query(max_length=100)]


@router.get("/projects/{project_id}/queries", response_model=query_schemas.Queries)
def list_queries(
    project_id: str,
    call: Annotated[Call, requires("analytics:read")],
    dataset: Named = None,
    limit: Limit = DEFAULT,
    cursor: Cursor = None,
) -> Response:
    """The project's queries, newest first."""
    page = call.page(limit, cursor, dataset=dataset)
    with call.reading() as session:
        project = find_project(session, call.view, project_id)
        found = page.rows(
            session, queries.of_project(project.id, dataset), tables.Query.number, kind=int, descending=True
        )
        return page.answer("queries", found, lambda row: queries.show(session, call.view, row), lambda row: row.number)


@router.post("/projects/{project_id}/queries", status_code=201, response_model=query_schemas.Query)
def create_query(
    project_id: str, body: query_schemas.QueryIn, call: Annotated[Call, requires("analytics:query")]
) -> Response:
    """Open a query: which nodes it is about, and which of them releases the result."""
    return _opened(call, project_id, body)


@router.get("/queries/{query_id}", response_model=query_schemas.Query)
def read_query(query_id: str, call: Annotated[Call, requires("analytics:read")]) -> Response:
    """One query."""
    return call.read(lambda session: queries.show(session, call.view, queries.find(session, call.view, query_id)))


@router.post("/queries/{query_id}/close", response_model=query_schemas.Query)
def close_query(
    query_id: str, body: query_schemas.QueryEnd, call: Annotated[Call, requires("analytics:query")]
) -> Response:
    """Say how a query has ended; one that nobody closes expires."""
    return _closed(call, queries.find, query_id, body)


@router.post("/projects/{project_id}/views", status_code=201, response_model=query_schemas.Query)
def create_view(
    project_id: str, body: query_schemas.ViewIn, call: Annotated[Call, requires("data:explore")]
) -> Response:
    """Open a view of the data explorer: a query about a data set as a whole, whose shape the nodes check."""
    return _opened(call, project_id, body)


@router.post("/views/{query_id}/close", response_model=query_schemas.Query)
def close_view(
    query_id: str, body: query_schemas.QueryEnd, call: Annotated[Call, requires("data:explore")]
) -> Response:
    """Say how a view has ended; one that nobody closes expires."""
    return _closed(call, queries.find_view, query_id, body)


def _opened(call: Call, project_id: str, body: query_schemas.QueryIn | query_schemas.ViewIn) -> Response:
    def act(session: Session) -> Response:
        project = find_project(session, call.view, project_id)
        query = queries.create(session, call.view, project, body)
        return created(queries.show(session, call.view, query), f"/v1/queries/{query.id}")

    return call.once(act)


def _closed(
    call: Call, find: Callable[[Session, View, str], tables.Query], query_id: str, body: query_schemas.QueryEnd
) -> Response:
    def act(session: Session) -> Response:
        query = find(session, call.view, query_id)
        queries.close(session, call.view, query, body)
        return hal.answer(queries.show(session, call.view, query))

    return call.once(act)
