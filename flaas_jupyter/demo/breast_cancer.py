"""The demo's data: Wisconsin breast cancer (569 biopsies, 30 measurements each), which scikit-learn carries.

Source: Wolberg, Street, Mangasarian (1995), UCI Machine Learning Repository, https://doi.org/10.24432/C5DW2B.

Three hospitals see different patients, as hospitals do: the screening centre the small tumours, the referral hospital
the large ones. The split by tumour radius is unequal, and neither the classes nor the features are distributed alike.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd

DATASET = "biopsies"
TARGET = "malignant"
SHARES = {"screening": 0.45, "regional": 0.33, "referral": 0.22}
TEST_SHARE = 0.3
SEED = 0


@dataclass(frozen=True)
class Split:
    """Each hospital's training rows and one common test set, as tables with the column ``malignant``."""

    hospitals: dict[str, pd.DataFrame]
    test: pd.DataFrame

    def write(self, folder: Path) -> dict[str, Path]:
        """Write one CSV a hospital and return their paths by name."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = {name: folder / f"{name}.csv" for name in self.hospitals}
        for name, table in self.hospitals.items():
            table.to_csv(paths[name], index=False)
        return paths


def load() -> Split:
    """Load, scale and split the data; the same every time.

    The measurements are scaled to [-1, 1] by the ranges published with the data set, so that no hospital needs to
    know another's statistics.
    """
    import pandas as pd
    from sklearn.datasets import load_breast_cancer
    from sklearn.model_selection import train_test_split

    bunch = load_breast_cancer()
    low, high = _published_ranges(bunch.DESCR, list(bunch.feature_names))
    columns = [str(name).replace(" ", "_") for name in bunch.feature_names]
    table = pd.DataFrame(np.round(2 * (bunch.data - low) / (high - low) - 1, 6), columns=columns)
    table[TARGET] = 1 - bunch.target
    train, test = train_test_split(table, test_size=TEST_SHARE, random_state=SEED, stratify=table[TARGET])
    train = train.sort_values("mean_radius", kind="stable").reset_index(drop=True)
    bounds = np.cumsum([round(share * len(train)) for share in SHARES.values()])[:-1]
    parts = np.split(np.arange(len(train)), bounds)
    hospitals = {
        name: train.iloc[part].sample(frac=1, random_state=SEED).reset_index(drop=True)
        for name, part in zip(SHARES, parts, strict=True)
    }
    return Split(hospitals, test.reset_index(drop=True))


def arrays(table: pd.DataFrame) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return features (n, 30) and labels (n,) as float32."""
    return table.drop(columns=TARGET).to_numpy("float32"), table[TARGET].to_numpy("float32")


def _published_ranges(description: str, features: list[str]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read each feature's minimum and maximum from the table in the description, "radius (mean): 6.981 28.11"."""
    found = re.findall(r"^\s*([a-z ]+) \((mean|standard error|worst)\):\s+([\d.]+)\s+([\d.]+)\s*$", description, re.M)
    names = {"mean": "mean {}", "standard error": "{} error", "worst": "worst {}"}
    ranges = {names[kind].format(name): (float(low), float(high)) for name, kind, low, high in found}
    low, high = np.array([ranges[feature] for feature in features]).T
    return low, high
