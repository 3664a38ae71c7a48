"""How a client's update becomes fewer bytes: the interface of all compressions, and what an update loses by one.

A client has trained weights w from the global weights g. Lossless compression hands over w bit for bit. All others
encode the update u = w - g, and the aggregator takes g + decode(encode(u)) for the client's weights. One with *error
feedback* is given the residual e of the rounds before, encodes u + e, and leaves what that has lost as the next
residual (Seide et al., "1-Bit Stochastic Gradient Descent", Interspeech 2014; Stich, Cordonnier and Jaggi, "Sparsified
SGD with Memory", NeurIPS 2018; Karimireddy et al., "Error Feedback Fixes SignSGD", ICML 2019), so that over the rounds
the sum of what was decoded and the last residual are the sum of all updates.

Both ends are given `common`, the same bytes, for what both must draw alike.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

Weights = NDArray[Any]
Update = NDArray[np.float64]
Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Compressed:
    """A client's update, ready to be sent.

    Attributes
    ----------
    tensors : dict of str to ndarray
        What travels.
    weights : ndarray of shape (p,)
        What the receiver will make of it.
    residual : ndarray of shape (p,), or None
        What is left for a later round, with error feedback.
    error : float
        ‖lost‖ / ‖update‖, Euclidean norms: 0 where nothing is lost, 1 where everything is.
    """

    tensors: Tensors
    weights: Weights
    residual: Weights | None
    error: float

    @property
    def nbytes(self) -> int:
        """Bytes that travel."""
        return sum(array.nbytes for array in self.tensors.values())


@dataclass
class Compressor(ABC):
    """A way to compress updates; fields of a subclass are its options, JSON values."""

    name: ClassVar[str]
    summary: ClassVar[str]
    lossy: ClassVar[bool] = True
    remembers: ClassVar[bool] = False
    """Whether it has error feedback: what a round loses is added to the client's next update."""
    comparable: ClassVar[bool] = True
    """Whether a rule can compare updates that were compressed by it: whether all clients send the same coordinates."""
    value_bits: ClassVar[int | None] = None
    """Bits of a value under secure aggregation, where it works by fewer of them than the sum has room for."""

    @property
    def options(self) -> dict[str, Any]:
        """What it was made with."""
        return dataclasses.asdict(self)

    def to_dict(self) -> dict[str, Any]:
        """Return name and options, JSON values, as plans and saved models have them."""
        return {"name": self.name, "options": self.options}

    @property
    def summable(self) -> bool:
        """Whether it works under secure aggregation, that is on integers that are added up unseen."""
        return self.value_bits is not None

    def coordinates(self, parameters: int, common: bytes) -> NDArray[np.intp] | None:
        """Return the coordinates that all clients send in this round, or None where they are not the same for all."""
        return None

    @abstractmethod
    def compress(
        self,
        weights: Weights,
        start: Weights,
        *,
        rng: np.random.Generator,
        common: bytes = b"",
        carried: Weights | None = None,
    ) -> Compressed:
        """Compress a client's trained weights.

        Parameters
        ----------
        weights, start : ndarray of float32 or float64, shape (p,)
            As trained, and as they were before.
        rng : numpy.random.Generator
            For stochastic rounding.
        common : bytes
            The same at both ends, and another in each round.
        carried : ndarray of shape (p,), optional
            The residual of the rounds before.

        Raises
        ------
        InvalidInput
            Code ``non-finite-update``.
        """

    @abstractmethod
    def restore(self, tensors: Mapping[str, NDArray[Any]], start: Weights, *, common: bytes = b"") -> Weights:
        """Return the weights that a client has sent; whatever came over the network is checked before it is used.

        Raises
        ------
        InvalidInput
            Code ``bad-compressed-update``.
        """


class Lossy(Compressor):
    """A compression of the update alone."""

    @abstractmethod
    def encode(self, update: Update, rng: np.random.Generator, common: bytes) -> Tensors:
        """Return what travels of an update of shape (p,)."""

    @abstractmethod
    def decode(self, tensors: Mapping[str, NDArray[Any]], parameters: int, common: bytes) -> Update:
        """Return the update that was encoded, of shape (p,), after having checked `tensors`."""

    def compress(
        self,
        weights: Weights,
        start: Weights,
        *,
        rng: np.random.Generator,
        common: bytes = b"",
        carried: Weights | None = None,
    ) -> Compressed:
        """Compress a client's update; see `Compressor.compress`."""
        update = weights.astype(np.float64) - start
        if carried is not None:
            update += carried
        norm = float(np.linalg.norm(update))
        if not np.isfinite(norm):
            raise InvalidInput(
                "The update holds NaN or infinite values.",
                code="non-finite-update",
                hint="Lower the learning rate or clip gradients (optimizer clipnorm=...); check the data.",
            )
        tensors = self.encode(update, rng, common)
        decoded = self.decode(tensors, update.size, common)
        restored = (start + decoded).astype(start.dtype)
        lost = np.subtract(update, decoded, out=decoded)
        residual = lost.astype(start.dtype) if self.remembers else None
        return Compressed(tensors, restored, residual, float(np.linalg.norm(lost)) / norm if norm else 0.0)

    def restore(self, tensors: Mapping[str, NDArray[Any]], start: Weights, *, common: bytes = b"") -> Weights:
        """Return the start with the decoded update added; see `Compressor.restore`."""
        weights: Weights = (start + self.decode(tensors, start.size, common)).astype(start.dtype)
        return weights


def require_tensors(tensors: Mapping[str, NDArray[Any]], **wanted: tuple[str, tuple[int, ...]]) -> None:
    """Check the names, dtypes and shapes of tensors that came over the network.

    Raises
    ------
    InvalidInput
        Code ``bad-compressed-update``.
    """
    found = {name: (array.dtype.str, array.shape) for name, array in tensors.items()}
    if found != wanted:
        raise malformed(f"it consists of {_listed(found)}, and must of {_listed(wanted)}")


def malformed(why: str) -> InvalidInput:
    """Return the refusal of a compressed update."""
    return InvalidInput(
        f"A compressed update cannot be read: {why}.",
        code="bad-compressed-update",
        hint="Both nodes need the same plan and compatible versions; if they have, the update was forged.",
    )


def _listed(tensors: Mapping[str, tuple[str, tuple[int, ...]]]) -> str:
    return ", ".join(f"{name[:40]} ({dtype}, {list(shape)})" for name, (dtype, shape) in tensors.items()) or "nothing"
