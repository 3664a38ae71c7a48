"""Rules that need one number per client beside the sum: they vote before the models are added up.

Under secure aggregation the clients send their numbers, the aggregator draws up the `Ballot` and tells each client
its vote, the clients send masked updates times their votes, and the sum that is opened is divided by the votes of
those that are in it. Only then are these charged, by `settle`: what a ballot costs a client is due when its update
counted. In the clear `aggregate` does all of this at once.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .rule import Aggregated, Cohort, Rule


@dataclass(frozen=True)
class Ballot:
    """The votes of one round, before anybody is charged for them.

    Attributes
    ----------
    votes : ndarray of float64, shape (n,)
        Weight of each client in the sum, not negative; not normalised.
    columns : dict of str to ndarray, shape (n,)
        What the report says about each client.
    state : object
        The rule's own note of what to settle.
    """

    votes: NDArray[np.float64]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    state: Any = None


class ScalarRule(Rule):
    """Base of the rules with `Needs.SCALARS`: a subclass writes `scalar`, `ballot`, `settle` and `silence`."""

    @abstractmethod
    def scalar(self, update: NDArray[Any], reference: NDArray[Any]) -> float:
        """Return the number that a client reports about its own update (p,) and the reference (p,)."""

    @abstractmethod
    def ballot(
        self, scalars: NDArray[np.float64], num_examples: NDArray[np.float64], client_ids: Sequence[str]
    ) -> Ballot:
        """Return the votes for what the clients reported, (n,) each; changes nothing."""

    @abstractmethod
    def settle(self, ballot: Ballot, client_ids: Iterable[str]) -> None:
        """Charge the clients whose updates are in the sum."""

    @abstractmethod
    def silence(self, cohort: Cohort) -> Aggregated:
        """Return the round's result when nobody has a vote."""

    def scalars(self, cohort: Cohort) -> NDArray[np.float64]:
        """Return what the clients reported or, where they did not, would have reported; shape (n,)."""
        if cohort.scalars is not None:
            return cohort.scalars
        reference = cohort.require_reference(type(self).__name__)
        return np.array([self.scalar(update, reference) for update in cohort.updates])

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the mean of the models weighted by their votes, and charge everybody."""
        ballot = self.ballot(self.scalars(cohort), cohort.num_examples, cohort.client_ids)
        total = ballot.votes.sum()
        if total > 0:
            contributions = ballot.votes / total
            result = Aggregated(cohort.combine(contributions), contributions, ballot.columns)
        else:
            silent = self.silence(cohort)
            result = Aggregated(silent.weights, silent.contributions, ballot.columns)
        self.settle(ballot, cohort.client_ids)
        return result
