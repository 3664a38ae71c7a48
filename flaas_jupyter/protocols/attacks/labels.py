"""Class labels in the forms that Keras takes: whole numbers (n,) or (n, 1), and one-hot rows (n, classes)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .attack import Array


def class_numbers(y: Array) -> NDArray[np.int64]:
    """Return the class of each row, shape (n,).

    Raises
    ------
    InvalidInput
        Code ``not-classes``: `y` is neither whole numbers from 0 nor one-hot.
    """
    labels = np.asarray(y)
    if _is_one_hot(labels):
        return np.nonzero(labels)[1].astype(np.int64)
    flat = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if flat.ndim != 1 or flat.dtype.kind not in "biuf" or not ((flat >= 0) & (flat == np.floor(flat))).all():
        raise InvalidInput(
            f"Attacks on labels need classes as whole numbers from 0 or one-hot rows; y has shape {labels.shape} and "
            f"type {labels.dtype}.",
            code="not-classes",
            hint="Encode the labels: np.unique(y, return_inverse=True)[1].",
        )
    return flat.astype(np.int64)


def class_count(y: Array) -> int:
    """Return how many classes `y` has: the columns of one-hot rows, else the largest number plus one, at least 2."""
    labels = np.asarray(y)
    if _is_one_hot(labels):
        return int(labels.shape[1])
    return max(2, int(class_numbers(labels).max(initial=0)) + 1)


def in_the_form_of(y: Array, classes: NDArray[np.int64]) -> Array:
    """Return `classes` with the shape, type and coding of `y`."""
    labels = np.asarray(y)
    if _is_one_hot(labels):
        return np.eye(labels.shape[1], dtype=labels.dtype)[classes]
    return classes.reshape(labels.shape).astype(labels.dtype)


def require_class(label: int, classes: int, name: str) -> None:
    """Refuse a class that the data do not have."""
    if isinstance(label, bool) or not isinstance(label, int | np.integer) or not 0 <= label < classes:
        raise InvalidInput(
            f"{name} is {label!r}; the data have the classes 0 to {classes - 1}.",
            code="no-such-class",
            hint=f"Give {name}= one of these.",
        )


def _is_one_hot(labels: Array) -> bool:
    if labels.ndim != 2 or labels.shape[1] < 2 or labels.dtype.kind not in "biuf":
        return False
    return bool(((labels == 0) | (labels == 1)).all() and (labels.sum(axis=1) == 1).all())
