"""What every party's program in a run has at hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...errors import Aborted
from .alignment import Alignment
from .exchange import Metered, bad_message
from .plan import VerticalPlan
from .scaling import Scaler
from .state import Offload, OnRound, PartyState, Verdict
from .table import PartyTable

if TYPE_CHECKING:
    import keras


@dataclass
class Part:
    """One party's run: its line, its rows, its part of the model.

    Parameters
    ----------
    line : Metered
    plan : VerticalPlan
    table : PartyTable
    alignment : Alignment
    weights : ndarray of shape (p,) or None
    on_round, should_stop, allowed_custom, offload
        As of `run_party`.
    rng : Generator
        Of this party alone.
    """

    line: Metered
    plan: VerticalPlan
    table: PartyTable
    alignment: Alignment
    weights: NDArray[Any] | None
    on_round: OnRound
    should_stop: Callable[[], bool]
    allowed_custom: Collection[str]
    offload: Offload
    rng: np.random.Generator

    @property
    def me(self) -> str:
        """Name of this party."""
        return self.line.me

    def scaler(self) -> Scaler:
        """Return the scaler of this party's columns, over all of its own rows."""
        values = self.table.matrix(self.plan.columns[self.me])
        return Scaler.of(values) if self.plan.standardize else Scaler.none(values.shape[1])

    def common(self) -> NDArray[np.float64]:
        """Return this party's columns of the rows in common, in the common order; float64 of shape (c, f)."""
        return self.table.matrix(self.plan.columns[self.me])[self.alignment.rows]

    def build(self) -> keras.Model:
        """Build this party's part of the model, with the weights that it starts from."""
        return build(self.plan, self.me, self.weights, self.allowed_custom)

    def state(self, model: keras.Model, scaler: Scaler) -> PartyState:
        """Return what this party keeps, for a part that is a Keras model on scaled columns."""
        vector = self.plan.models[self.me].vector_of(model)
        return PartyState(self.me, self.plan.digest, {"weights": vector, "mean": scaler.mean, "scale": scaler.scale})

    def set_rate(self, model: keras.Model, number: int, train: int, verdict: Verdict | None = None) -> None:
        """Set the learning rate of an epoch, from 1: the verdict's, or the plan's schedule's, constant within it."""
        from ..local import learning_rate_schedule

        schedule = learning_rate_schedule(self.plan.models[self.me])
        if schedule is not None:
            model.optimizer.learning_rate = schedule((number - 1) * -(-train // self.plan.batch_size))
        if verdict is not None and verdict.learning_rate is not None:
            model.optimizer.learning_rate = verdict.learning_rate

    def read_verdict(self, body: Mapping[str, Any], kind: str, number: int) -> Verdict:
        """Return what the label holder says at the beginning of epoch `number`, from 1, to a feature party.

        Raises
        ------
        InvalidInput
            Code ``bad-message``: not a verdict, or an epoch more than the plan has.
        """
        go, rate = body.get("go"), body.get("learning_rate")
        is_number = isinstance(rate, int | float) and not isinstance(rate, bool)
        if set(body) != {"go", "learning_rate"} or not isinstance(go, bool):
            raise bad_message(self.plan.label_holder, kind, "it does not say whether to go on")
        if rate is not None and not (is_number and math.isfinite(rate) and rate >= 0):
            raise bad_message(self.plan.label_holder, kind, f"the learning rate is {rate!r}")
        if go and number > self.plan.epochs:
            raise bad_message(self.plan.label_holder, kind, f"the plan ends after {self.plan.epochs} epochs")
        return Verdict(stop=not go, learning_rate=rate)

    def check_stop(self) -> None:
        """Raise `Aborted` if the run is to stop."""
        if self.should_stop():
            raise Aborted("The vertical run was stopped before its end.", code="training-stopped")


def build(plan: VerticalPlan, party: str, weights: NDArray[Any] | None, allowed_custom: Collection[str]) -> keras.Model:
    """Build a party's part of the model with given weights, random layers seeded by the plan."""
    from ..local import random_states

    training = plan.models[party]
    model = training.build(allowed_custom=allowed_custom)
    if weights is not None:
        training.assign(model, weights)
    for index, state in enumerate(random_states(model)):
        words = np.random.SeedSequence([plan.seed, plan.parties.index(party), index]).generate_state(1)
        state.assign(np.array([int(words[0]) & 0x7FFFFFFF, 0], dtype=str(state.dtype)))
    return model
