"""The REST interface (docs/rest.md): each route names its operation and its service, and holds no logic of its own."""

from __future__ import annotations

from fastapi import APIRouter

from . import costs, entry, launches, nodes, organisations, projects, recommendations, runs, tokens

ROUTERS: tuple[APIRouter, ...] = (
    entry.router,
    organisations.router,
    tokens.router,
    projects.router,
    nodes.router,
    runs.router,
    launches.router,
    costs.router,
    recommendations.router,
)
