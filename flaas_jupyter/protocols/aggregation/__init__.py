"""Aggregation rules by name: how one round's client models become the new global model.

A rule is one module beside this one and one line in `_RULES`; whoever asks for a rule by its name (the model
API, a node, the simulator, the panel) then finds it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..registry import Registry
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
    "Reputation",
    "Residual",
    "Rule",
    "RuleRegistry",
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
    Needs.SUM: "it needs the sum of the updates only",
    Needs.SCALARS: "it needs sums, and one number that each client reports",
    Needs.UPDATES: "it must see every client's update; it sees means of random groups of three or more clients instead",
}
_MODES = {Needs.SUM: "sum", Needs.SCALARS: "votes", Needs.UPDATES: "groups"}
_SMALLEST_GROUP = 3


class RuleRegistry(Registry[Rule]):
    """The rules that can be asked for by name: call it to make one, ``names()`` lists them.

    Examples
    --------
    >>> rule = aggregation("fedavg")
    >>> rule([[0.0, 2.0], [4.0, 2.0]], [1, 3]).weights
    array([3., 2.])
    """

    def describe(self) -> list[dict[str, Any]]:
        """Return what documents and the panel say of each rule, sorted by name, in JSON values.

        Returns
        -------
        list of dict
            What `Registry.describe` says, with ``defends`` and ``limits``, sentences; ``needs``: "sum", "scalars" or
            "updates"; ``secure_aggregation``: whether it is ``supported``, the ``reason``, the ``mode`` ("sum",
            "votes" or "groups") and, in groups, the smallest number of ``clients`` and whether it is ``experimental``.
        """
        return [self._with_needs(entry) for entry in super().describe()]

    def _with_needs(self, entry: dict[str, Any]) -> dict[str, Any]:
        rule = self(entry["name"])
        secure: dict[str, Any] = {
            "supported": not rule.needs_one_update,
            "reason": _UNDER_SECURE_AGGREGATION[rule.needs],
            "mode": _MODES[rule.needs],
        }
        if rule.needs_one_update:
            secure["reason"] = "it compares with one client's update, which secure aggregation hides in a sum"
        elif rule.needs is Needs.UPDATES:
            secure["clients"] = _SMALLEST_GROUP * rule.least_models(rule.malicious)
            secure["experimental"] = rule.judges_clients
        return {**entry, "summary": rule.summary, "needs": rule.needs.value, "secure_aggregation": secure}


aggregation = RuleRegistry("aggregation rule", "aggregation", _RULES, facts=("defends", "limits"))
describe = aggregation.describe
names = aggregation.names
register = aggregation.register
