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
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .checks import require_option
from .rule import Aggregated, Cohort, Needs, Rule

SILENCE = ("keep", "average")
"""What may happen when nobody has a vote: the reference stays, or the models are averaged with equal weights."""


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


@dataclass
class ScalarRule(Rule):
    """Base of the rules with `Needs.SCALARS`: a subclass writes `scalar`, `ballot` and `settle`.

    Parameters
    ----------
    on_silence : str
        What happens when nobody has a vote: "keep" the reference, or "average" the models with equal weights.
    """

    needs: ClassVar[Needs] = Needs.SCALARS

    on_silence: str = field(default="keep", kw_only=True)

    def __post_init__(self) -> None:
        require_silence(self.on_silence, self.name)

    @abstractmethod
    def scalar(self, update: NDArray[Any], reference: NDArray[np.float64]) -> float:
        """Return the number that a client reports about its own update (p,) and the reference (p,)."""

    def scalars(self, updates: NDArray[Any], reference: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the numbers of several clients, shape (n,), of their updates (n, p)."""
        return np.array([self.scalar(update, reference) for update in updates])

    @abstractmethod
    def ballot(
        self, scalars: NDArray[np.float64], num_examples: NDArray[np.float64], client_ids: Sequence[str]
    ) -> Ballot:
        """Return the votes for what the clients reported, (n,) each; changes nothing."""

    @abstractmethod
    def settle(self, ballot: Ballot, client_ids: Iterable[str]) -> None:
        """Charge those of the ballot's clients whose updates are in the sum."""

    def aggregate(self, cohort: Cohort) -> Aggregated:
        """Return the mean of the models weighted by their votes, and charge everybody.

        Numbers that were not reported are computed from the updates and the reference.
        """
        if cohort.scalars is None:
            reference = cohort.require_reference(type(self).__name__)
            scalars = self.scalars(cohort.updates, reference)
        else:
            scalars = cohort.scalars
        ballot = self.ballot(scalars, cohort.num_examples, cohort.client_ids)
        weights, contributions = mean_by_votes(cohort, ballot.votes, self.on_silence, type(self).__name__)
        self.settle(ballot, cohort.client_ids)
        return Aggregated(weights, contributions, ballot.columns)


def require_silence(on_silence: str, rule: str) -> None:
    """Refuse an option `on_silence` that there is not."""
    require_option(on_silence in SILENCE, rule, "on_silence", on_silence, " or ".join(map(repr, SILENCE)))


def mean_by_votes(
    cohort: Cohort, votes: NDArray[np.float64], on_silence: str, rule: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean of the models weighted by votes (p,), and each client's part in it (n,).

    When nobody has a vote, `on_silence` says what becomes of the round; all parts are 0 when the reference is kept.
    """
    contributions = parts_of(cohort, votes, on_silence, rule)
    if not contributions.any():
        return cohort.require_reference(rule).copy(), contributions
    return cohort.combine(contributions), contributions


def parts_of(cohort: Cohort, votes: NDArray[np.float64], on_silence: str, rule: str) -> NDArray[np.float64]:
    """Return votes that sum to 1, shape (n,); all 0 where nobody has one and the reference, which must be, is kept."""
    total = votes.sum()
    if total > 0:
        parts: NDArray[np.float64] = votes / total
        return parts
    if on_silence == "average":
        return np.full(len(cohort), 1.0 / len(cohort))
    cohort.require_clients(2, rule, "since those that are least and most alike are muted")
    cohort.require_reference(rule)
    return np.zeros(len(cohort))
