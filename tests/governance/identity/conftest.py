"""Every test here that has a data base runs on SQLite and on a temporary PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator

import postgresql
import pytest

from .fixtures import *  # noqa: F403


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """A PostgreSQL cluster for the whole run."""
    binaries = postgresql.find_binaries()
    if binaries is None:
        pytest.skip(postgresql.MISSING)
    running = postgresql.Cluster(binaries)
    yield running
    running.stop()
