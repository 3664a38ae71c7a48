"""Puts this folder on the path, for `keras_models`; settles Keras's backend for every process, and keeps it quiet.

Of PostgreSQL there is one cluster in a process of tests; whoever needs a data base makes one in it.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import postgresql
import pytest

os.environ["KERAS_BACKEND"] = "tensorflow"  # what a module or a user's keras.json names must not change results
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _pass_over_what_stays() -> None:
    gc.collect()
    gc.freeze()


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over TensorFlow, JAX and the tests: a million objects that stay to the end.

    Keras collects with every model that a test clears away.
    """
    _pass_over_what_stays()


@pytest.fixture(scope="module", autouse=True)
def passed_over() -> Iterator[None]:
    """After a file of tests, do the same with what it leaves: TensorFlow keeps graphs with gradients of their own."""
    yield
    _pass_over_what_stays()


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgresql.Cluster]:
    """A PostgreSQL cluster for the whole run."""
    binaries = postgresql.find_binaries()
    if binaries is None:
        pytest.skip(postgresql.MISSING)
    running = postgresql.Cluster(binaries)
    yield running
    running.stop()
