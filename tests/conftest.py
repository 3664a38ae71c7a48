"""Puts this folder on the path, for `keras_models`; settles Keras's backend for every process, and keeps it quiet.

Of PostgreSQL there is one cluster in a process of tests; whoever needs a data base makes one in it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import postgresql
import pytest

os.environ["KERAS_BACKEND"] = "tensorflow"  # what a module or a user's keras.json names must not change results
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """A PostgreSQL cluster for the whole run."""
    binaries = postgresql.find_binaries()
    if binaries is None:
        pytest.skip(postgresql.MISSING)
    running = postgresql.Cluster(binaries)
    yield running
    running.stop()
