"""Arrays of any number of axes as Arrow columns, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def tensor_type(dtype: np.dtype[Any], shape: tuple[int, ...]) -> Any:
    """Return the type of a column whose rows are arrays of this `dtype` and `shape`; plain without axes.

    Raises
    ------
    pyarrow.ArrowNotImplementedError
        There is no Arrow type for `dtype`.
    """
    kind = pa.from_numpy_dtype(dtype)
    return pa.fixed_shape_tensor(kind, shape) if shape else kind


def from_numpy(array: NDArray[Any]) -> Any:
    """Return an array of shape (n, …) as a column of n values.

    Raises
    ------
    pyarrow.ArrowNotImplementedError
        There is no Arrow type for its dtype.
    """
    if array.ndim == 1:
        return pa.array(array)
    shape = array.shape[1:]
    size = int(np.prod(shape))
    values = pa.array(np.ascontiguousarray(array).reshape(-1))
    storage = pa.FixedSizeListArray.from_arrays(values, size)
    if len(storage) != len(array):  # rows without values in them
        storage = pa.array([[]] * len(array), pa.list_(values.type, size))
    return pa.ExtensionArray.from_storage(pa.fixed_shape_tensor(values.type, shape), storage)


def to_numpy(column: Any) -> NDArray[Any]:
    """Return a column of numbers, truth values or tensors as an array of shape (n, …).

    Parameters
    ----------
    column : pyarrow.Array
        Without missing values, except in ``float`` and ``double``, where they become NaN.
    """
    if isinstance(column, pa.ChunkedArray):
        return np.concatenate([to_numpy(chunk) for chunk in column.chunks or [_nothing(column.type)]])
    if isinstance(column.type, pa.FixedShapeTensorType):
        values: NDArray[Any] = column.storage.flatten().to_numpy(zero_copy_only=False)
        values = values.reshape(len(column), *column.type.shape)
        order = column.type.permutation
        return values if order is None else values.transpose(0, *(axis + 1 for axis in order))
    plain: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return plain


def _nothing(kind: Any) -> Any:
    if isinstance(kind, pa.ExtensionType | pa.FixedShapeTensorType):
        return pa.ExtensionArray.from_storage(kind, pa.array([], kind.storage_type))
    return pa.array([], kind)
