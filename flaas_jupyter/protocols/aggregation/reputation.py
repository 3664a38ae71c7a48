"""Reputation: clients whose parameters are in line with the others', round after round, count more.

Every parameter is regressed on its rank among the clients (`regression`), and values of confidence below δ are
replaced. With Pos_m and Neg_m the numbers of client m's parameters inside (confidence ≥ δ) and outside of the bound:

- belief b = κ Pos / D, uncertainty u = W / D, D = κ Pos + (1−κ) Neg + W; this round's opinion R̃ = b + a u;
- reputation R = Σ_j θ_j R̃_{t−j} / Σ_j θ_j, θ_j = exp(−z j), over the client's last s rounds;
- R is brought to [0, 1] over the round's clients, below 1/M it is 0; w ← Σ R_m w̃_m / Σ R_m over corrected models.

Where all reputations are equal nothing tells the clients apart, and they count alike. O(n² log² n · p) time,
O(n · block + p) memory, s numbers per client to keep; at least four clients. A client's rounds are those it took part
in; absence changes nothing.

Chu, Garcia-Recuero, Iordanou, Smaragdakis and Laoutaris, "Securing Federated Sensitive Topic Classification against
Poisoning Attacks", NDSS 2023 (arXiv 2201.13086), with the defaults of the authors' implementation.

``variant="released-2024"`` does what that implementation does: it takes the values inside of the bound for negative
evidence, so that honest clients lose reputation and outliers gain it, and passes its arguments one position off, which
makes a the decay z and z the window s. For tracing published tables only.

Defends against a minority whose parameters stand out; the longer, the better. Does not defend against backdoors by many
clients, nor against attackers who behave well first, for longer than the window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .checks import is_count, is_number, require_option, state_entries, wrong_state
from .opinion import OpinionRule, significant
from .rule import Aggregated, Cohort


@dataclass
class Reputation(OpinionRule):
    """Mean of corrected models, weighted by the clients' reputations.

    Parameters
    ----------
    lam, delta, kappa, W, a, variant
        As in `OpinionRule`.
    z : float
        Decay of older opinions per round, at least 0.
    s : int
        How many rounds count, at least 1.
    """

    name: ClassVar[str] = "reputation"
    summary: ClassVar[str] = "Corrects parameters out of line; clients earn or lose reputation by theirs over rounds."
    defends: ClassVar[str] = "A minority whose parameters stand out, the better the longer it takes part."
    limits: ClassVar[str] = "Backdoors of many clients pass; time grows with the square of the clients."

    z: float = 0.5
    s: int = 10
    _history: dict[str, list[float]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_option(is_number(self.z, 0.0), self.name, "z", self.z, "a number of at least 0")
        require_option(is_count(self.s, 1), self.name, "s", self.s, "an integer above 0")

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the mean of the corrected models, with the columns opinion (R̃) and reputation (R)."""
        prior, decay = (self.z, float(self.s)) if self.variant == "released-2024" else (self.a, self.z)
        regression, opinion = self.judge(cohort, prior)
        history = {
            client: [*self._history.get(client, []), float(value)][-self.s :]
            for client, value in zip(cohort.client_ids, opinion, strict=True)
        }
        reputation = np.array([_decayed(history[client], decay) for client in cohort.client_ids])
        earned = significant(reputation)
        if not earned.any():
            earned[:] = 1.0
        contributions = earned / earned.sum()
        weights = regression.combine(contributions, self.delta)
        self._history.update(history)
        return Aggregated(weights, contributions, {"opinion": opinion, "reputation": reputation})

    def state_dict(self) -> dict[str, Any]:
        """Return ``{"opinions": {client id: [oldest, …, newest]}}``."""
        return {"opinions": {client: list(values) for client, values in self._history.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the opinions of earlier rounds."""
        (history,) = state_entries(state, self.name, ["opinions"]) if state else ({},)
        if not isinstance(history, Mapping) or not all(
            isinstance(client, str)
            and isinstance(values, list | tuple | np.ndarray)
            and all(is_number(value, 0.0, 1.0) for value in values)
            for client, values in history.items()
        ):
            raise wrong_state(self.name, "opinions must map client ids to lists of numbers from 0 to 1")
        self._history = {client: [float(value) for value in values][-self.s :] for client, values in history.items()}


def _decayed(newest_last: list[float], decay: float) -> float:
    """Return Σ θ_j R̃_{t−j} / Σ θ_j, θ_j = exp(−decay · j)."""
    theta = np.exp(-decay * np.arange(len(newest_last)))
    return float(theta @ newest_last[::-1] / theta.sum())
