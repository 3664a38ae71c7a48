"""Preprocessing that travels: from raw columns to the matrix that a model is trained on, the same wherever it runs.

A *step* says what is to be done (`Impute`, `Scale`, `OneHot`, `TextVectorize`, `DateParts`, `Mapping`). Fitting it
against `Statistics` of the rows, which may be federated ones, gives a fitted step: numbers and vocabularies, plain
data. A `Recipe` is a list of these. It is JSON, known by its digest, and is applied to NumPy columns at a node, in a
simulation or in the notebook, and to Keras tensors when a model is exported for serving: every fitted step is written
once, over an `Engine` that is one or the other.

A new step is one module here and a line in `recipe.FITTED`.
"""

from .dates import DateParts
from .impute import Impute
from .mapping import Mapping
from .onehot import OneHot
from .recipe import Recipe
from .scale import Scale
from .statistics import Statistics, TableStatistics
from .text import TextVectorize

__all__ = [
    "DateParts",
    "Impute",
    "Mapping",
    "OneHot",
    "Recipe",
    "Scale",
    "Statistics",
    "TableStatistics",
    "TextVectorize",
]
