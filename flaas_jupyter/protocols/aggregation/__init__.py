"""Aggregation rules by name: how one round's client models become the new global model.

A rule is one module beside this one and one line in `_RULES`; whoever asks for a rule by its name (the model
API, a node, the simulator, the panel) then finds it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from ...errors import Conflict, InvalidInput
from .fedavg import FedAvg
from .rule import Aggregated, Cohort, Needs, Rule

__all__ = ["Aggregated", "Cohort", "FedAvg", "Needs", "Registry", "Rule", "aggregation", "names", "register"]

_RULES: dict[str, Callable[..., Rule]] = {
    "fedavg": FedAvg,
}


class Registry:
    """The rules that can be asked for by name: call it to make one, ``names()`` lists them.

    Examples
    --------
    >>> rule = aggregation("fedavg")
    >>> rule([[0.0, 2.0], [4.0, 2.0]], [1, 3]).weights
    array([3., 2.])
    """

    def __init__(self, rules: dict[str, Callable[..., Rule]]) -> None:
        self._rules = dict(rules)

    def __call__(self, name: str, **options: Any) -> Rule:
        """Make the rule `name`.

        Parameters
        ----------
        name : str
            One of `names`.
        **options
            The rule's own options, by keyword.

        Raises
        ------
        InvalidInput
            Code ``unknown-aggregation``, or ``bad-aggregation-option`` when the rule has no such option.
        """
        if name not in self._rules:
            near = difflib.get_close_matches(str(name), self._rules, n=1)
            raise InvalidInput(
                f"There is no aggregation rule {str(name)[:80]!r}; there are {', '.join(self.names())}.",
                code="unknown-aggregation",
                hint=f"Did you mean {near[0]!r}?" if near else "Choose one of these, or `register` your own.",
                allowed=self.names(),
            )
        try:
            return self._rules[name](**options)
        except TypeError as error:
            raise InvalidInput(
                f"The aggregation rule {name!r} cannot be made with {options!r}: {error}.",
                code="bad-aggregation-option",
                hint="The rule's docstring lists its options.",
            ) from error

    def names(self) -> list[str]:
        """Return the names of all rules, sorted."""
        return sorted(self._rules)

    def register(self, name: str, make: Callable[..., Rule]) -> None:
        """Add a rule of one's own: `make` takes the rule's options and returns it.

        Raises
        ------
        Conflict
            Code ``aggregation-exists``: the name is taken.
        """
        if name in self._rules:
            raise Conflict(f"There is an aggregation rule {name!r} already.", code="aggregation-exists")
        self._rules[name] = make


aggregation = Registry(_RULES)
names = aggregation.names
register = aggregation.register
