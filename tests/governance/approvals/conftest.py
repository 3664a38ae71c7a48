"""Every test of approvals that uses a data base runs on SQLite and on a temporary PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flaas_jupyter.coordination.database import Database

from .world import World, clean, marking, prepare


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data base for the whole run."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('approvals') / 'approvals.db'}"
    cluster = request.getfixturevalue("cluster")
    return cluster.url(cluster.create())


@pytest.fixture(scope="session")
def opened(database_url: str) -> Iterator[Database]:
    """The data base, with its tables."""
    database = prepare(database_url)
    yield database
    database.close()


@pytest.fixture
def database(opened: Database) -> Database:
    """The data base with nothing in its tables."""
    clean(opened)
    return opened


@pytest.fixture
def world(database: Database) -> Iterator[World]:
    """An installation with people, after its founding phase."""
    with marking():
        made = World(database)
        made.found()
        yield made
