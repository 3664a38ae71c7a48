"""Clipping and noise: of what a feature party sends, and of the gradients that a label holder sends back.

Gradients tell labels: those of the rarer class are longer and point another way (Li et al. 2021, section 3). Two of
the defences of that paper are here. ``isotropic`` clips every gradient to the mean length of the batch and adds
Gaussian noise of the same size in all directions. ``max_norm`` (section 4.1) adds noise *along* each gradient so that
the expected squared lengths are those of the longest one: the length then says nothing, the direction still may.
Neither proves anything; `label_leak` measures what is left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput

GradientProtection = Literal["none", "isotropic", "max_norm"]


@dataclass(frozen=True)
class Protection:
    """How the messages of a run are clipped and noised.

    Parameters
    ----------
    embedding_clip : float, optional
        Largest Euclidean length of one row's embedding.
    embedding_noise : float
        Standard deviation of the Gaussian noise that a feature party adds to each number that it sends.
    gradient : {"none", "isotropic", "max_norm"}
        What the label holder does to gradients in mode ``split``.
    gradient_noise : float
        With ``isotropic``: length of the noise in units of the mean length of the batch's gradients.

    Raises
    ------
    InvalidInput
        Code ``bad-protection``.
    """

    embedding_clip: float | None = None
    embedding_noise: float = 0.0
    gradient: GradientProtection = "none"
    gradient_noise: float = 0.0

    def __post_init__(self) -> None:
        if self.gradient not in get_args(GradientProtection):
            allowed = ", ".join(get_args(GradientProtection))
            raise _bad(f"gradient is {self.gradient!r}; allowed are {allowed}")
        for name in ("embedding_noise", "gradient_noise"):
            if not _is_number(getattr(self, name)) or getattr(self, name) < 0:
                raise _bad(f"{name} is {getattr(self, name)!r}; a number from 0 on is allowed")
        if self.embedding_clip is not None and (not _is_number(self.embedding_clip) or self.embedding_clip <= 0):
            raise _bad(f"embedding_clip is {self.embedding_clip!r}; a number above 0 or None is allowed")
        if self.gradient_noise and self.gradient != "isotropic":
            raise _bad(f"gradient_noise goes with gradient='isotropic' only, not with {self.gradient!r}")

    @classmethod
    def from_dict(cls, data: Any) -> Protection:
        """Read what `dataclasses.asdict` has written.

        Raises
        ------
        InvalidInput
            Code ``bad-protection``.
        """
        names = set(cls.__dataclass_fields__)
        if not isinstance(data, dict) or set(data) != names:
            raise _bad(f"it must have exactly {', '.join(sorted(names))}")
        return cls(**data)


def protect_gradients(
    gradients: NDArray[np.float32], protection: Protection, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the gradients as they are sent.

    Parameters
    ----------
    gradients : ndarray of float32, shape (n, k)
        One row for each row of the batch.
    protection : Protection
    rng : Generator
        Of the label holder alone.
    """
    if protection.gradient == "none":
        return gradients
    lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
    if protection.gradient == "isotropic":
        mean = float(lengths.mean())
        clipped = gradients * np.minimum(1.0, mean / np.maximum(lengths, 1e-30))
        scale = protection.gradient_noise * mean / math.sqrt(gradients.shape[1])
        noisy = clipped + scale * rng.standard_normal(gradients.shape)
    else:
        longest = float(lengths.max())
        deviation = np.sqrt(np.maximum((longest / np.maximum(lengths, 1e-30)) ** 2 - 1.0, 0.0))
        noisy = gradients * (1.0 + deviation * rng.standard_normal(lengths.shape))
    sent: NDArray[np.float32] = noisy.astype(np.float32)
    return sent


def clip_rows(values: NDArray[np.float32], length: float | None) -> NDArray[np.float32]:
    """Return `values`, shape (n, k), with rows that are longer than `length` scaled down to it."""
    if length is None:
        return values
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    clipped: NDArray[np.float32] = (values * np.minimum(1.0, length / np.maximum(lengths, 1e-30))).astype(np.float32)
    return clipped


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and math.isfinite(value)


def _bad(what: str) -> InvalidInput:
    return InvalidInput(f"The protection is not acceptable: {what}.", code="bad-protection")
