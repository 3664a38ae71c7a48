"""Models that travel with a question, and what they say of rows: Shapley values and metrics.

Used wherever rows are: at nodes and by simulated clients. A model comes as arrays whose digest the developer has
signed: a training plan and weights, or an ensemble of trees, as JSON. Both are read with the suspicion that plans and
ensembles are always read with.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .tree_prediction import TreeModel, bad_model

if TYPE_CHECKING:
    from ..protocols.analytics import Statistic
    from ..protocols.explaining.model_reference import ModelReference
    from .keras_prediction import KerasModel

Tensors = Mapping[str, NDArray[Any]]

_JSON_LIMIT = 32 << 20
_KEPT = 4


def bind(
    statistic: Statistic,
    tensors: Tensors,
    *,
    allowed_custom: Collection[str] | None = (),
) -> Statistic:
    """Return a statistic with its model at hand; one that is about no model as it is.

    Parameters
    ----------
    statistic : Statistic
    tensors : mapping of str to ndarray
        What came with the question.
    allowed_custom : collection of str, or None
        The owner's `allow_layers`; None allows what is registered in this process, for the model's author.

    Raises
    ------
    InvalidInput
        ``model-missing``; ``bad-explained-model``; the codes of `TrainingPlan.from_dict`, `TrainingPlan.build` and
        `Ensemble.from_dict`.
    NotAllowed
        ``model-altered``; ``custom-layer``.
    """
    if statistic.kind not in ("explanation", "performance"):
        return statistic
    from ..protocols.explaining import Explanation, Performance

    reference = getattr(statistic, "model", None)
    if reference is None:
        return statistic
    reference.require(tensors)
    model = model_of(reference, tensors, allowed_custom)
    if isinstance(statistic, Explanation):
        return replace(statistic, explainer=model)
    assert isinstance(statistic, Performance)
    return replace(statistic, judge=model)


def model_of(
    reference: ModelReference, tensors: Tensors, allowed_custom: Collection[str] | None = ()
) -> KerasModel | TreeModel:
    """Return a model whose tensors were held against its reference, from among the last ones if it was there.

    Raises
    ------
    InvalidInput, NotAllowed
        As `bind`.
    """
    return _models.get(reference, tensors, allowed_custom)


def telling(statistic: Statistic, node: str, smallest: int) -> Statistic:
    """Return a statistic as a node computes it whose owner tells how well models do on its rows.

    Parameters
    ----------
    statistic : Statistic
        Statistics of other kinds are returned as they are.
    node : str
        Its id.
    smallest : int
        Rows that it must have for that.
    """
    if statistic.kind != "performance":
        return statistic
    from ..protocols.explaining import Performance

    assert isinstance(statistic, Performance)
    return replace(statistic, teller=node, smallest=smallest)


class _Models:
    """The models that came last, so that a second question about one need not build it again."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[Any, ...], KerasModel | TreeModel] = OrderedDict()
        self._lock = threading.Lock()

    def get(
        self, reference: ModelReference, tensors: Tensors, allowed_custom: Collection[str] | None
    ) -> KerasModel | TreeModel:
        allowed = None if allowed_custom is None else tuple(sorted(allowed_custom))
        key = (reference.kind, reference.sha256, reference.output, allowed)
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made: KerasModel | TreeModel
        if reference.kind == "boosting":
            made = TreeModel(_document(tensors, "trees"))
        else:
            from ..plan import TrainingPlan
            from .keras_prediction import KerasModel

            plan = TrainingPlan.from_dict(_document(tensors, "plan"))
            if "weights" not in tensors:
                raise bad_model("it comes without weights")
            made = KerasModel(plan, np.asarray(tensors["weights"]), reference.output, allowed)
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made


_models = _Models()


def _document(tensors: Tensors, name: str) -> dict[str, Any]:
    array = tensors.get(name)
    if array is None or array.dtype != np.uint8 or array.ndim != 1 or array.nbytes > _JSON_LIMIT:
        raise bad_model(f"its {name} must be up to {_JSON_LIMIT >> 20} MiB of JSON")
    try:
        document = json.loads(array.tobytes())
    except (ValueError, RecursionError) as error:
        raise bad_model(f"its {name} are no JSON") from error
    if not isinstance(document, dict):
        raise bad_model(f"its {name} are no object")
    return document
