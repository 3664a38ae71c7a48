"""What is asked of an executor and what it answers: one round's local training of some clients.

Sums are made in *lanes*. The clients of a round are dealt out to as many lanes as the round and the model's size
decide, never the number of workers; a lane adds up its clients in order, and lanes are added up in order. So the
result is the same to the last bit on one core, on sixteen and on a cluster, and a round of many clients still keeps
a few vectors in memory rather than one per client.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ..training.arrays import Arrays
from ..training.seeds import ClientSeeds

MOST_LANES = 16
LANE_VALUES = 1 << 28
"""No more lanes than hold this many values together, about 1 GiB."""


@dataclass(frozen=True)
class ClientData:
    """The clients' data: every row once, and each client's rows by index.

    Attributes
    ----------
    arrays : Arrays
        All rows, the rewritten ones of malicious clients at the end.
    rows : tuple of ndarray of int64
        Each client's rows.
    salts : tuple of int
        Make each client's random numbers its own.
    """

    arrays: Arrays
    rows: tuple[NDArray[np.int64], ...]
    salts: tuple[int, ...]

    def seeds(self, client: int, seed: int) -> ClientSeeds:
        """Return the random numbers of one client under a plan's seed."""
        return ClientSeeds(seed, self.salts[client])


class Task(NamedTuple):
    """What one client does in a round.

    Attributes
    ----------
    client : int
        Its number.
    epochs : int
        Local epochs.
    learning_rate : float or None
        In place of the plan's.
    share : float
        What its update is multiplied with in the sum.
    """

    client: int
    epochs: int
    learning_rate: float | None = None
    share: float = 1.0


@dataclass(frozen=True)
class RoundWork:
    """Local training to be done from the same weights.

    Attributes
    ----------
    number : int
        Of the round, from 1; part of the seeds.
    weights : ndarray, shape (p,)
        To start from, in the plan's dtype.
    tasks : sequence of Task
        One for each client.
    seed : int
        The plan's, or the one drawn for the run.
    each : bool
        Whether every client's weights are wanted, rather than sums of updates.
    guarded : bool
        Whether a client whose weights become NaN or infinite must be found and add nothing to the sums; otherwise it
        may spoil them. Single updates are always looked at.
    proximal : float
        μ of FedProx.
    free : ndarray of bool, shape (p,), or None
        The coordinates that may change.
    lanes : int
        Number of lanes of the sum; decided by the round and the model's size unless given.
    """

    number: int
    weights: NDArray[Any]
    tasks: Sequence[Task]
    seed: int
    each: bool = False
    guarded: bool = False
    proximal: float = 0.0
    free: NDArray[np.bool_] | None = field(default=None, repr=False)
    lanes: int = 0

    def __post_init__(self) -> None:
        if not self.lanes:
            lanes = max(1, min(len(self.tasks), MOST_LANES, LANE_VALUES // len(self.weights)))
            object.__setattr__(self, "lanes", lanes)

    def same_as(self, other: RoundWork) -> bool:
        """Whether `other` asks for the same; weights are the same only if they are the same array."""
        return (
            (self.each, self.guarded) == (other.each, other.guarded)
            and self.weights is other.weights
            and self.free is other.free
            and self.same_batches(other)
        )

    def same_batches(self, other: RoundWork) -> bool:
        """Whether `other`, from whatever weights, trains the same clients on the same batches."""
        mine, theirs = ((w.number, w.seed, w.proximal, w.lanes) for w in (self, other))
        return mine == theirs and list(self.tasks) == list(other.tasks)

    def of_lane(self, tasks: Sequence[Task]) -> RoundWork:
        """Return the work of one lane, whose tasks these are."""
        return replace(self, tasks=tasks, lanes=1)


@dataclass(frozen=True)
class RoundOutput:
    """What came of it.

    Attributes
    ----------
    values : sequence of p-sized rows
        Each client's weights, or the sums of share · (w − w_global) by lanes. A client that failed has a row of no
        meaning, or has added nothing to a guarded sum. In the first case an array of shape (tasks, p).
    metrics : dict of str to ndarray of float64, shape (tasks,)
        Loss and metrics over the last local epoch.
    failed : tuple of int
        Places in `tasks` of the clients whose weights became NaN or infinite.
    """

    values: Any
    metrics: dict[str, NDArray[np.float64]]
    failed: tuple[int, ...] = ()

    def total(self) -> NDArray[Any]:
        """Add up the lanes, one after another."""
        rows = iter(self.values)
        total = np.array(next(rows))
        for row in rows:
            total += row
        return total


class Executor(Protocol):
    """Trains clients; made for one plan and one `ClientData`."""

    @property
    def name(self) -> str:
        """What it is, for the report: ``"jax"``, ``"tensorflow"``, …."""

    @property
    def alive(self) -> bool:
        """Whether it can be asked for more."""

    def run(self, work: RoundWork) -> RoundOutput:
        """Do one round's work."""

    def start(self, work: RoundWork) -> Callable[[], RoundOutput]:
        """Begin one round's work, where it can be done beside the caller's; return what gives its output.

        That is to be called once, and nothing else may be asked before.
        """

    def prepare(self, work: RoundWork) -> None:
        """Make ready what the work needs beside the weights, which will be others; only saves time."""

    def close(self) -> None:
        """Let go of what it holds."""


def lane_of(place: int, lanes: int) -> int:
    """Return the lane of the client at a place of the round."""
    return place % lanes


def lanes_of(worker: int, lanes: int, workers: int) -> range:
    """Return the lanes that a worker fills: neighbours, so that workers' results follow one another."""
    return range(worker * lanes // workers, (worker + 1) * lanes // workers)


def in_lanes(tasks: int, lanes: int, workers: int) -> list[list[int]]:
    """Deal out lanes to workers: for each worker, the places of its clients, lane by lane and in order."""
    workers = min(workers, lanes)
    return [
        [place for lane in lanes_of(worker, lanes, workers) for place in range(lane, tasks, lanes)]
        for worker in range(workers)
    ]
