"""Aggregation rules by name: how one round's client models become the new global model.

A rule is one module beside this one and one line in `_RULES`; whoever asks for a rule by its name (the model
API, a node, the simulator, the panel) then finds it.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from typing import Any

from ...errors import Conflict, InvalidInput
from .fedadam import FedAdam
from .fedavg import FedAvg
from .fedavgm import FedAvgM
from .fedprox import FedProx
from .fedqv import FedQV
from .fedqv_reputation import FedQVReputation
from .fedyogi import FedYogi
from .fltrust import FLTrust
from .foolsgold import FoolsGold
from .geometric_median import GeometricMedian
from .krum import Krum
from .median import Median
from .multi_krum import MultiKrum
from .norm_clipping import NormClipping
from .reputation import Reputation
from .residual import Residual
from .rule import Aggregated, Cohort, Needs, Rule
from .scalar import Ballot, ScalarRule
from .trimmed_mean import TrimmedMean

__all__ = [
    "Aggregated",
    "Ballot",
    "Cohort",
    "FLTrust",
    "FedAdam",
    "FedAvg",
    "FedAvgM",
    "FedProx",
    "FedQV",
    "FedQVReputation",
    "FedYogi",
    "FoolsGold",
    "GeometricMedian",
    "Krum",
    "Median",
    "MultiKrum",
    "Needs",
    "NormClipping",
    "Registry",
    "Reputation",
    "Residual",
    "Rule",
    "ScalarRule",
    "TrimmedMean",
    "aggregation",
    "describe",
    "names",
    "register",
]

_RULES: dict[str, Callable[..., Rule]] = {
    "fedadam": FedAdam,
    "fedavg": FedAvg,
    "fedavgm": FedAvgM,
    "fedprox": FedProx,
    "fedqv": FedQV,
    "fedqv_reputation": FedQVReputation,
    "fedyogi": FedYogi,
    "fltrust": FLTrust,
    "foolsgold": FoolsGold,
    "geometric_median": GeometricMedian,
    "krum": Krum,
    "median": Median,
    "multi_krum": MultiKrum,
    "norm_clipping": NormClipping,
    "reputation": Reputation,
    "residual": Residual,
    "trimmed_mean": TrimmedMean,
}

_UNDER_SECURE_AGGREGATION = {
    Needs.SUM: ("supported", "it needs the sum of the updates only"),
    Needs.SCALARS: ("supported", "it needs sums, and one number that each client reports"),
    Needs.UPDATES: ("refused", "it must see every client's update, which secure aggregation hides"),
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

    def describe(self) -> list[dict[str, Any]]:
        """Return what documents and the panel say of each rule, sorted by name, in JSON values.

        Returns
        -------
        list of dict
            ``name``; ``summary``, ``defends`` and ``limits``, sentences; ``needs``: "sum", "scalars" or "updates";
            ``options``: a list of ``{"name", "type", "default"}``; ``secure_aggregation``: "supported" or "refused",
            and the ``reason``.
        """
        return [_describe(name, self(name)) for name in self.names()]

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


def _describe(name: str, rule: Rule) -> dict[str, Any]:
    fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(rule) if dataclasses.is_dataclass(rule) else ()
    types = {each.name: each.type for each in fields}
    secure, reason = _UNDER_SECURE_AGGREGATION[rule.needs]
    return {
        "name": name,
        "summary": rule.summary,
        "defends": rule.defends,
        "limits": rule.limits,
        "needs": rule.needs.value,
        "options": [
            {"name": option, "type": str(types[option]), "default": default} for option, default in rule.options.items()
        ],
        "secure_aggregation": secure,
        "reason": reason,
    }


aggregation = Registry(_RULES)
describe = aggregation.describe
names = aggregation.names
register = aggregation.register
