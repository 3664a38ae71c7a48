"""Cloud accounts, bills and budgets."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import date, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Query, Request
from fastapi.responses import Response, StreamingResponse
from sqlalchemy import select
from sqlalchemy.orm import Session

from ...costs import accounts as cloud
from ...costs import providers
from ...costs.accounts import CloudAccount
from ...costs.billing import budgets
from ...costs.secrets import Keyring
from .. import cost_schemas as schemas
from .. import hal
from ..access import find_project
from ..calls import Call, Cursor, Limit, created, requires
from ..paging import DEFAULT
from ..services import accounts, billing


@contextlib.asynccontextmanager
async def _fetching(app: FastAPI) -> AsyncIterator[None]:
    """Fetch bills in the background, as long as the API runs."""
    hosted = app.state.hosted
    app.state.fetcher = accounts.BillFetcher(hosted.database, timedelta(seconds=hosted.settings.bill_every))
    async with app.state.fetcher.running():
        yield


router = APIRouter(tags=["costs"], lifespan=_fetching)

_Text = Annotated[str | None, Query(max_length=300)]
_From = Annotated[date | None, Query(alias="from")]
_To = Annotated[date | None, Query(alias="to")]


def _fetcher(request: Request) -> accounts.BillFetcher:
    fetcher: accounts.BillFetcher = request.app.state.fetcher
    return fetcher


def _if_matching(request: Request, present: hal.Resource) -> None:
    """Check If-Match where it is sent; the command line changes what it has not read."""
    if "If-Match" in request.headers:
        hal.require_match(request, present)


# ---- accounts -------------------------------------------------------------------------------------------------------


@router.get("/v1/costs/providers", response_model=schemas.Providers)
def list_providers(call: Annotated[Call, requires("costs:read")]) -> Response:
    """The clouds that there are drivers for, and what they need to know to sign in."""
    body: dict[str, Any] = {"_embedded": {"providers": [accounts.show_provider(name) for name in providers.names()]}}
    return hal.answer(hal.resource(body, "/v1/costs/providers"), call.request)


@router.get("/v1/costs/accounts", response_model=schemas.Accounts)
def list_accounts(
    call: Annotated[Call, requires("costs:read")], limit: Limit = DEFAULT, cursor: Cursor = None
) -> Response:
    """The cloud accounts of the caller's organisation, never their credentials."""
    page = call.page(limit, cursor)
    query = select(CloudAccount).where(CloudAccount.removed.is_(None))
    organisation = accounts.organisation_of(call.view)
    if organisation is not None:
        query = query.where(CloudAccount.organisation == organisation)
    with call.reading() as session:
        found = page.rows(session, query, CloudAccount.id)
        return page.answer("accounts", found, lambda row: accounts.show(call.view, row), lambda row: row.id)


@router.post("/v1/costs/accounts", status_code=201, response_model=schemas.Account)
def add_account(body: schemas.AccountIn, call: Annotated[Call, requires("costs:manage")]) -> Response:
    """Enter a cloud account; its credentials are tried out first, then kept encrypted."""
    identity = cloud.check(body.provider, body.credentials)  # before the transaction: a cloud may take its time
    keyring = Keyring.load()

    def act(session: Session) -> Response:
        organisation = call.view.own
        account = cloud.add(session, keyring, organisation, body.provider, body.title, body.credentials, identity)
        return created(accounts.show(call.view, account), f"/v1/costs/accounts/{account.id}")

    return call.once(act)


@router.get("/v1/costs/accounts/{account_id}", response_model=schemas.Account)
def read_account(account_id: str, call: Annotated[Call, requires("costs:read")]) -> Response:
    """One cloud account, and how far its bill is fetched."""
    return call.read(lambda session: accounts.show(call.view, accounts.find(session, call.view, account_id)))


@router.delete("/v1/costs/accounts/{account_id}", status_code=204)
def delete_account(account_id: str, call: Annotated[Call, requires("costs:manage")]) -> Response:
    """Wipe an account's credentials; what it has billed stays."""
    with call.writing() as session:
        account = accounts.find(session, call.view, account_id)
        _if_matching(call.request, accounts.show(call.view, account))
        cloud.remove(account)
    return Response(status_code=204)


@router.post("/v1/costs/accounts/{account_id}/check", response_model=schemas.Account)
def check_account(account_id: str, call: Annotated[Call, requires("costs:manage")]) -> Response:
    """Try the credentials out again."""
    with call.reading() as session:
        account = accounts.find(session, call.view, account_id)
        credentials = cloud.credentials(account)
    identity = cloud.check(account.provider, credentials)
    with call.writing() as session:
        account = accounts.find(session, call.view, account_id)
        cloud.note_check(account, identity)
        return hal.answer(accounts.show(call.view, account))


@router.put("/v1/costs/accounts/{account_id}/overlays", response_model=schemas.Account)
def put_overlays(
    account_id: str, body: schemas.OverlaysIn, call: Annotated[Call, requires("costs:manage")]
) -> Response:
    """Set the percentages that the organisation pays off this cloud's list prices."""
    with call.writing() as session:
        account = accounts.find(session, call.view, account_id)
        _if_matching(call.request, accounts.show(call.view, account))
        cloud.set_overlays(account, [each.model_dump() for each in body.overlays])
        return hal.answer(accounts.show(call.view, account))


@router.post("/v1/costs/accounts/{account_id}/fetch", response_model=schemas.Account)
def fetch_bill(account_id: str, body: schemas.FetchIn, call: Annotated[Call, requires("costs:manage")]) -> Response:
    """Have the bill fetched in the background: 202, or 200 where nothing is to be done before `fetch.next`."""
    with call.writing() as session:
        account = accounts.find(session, call.view, account_id)
        asked = cloud.ask_for_bill(account, body.start, body.end, force=body.force)
        answer = hal.answer(accounts.show(call.view, account), status=202 if asked else 200)
    _fetcher(call.request).wake()
    return answer


# ---- bills ----------------------------------------------------------------------------------------------------------


@router.get("/v1/costs/summary", response_model=schemas.Summary)
def read_summary(
    call: Annotated[Call, requires("costs:read")],
    start: _From = None,
    end: _To = None,
    group: schemas.Group = "project",
    project: _Text = None,
    provider: _Text = None,
) -> Response:
    """What was billed, what is estimated, and the two side by side."""
    days = billing.window(start, end)
    daily = call.hosted.launching.daily
    return call.read(lambda session: billing.show(session, call.view, days, group, (project, provider), daily))


@router.get(
    "/v1/costs/export",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "Charges in FOCUS columns"}},
)
def export_charges(
    call: Annotated[Call, requires("costs:read")], start: _From = None, end: _To = None
) -> StreamingResponse:
    """All charges of a window as CSV in FOCUS columns."""
    days = billing.window(start, end)
    lines = billing.export(call.hosted.database, accounts.organisation_of(call.view), days)
    headers = {
        "Cache-Control": "private, no-store",
        "Content-Disposition": f'attachment; filename="charges-{days[0]}-{days[1]}.csv"',
    }
    return StreamingResponse(lines, media_type="text/csv", headers=headers)


@router.post("/v1/costs/imports", response_model=schemas.Imported)
def import_rows(body: schemas.ImportIn, call: Annotated[Call, requires("costs:manage")]) -> Response:
    """Take in rows of a bill; the same again, or an older one, changes nothing."""
    return hal.answer(billing.take_in(call.hosted.database, call.view, body), tagged=False)


# ---- budgets --------------------------------------------------------------------------------------------------------


@router.get("/v1/projects/{project_id}/budget", response_model=schemas.Budget)
def read_budget(project_id: str, call: Annotated[Call, requires("costs:read")]) -> Response:
    """The budget of the caller's organisation for a project, and how it stands."""
    daily = call.hosted.launching.daily
    return call.read(
        lambda session: billing.show_budget(session, call.view, find_project(session, call.view, project_id), daily)
    )


@router.put("/v1/projects/{project_id}/budget", response_model=schemas.Budget)
def put_budget(project_id: str, body: schemas.BudgetIn, call: Annotated[Call, requires("costs:manage")]) -> Response:
    """Set the budget, or take it away."""
    daily = call.hosted.launching.daily
    with call.writing() as session:
        project = find_project(session, call.view, project_id)
        _if_matching(call.request, billing.show_budget(session, call.view, project, daily))
        budgets.put(session, call.view.own, project.id, body.budget_usd, body.warn_at)
        return hal.answer(billing.show_budget(session, call.view, project, daily))
