"""What private answers about one data set have cost one person, and whether another one fits.

The zCDP of answers adds up, and so, more coarsely, do their ε; what has been spent is the smaller of Σ ε_i (basic
composition, at Σ δ_i) and the ε of Σ ρ_i (Bun and Steinke, TCC 2016, lemma 2.3 and proposition 1.3, at one δ). For k
answers of equal ε the latter grows with √k: of 100 answers at ε = 0.1 it is 1.1 rather than 10.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ...errors import InvalidInput, NotAllowed
from .noise import DELTA, epsilon_of, rho_of

_SLACK = 1e-9


class PrivacyBudget:
    """The account of one person at one data set.

    Parameters
    ----------
    charges : iterable of float
        ε of the answers so far.
    """

    def __init__(self, charges: Iterable[float] = ()) -> None:
        self._epsilon = self._rho = 0.0
        self._answers = 0
        for epsilon in charges:
            self.charge(epsilon)

    def __repr__(self) -> str:
        return f"<PrivacyBudget: {self.spent:.4g} spent by {self._answers} answers>"

    @property
    def answers(self) -> int:
        """Number of answers charged."""
        return self._answers

    @property
    def spent(self) -> float:
        """ε of all answers together."""
        return self.after(0.0)

    @property
    def delta(self) -> float:
        """δ that goes with `spent`."""
        basic = self._epsilon <= epsilon_of(self._rho)
        return DELTA * self._answers if basic else DELTA

    def after(self, epsilon: float) -> float:
        """Return what would be spent with one more answer at `epsilon`; 0 for none."""
        rho = self._rho + (rho_of(epsilon) if epsilon else 0.0)
        return min(self._epsilon + epsilon, epsilon_of(rho))

    def require(self, epsilon: float, limit: float) -> None:
        """Refuse an answer that the budget does not hold.

        Parameters
        ----------
        epsilon : float
            Of the answer.
        limit : float
            The owner's.

        Raises
        ------
        NotAllowed
            Code ``analytics-budget``; the message says what is left.
        """
        if self.after(epsilon) > limit + _SLACK:
            left = self.left(limit)
            raise NotAllowed(
                f"The answer costs epsilon {epsilon:g}; {self.spent:.4g} of {limit:g} are spent, so that at most "
                f"{left:.4g} is left.",
                code="analytics-budget",
                hint="Ask with a smaller epsilon, or ask the data's owner to raise analytics_epsilon.",
                epsilon=epsilon,
                spent=self.spent,
                limit=limit,
                left=left,
            )

    def left(self, limit: float) -> float:
        """Return the largest ε that one more answer may have."""
        if self.spent >= limit:
            return 0.0
        basic = limit - self._epsilon
        rho = rho_of(limit) - self._rho
        composed = epsilon_of(rho) if rho > 0 else 0.0
        return max(0.0, basic, composed)

    def charge(self, epsilon: float) -> None:
        """Enter an answer.

        Raises
        ------
        InvalidInput
            Code ``bad-statistic``: ε is no number above 0.
        """
        if not (math.isfinite(epsilon) and epsilon > 0):
            raise InvalidInput(f"An answer costs an epsilon above 0, not {epsilon!r}.", code="bad-statistic")
        self._epsilon += epsilon
        self._rho += rho_of(epsilon)
        self._answers += 1
