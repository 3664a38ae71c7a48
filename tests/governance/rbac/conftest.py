"""Every test that asks for `rbac` runs on SQLite and on a temporary PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import postgresql
import pytest

from flaas_jupyter.governance.rbac import Rbac
from flaas_jupyter.governance.rbac.tables import TABLES

Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="session")
def postgresql_url(cluster: postgresql.Cluster) -> str:
    """A data base with the tables of roles."""
    url = cluster.url(cluster.create())
    Rbac(url).close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"], scope="module")
def kind(request: pytest.FixtureRequest) -> str:
    """Which data base the test runs on."""
    return request.param


@pytest.fixture(scope="module")
def database(kind: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A data base of the module's own."""
    if kind == "sqlite":
        return f"sqlite:///{tmp_path_factory.mktemp('rbac') / 'rbac.db'}"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def url(database: str) -> str:
    """Empty tables."""
    with Rbac(database) as rbac:
        clear(rbac)
    return database


@pytest.fixture
def connect(url: str) -> Iterator[Callable[[], Rbac]]:
    """Open the data base, as often as one likes."""
    opened: list[Rbac] = []

    def another() -> Rbac:
        opened.append(Rbac(url))
        return opened[-1]

    yield another
    for each in opened:
        each.close()


@pytest.fixture
def rbac(connect: Callable[[], Rbac]) -> Rbac:
    """Role-based access control over empty tables."""
    return connect()


def clear(rbac: Rbac, rows: Rows | None = None) -> None:
    """Take everything out of the tables, and put `rows` in."""
    with rbac._store.writing() as session:
        for table in reversed(TABLES):
            session.execute(table.delete())
        for table in TABLES if rows else ():
            if rows[table.name]:
                session.execute(table.insert(), rows[table.name])


def rows(rbac: Rbac) -> Rows:
    """All rows of all tables."""
    with rbac._store.reading() as session:
        return {table.name: [dict(row._mapping) for row in session.execute(table.select())] for table in TABLES}


def dump(rbac: Rbac) -> str:
    """Everything in the data base, in a form that is equal if and only if the rows are."""
    return "\n".join(f"{name}: {sorted(map(repr, found))}" for name, found in rows(rbac).items())
