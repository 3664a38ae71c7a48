"""Label flipping: malicious clients train on wrong labels."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .attack import Array, Attack, AttackTest, require_number
from .labels import class_count, class_numbers, in_the_form_of, require_class


@dataclass(frozen=True)
class LabelFlip(Attack):
    """Trains on wrong labels: class y becomes L−1−y, or one class `source` becomes another, `target`.

    The flip of all classes is that of the FedQV evaluation (9−y for ten classes); single flips are those of the NDSS
    2023 evaluation: 1 → 7 on MNIST, 3 (cat) → 5 (dog) on CIFAR-10, 0 (religion) → 5 (clear) on sensitive topics.

    Parameters
    ----------
    source : int, optional
        The class attacked; all by default.
    target : int, optional
        What it becomes; needed with `source`.
    classes : int, optional
        Number of classes L; taken from the data set by default.
    """

    source: int | None = None
    target: int | None = None
    classes: int | None = None

    name: ClassVar[str] = "label_flip"
    knowledge: ClassVar[str] = "nothing more"
    measured_by: ClassVar[str] = "success rate on clean test rows of the attacked classes; their accuracy"
    paper: ClassVar[str] = "Tolpegin et al., ESORICS 2020; Chu et al., SIGMETRICS 2024 and NDSS 2023"

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.source is None) != (self.target is None) or (self.source is not None and self.source == self.target):
            raise InvalidInput(
                f"LabelFlip got source={self.source!r} and target={self.target!r}; give two different classes, or "
                "neither.",
                code="bad-attack-option",
                hint="flaas.attacks.LabelFlip(source=1, target=7) trains ones as sevens.",
            )
        if self.classes is not None:
            require_number(self.classes, "classes", 2)
            for label, option in ((self.source, "source"), (self.target, "target")):
                if label is not None:
                    require_class(label, self.classes, option)

    def prepared(self, x: Array, y: Array) -> Self:
        """Fill in the number of classes; see `Attack.prepared`."""
        return self if self.classes is not None else dataclasses.replace(self, classes=class_count(y))

    def poison(self, x: Array, y: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        """Flip the labels; see `Attack.poison`."""
        return x, in_the_form_of(y, self._flipped(y))

    def tests(self, x: Array, y: Array, rng: np.random.Generator) -> AttackTest:
        """Clean rows of the attacked classes, with what the attackers teach; see `Attack.tests`.

        With an odd number of classes the middle one stays itself and is left out.
        """
        true, expected = class_numbers(y), self._flipped(y)
        attacked = true != expected
        return AttackTest(x[attacked], expected[attacked], true[attacked])

    def _flipped(self, y: Array) -> NDArray[np.int64]:
        labels = class_numbers(y)
        if self.source is not None and self.target is not None:
            return np.where(labels == self.source, self.target, labels)
        if self.classes is None:
            raise InvalidInput(
                "LabelFlip does not know how many classes there are; a single client may not have all of them.",
                code="attack-not-prepared",
                hint="Give classes=10, or call attack.prepared(x, y) with the rows of all clients.",
            )
        if labels.max(initial=0) >= self.classes:
            raise InvalidInput(
                f"LabelFlip was told of {self.classes} classes; the labels go up to {labels.max()}.",
                code="no-such-class",
                hint="Leave `classes` away: it is taken from the data set.",
            )
        return self.classes - 1 - labels
