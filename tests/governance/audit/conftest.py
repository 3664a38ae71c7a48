"""Audit logs on SQLite and on a temporary PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flaas_jupyter.coordination.database import Database

from .logs import make_tables, owned


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A data base with nothing in it."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'audit.db'}"
        return
    cluster = request.getfixturevalue("cluster")
    name = cluster.create()
    yield owned(cluster.url(name))
    cluster.drop(name)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """The audit log's tables, empty and guarded."""
    opened = Database(url)
    make_tables(opened)
    yield opened
    opened.close()
