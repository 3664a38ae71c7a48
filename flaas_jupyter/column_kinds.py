"""What a column is, by the name of its type: numbers, which are measured, or dates and others, which are counted."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

ColumnKind = Literal["number", "date", "text"]

# Names of NumPy, pandas and Arrow, in lower case. What is not listed is text: measuring what is no number is refused
# for all columns that are asked about together, while values of every type can be counted.
_NUMBERS = ("bool", "int", "uint", "float", "half", "double", "decimal", "num", "real")
_NO_NUMBERS = ("interval",)
_DATES = ("date", "timestamp")
_OF_NUMPY = {"U": "string", "S": "string", "O": "string", "m": "duration"}


def column_kind(dtype: str) -> ColumnKind:
    """Return what a column is.

    Parameters
    ----------
    dtype : str
        The name of its type, as a node's description, NumPy, pandas or Arrow has it.

    Returns
    -------
    str
        ``"number"``: can be measured; also where no type is known. ``"date"``: days and moments, whose months are
        counted. ``"text"``: texts, categories, bytes, times of day, durations and everything else, which is counted.

    Examples
    --------
    >>> [column_kind(dtype) for dtype in ("float32", "Int64", "timestamp", "<U1", "time64", "fixed_size_binary")]
    ['number', 'number', 'date', 'text', 'text', 'text']
    """
    name = dtype.strip().lower()
    if name.startswith(_DATES):
        return "date"
    if not name or (name.startswith(_NUMBERS) and not name.startswith(_NO_NUMBERS)):
        return "number"
    return "text"


def type_name(dtype: np.dtype[Any]) -> str:
    """Return what a node's description calls the type of an array: NumPy's name for numbers, else a plain word.

    Examples
    --------
    >>> [type_name(np.dtype(name)) for name in ("<U7", "float32", "datetime64[us]", "datetime64[D]")]
    ['string', 'float32', 'timestamp', 'date']
    """
    if dtype.kind == "M":
        return "date" if np.datetime_data(dtype)[0] == "D" else "timestamp"
    return _OF_NUMPY.get(dtype.kind, str(dtype))


def months_of(moments: NDArray[Any]) -> NDArray[Any]:
    """Return days and moments as texts of their month, ``"2024-03"``, which can be counted; None for NaT.

    Parameters
    ----------
    moments : ndarray of datetime64, shape (n,)
    """
    texts = np.datetime_as_string(moments, unit="M").astype(object)
    texts[np.isnat(moments)] = None
    return texts


def durations_of(spans: NDArray[Any]) -> NDArray[Any]:
    """Return durations as texts to the microsecond, ``"1 day, 2:30:00"``; None for NaT.

    Parameters
    ----------
    spans : ndarray of timedelta64, shape (n,)
    """
    texts = np.empty(spans.shape, object)
    texts[:] = [None if span is None else str(span) for span in spans.astype("timedelta64[us]").tolist()]
    return texts
