"""What one pass over a client's rows is, however the rows are read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import Aborted

BURST_SECONDS = 0.05
"""How long one call of the traced loop should take at most: how soon training can be stopped."""

Stop = Callable[[], bool]
Epoch = Callable[[Any, Stop], dict[str, float]]
"""Given the rows in order (of streamed ones windows of them), trains on all once and returns the metrics."""


def flat_metrics(logs: dict[str, Any]) -> dict[str, float]:
    """Metrics as numbers by name; one of several values (an F-score per class) becomes ``name_0``, ``name_1`` …."""
    flat: dict[str, float] = {}
    for name, value in logs.items():
        array = np.asarray(value, dtype=np.float64)
        if array.ndim == 0:
            flat[name] = float(array)
        else:
            flat |= {f"{name}_{i}": float(entry) for i, entry in enumerate(array.ravel())}
    return flat


def stopped() -> Aborted:
    """Return the error for a training that was stopped."""
    return Aborted("Training was stopped before the end of the round.", code="training-stopped")
