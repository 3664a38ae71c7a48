"""A node's part of a round: the plan's model, held against the node's data set, trained on all of its rows."""

from __future__ import annotations

import secrets
import zlib
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..plan import TrainingPlan
from ..training.arrays import Arrays
from ..training.epoch import Stop
from ..training.local import LocalResult, LocalTraining, Rows
from ..training.matching import match
from ..training.seeds import ClientSeeds

__all__ = ["LocalResult", "Trainer"]


class Trainer:
    """Trains one plan on one data set, round after round.

    Parameters
    ----------
    plan : TrainingPlan
    arrays : Arrays
        The data set, see `Dataset.load`.
    allowed_custom : collection of str
        The owner's `allow_layers`.
    salt : str, optional
        Makes this node's shuffling its own. By default a checksum of the data, which is the same after a restart.
    named : bool
        Whether errors may tell names of columns.

    Attributes
    ----------
    examples : int
        Rows of the data set.

    Raises
    ------
    InvalidInput
        ``model-does-not-fit`` and the codes of `TrainingPlan.build`.
    NotAllowed
        Code ``custom-layer``.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        arrays: Arrays,
        *,
        allowed_custom: Collection[str] = (),
        salt: str | None = None,
        named: bool = True,
    ) -> None:
        self.plan = plan
        self.examples = arrays.rows
        model = plan.build(allowed_custom=allowed_custom)
        self._training = LocalTraining(plan, model, *match(plan, model, arrays, named=named))
        # Eight bytes for each row are too many where the rows themselves are.
        self._rows: Rows = range(arrays.rows) if arrays.streamed else np.arange(arrays.rows, dtype=np.int64)
        self._seeds = ClientSeeds(
            secrets.randbits(63) if plan.seed is None else plan.seed,
            arrays.checksum() if salt is None else zlib.crc32(salt.encode()),
        )

    def train(
        self,
        weights: NDArray[Any],
        *,
        round_number: int,
        learning_rate: float | None = None,
        proximal: float = 0.0,
        should_stop: Stop = lambda: False,
    ) -> LocalResult:
        """Train for the plan's local epochs; see `LocalTraining.train`.

        Parameters
        ----------
        weights : ndarray of shape (p,)
            The global weights to start from.
        round_number : int
            From 1.
        learning_rate : float, optional
            In place of the plan's.
        proximal : float
            μ of FedProx; 0 for none.
        should_stop : callable
            True ends the training.
        """
        return self._training.train(
            weights,
            self._rows,
            self._seeds,
            round_number=round_number,
            learning_rate=learning_rate,
            proximal=proximal,
            should_stop=should_stop,
        )
