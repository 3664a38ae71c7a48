"""Puts this folder on the path, for `keras_models`; settles Keras's backend for every process, and keeps it quiet.

Of PostgreSQL there is one cluster in a process of tests; whoever needs a data base makes one in it. A test that hangs
where not even its timeout ends it says where, and takes its process along.
"""

from __future__ import annotations

import faulthandler
import gc
import os
from collections.abc import Generator, Iterator

import postgresql
import pytest
from _pytest.faulthandler import fault_handler_stderr_fd_key

os.environ["KERAS_BACKEND"] = "tensorflow"  # what a module or a user's keras.json names must not change results
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


_AFTER_TIMEOUT = 60.0
"""Seconds that a test which has run into its timeout has to clear up."""


@pytest.hookimpl(wrapper=True)
def _end_if_it_hangs(item: pytest.Item) -> Generator[None, object, object]:
    """Dump all stacks and leave: a timeout is an exception, and it comes once; native code and clearing up may hang."""
    if item.config.getoption("timeout") == 0:  # `make fuzz`
        return (yield)
    marker = item.get_closest_marker("timeout")
    seconds = marker.args[0] if marker else float(item.config.getini("timeout"))
    faulthandler.dump_traceback_later(
        seconds + _AFTER_TIMEOUT, exit=True, file=item.config.stash[fault_handler_stderr_fd_key]
    )
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


pytest_runtest_setup = pytest_runtest_call = pytest_runtest_teardown = _end_if_it_hangs


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
