"""The FastAPI application: routes, errors, the gate in front of them, and the background work of one process."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from .._version import __version__
from ..governance.permissions import roles_for
from . import openapi_links, openapi_problems, problems, schemas
from .hal import HalResponse
from .hosted import Hosted
from .routes import ROUTERS
from .services import critical
from .settings import Settings
from .traffic import Gate

_DESCRIPTION = (
    "Coordinates federated learning: who takes part, what runs, how far it is. "
    "It never receives weights, gradients or data. Start at `/` and follow the links."
)


def create_app(settings: Settings) -> FastAPI:
    """Return the coordination API; its schema is brought up to date when it starts.

    Parameters
    ----------
    settings : Settings
        How it is run.

    Raises
    ------
    InvalidInput
        Code ``bad-database-url``.
    """
    hosted = Hosted(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with hosted.running():
            yield

    app = FastAPI(
        title="flaas coordination API",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        default_response_class=HalResponse,
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
        responses={
            "default": {
                "description": "A problem (RFC 9457)",
                "content": {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                "model": schemas.Problem,
            }
        },
        redirect_slashes=False,
    )
    app.state.hosted = hosted
    critical.install(hosted)
    app.state.daily_usage = hosted.launching.daily
    app.add_middleware(Gate, metrics=hosted.metrics, body_limit=settings.body_limit)
    problems.install(app, hosted.refusals.note)
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            openapi_problems.add(openapi_links.add(describe()))
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way of extending the description
    for router in ROUTERS:
        for route in router.routes:
            assert isinstance(route, APIRoute)
            _describe_permission(route)
        app.include_router(router)
    return app


def operation_of(route: APIRoute) -> str | None:
    """Return the operation that `route` requires; None for what anybody may do."""
    operations = [getattr(each.call, "operation", None) for each in route.dependant.dependencies]
    return next((operation for operation in operations if operation is not None), None)


def _describe_permission(route: APIRoute) -> None:
    operation = operation_of(route)
    if operation is not None:
        route.openapi_extra = {"x-flaas-operation": operation, "x-flaas-roles": roles_for(operation)}
