"""FedAvgM: federated averaging with momentum at the server.

Δ_t = Σ (n_k / n) w_k − w_t;  v_t = β v_{t−1} + Δ_t;  w_{t+1} = w_t + η v_t, from v_{−1} = 0.
O(n·p) time, O(p) memory, and v to keep. With β = 0 and η = 1 it is FedAvg.

Section 4.3 of Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated Visual
Classification", 2019 (arXiv 1909.06335), there with the sign of Δ reversed.

Steadies training on clients with unlike data; defends against no attack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .checks import is_number, require_option
from .server_optimizer import Moments, ServerOptimizer


@dataclass
class FedAvgM(ServerOptimizer):
    """FedAvg with momentum.

    Parameters
    ----------
    eta : float
        Server learning rate η, above 0.
    beta : float
        Momentum β, in [0, 1).
    """

    name: ClassVar[str] = "fedavgm"
    moments: ClassVar[tuple[str, ...]] = ("v",)
    summary: ClassVar[str] = "FedAvg with momentum at the server."
    defends: ClassVar[str] = "Oscillation on clients with unlike data; no attack."
    limits: ClassVar[str] = "One malicious client can move the mean anywhere, and the momentum remembers it."

    eta: float = 1.0
    beta: float = 0.9

    def __post_init__(self) -> None:
        require_option(is_number(self.eta, 0.0) and self.eta > 0, self.name, "eta", self.eta, "a number above 0")
        require_option(is_number(self.beta, 0.0) and self.beta < 1, self.name, "beta", self.beta, "in [0, 1)")

    def step(self, delta: NDArray[np.float64], moments: Moments) -> tuple[NDArray[np.float64], Moments]:
        """Return η v_t."""
        if "v" in moments:
            delta += self.beta * moments["v"]
        return self.eta * delta, {"v": delta}
