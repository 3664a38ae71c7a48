"""Gradient boosting of trees from sums alone: histograms of derivatives, as integers.

Second-order boosting (XGBoost, Chen and Guestrin, arXiv 1603.02754) on binned features (LightGBM, Ke et al., NeurIPS
2017; scikit-learn's HistGradientBoosting). Everything that is learned from rows is a sum of integers over rows, so that
the trees are the same to the bit however the rows are divided among nodes:

================  =======================================================================================
`find_edges`      bin edges from histograms of the features, which `TreeEdges` asks for
`TreeHistogram`   one step: what is asked (an ensemble, leaves of trees that grow), what a node computes
`merge_small`     what may be told of its sum: no cell of 1 to k - 1 rows
`best_splits`     the splits that follow
`Booster`         the loop over steps
`Ensemble`        the model
================  =======================================================================================
"""

from .bins import MAXIMUM_BINS, Bins, find_edges
from .edges import TreeEdges
from .growing import Boosted, Booster, Recipe, Sums
from .histograms import HoldOut, LocalSums, TreeHistogram
from .losses import Loss, loss_named, probabilities
from .memory import forget
from .reading import KIND
from .splitting import Cells, Layout, Rules, Split, best_splits, merge_small
from .statistic import BoostingStatistic
from .trees import MAXIMUM_DEPTH, MAXIMUM_ITERATIONS, MAXIMUM_OUTPUTS, Ensemble, Tree

__all__ = [
    "KIND",
    "MAXIMUM_BINS",
    "MAXIMUM_DEPTH",
    "MAXIMUM_ITERATIONS",
    "MAXIMUM_OUTPUTS",
    "Bins",
    "Boosted",
    "Booster",
    "BoostingStatistic",
    "Cells",
    "Ensemble",
    "HoldOut",
    "Layout",
    "LocalSums",
    "Loss",
    "Recipe",
    "Rules",
    "Split",
    "Sums",
    "Tree",
    "TreeEdges",
    "TreeHistogram",
    "best_splits",
    "find_edges",
    "forget",
    "loss_named",
    "merge_small",
    "probabilities",
]
