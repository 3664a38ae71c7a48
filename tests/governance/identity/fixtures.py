"""Prepared data bases to copy, SQLite and PostgreSQL; `cluster` is that of the folder's own conftest."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flaas_jupyter.coordination.database import Database

from .identity_api import clock, database, identity, prepare

__all__ = ["clock", "database", "identity", "identity_kind", "identity_postgresql", "identity_sqlite", "identity_url"]


@pytest.fixture(scope="session")
def identity_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data base in SQLite."""
    path = tmp_path_factory.mktemp("identity") / "identity.db"
    _prepare(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def identity_postgresql(cluster: Any) -> str:
    """A prepared data base in PostgreSQL."""
    name: str = cluster.create()
    _prepare(cluster.url(name))
    return name


@pytest.fixture(params=["sqlite", "postgresql"])
def identity_kind(request: pytest.FixtureRequest) -> str:
    """Which data base the test runs on."""
    return str(request.param)


@pytest.fixture
def identity_url(identity_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A prepared data base of the test's own."""
    if identity_kind == "sqlite":
        path = tmp_path / "identity.db"
        shutil.copyfile(request.getfixturevalue("identity_sqlite"), path)
        yield f"sqlite:///{path}"
        return
    cluster = request.getfixturevalue("cluster")
    name = cluster.create(request.getfixturevalue("identity_postgresql"))
    yield cluster.url(name)
    cluster.drop(name)


def _prepare(url: str) -> None:
    made = Database(url)
    prepare(made)
    made.close()
