"""A table with a column of each kind, as bytes of every format, and what a source gives back."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

ROWS = 200


def people(rows: int = ROWS, seed: int = 0) -> pd.DataFrame:
    """Whole numbers, decimals with a missing one, truth values, and texts with commas, quotes and line breaks."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.integers(18, 90, rows),
            "income": rng.normal(size=rows),
            "owns": rng.random(rows) > 0.5,
            "town": rng.choice(["Trier", 'the "old", town', "two\nlines", "Łódź"], rows),
        }
    )
    table.loc[3, "income"] = np.nan
    return table


def _bytes(write: Callable[[io.BytesIO], Any]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def encoded(table: pd.DataFrame) -> dict[str, bytes]:
    """Return the table as a file of each format for tables, by the end of its name."""
    import gzip

    csv = table.to_csv(index=False).encode()
    lines = table.to_json(orient="records", lines=True, double_precision=15).encode()
    return {
        ".csv": csv,
        ".csv.gz": gzip.compress(csv),
        ".parquet": _bytes(table.to_parquet),
        ".feather": _bytes(table.to_feather),
        ".jsonl": lines,
        ".ndjson.gz": gzip.compress(lines),
    }


def npz(**arrays: Any) -> bytes:
    """Return arrays as an npz file."""
    return _bytes(lambda buffer: np.savez_compressed(buffer, **arrays))


def frame(source: Any, *args: Any, **options: Any) -> pd.DataFrame:
    """Return all rows of a source."""
    schema = source.schema()
    batches = list(source.batches(*args, **options))
    return pa.Table.from_batches(batches, None if batches else schema).to_pandas()


def same(found: pd.DataFrame, expected: pd.DataFrame) -> None:
    """Hold two tables against each other."""
    pd.testing.assert_frame_equal(
        found.astype({"town": object}), expected.astype({"town": object}), check_dtype=False, rtol=1e-12
    )
