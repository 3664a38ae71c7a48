"""What notebooks and commands make of the coordination API's answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


def without_links(resource: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resource without its links and what is embedded in it."""
    return {key: value for key, value in resource.items() if not key.startswith("_")}


def frame(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> pd.DataFrame:
    """Return `columns` of `rows` as a table; also without any row it has these columns."""
    import pandas as pd

    return pd.DataFrame([{name: row.get(name) for name in columns} for row in rows], columns=list(columns))
