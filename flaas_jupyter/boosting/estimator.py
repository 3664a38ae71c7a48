"""What classifier and regressor share: parameters, training, scoring, JSON.

What scikit-learn asks of an estimator is here in a few lines rather than inherited: a participant's machine need not
have scikit-learn.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInput
from ..protocols.boosting import (
    MAXIMUM_BINS,
    MAXIMUM_DEPTH,
    MAXIMUM_ITERATIONS,
    Bins,
    Booster,
    Ensemble,
    HoldOut,
    Recipe,
    Rules,
    TreeEdges,
    find_edges,
    loss_named,
)
from .answers import Answers, FederatedAnswers, LocalAnswers, parts
from .columns import Table, as_columns, columns_of, condition

if TYPE_CHECKING:
    from ..explaining import Explanation, Performance
    from ..explaining.travelling import Travelling

FORMAT = "flaas-boosting"
VERSION = 1
_MAXIMUM_FILE = 1 << 28

Floats = NDArray[np.float64]


class Boosting(ABC):
    """What classifier and regressor share."""

    _task = ""

    learning_rate: float
    max_iter: int
    max_depth: int
    max_bins: int
    min_samples_leaf: int
    min_child_weight: float
    min_gain: float
    l2_regularization: float
    max_features: float
    edges: Mapping[str, Sequence[float]] | None
    missing: float
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float
    minimum_group: int
    via: str
    random_state: int | None
    verbose: int

    # ---- scikit-learn's interface ------------------------------------------------------------------------------

    @classmethod
    def _parameters(cls) -> list[str]:
        return [name for name in inspect.signature(cls.__init__).parameters if name != "self"]

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters by name."""
        return {name: getattr(self, name) for name in self._parameters()}

    def set_params(self, **params: Any) -> Self:
        """Set parameters by name.

        Raises
        ------
        InvalidInput
            Code ``boosting-unknown-parameter``.
        """
        for name, value in params.items():
            if name not in self._parameters():
                raise InvalidInput(
                    f"Invalid parameter {name!r} for estimator {type(self).__name__}.",
                    code="boosting-unknown-parameter",
                    hint=f"Valid parameters are: {', '.join(self._parameters())}.",
                )
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        defaults = {name: each.default for name, each in inspect.signature(type(self)).parameters.items()}
        given = {name: value for name, value in self.get_params().items() if not _same(value, defaults[name])}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in given.items())})"

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_ensemble")

    def __sklearn_tags__(self) -> Any:
        """What scikit-learn wants to know of an estimator; only it calls this."""
        from sklearn.utils import ClassifierTags, InputTags, RegressorTags, Tags, TargetTags

        classifier = self._task == "classification"
        return Tags(
            estimator_type="classifier" if classifier else "regressor",
            target_tags=TargetTags(required=False),
            transformer_tags=None,
            classifier_tags=ClassifierTags() if classifier else None,
            regressor_tags=None if classifier else RegressorTags(),
            input_tags=InputTags(allow_nan=True),
        )

    # ---- training ----------------------------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        rows: Any = None,
        features: Sequence[str] | None = None,
        target: str | None = None,
    ) -> Self:
        """Train on a federation, or on arrays.

        Parameters
        ----------
        X : federation, or array-like of shape (n, features), or DataFrame
            What ``flaas.simulate`` or a project's ``federation`` returns, or features; NaN are missing values.
        y : array-like of shape (n,), optional
            Targets, where `X` holds features.
        rows : condition, optional
            Rows of the federation to train on, e.g. ``frame["age"] > 30``.
        features : sequence of str, optional
            Columns of the federation to train on; all features by default.
        target : str, optional
            Column of the federation to predict; its target by default.

        Returns
        -------
        self

        Raises
        ------
        InvalidInput
            ``boosting-bad-parameter``; ``boosting-bad-data``; ``boosting-one-class``; ``boosting-too-few-rows``;
            ``boosting-validation-too-small``; ``boosting-bad-edges``; and what the federation refuses.
        """
        self._check_parameters()
        if y is None and hasattr(X, "analytics"):
            source = X.analytics.source
            table, where = columns_of(source.schema, features, target), condition(rows)
            summary = {"estimator": type(self).__name__, "target": table.target, "features": len(table.features)}
            return self._trained(FederatedAnswers(source, self.via, summary), table, where)
        if rows is not None or features is not None or target is not None:
            raise InvalidInput(
                "rows, features and target choose from a federation's columns; X and y are arrays.",
                code="boosting-bad-data",
                hint="Choose from the arrays before calling fit.",
            )
        if y is None:
            raise InvalidInput(
                "fit requires y to be passed, but the target y is None.",
                code="boosting-bad-data",
                hint="fit(X, y) with arrays, or fit(federation) with what flaas.simulate or a project returns.",
            )
        names, columns = as_columns(X)
        own, classes = self._encoded_target(y, len(next(iter(columns.values()))))
        target = "y"
        while target in columns:
            target += "'"
        columns[target] = own
        self._trained(LocalAnswers(columns, self.minimum_group), Table(names, target, classes), None)
        if hasattr(X, "columns"):
            self.feature_names_in_ = np.array(names, dtype=object)
        return self

    def _trained(self, answers: Answers, table: Table, where: dict[str, Any] | None) -> Self:
        try:
            self._train(answers, table, where)
        except BaseException as error:
            answers.close(error)
            raise
        answers.close()
        return self

    def _train(self, answers: Answers, table: Table, where: dict[str, Any] | None) -> None:
        missing = None if self.missing is None or math.isnan(self.missing) else float(self.missing)
        bins, ranges = self._bins(answers, table, missing, where)
        recipe = self._recipe(answers, table, ranges, where)
        booster = Booster(answers.ask, bins, table.target, recipe, self._say if self.verbose else None)
        found = booster.run()
        self._bins_, self._ensemble, self._offset, self._loss = bins, found.ensemble, recipe.offset, recipe.loss
        self.n_features_in_ = len(table.features)
        self.features_ = list(table.features)
        self.n_iter_ = len(found.ensemble.iterations)
        self.n_rows_ = found.rows
        self.train_loss_ = np.array(found.train_loss)
        self.validation_loss_ = np.array(found.validation_loss)
        self.n_steps_ = answers.steps
        self.nodes_ = list(answers.nodes)
        if hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        if answers.federated:
            self.feature_names_in_ = np.array(table.features, dtype=object)
        if self.n_iter_ == 0:
            warnings.warn(
                f"{type(self).__name__} found no split that is allowed: it predicts the same for every row. "
                f"min_samples_leaf is {self.min_samples_leaf}, and there are {found.rows} rows.",
                stacklevel=4,
            )

    def _bins(
        self, answers: Answers, table: Table, missing: float | None, where: dict[str, Any] | None
    ) -> tuple[Bins, dict[str, Floats]]:
        """Return the bins, and the range of the target where it has to be known."""
        given: dict[str, Any] = dict(self.edges or {})
        strange = sorted(set(given) - set(table.features))
        if strange:
            raise InvalidInput(
                f"edges names {strange[0]!r}, which is not a feature.",
                code="boosting-bad-edges",
                hint=f"Features are {', '.join(table.features[:20])}.",
            )
        wanted = [name for name in table.features if name not in given] + self._ranges_wanted(table)

        def ask(boundaries: Mapping[str, Floats]) -> Mapping[str, Floats]:
            found: dict[str, Floats] = {}
            for part in parts(boundaries):
                question = TreeEdges(part, missing, where)
                sums = answers.ask(question)
                found |= question.by_column(sums.counts, sums.suppressed)
            return found

        edges, ranges = find_edges(wanted, ask, self.max_bins) if wanted else ({}, {})
        return Bins({name: given.get(name, edges.get(name, ())) for name in table.features}, missing), ranges

    @abstractmethod
    def _ranges_wanted(self, table: Table) -> list[str]:
        """Return columns whose range has to be known."""

    @abstractmethod
    def _recipe(
        self, answers: Answers, table: Table, ranges: Mapping[str, Floats], where: dict[str, Any] | None
    ) -> Recipe:
        """Return how to boost."""

    def _common(self, where: dict[str, Any] | None) -> dict[str, Any]:
        seed = seed_of(self.random_state)
        return {
            "iterations": self.max_iter,
            "learning_rate": float(self.learning_rate),
            "max_depth": self.max_depth,
            "max_features": float(self.max_features),
            "seed": seed,
            # Without a seed the same rows are held out each time: nodes refuse sets of rows that differ by few.
            "hold_out": HoldOut(
                float(self.validation_fraction) if self.early_stopping else 0.0,
                0 if self.random_state is None else seed,
            ),
            "patience": self.n_iter_no_change if self.early_stopping else 0,
            "tolerance": float(self.tol),
            "where": where,
        }

    def _rules(self) -> Rules:
        return Rules(
            float(self.l2_regularization), float(self.min_gain), self.min_samples_leaf, float(self.min_child_weight)
        )

    def _say(self, done: int, train: float, held: float | None) -> None:
        held_out = "" if held is None else f"  validation {held:.5f}"
        print(f"Iteration {done:>{len(str(self.max_iter))}}/{self.max_iter}  loss {train:.5f}{held_out}")

    def _check_parameters(self) -> None:
        for name, (kind, low, high, words) in ALLOWED.items():
            value = getattr(self, name)
            real = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
            whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
            right = whole if kind is int else real
            if not right or not low <= value <= high:
                raise InvalidInput(f"{name} must be {words}, not {value!r}.", code="boosting-bad-parameter")
        if not (self.learning_rate > 0 and self.max_features > 0):
            raise InvalidInput("learning_rate and max_features must be above 0.", code="boosting-bad-parameter")
        if not isinstance(self.early_stopping, bool | np.bool_):
            raise InvalidInput(
                f"early_stopping must be True or False, not {self.early_stopping!r}.", code="boosting-bad-parameter"
            )
        if self.missing is not None and not isinstance(self.missing, int | float | np.integer | np.floating):
            raise InvalidInput(f"missing must be a number, not {self.missing!r}.", code="boosting-bad-parameter")
        if self.edges is not None and not isinstance(self.edges, Mapping):
            raise InvalidInput(
                f"edges must be a dict of features and their edges, not {self.edges!r}.", code="boosting-bad-parameter"
            )
        if self.via not in ("mpc", "he"):
            raise InvalidInput(f'via must be "mpc" or "he", not {self.via!r}.', code="boosting-bad-parameter")

    @abstractmethod
    def _encoded_target(self, y: Any, rows: int) -> tuple[Floats, int | None]:
        """Return the target of arrays as numbers, and its number of classes."""

    # ---- using the model ---------------------------------------------------------------------------------------

    def _scores(self, X: Any) -> Floats:
        """Return scores, (outputs, n)."""
        codes = self._codes(X)
        ensemble = self._ensemble
        return ensemble.reals(ensemble.add(ensemble.start(codes.shape[1]), codes, self._bins_.sizes)) + self._offset

    def _staged_scores(self, X: Any) -> Iterator[Floats]:
        codes = self._codes(X)
        ensemble = self._ensemble
        scores = ensemble.start(codes.shape[1])
        for number in range(len(ensemble.iterations)):
            ensemble.first(number + 1).add(scores, codes, self._bins_.sizes, number)
            yield ensemble.reals(scores) + self._offset

    def _codes(self, X: Any) -> NDArray[np.uint8]:
        self._require_fitted()
        names = list(self._bins_.features)
        if hasattr(X, "columns") and hasattr(self, "feature_names_in_"):
            absent = [name for name in names if name not in set(map(str, X.columns))]
            if absent:
                raise InvalidInput(
                    f"The table has no column {absent[0]!r}, which the model was trained on.",
                    code="boosting-bad-data",
                    hint=f"It needs {', '.join(names[:20])}.",
                )
            X = X[[name for name in X.columns if str(name) in set(names)]]
            _, columns = as_columns(X)
            return self._bins_.codes(columns)
        given, columns = as_columns(X)
        if len(given) != len(names):
            raise InvalidInput(
                f"X has {len(given)} features, but {type(self).__name__} is expecting {len(names)} features as input.",
                code="boosting-bad-data",
            )
        return self._bins_.codes(dict(zip(names, columns.values(), strict=True)))

    def _require_fitted(self) -> None:
        if not hasattr(self, "_ensemble"):
            raise _not_fitted(type(self).__name__)

    @property
    def feature_importances_(self) -> Floats:
        """What splits by each feature gained, as a share of all, shape (features,)."""
        self._require_fitted()
        total = np.zeros(self.n_features_in_)
        for each in self._ensemble.iterations:
            for tree in each:
                inner = tree.feature >= 0
                np.add.at(total, tree.feature[inner], tree.gain[inner])
        return total / total.sum() if total.sum() > 0 else total

    # ---- what was learned --------------------------------------------------------------------------------------

    def explain(self, federation: Any, method: str = "shap", **settings: Any) -> Explanation:
        """Explain the trees over the rows of a federation: their exact SHAP values, added up securely.

        Parameters
        ----------
        federation : federation
        method : str
            ``"shap"``.
        **settings
            Fields of `flaas_jupyter.explaining.Settings`; a background is not needed.

        Returns
        -------
        Explanation
            Of the scores: log odds of a classifier, the prediction of a regressor.

        Raises
        ------
        InvalidInput
            ``boosting-not-fitted``; ``explain-method``; ``bad-explanation-setting``; ``unknown-column``.
        NotAllowed
            ``policy-explain`` and the other refusals of statistics.
        """
        from ..explaining import explain, settings_of

        return explain(federation, self.as_travelling(), method, settings_of(settings))

    def evaluate(self, federation: Any, *, target: str | None = None, by_client: bool = True) -> Performance:
        """Measure the trees over the rows of a federation, and of each node that tells it.

        Parameters
        ----------
        federation : federation
        target : str, optional
            Column that is predicted; that of the data set by default.
        by_client : bool
            Whether single nodes are asked for.

        Raises
        ------
        InvalidInput
            ``boosting-not-fitted``; ``no-target``; ``unknown-column``.
        NotAllowed
            ``policy-explain`` and the other refusals of statistics.
        """
        from ..explaining import evaluate

        schema = {str(column["name"]): column for column in federation.analytics.source.schema}
        chosen = target or next((name for name, column in schema.items() if column["role"] == "target"), None)
        return evaluate(federation, self.as_travelling(chosen or ""), target=chosen, by_client=by_client, via=self.via)

    def as_travelling(self, target: str = "") -> Travelling:
        """Return the trees as they travel with a question to nodes; see `flaas_jupyter.explaining`."""
        from ..explaining.travelling import boosted_trees

        return boosted_trees(self, target)

    def to_explain(self, target: str) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return what explains the trees, as JSON values, and the names of their outputs.

        Parameters
        ----------
        target : str
            Column that predictions are held against.

        Raises
        ------
        InvalidInput
            Code ``boosting-not-fitted``.
        """
        self._require_fitted()
        outputs = self._ensemble.outputs
        labels = getattr(self, "classes_", None)
        names = ("score",) if outputs == 1 or labels is None else tuple(f"class {label}" for label in labels.tolist())
        document = {
            "edges": self._bins_.to_dict(),
            "missing": self._bins_.missing,
            "loss": self._loss.name,
            "outputs": outputs,
            "offset": self._offset,
            "target": target,
            "ensemble": self._ensemble.to_dict(statistics=True),
        }
        return document, names

    # ---- keeping the model -------------------------------------------------------------------------------------

    def to_json(self) -> str:
        """Return the trained model as JSON text; `from_json` reads it."""
        self._require_fitted()
        params = {
            name: value.item() if isinstance(value, np.generic) else value for name, value in self.get_params().items()
        }
        params["missing"] = None if self._bins_.missing is None else self._bins_.missing
        params["edges"] = None
        document = {
            "format": FORMAT,
            "v": VERSION,
            "estimator": type(self).__name__,
            "params": params,
            "features": self.features_,
            "named": hasattr(self, "feature_names_in_"),
            "edges": self._bins_.to_dict(),
            "loss": self._loss.name,
            "offset": self._offset,
            "ensemble": self._ensemble.to_dict(statistics=True),
            "rows": self.n_rows_,
            "train_loss": self.train_loss_.tolist(),
            "validation_loss": self.validation_loss_.tolist(),
            **self._own_json(),
        }
        try:
            return json.dumps(document, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                f"The model cannot be written as JSON: {error}.",
                code="boosting-not-json",
                hint="Use plain numbers as parameters, and numbers or texts as classes.",
            ) from error

    def _own_json(self) -> dict[str, Any]:
        return {}

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a model that `to_json` wrote; nothing in it is executed.

        Raises
        ------
        InvalidInput
            ``boosting-bad-model``; ``boosting-bad-tree``; ``boosting-bad-edges``; ``boosting-too-large``.
        """
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise bad_model(f"it is not JSON ({error})") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise bad_model(f"it does not say that its format is {FORMAT!r}")
        if document.get("v") != VERSION:
            raise bad_model(f"its version is {str(document.get('v'))[:20]}; this release reads {VERSION}")
        if document.get("estimator") != cls.__name__:
            raise bad_model(f"it is a {str(document.get('estimator'))[:60]}, not a {cls.__name__}")
        params = document.get("params")
        if not isinstance(params, dict) or not set(params) <= set(cls._parameters()):
            raise bad_model("its parameters are not those of the estimator")
        missing = params.get("missing")
        model = cls(**{**params, "missing": math.nan if missing is None else missing})
        model._check_parameters()
        model._read(document)
        return model

    def _read(self, document: dict[str, Any]) -> None:
        edges, features = document.get("edges"), document.get("features")
        if not isinstance(edges, dict) or features != list(edges):
            raise bad_model("its features and the features of its edges differ")
        loss = loss_named(document.get("loss"))
        bins = Bins(edges, None if math.isnan(self.missing) else self.missing)
        ensemble = Ensemble.from_dict(document.get("ensemble"), bins.sizes, self._read_own(document, loss.name))
        offset, rows = document.get("offset"), document.get("rows")
        if isinstance(offset, bool) or not isinstance(offset, int | float) or type(rows) is not int:
            raise bad_model("its offset or number of rows is not a number")
        self._bins_, self._ensemble, self._offset, self._loss = bins, ensemble, float(offset), loss
        self.features_, self.n_features_in_ = list(edges), len(edges)
        self.n_iter_, self.n_rows_ = len(ensemble.iterations), rows
        for name in ("train_loss", "validation_loss"):
            values = document.get(name)
            if not isinstance(values, list) or not all(isinstance(each, int | float) for each in values):
                raise bad_model(f"its {name} is not a list of numbers")
            setattr(self, f"{name}_", np.array(values, dtype=np.float64))
        if document.get("named"):
            self.feature_names_in_ = np.array(list(edges), dtype=object)

    @abstractmethod
    def _read_own(self, document: dict[str, Any], loss: str) -> int:
        """Read what the kind of estimator has of its own; return the number of outputs."""

    def save(self, path: Path | str) -> None:
        """Write the model to a file as JSON."""
        Path(path).write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a model from a file that `save` wrote.

        Raises
        ------
        InvalidInput
            ``boosting-bad-model`` and the other codes of `from_json`.
        """
        file = Path(path)
        try:
            if file.stat().st_size > _MAXIMUM_FILE:
                raise bad_model(f"{file} is larger than {_MAXIMUM_FILE >> 20} MiB")
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise bad_model(f"{file} cannot be read ({error})") from error
        return cls.from_json(text)


def seed_of(random_state: Any) -> int:
    """Return the seed that a ``random_state`` stands for."""
    if random_state is None:
        return int(np.random.SeedSequence().generate_state(1)[0])
    if isinstance(random_state, np.random.RandomState):
        return int(random_state.randint(0, 2**31 - 1))
    if (
        isinstance(random_state, bool)
        or not isinstance(random_state, int | np.integer)
        or not 0 <= random_state < 2**63
    ):
        raise InvalidInput(
            f"random_state must be an integer from 0 on, or None, not {random_state!r}.", code="boosting-bad-parameter"
        )
    return int(random_state)


def _same(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and (value == default or value != value))


def bad_model(why: str) -> InvalidInput:
    """Return the error for a document that is no model."""
    return InvalidInput(
        f"This is no boosting model: {why}.",
        code="boosting-bad-model",
        hint="Read what the same estimator's to_json or save has written.",
    )


class NotFitted(InvalidInput, AttributeError):
    """A model that has not been trained."""

    code = "boosting-not-fitted"


def _not_fitted(name: str) -> InvalidInput:
    """Return the error of a model without trees; where scikit-learn is in use, one that it knows as its own."""
    message = f"This {name} instance is not fitted yet. Call 'fit' with appropriate arguments before using it."
    if "sklearn" not in sys.modules:
        return NotFitted(message)
    from sklearn.exceptions import NotFittedError

    known: type[NotFitted] = type("NotFitted", (NotFitted, NotFittedError), {"__doc__": NotFitted.__doc__})
    return known(message)


_FRACTION = (float, 0.0, 1.0, "a number above 0, up to 1")
ALLOWED: dict[str, tuple[type, float, float, str]] = {
    "learning_rate": (float, 0.0, 10.0, "a number above 0, up to 10"),
    "max_iter": (int, 1, MAXIMUM_ITERATIONS, f"an integer from 1 to {MAXIMUM_ITERATIONS}"),
    "max_depth": (int, 1, MAXIMUM_DEPTH, f"an integer from 1 to {MAXIMUM_DEPTH}"),
    "max_bins": (int, 2, MAXIMUM_BINS, f"an integer from 2 to {MAXIMUM_BINS}"),
    "min_samples_leaf": (int, 1, 1 << 40, "an integer from 1 on"),
    "min_child_weight": (float, 0.0, 1e300, "a number from 0 on"),
    "min_gain": (float, 0.0, 1e300, "a number from 0 on"),
    "l2_regularization": (float, 0.0, 1e300, "a number from 0 on"),
    "max_features": _FRACTION,
    "validation_fraction": (float, 0.0, 0.5, "a number from 0 to 0.5"),
    "n_iter_no_change": (int, 1, MAXIMUM_ITERATIONS, f"an integer from 1 to {MAXIMUM_ITERATIONS}"),
    "tol": (float, 0.0, 1e300, "a number from 0 on"),
    "minimum_group": (int, 1, 1 << 40, "an integer from 1 on"),
}
