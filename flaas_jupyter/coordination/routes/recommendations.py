"""Templates and recommendations."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.orm import Session

from .. import hal
from ..calls import Call, created, requires
from ..price_schemas import PriceAges, RecommendationIn, RecommendationOut, TemplateIn, TemplateOut, Templates
from ..services import price_refresh, recommendations

router = APIRouter(prefix="/v1/costs", tags=["costs"])


@router.get("/templates", response_model=Templates)
def list_templates(call: Annotated[Call, requires("costs:read")]) -> Response:
    """All templates: built-in ones and the organisation's own. There are few: one page."""
    with call.reading() as session:
        found = recommendations.list_templates(session, call.view)
    body = hal.resource({"_embedded": {"templates": found}}, "/v1/costs/templates")
    return hal.answer(body, call.request)


@router.post("/templates", status_code=201, response_model=TemplateOut)
def create_template(body: TemplateIn, call: Annotated[Call, requires("costs:manage")]) -> Response:
    """Keep a template of the organisation's own."""

    def act(session: Session) -> Response:
        given = body.model_dump(exclude_unset=True)
        template = recommendations.add_template(session, call.view, given)
        shown = recommendations.show_template(template, call.view, builtin=False)
        return created(shown, f"/v1/costs/templates/{template.name}")

    return call.once(act)


@router.delete("/templates/{name}", status_code=204)
def delete_template(name: str, call: Annotated[Call, requires("costs:manage")]) -> Response:
    """Remove one of the organisation's own templates."""
    with call.writing() as session:
        recommendations.remove_template(session, call.view, name)
    return Response(status_code=204)


@router.post("/recommendations", response_model=RecommendationOut)
def recommend(body: RecommendationIn, call: Annotated[Call, requires("costs:read")]) -> Response:
    """Compare the clouds for a template and place its nodes. Changes nothing."""
    hosted = call.hosted
    with call.reading() as session:
        found = recommendations.answer(
            session,
            call.view,
            hosted.prices,
            body.model_dump(exclude_none=True),
            local=hosted.settings.local_machines is not None,
        )
        own = price_refresh.accounts_by_provider(session, call.view.caller.organisation)
    return hal.answer(hal.resource(found.to_dict(own), "/v1/costs/recommendations"), tagged=False)


@router.get("/prices", response_model=PriceAges)
def read_prices(call: Annotated[Call, requires("costs:read")]) -> Response:
    """How old the list prices are, and how a refresh of them goes on."""
    return hal.answer(price_refresh.show(call.hosted.prices, call.hosted.price_refresh), call.request)


@router.post("/prices/refresh", status_code=202, response_model=PriceAges)
def refresh_prices(call: Annotated[Call, requires("costs:manage")]) -> Response:
    """Fetch list prices anew with the organisation's accounts, and its own prices; follow it with GET on prices."""
    call.hosted.price_refresh.start(call.view.own)
    return hal.answer(price_refresh.show(call.hosted.prices, call.hosted.price_refresh), status=202, tagged=False)
