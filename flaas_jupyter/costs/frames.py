"""Tables for notebooks: the only module of the price catalog that imports pandas."""

from __future__ import annotations

from typing import Any

import pandas as pd
from numpy.typing import NDArray


def candidates_frame(columns: dict[str, NDArray[Any]]) -> pd.DataFrame:
    """Return the columns of `candidates.candidate_columns` as the table that `Catalog.candidates` describes."""
    return pd.DataFrame({**columns, "as_of": columns["as_of"].astype("datetime64[s]")})
