"""Model replacement: a backdoor whose update is boosted, so that it outvotes everybody else's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...errors import InvalidInput
from .attack import Array, AttackView, require_number
from .backdoor import Backdoor


@dataclass(frozen=True)
class ModelReplacement(Backdoor):
    """Trains a backdoor in every round and boosts the update in some: w_global + γ (w − w_global).

    With γ = n / (number of attackers) plain averaging of n equal clients puts the attackers' model in place of the
    global one once the benign updates are small.

    Parameters
    ----------
    gamma : float
        The boost, above 0. FedQV's code takes ten: its number of clients in a round.
    at : str or list of int
        When: ``"last"`` round, ``"every"`` round, or a list of round numbers, from 1.
    """

    gamma: float = 10.0
    at: str | Sequence[int] = "last"

    name: ClassVar[str] = "model_replacement"
    knowledge: ClassVar[str] = "the number of clients in a round, for γ; the number of rounds, for the last"
    paper: ClassVar[str] = "Bagdasaryan et al., AISTATS 2020"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.gamma, "gamma", 0, above=True)
        if isinstance(self.at, str) and self.at not in ("last", "every"):
            raise InvalidInput(
                f'at is {self.at!r}; it must be "last", "every" or a list of round numbers.', code="bad-attack-option"
            )
        if not isinstance(self.at, str):
            object.__setattr__(self, "at", tuple(self.at))
            for number in self.at:
                require_number(number, "a round of `at`", 1)

    def craft(self, view: AttackView) -> Array:
        """Boost the updates in the rounds chosen; see `Attack.craft`."""
        if not self._boosts(view.round, view.rounds):
            return view.own
        boosted: Array = view.reference + self.gamma * (view.own - view.reference)
        return boosted.astype(view.own.dtype)

    def _boosts(self, number: int, rounds: int) -> bool:
        if isinstance(self.at, str):
            return self.at == "every" or number == rounds
        return number in self.at
