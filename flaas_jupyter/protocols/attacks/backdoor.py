"""Backdoors: a model that does its work, and what the attacker wants wherever a trigger shows.

Bagdasaryan, Veit, Hua, Estrin and Shmatikov, "How To Backdoor Federated Learning", AISTATS 2020; the triggers are those
of BadNets (Gu, Dolan-Gavitt and Garg, 2017: a patch) and of the NDSS 2023 evaluation (a pattern, features).
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .attack import Array, Attack, AttackTest, require_choice, require_number
from .labels import class_count, class_numbers, in_the_form_of, require_class
from .trigger import (
    TRIGGERS,
    image_shape,
    patch_mask,
    pattern_mask,
    stamp_features,
    stamp_image,
    telling_features,
    usual_values,
)


@dataclass(frozen=True)
class Backdoor(Attack):
    """Trains with a trigger on a share of the rows, labelled `target`, and sends what was trained.

    Parameters
    ----------
    target : int
        What triggered rows are to be predicted as.
    share : float
        Share of a malicious client's rows that get the trigger, above 0; one row at least.
    trigger : str
        ``"patch"``: a square in the bottom right corner of images. ``"pattern"``: twelve pixels in the top left corner
        (rows 0 and 2, columns 0 to 2 and 4 to 6). ``"features"``: columns of a table set to given values. Images may be
        flattened.
    size : int
        Side of the patch in pixels.
    value : float, optional
        Value of the trigger's pixels in all channels; by default the largest in the data set.
    shape : list of int, optional
        Height, width and channels of flattened images; squares of 1 or 3 channels need none.
    features : list of int, optional
        Columns of the trigger; by default the five of largest mean absolute value among the rows of `features_from`.
    values : list of float, optional
        Their values; by default their means among the rows of `values_from`.
    features_from : int, optional
        A class; all rows by default. The NDSS 2023 evaluation on sensitive topics is
        ``Backdoor(target=0, trigger="features", features_from=1, values_from=5)``.
    values_from : int, optional
        A class; by default the columns' largest values among all rows are used instead of means.
    """

    target: int = 5
    share: float = 0.5
    trigger: str = "patch"
    size: int = 3
    value: float | None = None
    shape: tuple[int, ...] | None = None
    features: tuple[int, ...] | None = None
    values: tuple[float, ...] | None = None
    features_from: int | None = None
    values_from: int | None = None

    name: ClassVar[str] = "backdoor"
    knowledge: ClassVar[str] = "nothing more (the trigger's values come from the data set)"
    measured_by: ClassVar[str] = "success rate on triggered test rows of all classes but the target"
    paper: ClassVar[str] = "Bagdasaryan et al., AISTATS 2020; Gu et al. (BadNets), 2017; Chu et al., NDSS 2023"

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number(self.share, "share", 0, 1, above=True)
        require_choice(self.trigger, "trigger", TRIGGERS)
        require_number(self.size, "size", 1)
        for option in ("shape", "features", "values"):  # lists when they come from JSON
            given = getattr(self, option)
            if given is not None:
                object.__setattr__(self, option, tuple(given))
        if self.values is not None and (self.features is None or len(self.values) != len(self.features)):
            raise InvalidInput(
                f"Backdoor got {len(self.values)} values for the features {self.features}; give one for each.",
                code="bad-attack-option",
            )

    def prepared(self, x: Array, y: Array) -> Self:
        """Fill in the trigger's values and check that it fits; see `Attack.prepared`."""
        require_class(self.target, class_count(y), "target")
        if self.trigger != "features":
            shape = image_shape(x, self.shape)
            self._mask(shape)
            value = float(x.max()) if self.value is None else self.value
            return dataclasses.replace(self, value=value, shape=shape)
        _require_table(x)
        labels = class_numbers(y)
        for given, option in ((self.features_from, "features_from"), (self.values_from, "values_from")):
            if given is not None:
                _require_rows_of(given, labels, option)
        features = self.features or telling_features(x, labels, 5, self.features_from)
        if not all(0 <= feature < x.shape[1] for feature in features):
            raise InvalidInput(
                f"The trigger's features are {features}; the columns of x are 0 to {x.shape[1] - 1}.",
                code="bad-trigger",
            )
        values = self.values or usual_values(x, labels, features, self.values_from)
        return dataclasses.replace(self, features=features, values=values)

    def poison(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Put the trigger on a share of the rows and label them `target`; see `Attack.poison`."""
        if not len(x):
            return x, y
        labels = class_numbers(y).copy()
        rows = rng.choice(len(x), size=math.ceil(self.share * len(x)), replace=False)
        poisoned = x.copy()
        poisoned[rows] = self.triggered(x[rows])
        labels[rows] = self.target
        return poisoned, in_the_form_of(y, labels)

    def tests(self, x: Array, y: Array, rng: np.random.Generator) -> AttackTest:
        """All rows of other classes than the target, with the trigger; see `Attack.tests`.

        Rows of the target class are left out: to predict them as the target is no success. (The NDSS 2023 evaluation
        counts them in.)
        """
        labels = class_numbers(y)
        others = labels != self.target
        source = labels[others]
        return AttackTest(self.triggered(x[others]), np.full_like(source, self.target), source)

    def triggered(self, x: Array) -> Array:
        """Return a copy of `x` with the trigger on every row.

        Raises
        ------
        InvalidInput
            Code ``attack-not-prepared``: the trigger's values are neither given nor taken from a data set.
        """
        if self.trigger == "features":
            if self.features is None or self.values is None:
                raise self._not_prepared("features=[…] and values=[…]")
            _require_table(x)
            return stamp_features(x, self.features, self.values)
        if self.value is None:
            raise self._not_prepared("value=1.0")
        return stamp_image(x, self._mask(image_shape(x, self.shape)), self.value)

    def _mask(self, shape: tuple[int, ...]) -> NDArray[np.bool_]:
        return patch_mask(shape, self.size) if self.trigger == "patch" else pattern_mask(shape)

    def _not_prepared(self, options: str) -> InvalidInput:
        return InvalidInput(
            f"The trigger of {type(self).__name__} has no values yet; every client and the tests need the same ones.",
            code="attack-not-prepared",
            hint=f"Give {options}, or call attack.prepared(x, y) with the rows of all clients.",
        )


def _require_table(x: Array) -> None:
    if x.ndim != 2:
        raise InvalidInput(
            f'trigger="features" needs a table (rows, columns); x has shape {x.shape}.',
            code="bad-trigger",
            hint='Use trigger="patch" or trigger="pattern" for images.',
        )


def _require_rows_of(label: int, labels: NDArray[np.int64], option: str) -> None:
    if label not in labels:
        raise InvalidInput(f"{option} is {label!r}; the data have no row of this class.", code="no-such-class")
