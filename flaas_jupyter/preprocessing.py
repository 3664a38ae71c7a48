"""``flaas.Preprocessing``: what becomes of raw columns before a model is trained, fitted on all nodes together.

    >>> import flaas_jupyter as flaas                                                         # doctest: +SKIP
    >>> preprocessing = flaas.Preprocessing(                                                  # doctest: +SKIP
    ...     flaas.Impute(["age", "chol"]), flaas.Scale(["age", "chol"]), flaas.OneHot("sex")
    ... ).fit(federation)
    >>> model.fit(federation, preprocessing=preprocessing, rounds=10)                         # doctest: +SKIP
    >>> served = preprocessing.export(model)  # takes raw columns                             # doctest: +SKIP

Fitting asks for federated statistics: means, deviations, quantiles, and the categories and words that enough rows have.
What comes out is a recipe, plain data with a digest, that travels in the training plan, is signed with it, and is
applied at every node to its own rows. The same recipe becomes part of a Keras model for serving. docs/preprocessing.md.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Mapping as Mappings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InvalidInput
from .training.preprocessing import (
    DateParts,
    Impute,
    Mapping,
    OneHot,
    Recipe,
    Scale,
    Statistics,
    TableStatistics,
    TextVectorize,
)
from .training.preprocessing.limits import bad
from .training.preprocessing.mapping import ColumnMap
from .training.preprocessing.step import Step, names_of
from .training.preprocessing.values import Kind, columns_of, kind_of_dtype, numbers, texts

if TYPE_CHECKING:
    import keras
    import pandas as pd

    from .analytics import Analytics

__all__ = ["ColumnMap", "DateParts", "Impute", "Mapping", "OneHot", "Preprocessing", "Scale", "TextVectorize"]

_REST = ("keep", "drop")
_CODE = 8
"""Bytes of a number that is a code; with differential privacy every one costs."""
_SUMMED, _ORDERED = 256, 64
"""Columns of one question at most: a statistic has no more, and brackets of quantiles take many numbers each."""


class Preprocessing:
    """Steps from raw columns to the matrix that a model is trained on.

    Parameters
    ----------
    *steps : Impute, Scale, OneHot, TextVectorize, DateParts, Mapping
        In the order in which they are done; a list of them will do too. Figures are of the raw columns: to impute and
        then scale a column scales by the mean and deviation of the values that were there. A `Mapping` is done first.
    rest : str
        Numbers that no step names are inputs too, ``"keep"``, or are left out, ``"drop"``.
    exclude : sequence of str
        Columns that are no inputs.

    Raises
    ------
    InvalidInput
        Code ``bad-step``.

    Examples
    --------
    >>> import pandas as pd
    >>> table = pd.DataFrame({"age": [20.0, None, 40.0, 60.0], "sex": ["f", "m", None, "f"]})
    >>> preprocessing = Preprocessing(Impute("age", "mean"), Scale("age"), OneHot("sex")).fit(table)
    >>> preprocessing.columns
    ['age', 'sex=f', 'sex=m']
    >>> preprocessing.transform(table).round(2).values.tolist()
    [[-1.22, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.22, 1.0, 0.0]]
    """

    def __init__(self, *steps: Any, rest: str = "keep", exclude: Sequence[str] = ()) -> None:
        listed = list(steps[0]) if len(steps) == 1 and isinstance(steps[0], list | tuple) else list(steps)
        mappings = [step for step in listed if isinstance(step, Mapping)]
        strange = [step for step in listed if not isinstance(step, Step | Mapping)]
        if strange or len(mappings) > 1:
            raise InvalidInput(
                f"A preprocessing is made of Impute, Scale, OneHot, TextVectorize, DateParts and one Mapping at most; "
                f"got {type(strange[0]).__name__ if strange else 'several mappings'}.",
                code="bad-step",
                hint='For example flaas.Preprocessing(flaas.Impute("age"), flaas.OneHot("sex")).',
            )
        if rest not in _REST:
            raise InvalidInput(f"rest is {rest!r}; allowed are 'keep' and 'drop'.", code="bad-step")
        self.steps: list[Step] = [step for step in listed if isinstance(step, Step)]
        _require_order(self.steps)
        self.mapping: Mapping | None = mappings[0] if mappings else None
        self._rest, self._exclude = rest, frozenset([exclude] if isinstance(exclude, str) else exclude)
        self._recipe: Recipe | None = None

    def __repr__(self) -> str:
        fitted = "not fitted" if self._recipe is None else f"version {self._recipe.version}"
        return f"<Preprocessing of {len(self.steps)} steps, {fitted}>"

    # ---- fitting ---------------------------------------------------------------------------------------------------

    def fit(
        self,
        data: Any,
        target: str | None = None,
        *,
        epsilon: float | None = None,
        bounds: Mappings[str, tuple[float, float]] | tuple[float, float] | None = None,
        via: str = "mpc",
    ) -> Preprocessing:
        """Find the figures and vocabularies of the steps.

        Parameters
        ----------
        data : Federation, or DataFrame or mapping of arrays
            Of a federation statistics are asked for, under its owners' rules; a table is looked at here.
        target : str, optional
            The column of a table that is no input; a federation knows its own.
        epsilon : float, optional
            Differential privacy of all answers together; `bounds` are those of the columns that are measured.
        bounds : (float, float), or mapping by column; optional
        via : str
            ``"mpc"`` or ``"he"``.

        Returns
        -------
        Preprocessing
            This one.

        Raises
        ------
        InvalidInput
            ``unknown-column``, ``wrong-column-kind``, ``text-left``, ``statistic-withheld``, and those of analytics;
            ``mapping-not-adopted``: statistics of real nodes are of the columns as their owners have them read.
        """
        if hasattr(type(data), "analytics"):
            if self.mapping is not None:
                data = _mapped(data, self.mapping)
            questions = sum(step.questions for step in self.steps)
            share = None if epsilon is None or not questions else epsilon / questions
            statistics: Statistics = FederatedStatistics(data.analytics, epsilon=share, bounds=bounds, via=via)
        else:
            statistics = TableStatistics(data, target)
        self._recipe = Recipe.make(
            self._inputs(statistics.kinds), [step.fit(statistics) for step in self.steps], self.mapping
        )
        return self

    def _inputs(self, kinds: Mappings[str, Kind]) -> list[tuple[str, Kind]]:
        named: set[str] = set()
        for step in self.steps:
            of_step = getattr(step, "columns", None) or getattr(step, "column", ())
            named |= {of_step} if isinstance(of_step, str) else set(of_step or ())
        both = sorted(named & self._exclude)
        if both:
            raise InvalidInput(f"{', '.join(both)} is excluded, and named by a step.", code="bad-step")
        kept = self._rest == "keep"
        return [(name, kind) for name, kind in kinds.items() if name in named or (kept and name not in self._exclude)]

    # ---- what came out -----------------------------------------------------------------------------------------------

    @property
    def recipe(self) -> Recipe:
        """The fitted recipe.

        Raises
        ------
        InvalidInput
            Code ``not-fitted``.
        """
        if self._recipe is None:
            raise InvalidInput(
                "The preprocessing is not fitted yet.",
                code="not-fitted",
                hint="preprocessing.fit(federation), or .fit(table), first.",
            )
        return self._recipe

    @property
    def is_fitted(self) -> bool:
        """Whether `fit` was called."""
        return self._recipe is not None

    @property
    def inputs(self) -> list[str]:
        """The raw columns that are taken."""
        return [name for name, _ in self.recipe.inputs]

    @property
    def columns(self) -> list[str]:
        """Columns of the matrix: a model begins with ``keras.Input((len(preprocessing.columns),))``."""
        return list(self.recipe.outputs)

    @property
    def digest(self) -> str:
        """SHA-256 of the recipe, 64 hex digits."""
        return self.recipe.digest

    def transform(self, table: Any, *, node: str | None = None) -> pd.DataFrame:
        """Return what nodes would train on: a DataFrame of float32.

        Parameters
        ----------
        table : DataFrame or mapping of arrays
            Raw columns.
        node : str, optional
            Whose columns they are, where a mapping tells nodes apart.
        """
        import pandas as pd

        made = self.recipe.apply(columns_of(table), node=node)
        return pd.DataFrame(made, columns=self.columns, index=getattr(table, "index", None))

    def raw(self, table: Any) -> dict[str, NDArray[Any]]:
        """Return raw columns as an exported model takes them: float64, and texts as objects, empty where missing."""
        columns, recipe = columns_of(table), self.recipe
        recipe.require(columns)
        found: dict[str, NDArray[Any]] = {}
        for name, kind in recipe.inputs:
            if kind == "number":
                found[name] = numbers(columns[name], name)
            else:
                written = texts(columns[name], name)
                written[[text is None for text in written.tolist()]] = ""
                found[name] = written
        return found

    def export(self, model: keras.Model) -> keras.Model:
        """Return a Keras model that takes raw columns, a mapping of arrays by name, and answers as `model` does.

        It is made of Keras's own layers, so that it is saved, loaded and served without this package. Missing numbers
        are NaN, missing texts empty; `raw` makes such columns of a DataFrame.

        Parameters
        ----------
        model : keras.Model
            Trained with this preprocessing. Its layers are shared.

        Raises
        ------
        InvalidInput
            ``not-fitted``, ``model-does-not-fit``, ``backend-unfit``.

        Examples
        --------
        >>> served = preprocessing.export(model)  # doctest: +SKIP
        >>> served.predict({"age": np.array([63.0]), "sex": np.array(["f"], object)})  # doctest: +SKIP
        """
        from .training.preprocessing.serving import served

        return served(self.recipe, model)

    # ---- as data -----------------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """Return the recipe as JSON values."""
        return self.recipe.to_dict()

    @classmethod
    def from_dict(cls, data: object) -> Preprocessing:
        """Return a fitted preprocessing of a recipe; its steps are fitted already and are not declared again.

        Raises
        ------
        InvalidInput
            Code ``bad-recipe``.
        """
        made = cls()
        made._recipe = Recipe.from_dict(data)
        made.mapping = made._recipe.mapping
        return made

    def save(self, path: str | Path) -> None:
        """Write the recipe as JSON."""
        Path(path).write_text(json.dumps(self.to_dict(), indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Preprocessing:
        """Read what `save` has written.

        Raises
        ------
        InvalidInput
            Code ``bad-recipe``.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise bad(f"{path} cannot be read as JSON") from error
        return cls.from_dict(data)


def _require_order(steps: Sequence[Step]) -> None:
    """Refuse what is fitted on raw values and would be done with scaled ones."""
    scaled: set[str] = set()
    for step in steps:
        names = set(names_of(getattr(step, "columns", getattr(step, "column", ())), type(step).__name__))
        raw = (
            isinstance(step, OneHot)
            or (isinstance(step, Impute) and step.strategy != "constant")
            or (isinstance(step, Scale) and step.ranges is None)
        )
        late = sorted(names & scaled)
        if raw and late:
            raise InvalidInput(
                f"{type(step).__name__} of {late[0]!r} comes after Scale, but is fitted on its raw values, which are "
                "there no more.",
                code="bad-step",
                hint=f"Put {type(step).__name__} before Scale, or leave one of them out.",
                column=late[0],
            )
        if isinstance(step, Scale):
            scaled |= names


def _mapped(federation: Any, mapping: Mapping) -> Any:
    if not hasattr(type(federation), "mapped"):
        raise InvalidInput(
            "Statistics of real nodes are of the columns as their owners have them read; a mapping in a preprocessing "
            "changes nothing about that, and figures of columns in different units would be wrong.",
            code="mapping-not-adopted",
            hint="Keep it, project.save_mapping(mapping, name), have the owners adopt it (`flaas dataset map`), and "
            "leave it out here.",
        )
    return federation.mapped(mapping)


class FederatedStatistics:
    """Figures about the rows of all nodes together; see `training.preprocessing.Statistics`.

    Parameters
    ----------
    analytics : Analytics
    epsilon : float, optional
        Differential privacy of each answer.
    bounds : (float, float), or mapping by column; optional
    via : str
    """

    def __init__(
        self, analytics: Analytics, *, epsilon: float | None = None, bounds: Any = None, via: str = "mpc"
    ) -> None:
        self._analytics = analytics
        self._asked: dict[str, Any] = {"via": via, "epsilon": epsilon}
        self._bounds = {"bounds": bounds} if epsilon is not None and bounds is not None else {}
        self.kinds: dict[str, Kind] = {
            str(column["name"]): kind_of_dtype(str(column.get("dtype", "")))
            for column in analytics.source.schema
            if column.get("role") not in ("target", "label", "id", "sensitive")
        }

    def means(self, columns: Sequence[str]) -> list[float]:
        """Return means."""
        return self._by_parts("mean", columns, lambda part, how: self._analytics.mean(part, **how))

    def deviations(self, columns: Sequence[str]) -> list[float]:
        """Return standard deviations."""
        deviation = lambda part, how: self._analytics.std(part, ddof=0, **how)  # noqa: E731
        return self._by_parts("standard deviation", columns, deviation)

    def quantiles(self, columns: Sequence[str], q: Sequence[float]) -> list[list[float]]:
        """Return quantiles; where owners tell brackets, their middles."""
        found: list[list[float]] = [[] for _ in q]
        for part, how in self._parts(columns, _ORDERED):
            answer: Any = self._analytics.quantile(part, list(q), **how)
            for place, each in enumerate(q):
                row = np.asarray(answer, float)[place]
                found[place] += self._told(f"quantile {each:g}", part, row, answer.reasons)
        return found

    def ranges(self, columns: Sequence[str]) -> tuple[list[float], list[float]]:
        """Return the smallest and the largest values; where owners tell brackets, the middles of the outer ones."""
        if self._asked["epsilon"] is not None:
            raise InvalidInput(
                "Smallest and largest values are those of single rows, which differential privacy hides.",
                code="bad-epsilon",
                hint="Scale(..., method='minmax', ranges={...}) with ranges that you know, or method='robust'.",
            )
        ends = self.quantiles(columns, [0.0, 1.0])
        return ends[0], ends[1]

    def categories(self, column: str, most: int) -> list[str] | list[float]:
        """Return the values of a column that enough rows have."""
        short = {"longest": _CODE} if self._asked["epsilon"] is not None and self.kinds[column] == "number" else {}
        found = self._analytics.categories(column, most=most, **short, **self._asked)
        if self.kinds[column] == "number":
            return [float(value) for value in found.index]
        return [str(value) for value in found.index]

    def vocabulary(self, column: str, most: int) -> tuple[list[str], list[float]]:
        """Return the words of a column that enough rows have."""
        found = self._analytics.vocabulary(column, most=most, **self._asked)
        return [str(word) for word in found.index], [float(rows) for rows in found]

    def rows(self) -> float:
        """Return the number of rows of all nodes."""
        answer: Any = self._analytics.count(**self._asked)
        return self._told("number of rows", ["the table"], [float(answer)], answer.reasons)[0]

    def texts_at_hand(self, column: str) -> None:
        """Return None: rows stay where they are."""

    def _by_parts(
        self, what: str, columns: Sequence[str], ask: Callable[[list[str], dict[str, Any]], Any]
    ) -> list[float]:
        found: list[float] = []
        for part, how in self._parts(columns, _SUMMED):
            answer = ask(part, how)
            found += self._told(what, part, np.asarray(answer, float), answer.reasons)
        return found

    def _parts(self, columns: Sequence[str], most: int) -> Iterator[tuple[list[str], dict[str, Any]]]:
        """Yield as many columns at a time as one question takes; they share the ε of the answer."""
        count = math.ceil(len(columns) / most)
        epsilon = self._asked["epsilon"]
        how = {**self._asked, **self._bounds, "epsilon": None if epsilon is None else epsilon / count}
        for start in range(0, len(columns), most):
            yield list(columns[start : start + most]), how

    def _told(self, what: str, columns: Sequence[str], values: Any, reasons: Sequence[str]) -> list[float]:
        listed = [float(value) for value in values]
        hidden = [name for name, value in zip(columns, listed, strict=True) if not math.isfinite(value)]
        if hidden:
            raise _withheld(what, hidden, reasons)
        return listed


def _withheld(what: str, columns: Sequence[str], reasons: Sequence[str]) -> InvalidInput:
    return InvalidInput(
        f"The {what} of {', '.join(columns[:5])} is withheld" + (f": {'; '.join(reasons)}" if reasons else "") + ".",
        code="statistic-withheld",
        hint="Give the figure yourself (Impute(..., value=…), Scale(..., ranges=…)), leave the column out, or ask "
        "with epsilon=.",
        columns=list(columns[:50]),
    )
