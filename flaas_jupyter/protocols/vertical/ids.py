"""Ids in one form: what two parties mean by the same id must be the same bytes.

Text is brought to Unicode normal form C (UAX 15), so that an accent counts the same whichever way it was typed, and
encoded as UTF-8; nothing is stripped and case is kept. Whole numbers are their decimal text, whatever their type, so
that 7, 7.0 and "7" are one id: one party's table has numbers where another's has text. A moment at midnight without a
time zone is its date.
"""

from __future__ import annotations

import datetime
import decimal
import math
import unicodedata
import uuid
from collections.abc import Iterable
from typing import Any

import numpy as np

from ...errors import InvalidInput


def canonical_id(value: Any) -> bytes:
    """Return the canonical form of one id.

    Parameters
    ----------
    value : str, bytes, int, float, Decimal, UUID, date, datetime, or tuple of these
        NumPy's scalars are taken as Python's. Texts and bytes of the same UTF-8 are the same id. A tuple is an id of
        several columns; its length and its parts' lengths are part of the form.

    Raises
    ------
    InvalidInput
        ``missing-ids``: None, NaN or NaT; ``bad-id``: another type, or text that UTF-8 cannot hold.
    """
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, bool):
        raise _bad(value)
    if isinstance(value, int):
        return b"%d" % value
    if isinstance(value, bytes):
        return value
    if _is_missing(value):
        raise InvalidInput(
            "A row has no id (None, NaN or NaT).",
            code="missing-ids",
            hint='Leave such rows out: frame.dropna(subset=["<id column>"]).',
        )
    if isinstance(value, float | decimal.Decimal):
        if math.isinf(value):
            raise InvalidInput("An id is infinite.", code="bad-id", hint="Ids are whole numbers or text.")
        if value == int(value):
            return b"%d" % int(value)
        return str(value.normalize() if isinstance(value, decimal.Decimal) else value).encode()
    if isinstance(value, uuid.UUID):
        return str(value).encode()
    if isinstance(value, datetime.datetime):
        midnight = value.tzinfo is None and value.time() == datetime.time()
        return (value.date() if midnight else value).isoformat().encode()
    if isinstance(value, datetime.date):
        return value.isoformat().encode()
    if isinstance(value, tuple):
        parts = [canonical_id(part) for part in value]
        return b"\x00%d" % len(parts) + b"".join(b"\x00%d\x00" % len(part) + part for part in parts)
    raise _bad(value)


def canonical_ids(values: Iterable[Any]) -> list[bytes]:
    """Return the canonical forms of many ids, in their order.

    Raises
    ------
    InvalidInput
        ``missing-ids``, ``bad-id``, as `canonical_id`.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        return [b"%d" % value for value in values.tolist()]
    return [
        value.encode() if type(value) is str and value.isascii() else canonical_id(value)  # the usual case, quickly
        for value in values
    ]


def _is_missing(value: Any) -> bool:
    if value is None:
        return True
    try:
        return bool(value != value)  # NaN, NaT
    except TypeError:  # pandas.NA answers no question with yes or no
        return True


def _text(value: str) -> bytes:
    try:
        return unicodedata.normalize("NFC", value).encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"An id holds half a surrogate pair at position {error.start}, which is not Unicode text.",
            code="bad-id",
            hint="Read the file with its right encoding.",
        ) from error


def _bad(value: Any) -> InvalidInput:
    return InvalidInput(
        f"An id is of type {type(value).__name__}; allowed are text, bytes, numbers, dates, UUIDs and tuples of them.",
        code="bad-id",
        hint='Convert the column: frame["<id column>"].astype(str).',
    )
