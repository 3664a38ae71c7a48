"""Clients that are not alike: away, slow, lost on the way. Drawn by seed, round by round."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInput

# What random numbers are for: these, and those of `rounds`, differ.
_COHORT, _FATE, _RESAMPLE = 0, 1, 6


@dataclass(frozen=True)
class Behaviour:
    """How the clients of a simulation behave.

    Parameters
    ----------
    availability : float or array_like of shape (clients,)
        Probability that a client can be asked at all in a round.
    dropout : float or array_like of shape (clients,)
        Probability that a client which was asked sends nothing back.
    stragglers : float
        Share of a round's clients that run out of time and train for a number of local epochs drawn uniformly from 1
        to one less than asked (Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, section 5.2).
    epochs : array_like of int, shape (clients,), optional
        Local epochs of each client, in place of those of ``fit``.

    Raises
    ------
    InvalidInput
        Code ``bad-behaviour``.
    """

    availability: float | ArrayLike = 1.0
    dropout: float | ArrayLike = 0.0
    stragglers: float = 0.0
    epochs: ArrayLike | None = None

    def __post_init__(self) -> None:
        for name in ("availability", "dropout", "stragglers"):
            values = np.asarray(getattr(self, name))
            if values.dtype.kind not in "fiub" or not ((values >= 0) & (values <= 1)).all():
                raise InvalidInput(
                    f"{name} must be a probability from 0 to 1, or one for each client, not {getattr(self, name)!r}.",
                    code="bad-behaviour",
                )
        if self.epochs is not None:
            values = np.asarray(self.epochs)
            if values.ndim != 1 or values.dtype.kind not in "iu" or (values < 1).any():
                raise InvalidInput(
                    f"epochs must be one positive integer for each client, not {self.epochs!r}.", code="bad-behaviour"
                )

    def require_clients(self, clients: int) -> None:
        """Refuse arrays of another length than there are clients."""
        for name in ("availability", "dropout", "epochs"):
            shape = np.shape(np.asarray(getattr(self, name))) if getattr(self, name) is not None else ()
            if shape not in ((), (clients,)):
                raise InvalidInput(
                    f"{name} has shape {shape}; there are {clients} clients.",
                    code="bad-behaviour",
                    hint="Give one number, or one for each client.",
                )

    def fingerprint(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {name: np.asarray(value).tolist() for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Fate:
    """What becomes of the clients asked in a round.

    Attributes
    ----------
    epochs : ndarray of int, shape (clients,)
        Local epochs that each of them makes.
    lost : ndarray of bool, shape (clients,)
        Who sends nothing back.
    """

    epochs: NDArray[np.int64]
    lost: NDArray[np.bool_]


def available(behaviour: Behaviour, clients: int, seed: int, number: int, attempt: int) -> NDArray[np.int64]:
    """Return the clients that can be asked in a round, ascending."""
    if np.ndim(behaviour.availability) == 0 and behaviour.availability == 1:
        return np.arange(clients)
    rng = np.random.default_rng([seed, _COHORT, number, attempt])
    return np.flatnonzero(rng.random(clients) < np.asarray(behaviour.availability))


def sample(
    ready: NDArray[np.int64], wanted: int | None, seed: int, number: int, attempt: int, indispensable: int | None
) -> NDArray[np.int64]:
    """Draw the clients of a round without replacement, ascending; all of them where `wanted` is None.

    `indispensable`, if it is ready, is always among them.
    """
    if wanted is None or wanted >= len(ready):
        return ready
    rng = np.random.default_rng([seed, _RESAMPLE, number, attempt] if attempt else [seed, number - 1])
    always = ready[ready == indispensable]
    others = ready[ready != indispensable]
    return np.sort(np.concatenate([always, rng.choice(others, size=wanted - len(always), replace=False)]))


def fate(
    behaviour: Behaviour, asked: NDArray[np.int64], local_epochs: int, seed: int, number: int, attempt: int
) -> Fate:
    """Draw what becomes of the clients asked."""
    epochs = np.full(len(asked), local_epochs, np.int64)
    if behaviour.epochs is not None:
        epochs = np.asarray(behaviour.epochs, np.int64)[asked]
    if not (np.any(behaviour.stragglers) or np.any(behaviour.dropout)):
        return Fate(epochs, np.zeros(len(asked), bool))
    rng = np.random.default_rng([seed, _FATE, number, attempt])
    slow = rng.random(len(asked)) < behaviour.stragglers
    shortened = 1 + np.floor(rng.random(len(asked)) * np.maximum(epochs - 1, 1)).astype(np.int64)
    dropout = np.asarray(behaviour.dropout)
    return Fate(
        np.where(slow, np.minimum(shortened, epochs), epochs),
        rng.random(len(asked)) < (dropout[asked] if dropout.ndim else dropout),
    )
