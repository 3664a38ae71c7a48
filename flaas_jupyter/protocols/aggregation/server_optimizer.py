"""What the server-side optimisers share: the pseudo-gradient, and moments that survive a restart.

The change Δ_t of the averaged model, Δ_t = Σ (n_k / n) w_k − w_t, plays the part of a (negative) gradient for an
optimiser at the server. Algorithm 2 (FedOpt) of Reddi, Charles, Zaheer, Garrett, Rush, Konečný, Kumar and McMahan,
"Adaptive Federated Optimization", ICLR 2021.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .checks import is_number, require_option, state_array, state_entries, wrong_state
from .rule import Aggregated, Cohort, Needs, Rule

Moments = dict[str, NDArray[np.float64]]


@dataclass
class ServerOptimizer(Rule):
    """An optimiser at the server: a subclass names its `moments` and writes `step`."""

    needs: ClassVar[Needs] = Needs.SUM
    moments: ClassVar[tuple[str, ...]]
    """Names of the vectors (p,) that it carries from round to round."""

    _moments: Moments = field(default_factory=dict, init=False, repr=False, compare=False)

    @abstractmethod
    def step(self, delta: NDArray[np.float64], moments: Moments) -> tuple[NDArray[np.float64], Moments]:
        """Return how far to move the model, shape (p,), and the new moments; `moments` is empty at first.

        `delta` may be overwritten, the moments may not.
        """

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Move the reference by a step of the optimiser; a client's contribution is its n_k / n."""
        reference = cohort.require_reference(type(self).__name__)
        for name, moment in self._moments.items():
            if moment.shape != reference.shape:
                raise wrong_state(self.name, f"{name} is of {moment.size} parameters, the model has {reference.size}")
        delta = cohort.mean()
        delta -= reference
        move, self._moments = self.step(delta, self._moments)
        return Aggregated(reference + move, cohort.shares)

    def state_dict(self) -> dict[str, Any]:
        """Return the moments, arrays of shape (p,); empty before the first round."""
        return {name: moment.copy() for name, moment in self._moments.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the moments."""
        if not state:
            self._moments = {}
            return
        entries = state_entries(state, self.name, self.moments)
        moments = {
            name: state_array(value, self.name, name, 1) for name, value in zip(self.moments, entries, strict=True)
        }
        if len({moment.size for moment in moments.values()}) > 1:
            raise wrong_state(self.name, "its moments are of different lengths")
        self._moments = moments


@dataclass
class AdaptiveOptimizer(ServerOptimizer):
    """The adaptive members of FedOpt, which differ in how the second moment v follows Δ².

    m_t = β₁ m_{t−1} + (1−β₁) Δ_t;  w_{t+1} = w_t + η m_t / (√v_t + τ), from m_{−1} = 0 and v_{−1} = τ²; without
    bias correction, as in Algorithm 2.

    Parameters
    ----------
    eta : float
        Server learning rate η, above 0. The paper tunes it per task; its best values lie about 10⁻².
    beta1, beta2 : float
        Decay of the moments, in [0, 1).
    tau : float
        Degree of adaptivity τ, above 0.
    """

    moments: ClassVar[tuple[str, ...]] = ("m", "v")

    eta: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.99
    tau: float = 1e-3

    def __post_init__(self) -> None:
        for option in ("eta", "tau"):
            value = getattr(self, option)
            require_option(is_number(value, 0.0) and value > 0, self.name, option, value, "a number above 0")
        for option in ("beta1", "beta2"):
            value = getattr(self, option)
            require_option(is_number(value, 0.0) and value < 1, self.name, option, value, "in [0, 1)")

    @abstractmethod
    def second_moment(self, v: NDArray[np.float64], squares: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return v_t, shape (p,), from v_{t−1} and Δ_t²."""

    def step(self, delta: NDArray[np.float64], moments: Moments) -> tuple[NDArray[np.float64], Moments]:
        """Return η m_t / (√v_t + τ)."""
        before = moments.get("v")
        v = self.second_moment(np.full_like(delta, self.tau**2) if before is None else before, np.square(delta))
        m = delta
        m *= 1.0 - self.beta1
        if "m" in moments:
            m += self.beta1 * moments["m"]
        scale = np.sqrt(v)
        scale += self.tau
        return np.divide(self.eta * m, scale, out=scale), {"m": m, "v": v}
