"""What a party keeps of a run, and what a run tells on the way.

A party's part of the model stays with the party: the label holder has its top, each feature party its bottom or
encoder. `PartyState` is that part as arrays; predicting needs the states of all parties.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

T = TypeVar("T")
Offload = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function that takes its time somewhere, e.g. in a node's Keras thread, and waits for what it returns."""


async def inline(work: Callable[[], T]) -> T:
    """Run `work` here and now: the `Offload` of simulations."""
    return work()


@dataclass(frozen=True)
class Round:
    """One epoch, as the party sees it that is told of it.

    Parameters
    ----------
    number : int
        From 1.
    metrics : dict of str to float
        Loss and metrics, ``val_…`` with validation rows. At the label holder; empty elsewhere.
    weights : ndarray of shape (p,)
        This party's part of the model, in its plan's order.
    seconds : float
        Wall time of the epoch.
    """

    number: int
    metrics: dict[str, float]
    weights: NDArray[Any] = field(repr=False)
    seconds: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """What is to come of a round. Only the label holder's counts.

    Parameters
    ----------
    stop : bool
        End the run well; what has been trained is kept.
    learning_rate : float, optional
        For all parties from now on.
    """

    stop: bool = False
    learning_rate: float | None = None


OnRound = Callable[[Round], Awaitable[Verdict | None]]


async def go_on(done: Round) -> None:
    """Let every round be followed by the next: the `OnRound` of who has nothing to say."""


@dataclass(frozen=True)
class PartyState:
    """A party's part of a trained model.

    Parameters
    ----------
    party : str
    plan : str
        Digest of the `VerticalPlan`.
    tensors : dict of str to ndarray
        ``weights`` (p,) in the order of the party's `TrainingPlan`; ``mean`` and ``scale`` (f,) of its columns; for
        an encoder of mode ``oneway`` also ``projection`` (f, k) and ``output_mean``, ``output_scale`` (k,).
    """

    party: str
    plan: str
    tensors: dict[str, NDArray[Any]] = field(repr=False)

    def to_bytes(self) -> bytes:
        """Return the state as an npz file, without pickles."""
        file = io.BytesIO()
        named: dict[str, Any] = {f"tensor:{name}": values for name, values in self.tensors.items()}
        np.savez(file, party=np.array(self.party), plan=np.array(self.plan), **named)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> PartyState:
        """Read what `to_bytes` has written.

        Raises
        ------
        InvalidInput
            Code ``bad-state``.
        """
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as file:
                tensors = {name[7:]: file[name] for name in file.files if name.startswith("tensor:")}
                return cls(str(file["party"]), str(file["plan"]), tensors)
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise InvalidInput(
                f"This is not the state of a party of a vertical model: {error}.", code="bad-state"
            ) from error


@dataclass(frozen=True)
class PartyResult:
    """What a run leaves at one party.

    Parameters
    ----------
    party : str
    state : PartyState
        Stays at the party.
    rows : ndarray of int64, shape (c,)
        This party's rows in the common order.
    rounds : list of dict
        Metrics of each epoch, at the label holder; empty elsewhere.
    report : dict
        JSON values that may be told to the developer: ``rows`` (of each party), ``common``, ``bytes`` (``sent``,
        ``received``, ``messages`` by kind), ``seconds``, at the label holder also ``label_leak`` (AUC or None).
    """

    party: str
    state: PartyState
    rows: NDArray[np.int64] = field(repr=False)
    rounds: list[dict[str, float]]
    report: dict[str, Any]


@dataclass(frozen=True)
class Scores:
    """What a prediction gives, at the label holder only.

    Parameters
    ----------
    rows : ndarray of int64, shape (c,)
        The label holder's rows that were predicted, in the common order.
    values : ndarray of shape (c, …)
        The model's output.
    metrics : dict of str to float
        Loss and metrics, if the table has labels.
    report : dict
        As of `PartyResult`.
    """

    rows: NDArray[np.int64]
    values: NDArray[Any] = field(repr=False)
    metrics: dict[str, float]
    report: dict[str, Any]
