"""Explanations of single rows, for whoever the rows belong to: they are computed here, and nothing is asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from ..errors import InvalidInput
from ..protocols.explaining import Background
from ..protocols.explaining import Explanation as ExplanationStatistic
from ..protocols.explaining.shapley import MAXIMUM_EXACT
from .asking import background_of
from .explanation import Explanation
from .travelling import Travelling

_BACKGROUND = 64


def explain_rows(
    model: Any,
    rows: Any,
    *,
    explanation: Explanation | None = None,
    background: Any = None,
    output: str = "margin",
    of: str | int | None = None,
    permutations: int | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Explain a model's predictions for rows of one's own.

    Parameters
    ----------
    model : FederatedModel, FederatedBoostingClassifier or FederatedBoostingRegressor
    rows : DataFrame, or str
        Rows with the model's features; or the name of a data set that is registered on this machine, which only its
        owner can open (`flaas.datasets.open`).
    explanation : Explanation, optional
        Of the same model over a federation: its background and output are taken.
    background : DataFrame, optional
        Reference rows; without these and `explanation`, up to 64 of `rows`, drawn by `seed`.
    output : str
        ``"margin"`` or ``"prediction"``.
    of : str or int, optional
        Which of the model's outputs; the last by default.
    permutations : int, optional
        Orders in which features join, even; 0 goes through all coalitions. By default 0 up to 10 features, else 32.
    seed : int

    Returns
    -------
    DataFrame
        A SHAP value for each row (same index) and feature. ``attrs["base_value"]`` is what they are counted from: it
        and a row's values add up to what the model says of the row.

    Raises
    ------
    NotAllowed
        Code ``not-the-owner``.
    InvalidInput
        ``unknown-column``; ``bad-background``; ``unknown-output``; ``model-does-not-fit``.

    Examples
    --------
    >>> explain_rows(model, "patients", explanation=explanation)  # doctest: +SKIP
    """
    table = _opened(rows)
    travelling = travelling_of(model)
    features = travelling.features or _features_of(explanation, table, model)
    absent = [name for name in features if name not in table]
    if absent:
        raise InvalidInput(
            f"The rows have no column {absent[0]!r}, which the model takes.",
            code="unknown-column",
            hint=f"It takes {', '.join(features[:20])}.",
            column=absent[0],
        )
    if explanation is not None:
        output = explanation.output
    reference = _reference(travelling, explanation, background, table, features, seed)
    orders = permutations if permutations is not None else (0 if len(features) <= 10 else 32)
    if not orders and len(features) > MAXIMUM_EXACT and not travelling.is_additive(output):
        raise InvalidInput(
            f"permutations=0 goes through all coalitions, of up to {MAXIMUM_EXACT} features; the model has "
            f"{len(features)}.",
            code="bad-explanation-setting",
        )
    statistic = ExplanationStatistic(
        columns=features,
        model=travelling.reference(output),
        background=reference,
        orders=orders,
        seed=seed,
    )
    columns = {name: _values(table[name]) for name in features}
    values = travelling.at_hand(output).shap(statistic, columns)
    place = _place(travelling, of)
    found = pd.DataFrame(values[:, :, place], index=table.index, columns=list(features))
    found.attrs["base_value"] = float(travelling.base_values(output, reference)[place])
    found.attrs["output"] = travelling.outputs[place]
    return found


def travelling_of(model: Any) -> Travelling:
    """Return any model that can be explained as it travels.

    Raises
    ------
    InvalidInput
        Code ``explain-model``: it is no such model.
    """
    make = getattr(model, "as_travelling", None)
    if make is None:
        raise InvalidInput(
            f"A {type(model).__name__} cannot be explained.",
            code="explain-model",
            hint="FederatedModel and the boosting estimators can.",
        )
    found: Travelling = make()
    return found


def _opened(rows: Any) -> pd.DataFrame:
    if isinstance(rows, str):
        from .. import datasets

        opened: pd.DataFrame = datasets.open(rows)
        return opened
    if isinstance(rows, pd.DataFrame):
        return rows
    array = np.asarray(rows)
    if array.ndim != 2:
        raise InvalidInput(
            f"rows are of shape {array.shape}; allowed is a DataFrame, or an array of rows and features.",
            code="bad-rows",
        )
    return pd.DataFrame(array, columns=[f"x[{place}]" for place in range(array.shape[1])])


def _features_of(explanation: Explanation | None, table: pd.DataFrame, model: Any) -> tuple[str, ...]:
    if explanation is not None:
        return tuple(explanation.features)
    width = int(np.prod(model.input_shape[1:], dtype=int)) if isinstance(model.input_shape, tuple) else -1
    if width == table.shape[1]:
        return tuple(str(name) for name in table.columns)
    raise InvalidInput(
        f"Which of the {table.shape[1]} columns are the model's {width} features cannot be told.",
        code="unknown-column",
        hint="Give the features only, in their order, or explanation=model.explain(federation).",
    )


def _reference(
    model: Travelling,
    explanation: Explanation | None,
    background: Any,
    table: pd.DataFrame,
    features: tuple[str, ...],
    seed: int,
) -> Background | None:
    if model.kind == "boosting":
        return None
    if background is not None:
        return background_of(background, features)
    if explanation is not None and explanation.background is not None:
        return explanation.background
    return background_of(table.sample(min(_BACKGROUND, len(table)), random_state=seed), features)


def _values(column: pd.Series[Any]) -> Any:
    if pd.api.types.is_numeric_dtype(column.dtype) or pd.api.types.is_bool_dtype(column.dtype):
        return column.to_numpy(np.float64, na_value=np.nan)
    return column.astype(object).where(column.notna(), None).to_numpy(object)


def _place(model: Travelling, of: str | int | None) -> int:
    if of is None:
        return len(model.outputs) - 1
    if isinstance(of, int | np.integer) and 0 <= of < len(model.outputs):
        return int(of)
    if of in model.outputs:
        return model.outputs.index(str(of))
    raise InvalidInput(
        f"{of!r} is no output of the model; there are {', '.join(model.outputs)}.", code="unknown-output"
    )
