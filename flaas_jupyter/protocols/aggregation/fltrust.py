"""FLTrust: clients count by how much their updates point where a trusted one does.

With g_i = w_i − w_global, and g₀ an update trained on a small clean data set: trust TS_i = ReLU(cos(g_i, g₀)),
w ← w_global + α Σ TS_i g_i ‖g₀‖/‖g_i‖ / Σ TS_i. Where all trust is 0 the global model is kept.
O(n·p) time in two walks over the updates, O(n · block) memory.

Algorithm 2 of Cao, Fang, Liu and Gong, "FLTrust: Byzantine-Robust Federated Learning via Trust Bootstrapping",
NDSS 2021, with α = 1.

Defends against arbitrary updates, even from most clients, as long as the clean data are like the clients'. Does not
defend against attackers whose updates point the trusted way, such as subtle backdoors, nor against a bad clean set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...errors import InvalidInput
from .checks import is_number, require_option
from .rule import Aggregated, Cohort, Needs, Rule
from .similarity import cosines_with


@dataclass
class FLTrust(Rule):
    """Mean of the updates at the trusted one's length, weighted by their cosine with it.

    Parameters
    ----------
    trusted : str, optional
        The client whose update is g₀; it is not averaged itself. Without it g₀ is given with the call, as
        ``rule(updates, num_examples, reference=w, trusted=weights)``, which also goes before it.
    alpha : float
        Global learning rate α, above 0.
    """

    name: ClassVar[str] = "fltrust"
    needs: ClassVar[Needs] = Needs.UPDATES
    judges_clients: ClassVar[bool] = True
    summary: ClassVar[str] = "Weights clients by how much their updates point where a trusted one does."
    defends: ClassVar[str] = "Arbitrary updates, even from most of the clients."
    limits: ClassVar[str] = "Needs clean data like the clients'; updates that point the trusted way pass."

    trusted: str | None = None
    alpha: float = 1.0

    def __post_init__(self) -> None:
        require_option(
            self.trusted is None or isinstance(self.trusted, str), self.name, "trusted", self.trusted, "a client id"
        )
        require_option(
            is_number(self.alpha, 0.0) and self.alpha > 0, self.name, "alpha", self.alpha, "a number above 0"
        )

    @property
    def needs_trusted(self) -> bool:
        """Unless a client is named whose update is the trusted one."""
        return self.trusted is None

    @property
    def needs_one_update(self) -> bool:
        """That of the client which is named; real nodes have no other to compare with."""
        return True

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the trusted mean, with the columns trust (TS) and norm; the trusted client itself has trust 0."""
        reference = cohort.require_reference("FLTrust")
        judged = np.ones(len(cohort))
        if cohort.trusted is not None:
            clean = cohort.trusted - reference
        else:
            place = self._place(cohort)
            judged[place] = 0.0
            clean = cohort.updates[place] - reference
        cosines, norms = cosines_with(cohort.updates, clean, reference)
        trust = np.maximum(cosines, 0.0) * judged
        total = trust.sum()
        if total == 0:
            return Aggregated(reference.copy(), np.zeros(len(cohort)), {"trust": trust, "norm": norms})
        contributions = trust / total
        scales = np.divide(np.sqrt(clean @ clean), norms, out=np.zeros_like(norms), where=norms > 0)
        weights = cohort.combine(self.alpha * contributions * scales, reference)
        return Aggregated(weights, contributions, {"trust": trust, "norm": norms})

    def _place(self, cohort: Cohort) -> int:
        if self.trusted is None:
            raise InvalidInput(
                "FLTrust compares the updates with a trusted one, and none is given.",
                code="needs-trusted",
                hint="Name the client that is trusted: aggregation('fltrust', trusted='<client id>'); or pass weights "
                "trained on clean data: rule(..., trusted=weights).",
            )
        if self.trusted not in cohort.client_ids:
            raise InvalidInput(
                f"The trusted client {self.trusted!r} takes no part in this round; {', '.join(cohort.client_ids)} do.",
                code="needs-trusted",
                hint="Let it take part in every round, or name another.",
            )
        cohort.require_clients(2, "FLTrust", "since the trusted one is not averaged itself")
        return cohort.client_ids.index(self.trusted)
