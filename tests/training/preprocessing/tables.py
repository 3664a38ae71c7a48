"""A table with everything that preprocessing is for: numbers and texts with gaps, codes, dates, free text."""

from __future__ import annotations

import numpy as np
import pandas as pd

from flaas_jupyter.training.preprocessing.values import numbers, texts


def patients(rows: int = 240, seed: int = 0) -> pd.DataFrame:
    """Return a seeded table; about a tenth of the values of most columns are missing."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.normal(50.0, 10.0, rows).round(1),
            "chol": rng.normal(220.0, 30.0, rows).round(),
            "sex": rng.choice(["female", "male"], rows),
            "stage": rng.integers(0, 4, rows).astype(float),
            "admitted": pd.Timestamp("2019-11-20") + pd.to_timedelta(rng.integers(0, 2500, rows), "D"),
            "note": rng.choice(["Chest pain, no fever!", "no fever", "  PAIN\tpain  ", "été: chest"], rows),
        }
    )
    for name in ("age", "sex", "stage", "admitted", "note"):
        table.loc[rng.random(rows) < 0.1, name] = None
    return table


def raw(table: pd.DataFrame, inputs: tuple[tuple[str, str], ...]) -> dict[str, np.ndarray]:
    """Return columns as a served model takes them."""
    return {
        name: numbers(table[name].to_numpy(), name)
        if kind == "number"
        else np.array([text or "" for text in texts(table[name].to_numpy(), name)], object)
        for name, kind in inputs
    }
