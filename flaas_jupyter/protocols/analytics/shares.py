"""Comparisons on shares: exact minima, maxima and where they are, without anybody seeing a count on the way.

The parties share their own extremes among each other (Shamir's scheme, by MPyC) and compare shares; what is opened is
the result for each group of enough rows, and for the others only that there are too few. The parties are three or more
and honest but curious, and any (m - 1) // 2 of them learn nothing together (Ben-Or, Goldwasser and Wigderson, STOC
1988; comparisons after Catrina and de Hoogh, SCN 2010, as MPyC has them).

MPyC's parties open TCP connections to each other. `compare` runs them as processes of this machine, each of which is
given its own inputs only: for simulations and tests. Between real nodes all traffic goes through the mesh, which has no
TCP to offer; there this is refused. Needs the extra ``mpc``.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import Aborted, InvalidInput
from .ordering import keys_of, number_of
from .statistics import Table

MINIMUM_PARTIES = 3
MAXIMUM_PARTIES = 9
MAXIMUM_FIGURES = 4096
SECONDS = 120.0
_ATTEMPTS = 3

Function = Literal["min", "max", "argmin", "argmax"]


@dataclass(frozen=True)
class Extremes:
    """One party's own extremes: what it shares.

    Attributes
    ----------
    keys : ndarray of uint64, shape (m,)
        Of the smallest or largest value of each group, in the order of values (`ordering.keys_of`).
    counts : ndarray of int64, shape (m,)
        Values of each group; a key means nothing where there is none.
    """

    keys: NDArray[np.uint64]
    counts: NDArray[np.int64]


def local_extremes(table: Table, cells: NDArray[np.int64], function: Function) -> Extremes:
    """Return a party's extremes of each column by group, the columns of one group next to each other.

    Parameters
    ----------
    table : Table
        From `Statistic.table`.
    cells : ndarray of int
        The cells of the groups proper, `Statistic.inner`.
    function : str
    """
    smallest = function.endswith("min")
    keys = np.zeros((len(cells), len(table.columns)), np.uint64)
    counts = np.zeros(keys.shape, np.int64)
    for column, values in enumerate(table.columns.values()):
        valid = table.matched & ~np.isnan(values)
        for place, cell in enumerate(cells.tolist()):
            chosen = keys_of(values[valid & (table.labels == cell)])
            counts[place, column] = len(chosen)
            if len(chosen):
                keys[place, column] = chosen.min() if smallest else chosen.max()
    return Extremes(keys.reshape(-1), counts.reshape(-1))


def compare(parties: Sequence[Extremes], function: Function, minimum: int = 1) -> list[float | None]:
    """Compare the parties' extremes on shares; each party is a process of this machine.

    Parameters
    ----------
    parties : sequence of Extremes
        Three to nine, all of the same shape.
    function : str
        ``"min"``, ``"max"``: the value; ``"argmin"``, ``"argmax"``: the place of the party that has it, the first one
        of several.
    minimum : int
        Of groups with fewer values than this nothing is opened but that.

    Returns
    -------
    list of float or None
        For each group; None where there are too few.

    Raises
    ------
    InvalidInput
        ``missing-extra``; ``mpyc-parties``; ``bad-statistic``.
    Aborted
        ``mpyc-failed``: the parties could not finish.
    """
    sizes = {len(party.keys) for party in parties} | {len(party.counts) for party in parties}
    if not MINIMUM_PARTIES <= len(parties) <= MAXIMUM_PARTIES:
        raise InvalidInput(
            f"Comparisons on shares run with {MINIMUM_PARTIES} to {MAXIMUM_PARTIES} parties here, not {len(parties)}.",
            code="mpyc-parties",
            hint='Use via="mpc", which finds the same minimum and maximum by secure sums.',
        )
    if len(sizes) != 1 or not 1 <= next(iter(sizes)) <= MAXIMUM_FIGURES:
        raise InvalidInput(
            f"The parties must share the same number of figures, 1 to {MAXIMUM_FIGURES}.", code="bad-statistic"
        )
    if importlib.util.find_spec("mpyc") is None:
        raise InvalidInput(
            "Comparisons on shares need the package mpyc, which is not installed.",
            code="missing-extra",
            hint='pip install "flaas_jupyter[mpc]", or use via="mpc".',
        )
    problem = ""
    for _ in range(_ATTEMPTS):  # another program may take a port between its choice and its use
        opened, problem = _run(parties, function, minimum)
        if opened is not None:
            whole = function.startswith("arg")
            return [None if key is None else float(key) if whole else number_of(key) for key in opened]
    raise Aborted(
        f"The parties of a comparison on shares did not finish: {problem}", code="mpyc-failed", hint='Use via="mpc".'
    )


def _run(parties: Sequence[Extremes], function: str, minimum: int) -> tuple[list[int | None] | None, str]:
    """Run every party; return what all of them have opened, or why there is nothing."""
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(len(parties))]
    running: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="flaas-shares-") as folder:
        try:
            for place, party in enumerate(parties):
                given = {
                    "addresses": addresses,
                    "place": place,
                    "function": function,
                    "minimum": minimum,
                    "keys": [int(key) for key in party.keys],
                    "counts": [int(count) for count in party.counts],
                }
                path = Path(folder) / f"{place}.out"
                running.append(_start(given, path))
            for process in running:
                process.wait(timeout=SECONDS)
            answers = [(Path(folder) / f"{place}.out").read_text(encoding="utf-8") for place in range(len(parties))]
        except subprocess.TimeoutExpired:
            return None, f"it took longer than {SECONDS:g} s"
        finally:
            for process in running:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    if any(process.returncode for process in running):
        failed = next(answer for answer, process in zip(answers, running, strict=True) if process.returncode)
        return None, (failed.strip().splitlines() or ["a party has failed"])[-1][:200]
    opened = [json.loads(answer.strip().splitlines()[-1]) for answer in answers]
    if any(other != opened[0] for other in opened[1:]):
        return None, "the parties have opened different results"
    found: list[int | None] = opened[0]
    return found, ""


def _start(given: dict[str, object], output: Path) -> subprocess.Popen[bytes]:
    """Start one party; its inputs go through a pipe, so that they are on no command line and in no file."""
    with output.open("wb") as sink:
        process = subprocess.Popen(  # noqa: S603 - our own module under our own interpreter
            [sys.executable, "-m", f"{__package__}.share_party"],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    assert process.stdin is not None  # it is a pipe
    process.stdin.write(json.dumps(given).encode())
    process.stdin.close()
    return process


def _free_ports(count: int) -> list[int]:
    held = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in held]
    finally:
        for each in held:
            each.close()
