"""Boosted trees that tell classes apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..protocols.boosting import MAXIMUM_OUTPUTS, Recipe, loss_named, probabilities
from .answers import Answers
from .columns import Table, one_row_each
from .estimator import Boosting, Floats, bad_model


class FederatedBoostingClassifier(Boosting):
    """Gradient-boosted trees for classes, on a federation's rows or on arrays.

    Parameters
    ----------
    learning_rate : float
        What each tree counts for.
    max_iter : int
        Iterations; each grows one tree, with more than two classes one for each.
    max_depth : int
        Splits on the way to a leaf.
    max_bins : int
        Bins of a feature, 2 to 255. What a step sends grows with them.
    min_samples_leaf : int
        Rows of a leaf, over all nodes.
    min_child_weight : float
        Sum of second derivatives in a leaf.
    min_gain : float
        What a split must gain more than.
    l2_regularization : float
    max_features : float
        Share of the features that each iteration draws.
    edges : dict of str to sequence of float, optional
        Bin edges of features, found from the rows where they are not given. Features of arrays are ``x[0]``, ``x[1]`` …
    missing : float
        The value that stands for a missing one, beside NaN. Nodes' data sets hold no NaN.
    class_weight : "balanced", dict, or None
        What a row of a class counts for.
    n_classes : int, optional
        Classes of a federation, 0 to n_classes - 1; found from the rows if the schema does not say it.
    early_stopping : bool
        Whether it ends when the loss on rows held out no longer improves; the model is that of the lowest loss.
    validation_fraction : float
        Share of the rows that are held out, at each node.
    n_iter_no_change : int
    tol : float
    minimum_group : int
        Of arrays: bins of fewer rows are merged, as nodes do it by their own policy.
    via : str
        How nodes add up: ``"mpc"`` or ``"he"``.
    random_state : int, optional
    verbose : int

    Attributes
    ----------
    classes_ : ndarray, shape (classes,)
    n_classes_ : int
    n_features_in_, n_iter_, n_rows_, n_steps_ : int
    nodes_ : list of str
        Names of the nodes in the last sum.
    feature_importances_ : ndarray, shape (features,)
    train_loss_, validation_loss_ : ndarray, shape (iterations + 1,)
        Mean loss before the first tree, after it, …

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(400, 3))
    >>> model = FederatedBoostingClassifier(max_iter=20).fit(x, x[:, 0] > 0)
    >>> bool(model.score(x, x[:, 0] > 0) > 0.95)
    True
    """

    _task = "classification"
    _estimator_type = "classifier"

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
        class_weight: Any = None,
        n_classes: int | None = None,
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
        self.class_weight = class_weight
        self.n_classes = n_classes
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.minimum_group = minimum_group
        self.via = via
        self.random_state = random_state
        self.verbose = verbose

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row, (n,)."""
        p = self.predict_proba(X)
        chosen: NDArray[Any] = self.classes_[p.argmax(axis=1)]
        return chosen

    def predict_proba(self, X: Any) -> Floats:
        """Return the probabilities of the classes, (n, classes)."""
        return probabilities(self._fitted_loss(), self._scores(X))

    def predict_log_proba(self, X: Any) -> Floats:
        """Return the logarithms of the probabilities."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def decision_function(self, X: Any) -> Floats:
        """Return the scores: (n,) log odds of two classes, (n, classes) of more."""
        scores = self._scores(X)
        return scores[0] if len(scores) == 1 else np.ascontiguousarray(scores.T)

    def staged_predict_proba(self, X: Any) -> Iterator[Floats]:
        """Return the probabilities after one, two … iterations."""
        for scores in self._staged_scores(X):
            yield probabilities(self._fitted_loss(), scores)

    def staged_predict(self, X: Any) -> Iterator[NDArray[Any]]:
        """Return the classes after one, two … iterations."""
        for p in self.staged_predict_proba(X):
            yield self.classes_[p.argmax(axis=1)]

    def score(self, X: Any, y: Any) -> float:
        """Return the share of the rows that are predicted right."""
        return float(np.mean(self.predict(X) == np.asarray(y)))

    @property
    def n_classes_(self) -> int:
        """Number of classes."""
        self._require_fitted()
        return len(self.classes_)

    def _fitted_loss(self) -> Any:
        self._require_fitted()
        return self._loss

    def _encoded_target(self, y: Any, rows: int) -> tuple[Floats, int | None]:
        labels = one_row_each(y, rows)
        if labels.dtype.kind == "f" and not (np.isfinite(labels).all() and (labels == np.floor(labels)).all()):
            raise InvalidInput(
                "Unknown label type: the classes are not whole numbers or texts.",
                code="boosting-bad-data",
                hint="FederatedBoostingRegressor predicts quantities.",
            )
        try:
            self._local_classes, codes = np.unique(labels, return_inverse=True)
        except TypeError as error:
            raise InvalidInput(f"Unknown label type: {error}.", code="boosting-bad-data") from error
        if len(self._local_classes) < 2:
            raise InvalidInput(
                "All rows are of one class; there is nothing to tell apart.",
                code="boosting-one-class",
                hint="Train on data that have rows of two classes at least.",
            )
        return codes.astype(np.float64), len(self._local_classes)

    def _recipe(
        self, answers: Answers, table: Table, ranges: Mapping[str, Floats], where: dict[str, Any] | None
    ) -> Recipe:
        classes = np.arange(self._count(table, ranges)) if answers.federated else self._local_classes
        if len(classes) > MAXIMUM_OUTPUTS:
            raise InvalidInput(
                f"There are {len(classes)} classes; allowed are {MAXIMUM_OUTPUTS}.", code="boosting-bad-data"
            )
        outputs = 1 if len(classes) == 2 else len(classes)
        self.classes_ = classes
        loss = loss_named("logistic" if outputs == 1 else "softmax")
        return Recipe(loss, outputs, rules=self._rules(), class_weight=self._weights_of(classes), **self._common(where))

    def _ranges_wanted(self, table: Table) -> list[str]:
        known = self.n_classes or table.classes
        return [] if known else [table.target]

    def _count(self, table: Table, ranges: Mapping[str, Floats]) -> int:
        known = self.n_classes or table.classes
        if known:
            return int(known)
        # Classes are whole numbers: the upper boundary of the last cell that holds rows is just above the largest.
        top = ranges[table.target][1]
        if not 0 < top <= MAXIMUM_OUTPUTS:
            raise InvalidInput(
                f"How many classes {table.target!r} has cannot be told from the rows.",
                code="boosting-bad-data",
                hint="Give n_classes=...",
            )
        return max(math.ceil(float(top) - 1e-9), 2)

    def _weights_of(self, classes: NDArray[Any]) -> Any:
        chosen = self.class_weight
        if chosen is None or (isinstance(chosen, str) and chosen == "balanced"):
            return chosen
        if not isinstance(chosen, Mapping):
            raise InvalidInput(
                f'class_weight must be "balanced", a dict or None, not {chosen!r}.', code="boosting-bad-parameter"
            )
        places = {label: number for number, label in enumerate(classes.tolist())}
        for label, weight in chosen.items():
            if label not in places or not isinstance(weight, int | float) or not 0 < weight <= 2.0**20:
                raise InvalidInput(
                    f"class_weight gives {weight!r} to {label!r}; it takes numbers above 0 for classes of "
                    f"{list(places)[:10]}.",
                    code="boosting-bad-parameter",
                )
        return {places[label]: float(weight) for label, weight in chosen.items()}

    def _check_parameters(self) -> None:
        super()._check_parameters()
        value = self.n_classes
        if value is not None and (
            isinstance(value, bool) or not isinstance(value, int | np.integer) or not 2 <= value <= MAXIMUM_OUTPUTS
        ):
            raise InvalidInput(
                f"n_classes must be an integer from 2 to {MAXIMUM_OUTPUTS}, or None, not {value!r}.",
                code="boosting-bad-parameter",
            )

    def _own_json(self) -> dict[str, Any]:
        return {"classes": self.classes_.tolist()}

    def _read_own(self, document: dict[str, Any], loss: str) -> int:
        classes = document.get("classes")
        kinds = {type(label) for label in classes} if isinstance(classes, list) else set()
        if not isinstance(classes, list) or len(kinds) != 1 or not kinds <= {int, float, str, bool}:
            raise bad_model("its classes are not a list of numbers or of texts")
        if (
            len(set(classes)) != len(classes)
            or len(classes) < 2
            or loss != ("logistic" if len(classes) == 2 else "softmax")
        ):
            raise bad_model("its loss and its number of classes do not go together")
        self.classes_ = np.array(classes)
        return 1 if len(classes) == 2 else len(classes)
