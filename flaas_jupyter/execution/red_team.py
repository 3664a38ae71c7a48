"""A drill: a node that attacks the runs it takes part in, to see what a federation's defences are worth.

Its owner starts it so (``flaas node run --attack label_flip``) and nobody else can. It is the attacker that real
federations have to expect: it knows the global models, its own data and its own training, and no other node's update.
Attacks that reckon with the benign models of a round take for these what the node trains on random parts of its own
rows.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..plan import TrainingPlan
from ..protocols.attacks import Attack, AttackView
from ..training.arrays import Arrays
from ..training.epoch import Stop
from ..training.local import LocalResult
from .trainer import Trainer

log = logging.getLogger(__name__)

_PROXIES = 3
_PROXY_SHARE = 2 / 3
_POISON, _CRAFT = 0, 1


class RedTeamTrainer(Trainer):
    """Trains as an attack wants it, on data as the attack wants them.

    Parameters
    ----------
    plan : TrainingPlan
    arrays : Arrays
        The node's data set; stays as it is.
    attack : Attack
    rounds : int
        Of the run, for attacks that wait for the last one.
    allowed_custom : collection of str
        The owner's `allow_layers`.

    Raises
    ------
    InvalidInput
        ``attack-needs-one-array``; the attack's own codes; those of `Trainer`.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        arrays: Arrays,
        attack: Attack,
        *,
        rounds: int,
        allowed_custom: Collection[str] = (),
        named: bool = True,
    ) -> None:
        self._attack, self._rounds = attack, rounds
        self._seed = plan.seed or 0, arrays.checksum()
        poisoned = self._poisoned(arrays) if attack.poisons_data else arrays
        super().__init__(plan, poisoned, allowed_custom=allowed_custom, named=named)
        self._previous: NDArray[Any] | None = None
        self._current: tuple[int, NDArray[Any]] | None = None
        log.warning("this node attacks the run by %s: a drill that its owner asked for", attack.name)

    def _poisoned(self, arrays: Arrays) -> Arrays:
        if len(arrays.inputs) != 1 or len(arrays.targets) != 1:
            raise InvalidInput(
                f"The attack {self._attack.name} rewrites one input and one target; data set {arrays.name!r} has "
                f"{len(arrays.inputs)} and {len(arrays.targets)}.",
                code="attack-needs-one-array",
            )
        (x_name, x), (y_name, y) = *arrays.inputs.items(), *arrays.targets.items()
        self._attack = self._attack.prepared(x, y)
        new_x, new_y = self._attack.poison(x, y, np.random.default_rng([*self._seed, _POISON]))
        return dataclasses.replace(
            arrays, inputs={x_name: new_x.astype(x.dtype)}, targets={y_name: new_y.astype(y.dtype)}
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
        """Train, and return what the attack sends in place of it; see `Trainer.train`."""
        self._remember(round_number, weights)
        settings: dict[str, Any] = {
            "round_number": round_number,
            "learning_rate": learning_rate,
            "proximal": proximal,
            "should_stop": should_stop,
        }
        rng = np.random.default_rng([*self._seed, _CRAFT, round_number])
        free = self._attack.mask(weights, self._previous)
        own = self._training.train(weights, self._rows, self._seeds, free=free, **settings)
        if not self._attack.crafts_updates:
            return own
        size = max(1, round(self.examples * _PROXY_SHARE))
        parts = [np.sort(rng.choice(self.examples, size, replace=False)) for _ in range(_PROXIES)]
        proxies = [self._training.train(weights, part, self._seeds, **settings).weights for part in parts]
        view = AttackView(
            reference=weights,
            own=own.weights[None],
            benign=np.stack(proxies),
            previous=self._previous,
            round=round_number,
            rounds=self._rounds,
            num_examples=np.array([self.examples]),
            rng=rng,
        )
        crafted = self._attack.craft(view)
        forged = self._attack.report(view, crafted)
        return dataclasses.replace(
            own,
            weights=np.asarray(crafted[0], self.plan.dtype),
            reported=None if forged is None else float(forged[0]),
        )

    def _remember(self, number: int, weights: NDArray[Any]) -> None:
        """Keep the global weights of the round before this one; a round that is tried again changes nothing."""
        if self._current is not None and self._current[0] < number:
            self._previous = self._current[1]
        if self._current is None or self._current[0] != number:
            self._current = (number, weights)
