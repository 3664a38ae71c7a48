"""Voice credits of clients: what quadratic voting leaves each of them, over rounds, absences and restarts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import state_entries, state_numbers


class Budgets:
    """Credits by client id; a client that was not charged yet has the first budget."""

    def __init__(self, first: float) -> None:
        self._first = float(first)
        self._left: dict[str, float] = {}

    def of(self, client_ids: Sequence[str]) -> NDArray[np.float64]:
        """Return what these clients have left, shape (n,)."""
        return np.array([self._left.get(client, self._first) for client in client_ids], dtype=np.float64)

    def set(self, client_ids: Iterable[str], left: Iterable[float]) -> None:
        """Note what these clients have left now."""
        self._left.update(zip(client_ids, map(float, left), strict=True))

    def state_dict(self) -> dict[str, Any]:
        """Return the budgets as JSON values."""
        return {"budgets": dict(self._left)}

    def load_state_dict(self, state: Mapping[str, Any], rule: str) -> None:
        """Take up the budgets; an empty state stands for nobody charged."""
        if state:
            (left,) = state_entries(state, rule, ["budgets"])
        self._left = state_numbers(left, rule, "budgets") if state else {}
