"""Columns brought to mean 0 and standard deviation 1, by figures that stay at their party."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scaler:
    """Subtracts a mean and divides by a scale.

    Parameters
    ----------
    mean, scale : ndarray of float64, shape (f,)
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, values: NDArray[Any]) -> Scaler:
        """Return the scaler of columns, shape (n, f); one whose values are all the same keeps a scale of 1."""
        mean, deviation = np.asarray(values, np.float64).mean(axis=0), np.asarray(values, np.float64).std(axis=0)
        return cls(mean, np.where(deviation > 1e-12 * np.maximum(1.0, np.abs(mean)), deviation, 1.0))

    @classmethod
    def none(cls, columns: int) -> Scaler:
        """Return the scaler that changes nothing."""
        return cls(np.zeros(columns), np.ones(columns))

    def __call__(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """Return the scaled values, float32 of the same shape."""
        scaled: NDArray[np.float32] = ((values - self.mean) / self.scale).astype(np.float32)
        return scaled
