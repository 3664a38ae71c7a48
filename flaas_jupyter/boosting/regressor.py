"""Boosted trees that predict a quantity."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import InvalidInput
from ..protocols.boosting import Recipe, loss_named
from .answers import Answers
from .columns import Table, one_row_each
from .estimator import Boosting, Floats, bad_model


class FederatedBoostingRegressor(Boosting):
    """Gradient-boosted trees for a quantity, by squared error, on a federation's rows or on arrays.

    Parameters
    ----------
    target_range : (float, float), optional
        Between what the target lies; found from the rows by default, up to the few smallest and largest. Rows beyond
        it count, but pull no more than the range is wide.
    learning_rate, max_iter, max_depth, max_bins, min_samples_leaf, min_child_weight, min_gain, l2_regularization, \
max_features, edges, missing, early_stopping, validation_fraction, n_iter_no_change, tol, minimum_group, via, \
random_state, verbose
        As of `FederatedBoostingClassifier`.

    Attributes
    ----------
    n_features_in_, n_iter_, n_rows_, n_steps_ : int
    feature_importances_ : ndarray, shape (features,)
    train_loss_, validation_loss_ : ndarray, shape (iterations + 1,)
        Half the mean squared error before the first tree, after it, …

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(400, 3))
    >>> model = FederatedBoostingRegressor(max_iter=50).fit(x, 3 * x[:, 0])
    >>> bool(model.score(x, 3 * x[:, 0]) > 0.9)
    True
    """

    _task = "regression"
    _estimator_type = "regressor"

    def __init__(
        self,
        *,
        learning_rate: float = 0.1,
        max_iter: int = 100,
        max_depth: int = 5,
        max_bins: int = 64,
        min_samples_leaf: int = 20,
        min_child_weight: float = 1e-3,
        min_gain: float = 0.0,
        l2_regularization: float = 1.0,
        max_features: float = 1.0,
        edges: Mapping[str, Sequence[float]] | None = None,
        missing: float = math.nan,
        target_range: tuple[float, float] | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-7,
        minimum_group: int = 10,
        via: str = "mpc",
        random_state: int | None = None,
        verbose: int = 0,
    ) -> None:
        self.learning_rate = learning_rate
        self.max_iter = max_iter
        self.max_depth = max_depth
        self.max_bins = max_bins
        self.min_samples_leaf = min_samples_leaf
        self.min_child_weight = min_child_weight
        self.min_gain = min_gain
        self.l2_regularization = l2_regularization
        self.max_features = max_features
        self.edges = edges
        self.missing = missing
        self.target_range = target_range
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.minimum_group = minimum_group
        self.via = via
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X: Any) -> Floats:
        """Return each row's prediction, (n,)."""
        return np.asarray(self._scores(X)[0])

    def staged_predict(self, X: Any) -> Iterator[Floats]:
        """Return the predictions after one, two … iterations."""
        for scores in self._staged_scores(X):
            yield scores[0]

    def score(self, X: Any, y: Any) -> float:
        """Return R², 1 less the squared error as a share of the variance."""
        truth = np.asarray(y, dtype=np.float64)
        residual = float(np.square(truth - self.predict(X)).sum())
        variance = float(np.square(truth - truth.mean()).sum())
        if variance == 0.0:
            return 1.0 if residual == 0.0 else 0.0
        return 1.0 - residual / variance

    def _encoded_target(self, y: Any, rows: int) -> tuple[Floats, int | None]:
        values = one_row_each(y, rows)
        try:
            numbers = values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidInput(f"The target is not numbers: {error}.", code="boosting-bad-data") from error
        if not np.isfinite(numbers).all():
            raise InvalidInput("Input y contains NaN or infinity.", code="boosting-bad-data")
        return numbers, None

    def _ranges_wanted(self, table: Table) -> list[str]:
        return [] if self.target_range is not None else [table.target]

    def _recipe(
        self, answers: Answers, table: Table, ranges: Mapping[str, Floats], where: dict[str, Any] | None
    ) -> Recipe:
        given = self.target_range if self.target_range is not None else ranges[table.target]
        low, high = (float(each) for each in given)
        if not (math.isfinite(low) and math.isfinite(high)) or max(abs(low), abs(high)) > 1e50:
            raise InvalidInput(
                f"The range of the target {table.target!r} cannot be told from the rows.",
                code="boosting-bad-target-range",
                hint="Give target_range=(lowest, highest).",
            )
        offset = low + (high - low) / 2
        half = max((high - low) / 2, 1e-50)
        exponent = math.ceil(math.log2(half))
        return Recipe(
            loss_named("squared"),
            1,
            rules=self._rules(),
            exponent=exponent,
            score_exponent=exponent,
            offset=offset,
            **self._common(where),
        )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        given = self.target_range
        if given is None:
            return
        if not isinstance(given, Sequence) or len(given) != 2 or not all(isinstance(v, int | float) for v in given):
            raise InvalidInput(f"target_range must be two numbers, not {given!r}.", code="boosting-bad-parameter")
        if not given[0] < given[1]:
            raise InvalidInput(
                f"target_range must go from a lower to a higher number, not {given!r}.", code="boosting-bad-parameter"
            )

    def _read_own(self, document: dict[str, Any], loss: str) -> int:
        if loss != "squared":
            raise bad_model(f"its loss is {loss!r}, not 'squared'")
        return 1
