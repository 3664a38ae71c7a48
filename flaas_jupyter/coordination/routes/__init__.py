"""The REST interface (docs/rest.md): each route names its operation and its service, and holds no logic of its own."""

from __future__ import annotations

from fastapi import APIRouter

from . import entry, nodes, organisations, projects, runs, tokens

ROUTERS: tuple[APIRouter, ...] = (
    entry.router,
    organisations.router,
    tokens.router,
    projects.router,
    nodes.router,
    runs.router,
)
