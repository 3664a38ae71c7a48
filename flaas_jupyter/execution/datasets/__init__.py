"""The data sets of a node: files that its operator registers and that never leave it.

What others are told is a description: names of columns, types, and the number of rows. Files are CSV, Parquet (one
table, one target column, for vertical models a column of ids) or npz (arrays ``x`` and ``y``, or ``x_<name>`` and
``y_<name>`` for models with several inputs or outputs). Preparing data is the operator's business, with pandas or
whatever they like; a file is registered when it is numbers through and through, and is checked again whenever it has
changed. Messages go to the operator's screen or log and name file, row and column, never a value.
"""

from __future__ import annotations

from .dataset import Dataset
from .registration import Registration
from .registry import VERSION, DatasetRegistry

__all__ = ["VERSION", "Dataset", "DatasetRegistry", "Registration"]
