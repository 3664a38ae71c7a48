"""Rows as pandas has them, for the owner of a data set."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from .kinds import is_tensor, values_of

if TYPE_CHECKING:
    import pandas as pd


def frame_of(batches: Iterable[pa.RecordBatch], rows: int | None = None) -> pd.DataFrame:
    """Return rows as a table.

    Parameters
    ----------
    batches : iterable of pyarrow.RecordBatch
        At least one.
    rows : int, optional
        The first so many.

    Returns
    -------
    DataFrame
        Arrays with more axes have numbered columns: ``x[0]``, ``x[1]`` ….
    """
    import pandas as pd

    parts, left = [], rows
    for batch in batches:
        part = batch if left is None else batch.slice(0, left)
        parts.append(_frame(part))
        left = None if left is None else left - part.num_rows
        if left == 0:
            break
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]


def _frame(batch: pa.RecordBatch) -> pd.DataFrame:
    import pandas as pd

    if not any(is_tensor(field.type) for field in batch.schema):
        table: pd.DataFrame = pa.Table.from_batches([batch]).to_pandas()
        return table
    parts: list[Any] = []
    for field, column in zip(batch.schema, batch.columns, strict=True):
        if is_tensor(field.type):
            flat = values_of(column).reshape(len(column), -1)
            parts.append(pd.DataFrame(flat, columns=[f"{field.name}[{i}]" for i in range(flat.shape[1])]))
        else:
            parts.append(pa.table([column], names=[field.name]).to_pandas())
    joined: pd.DataFrame = pd.concat(parts, axis=1)
    return joined
