"""FedQV + REP: quadratic voting whose budgets follow reputation.

Credits as in `fedqv` (steps 1 to 3), then, with R_i the round's reputation as in `reputation` but of this round alone,
brought to [0, 1], below 1/|S_t| set to 0:

- R_i > 0.9: B_i ← B_i + R_i, c_i ← c_i + R_i (rewarded);
- R_i = 0: B_i ← 0, c_i ← 0 (expelled for good);

then c_i ← min(c_i, B_i), B_i ← B_i − c_i, votes v_i = √(c_i n_i), and w ← Σ v_i w̃_i / Σ v_i over the models corrected
by `regression`. Where all reputations are equal nothing tells the clients apart, and nobody is rewarded or expelled.
O(n² log² n · p) time, O(n · block + p) memory, one number per client to keep; at least four clients. Unlike `fedqv` it
must see every update.

Chu, Iordanou and Laoutaris (2024), "FedQV: Leveraging Quadratic Voting in Federated Learning", ACM SIGMETRICS 2024
(arXiv 2401.01168), "unequal budgets", with the defaults of the authors' implementation (λ = 2, δ = 0.05, κ = 0.3,
W = 2, a = 0.5). ``variant="released-2024"`` counts the evidence as that implementation does: values inside of the bound
as negative, so that outliers are rewarded and honest clients expelled. For tracing published tables only.

Defends against a minority whose parameters stand out: it is expelled. Does not defend against backdoors by many
clients; an honest client with unlike data may be expelled as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from .budgets import Budgets
from .checks import is_number, require_option
from .fedqv import price, require_voting
from .opinion import OpinionRule, significant
from .rule import Aggregated, Cohort
from .scalar import parts_of, require_silence
from .similarity import cosines_with, minmax


@dataclass
class FedQVReputation(OpinionRule):
    """Quadratic voting with budgets that follow reputation.

    Parameters
    ----------
    lam, delta, kappa, W, a, variant
        As in `OpinionRule`, with a default δ of 0.05.
    budget : float
        Voice credits B of each client at first; above 0.
    theta : float
        Width θ of the muted bands at either end of the normalised similarities, in [0, 0.5).
    reward : float
        Reputation above which a client is rewarded, in [0, 1].
    on_silence : str
        What happens when nobody has a vote: "keep" the reference, or "average" the corrected models.
    """

    name: ClassVar[str] = "fedqv_reputation"
    summary: ClassVar[str] = "Quadratic voting that rewards reputation and expels clients without any."
    defends: ClassVar[str] = "A minority whose parameters stand out: it is expelled for good."
    limits: ClassVar[str] = "Backdoors of many clients pass; an honest client with unlike data may be expelled."

    delta: float = 0.05
    budget: float = 30.0
    theta: float = 0.2
    reward: float = 0.9
    on_silence: str = "keep"
    _budgets: Budgets = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_voting(self.budget, self.theta, self.name)
        require_silence(self.on_silence, self.name)
        require_option(is_number(self.reward, 0.0, 1.0), self.name, "reward", self.reward, "in [0, 1]")
        self._budgets = Budgets(self.budget)

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the mean of the corrected models, with columns similarity, reputation, credits, votes and budget."""
        similarity = cohort.scalars
        if similarity is None:
            similarity, _ = cosines_with(cohort.updates, cohort.require_reference("FedQVReputation"))
        regression, opinion = self.judge(cohort, self.a)
        reputation = significant(opinion)
        credits, budgets = price(minmax(similarity), self.theta), self._budgets.of(cohort.client_ids)
        if reputation.any():
            rewards = np.where(reputation > self.reward, reputation, 0.0)
            kept = reputation > 0.0
            credits, budgets = (credits + rewards) * kept, (budgets + rewards) * kept
        credits = np.minimum(credits, budgets)
        budgets = budgets - credits
        votes = np.sqrt(credits * cohort.num_examples)
        contributions = parts_of(cohort, votes, self.on_silence, "FedQVReputation")
        if contributions.any():
            weights = regression.combine(contributions, self.delta)
        else:
            weights = cohort.require_reference("FedQVReputation").copy()
        self._budgets.set(cohort.client_ids, budgets)
        columns = {
            "similarity": similarity,
            "reputation": reputation,
            "credits": credits,
            "votes": votes,
            "budget": budgets,
        }
        return Aggregated(weights, contributions, columns)

    def state_dict(self) -> dict[str, Any]:
        """Return ``{"budgets": {client id: credits left}}``."""
        return self._budgets.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the budgets."""
        self._budgets.load_state_dict(state, self.name)
