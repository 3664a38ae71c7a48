"""Questions about models at a node: may this one be asked, and the model that came with it.

A model is a function of the rows that whoever asks has chosen, so more than a sum of columns: the owner must let models
come to the data set, that is allow ``train`` beside ``analytics``, or any derived column (``analytics_derived =
"any"``). How well a model does on this node's rows alone is told only if the owner says so (``explore_performance``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..errors import NotAllowed
from ..training.prediction import bind, telling
from .policy import Policy

if TYPE_CHECKING:
    from ..protocols.analytics.statistics import Statistic

KINDS = frozenset({"explanation", "performance"})
"""Statistics about a model; the profile of the columns is one without."""


def with_model(
    statistic: Statistic, tensors: Mapping[str, NDArray[Any]], policy: Policy, dataset: str, node: str
) -> Statistic:
    """Return a statistic with the model that came with it; statistics about no model as they are.

    Parameters
    ----------
    statistic : Statistic
    tensors : mapping of str to ndarray
        Of the message.
    policy : Policy
        The node's.
    dataset : str
    node : str
        This node's id.

    Raises
    ------
    NotAllowed
        ``policy-explain``; ``model-altered``; ``custom-layer``.
    InvalidInput
        ``model-missing`` and what `bind` raises.
    """
    if statistic.kind not in KINDS or getattr(statistic, "model", None) is None:
        return statistic
    own = policy.for_dataset(dataset)
    if "train" not in own.operations and own.analytics_derived != "any":
        raise NotAllowed(
            f"Data set {dataset!r} is not open to models here; allowed is: {', '.join(own.operations) or 'nothing'}.",
            code="policy-explain",
            hint=f'Ask {own.whom} to add "train" to operations in its node.toml; statistics of columns can be asked '
            "without: federation.analytics.",
        )
    bound = bind(statistic, tensors, allowed_custom=own.allow_layers)
    return telling(bound, node, own.minimum_group) if own.explore_performance else bound
