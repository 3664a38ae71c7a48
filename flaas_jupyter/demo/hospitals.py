"""Patients of four hospitals, as node processes on this machine: what the notebook on federated analytics asks about.

With the heart disease data of the UCI repository (``processed.cleveland.data`` …) in ``FLAAS_DATA/heart-disease`` the
hospitals are those that collected them: Janosi, Steinbrunn, Pfisterer, Detrano (1988),
https://doi.org/10.24432/C52P4X. Without, they share the 442 patients of scikit-learn's diabetes data (Efron, Hastie,
Johnstone, Tibshirani, "Least Angle Regression", 2004), older ones rather at the smaller hospitals. Both have
the columns age (years), sex (0 or 1), pressure (mm Hg) and sick (0 or 1).
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .local import LocalFederation

if TYPE_CHECKING:
    import pandas as pd

DATASET, TARGET = "patients", "sick"
BUDGET = 4.0
"""ε that the demo's owners give each developer."""
_SILOS = ("cleveland", "hungarian", "switzerland", "va")
_FIELDS = (
    "age", "sex", "cp", "trestbps", "chol", "fbs", "restecg", "thalach", "exang", "oldpeak", "slope", "ca", "thal",
    "num",
)  # fmt: skip
_SITES = {"north": 0.35, "south": 0.3, "east": 0.2, "west": 0.15}
_SEED = 0


def load(folder: Path | None = None) -> dict[str, pd.DataFrame]:
    """Return each hospital's table; complete rows only.

    Parameters
    ----------
    folder : Path, optional
        Where a folder ``heart-disease`` may be; default: `FLAAS_DATA`, then ``data``.
    """
    hearts = (folder or Path(os.environ.get("FLAAS_DATA", "data"))) / "heart-disease"
    files = {silo: hearts / f"processed.{silo}.data" for silo in _SILOS}
    if all(file.exists() for file in files.values()):
        return {silo: _heart_disease(file) for silo, file in files.items()}
    return _diabetes()


def start(folder: Path | None = None, data: Path | None = None) -> LocalFederation:
    """Start a coordination API and a node for each hospital, and wait until they are online; `stop` the result.

    Parameters
    ----------
    folder : Path, optional
        Where everything is kept; a temporary folder without.
    data : Path, optional
        As for `load`.
    """
    folder = folder or Path(tempfile.mkdtemp(prefix="flaas-hospitals-"))  # `LocalFederation.remove` deletes it
    files = {}
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for name, table in load(data).items():
        file = folder / "data" / f"{name}.csv"
        table.to_csv(file, index=False)
        files[name] = {DATASET: file}
    federation = LocalFederation(
        folder,
        operations=("train", "analytics"),
        settings={"analytics_epsilon": BUDGET},
    )
    try:
        federation.start(files, TARGET)
        federation.wait_online()
    except BaseException:
        federation.stop()
        raise
    return federation


def _heart_disease(file: Path) -> pd.DataFrame:
    import pandas as pd

    table = pd.read_csv(file, header=None, names=list(_FIELDS), na_values="?")
    table = table[["age", "sex", "trestbps", "num"]].rename(columns={"trestbps": "pressure"})
    table = table[table.pressure > 0].dropna()  # 0 stands for unknown
    table[TARGET] = (table.pop("num") > 0).astype("int64")
    return table.astype({"age": "int64", "sex": "int64", "pressure": "float64"}).reset_index(drop=True)


def _diabetes() -> dict[str, pd.DataFrame]:
    import pandas as pd
    from sklearn.datasets import load_diabetes

    bunch = load_diabetes(as_frame=True, scaled=False)
    table = pd.DataFrame(
        {
            "age": bunch.data["age"].round().astype("int64"),
            "sex": (bunch.data["sex"] - 1).round().astype("int64"),
            "pressure": bunch.data["bp"].round(1),
            TARGET: (bunch.target > bunch.target.median()).astype("int64"),
        }
    )
    rng = np.random.default_rng(_SEED)
    order = np.argsort(table.age.to_numpy() + rng.normal(0, 30, len(table)))
    ends = np.cumsum([round(share * len(table)) for share in _SITES.values()])[:-1]
    parts = np.split(order, ends)
    return {name: table.iloc[rows].reset_index(drop=True) for name, rows in zip(_SITES, parts, strict=True)}
