"""What an attack is: clients of a simulation that follow somebody else's aim.

An attack may act in three places, each a method that does nothing unless the attack writes it: on the data that a
malicious client trains on (`Attack.poison`), during its training (`Attack.mask`), and on what it sends
(`Attack.craft`, `Attack.report`). Neither the aggregation rule nor the trainer knows of attacks; the simulator calls
these. All of it is deterministic given the generator handed over.

An attack is a frozen dataclass: its fields are its options, and ``attack(a.name, **a.options)`` makes it again.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import InvalidInput

Array = NDArray[Any]
Vector = NDArray[np.float64]


@dataclass(frozen=True)
class AttackView:
    """What there is to see when the malicious clients of one round make up what they send.

    An attack uses as much of it as its `Attack.knowledge` says.

    Attributes
    ----------
    reference : ndarray, shape (p,)
        Global weights that the round started from.
    own : ndarray, shape (f, p)
        Weights that the malicious clients trained.
    benign : ndarray, shape (m, p)
        Weights that the round's benign clients trained; m may be 0.
    previous : ndarray, shape (p,), or None
        Global weights one round earlier; None in the first round.
    round, rounds : int
        Number of this round, from 1, and how many there are.
    num_examples : ndarray, shape (f,)
        Examples that each malicious client trained on.
    rng : numpy Generator
        Source of all randomness.
    """

    reference: Array
    own: Array
    benign: Array
    previous: Array | None
    round: int
    rounds: int
    num_examples: Array
    rng: np.random.Generator

    @property
    def honest(self) -> Array:
        """The benign models, or the attackers' own trained ones in a round without benign clients."""
        return self.benign if len(self.benign) else self.own


@dataclass(frozen=True)
class AttackTest:
    """What the success of an attack is measured on.

    The attack success rate is the share of the rows of `x` that the global model predicts as `expected`. The source
    accuracy is the share of the same rows that it still predicts as `source`.

    Attributes
    ----------
    x : ndarray, shape (n, …)
        Inputs, with the trigger where there is one.
    expected : ndarray of int64, shape (n,)
        The class that the attacker wants for each row.
    source : ndarray of int64, shape (n,)
        The true class of each row.
    """

    x: Array
    expected: NDArray[np.int64]
    source: NDArray[np.int64]


@dataclass(frozen=True)
class Attack:
    """Base of all attacks: a subclass is a frozen dataclass that overrides what it does differently.

    Parameters
    ----------
    fraction : float
        Share of the clients that are malicious, from 0 to 1: a fixed random set.
    """

    fraction: float = 0.3

    name: ClassVar[str]
    """What it is registered under."""
    knowledge: ClassVar[str]
    """What the attackers know beside the global model, their own data and their own training."""
    measured_by: ClassVar[str]
    """What its success shows in."""
    paper: ClassVar[str]
    """Where it is described."""

    poisons_data: ClassVar[bool] = False
    """Whether malicious clients train on other data than they hold."""
    crafts_updates: ClassVar[bool] = False
    """Whether malicious clients send something else than they trained."""
    acts_on: ClassVar[str] = ""
    """Where it acts: data, training, updates, reports."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.poisons_data = cls.poison is not Attack.poison
        cls.crafts_updates = cls.craft is not Attack.craft
        places = {
            "data": cls.poisons_data,
            "training": cls.mask is not Attack.mask,
            "updates": cls.crafts_updates,
            "reports": cls.report is not Attack.report,
        }
        cls.acts_on = ", ".join(place for place, acts in places.items() if acts)

    def __post_init__(self) -> None:
        require_number(self.fraction, "fraction", 0, 1)

    @property
    def options(self) -> dict[str, Any]:
        """The attack's options as JSON values: ``attack(a.name, **a.options)`` makes the same attack."""
        values = {each.name: getattr(self, each.name) for each in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def prepared(self, x: Array, y: Array) -> Self:
        """Return the attack with what it takes from the data set filled in, such as the number of classes.

        To be called once, with the rows of all clients, before `poison` and `tests`; a single client may not have
        every class.

        Parameters
        ----------
        x : ndarray, shape (n, …)
            Inputs.
        y : ndarray, shape (n,), (n, 1) or, one-hot, (n, classes)
            Targets.

        Raises
        ------
        InvalidInput
            The attack does not fit the data: ``not-classes``, ``no-such-class``, ``bad-trigger``.
        """
        return self

    def choose(self, clients: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw who is malicious: the numbers of ``round(fraction · clients)`` clients, ascending; halves go up."""
        malicious = math.floor(self.fraction * clients + 0.5)
        return np.sort(rng.choice(clients, size=malicious, replace=False)).astype(np.int64)

    def poison(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Return what a malicious client that holds (x, y) trains on; the arrays given stay as they are."""
        return x, y

    def mask(self, reference: Array, previous: Array | None) -> NDArray[np.bool_] | None:
        """Return the coordinates that a malicious client's training may change, shape (p,); None for all.

        The trainer puts the others back after every step.
        """
        return None

    def craft(self, view: AttackView) -> Array:
        """Return the weights that the malicious clients send, shape (f, p)."""
        return view.own

    def report(self, view: AttackView, crafted: Array) -> Vector | None:
        """Return the numbers that the malicious clients report beside `crafted`, shape (f,); None for honest ones.

        Rules that need one number per client (`Needs.SCALARS`) ask for it; FedQV's is a similarity.
        """
        return None

    def tests(self, x: Array, y: Array, rng: np.random.Generator) -> AttackTest | None:
        """Return what the success is measured on, made of clean test data; None for attacks without a target."""
        return None


def require_number(value: Any, name: str, least: float, most: float = math.inf, *, above: bool = False) -> None:
    """Refuse an option that is not a finite number in ``[least, most]``, or in ``(least, most]`` if `above`."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or not least <= value <= most or (above and value == least):
        bound = f"above {least}" if above else f"from {least}"
        limit = "" if most == math.inf else f" to {most}"
        raise InvalidInput(f"{name} is {value!r}; it must be a number {bound}{limit}.", code="bad-attack-option")


def require_choice(value: Any, name: str, allowed: tuple[str, ...]) -> None:
    """Refuse an option that is not one of these words."""
    if value not in allowed:
        raise InvalidInput(
            f"{name} is {value!r}; it must be one of {', '.join(map(repr, allowed))}.", code="bad-attack-option"
        )


def as_rows(row: ArrayLike, like: Array) -> Array:
    """Return one model for each row of `like`, all the same, in its dtype."""
    return np.tile(np.asarray(row, dtype=like.dtype), (len(like), 1))
