"""Audit logs on SQLite and on a temporary PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import postgresql
import pytest

from flaas_jupyter.coordination.database import Database

from .logs import make_tables, owned


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """A PostgreSQL cluster for the whole run."""
    binaries = postgresql.find_binaries()
    if binaries is None:
        pytest.skip(postgresql.MISSING)
    running = postgresql.Cluster(binaries)
    yield running
    running.stop()


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
