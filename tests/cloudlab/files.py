"""A folder of data sets over HTTPS: machines that boot somewhere else have no other way to their data."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles


def app(folder: Path) -> FastAPI:
    """Return what serves the files below `folder`, and no list of them."""
    server = FastAPI(openapi_url=None)
    server.mount("/", StaticFiles(directory=folder))
    return server
