"""FedQV: quadratic voting. Clients pay for influence out of a budget of voice credits.

Over the clients S_t of a round, with the budgets B_i that are left to them (B at first):

1. s_i = cos(w_i, w_global), of the full weight vectors; each client may report it itself;
2. s̄_i = (s_i − min s) / (max s − min s), all 0 where all s are equal;
3. credits c_i = 1 − ln s̄_i where θ < s̄_i < 1 − θ, else 0: too unlike and too alike are muted;
4. c_i ← min(c_i, B_i), B_i ← B_i − c_i;
5. votes v_i = √(c_i n_i), and w ← Σ v_i w_i / Σ v_i.

O(n·p) time in two walks over the updates (one where clients report), O(n · block) memory, one number per client to
keep. It needs sums and one number per client, so it works under secure aggregation.

Chu, Iordanou and Laoutaris (2024), "FedQV: Leveraging Quadratic Voting in Federated Learning", ACM SIGMETRICS 2024
(arXiv 2401.01168), with B = 30 and θ = 0.2; the budget's details follow the authors' implementation.

Defends against moderate poisoning, and limits for how long one client can steer. Does not defend against attackers
who are most of those in the band; the least and the most alike, two clients at least, are muted every round.
Extreme outliers squeeze everybody else into the muted band, so that nobody votes: then the global model is kept
(``on_silence="keep"``) or, as in the authors' code of 2024, everybody averaged with the outliers ("average").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .budgets import Budgets
from .checks import is_number, require_option
from .scalar import Ballot, ScalarRule
from .similarity import cosines_with, minmax


def price(similarities: NDArray[np.float64], theta: float) -> NDArray[np.float64]:
    """Return the credits 1 − ln s̄ of normalised similarities within the open band (θ, 1 − θ), else 0; shape (n,)."""
    heard = (similarities > theta) & (similarities < 1.0 - theta)
    return np.where(heard, 1.0 - np.log(similarities, where=heard, out=np.zeros_like(similarities)), 0.0)


def require_voting(budget: float, theta: float, rule: str) -> None:
    """Refuse a budget or a threshold out of range."""
    require_option(is_number(budget, 0.0) and budget > 0, rule, "budget", budget, "a number above 0")
    require_option(is_number(theta, 0.0) and theta < 0.5, rule, "theta", theta, "in [0, 0.5)")


@dataclass
class FedQV(ScalarRule):
    """Mean of the models, weighted by votes that clients pay for.

    Parameters
    ----------
    budget : float
        Voice credits B of each client, for all rounds together; above 0.
    theta : float
        Width θ of the muted bands at either end of the normalised similarities, in [0, 0.5).
    charge_muted : bool
        Charge muted clients too, 1 − ln s̄_i (the least alike then loses all), as an early revision of the authors'
        code does.
    on_silence : str
        What happens when nobody has a vote: "keep" the reference, or "average" the models with equal weights.
    """

    name: ClassVar[str] = "fedqv"
    summary: ClassVar[str] = "Quadratic voting: clients pay for influence out of a budget, priced by similarity."
    defends: ClassVar[str] = "Moderate poisoning by a minority; nobody can steer for ever."
    limits: ClassVar[str] = "Mutes two clients or more a round; extreme outliers can silence everybody."

    budget: float = 30.0
    theta: float = 0.2
    charge_muted: bool = False
    _budgets: Budgets = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_voting(self.budget, self.theta, self.name)
        self._budgets = Budgets(self.budget)

    def scalar(self, update: NDArray[Any], reference: NDArray[np.float64]) -> float:
        """Return the cosine of the client's weights (p,) with the global ones (p,); 0 where either is all 0."""
        return float(self.scalars(update[None], reference)[0])

    def scalars(self, updates: NDArray[Any], reference: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the cosines of several clients' weights (n, p) with the global ones, shape (n,)."""
        return cosines_with(updates, reference)[0]

    def ballot(
        self, scalars: NDArray[np.float64], num_examples: NDArray[np.float64], client_ids: Sequence[str]
    ) -> Ballot:
        """Return the votes √(c_i n_i), with columns similarity, credits, votes and budget (what will be left)."""
        similarities = minmax(np.asarray(scalars, dtype=np.float64))
        before = self._budgets.of(client_ids)
        wanted = price(similarities, self.theta)
        credits = np.minimum(wanted, before)
        left = before - credits
        if self.charge_muted:
            with np.errstate(divide="ignore"):
                fine = np.maximum(0.0, before + np.log(similarities) - 1.0)
            left = np.where(wanted == 0.0, fine, left)
        votes = np.sqrt(credits * np.asarray(num_examples, dtype=np.float64))
        columns = {
            "similarity": np.asarray(scalars, dtype=np.float64),
            "credits": credits,
            "votes": votes,
            "budget": left,
        }
        return Ballot(votes, columns, dict(zip(client_ids, left.tolist(), strict=True)))

    def settle(self, ballot: Ballot, client_ids: Iterable[str]) -> None:
        """Take the credits off the budgets of these clients.

        Raises
        ------
        InvalidInput
            Code ``bad-client-ids``: one of them is not in the ballot.
        """
        charged = list(client_ids)
        strangers = sorted(set(charged) - set(ballot.state))
        if strangers:
            raise InvalidInput(f"{', '.join(strangers)} took no part in this ballot.", code="bad-client-ids")
        self._budgets.set(charged, [ballot.state[client] for client in charged])

    def state_dict(self) -> dict[str, Any]:
        """Return ``{"budgets": {client id: credits left}}``."""
        return self._budgets.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up the budgets."""
        self._budgets.load_state_dict(state, self.name)
