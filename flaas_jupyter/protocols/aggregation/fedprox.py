"""FedProx: federated averaging of clients that are held near the global model while they train.

Every client minimises its loss plus μ/2 ‖w − w_global‖²; the server averages as FedAvg does. The term is the
trainer's to add: it asks for `Rule.proximal`. O(n·p) time, O(p) memory.

Algorithm 2 of Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith, "Federated Optimization in Heterogeneous Networks",
MLSys 2020. The paper tunes μ over {0.001, 0.01, 0.1, 1}.

Meant for clients with unlike data or unequal work; defends against no attack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from .checks import is_number, require_option
from .fedavg import FedAvg


@dataclass
class FedProx(FedAvg):
    """FedAvg with a proximal term in the clients' loss.

    Parameters
    ----------
    mu : float
        Strength μ of the term, at least 0; 0 is FedAvg.
    """

    name: ClassVar[str] = "fedprox"
    summary: ClassVar[str] = "FedAvg of clients that are held near the global model while they train."
    defends: ClassVar[str] = "Drift of clients with unlike data or unequal amounts of local work; no attack."

    mu: float = 0.01

    def __post_init__(self) -> None:
        require_option(is_number(self.mu, 0.0), self.name, "mu", self.mu, "a number of at least 0")

    @property
    def proximal(self) -> float:
        """μ of the term μ/2 ‖w − w_global‖²."""
        return float(self.mu)
