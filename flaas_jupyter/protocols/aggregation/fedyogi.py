"""FedYogi: Yogi at the server, on the change of the averaged model.

v_t = v_{t−1} − (1−β₂) Δ_t² sign(v_{t−1} − Δ_t²); the rest is `AdaptiveOptimizer`'s. Unlike Adam's, this second
moment falls slowly after large changes. O(n·p) time, O(p) memory, and m and v to keep.

Algorithm 2 of Reddi et al., "Adaptive Federated Optimization", ICLR 2021; β₁ = 0.9, β₂ = 0.99 and τ = 10⁻³ as there
(section 5.1 and appendix D).

Faster progress where gradients differ in size among parameters; defends against no attack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .server_optimizer import AdaptiveOptimizer


@dataclass
class FedYogi(AdaptiveOptimizer):
    """Yogi at the server."""

    name: ClassVar[str] = "fedyogi"
    summary: ClassVar[str] = "Yogi at the server: Adam whose second moment falls slowly."
    defends: ClassVar[str] = "Slow progress on sparse or unevenly scaled gradients; no attack."
    limits: ClassVar[str] = "Its server learning rate must be tuned; one malicious client can steer the step."

    def second_moment(self, v: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return v − (1−β₂) Δ² sign(v − Δ²)."""
        return v - (1.0 - self.beta2) * squares * np.sign(v - squares)
