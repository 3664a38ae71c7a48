"""Triggers: the mark by which a backdoor is opened, put on images, flattened images and tables."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput
from .attack import Array

TRIGGERS = ("patch", "pattern", "features")


def patch_mask(shape: tuple[int, ...], size: int) -> NDArray[np.bool_]:
    """Return the mask of a square in the bottom right corner of an image (height, width[, channels])."""
    _require_room(shape, size, size)
    mask = np.zeros(shape, dtype=bool)
    mask[-size:, -size:] = True
    return mask


def pattern_mask(shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the mask of the twelve pixels of the NDSS 2023 evaluation: rows 0 and 2, columns 0 to 2 and 4 to 6."""
    _require_room(shape, 3, 7)
    mask = np.zeros(shape, dtype=bool)
    mask[np.ix_([0, 2], [0, 1, 2, 4, 5, 6])] = True
    return mask


def image_shape(x: Array, given: tuple[int, ...] | None) -> tuple[int, ...]:
    """Return (height, width[, channels]) of each row of `x`, guessed for flattened squares of 1 or 3 channels.

    Raises
    ------
    InvalidInput
        Code ``bad-trigger``: the rows are no images.
    """
    row = x.shape[1:]
    if given is not None:
        if math.prod(row) != math.prod(given):
            raise InvalidInput(
                f"Images of shape {given} have {math.prod(given)} values; the rows of x have {math.prod(row)}.",
                code="bad-trigger",
            )
        return given
    if len(row) in (2, 3):
        return row
    if len(row) == 1:
        side = math.isqrt(row[0])
        if side * side == row[0]:
            return side, side
        side = math.isqrt(row[0] // 3)
        if 3 * side * side == row[0]:
            return side, side, 3
    raise InvalidInput(
        f"A patch or pattern needs images; the rows of x have shape {row}.",
        code="bad-trigger",
        hint='Give shape=(height, width, channels) for flattened images, or trigger="features" for tables.',
    )


def stamp_image(x: Array, mask: NDArray[np.bool_], value: float) -> Array:
    """Return a copy of the images `x` with `value` where `mask` is set."""
    stamped = x.copy()
    stamped[:, mask.reshape(x.shape[1:])] = value
    return stamped


def stamp_features(x: Array, features: tuple[int, ...], values: tuple[float, ...]) -> Array:
    """Return a copy of the table `x`, shape (n, columns), with `values` in the columns `features`."""
    stamped = x.copy()
    stamped[:, list(features)] = np.asarray(values, dtype=x.dtype)
    return stamped


def telling_features(x: Array, y: NDArray[np.int64], count: int, from_class: int | None) -> tuple[int, ...]:
    """Return the `count` columns of largest mean absolute value among the rows of a class, or all; largest first."""
    rows = x if from_class is None else x[y == from_class]
    size = np.abs(rows).mean(axis=0, dtype=np.float64)
    return tuple(int(column) for column in np.argsort(-size, kind="stable")[:count])


def usual_values(
    x: Array, y: NDArray[np.int64], features: tuple[int, ...], from_class: int | None
) -> tuple[float, ...]:
    """Return these columns' mean among the rows of a class, or their largest value among all rows."""
    columns = x[:, list(features)]
    chosen = columns.max(axis=0) if from_class is None else columns[y == from_class].mean(axis=0, dtype=np.float64)
    return tuple(float(value) for value in chosen)


def _require_room(shape: tuple[int, ...], height: int, width: int) -> None:
    if len(shape) not in (2, 3) or shape[0] < height or shape[1] < width:
        raise InvalidInput(
            f"A trigger of {height} × {width} does not fit on images of shape {shape}.",
            code="bad-trigger",
            hint="Use a smaller trigger, or give the images' shape=(height, width, channels).",
        )
