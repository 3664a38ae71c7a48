"""The REST interface (docs/rest.md): each route names its operation and its service, and holds no logic of its own."""

from __future__ import annotations

from fastapi import APIRouter

from . import (
    approvals,
    audit,
    control,
    costs,
    entry,
    keys,
    launches,
    me,
    models,
    nodes,
    oauth,
    organisations,
    personal,
    projects,
    queries,
    rbac,
    recipes,
    recommendations,
    runs,
    tokens,
    uploads,
    users,
)

ROUTERS: tuple[APIRouter, ...] = (
    entry.router,
    me.router,
    personal.router,
    organisations.router,
    users.router,
    rbac.router,
    approvals.router,
    keys.router,
    audit.router,
    tokens.router,
    projects.router,
    nodes.router,
    control.router,
    runs.router,
    models.router,
    queries.router,
    recipes.router,
    uploads.router,
    launches.router,
    costs.router,
    recommendations.router,
    oauth.router,
)
