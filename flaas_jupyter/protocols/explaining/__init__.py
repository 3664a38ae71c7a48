"""Explanations of models over rows that stay where they are: Shapley values, and sums of them.

`shapley` and `tree_shap` compute them for rows at hand; `Background` is what they are held against, drawn from released
aggregates; `Explanation` is the statistic that nodes add up, `Performance` the one of how well a model does.
"""

from .background import Background, Marginal, draw
from .explanation import Explanation, told_bins
from .feature_bins import FeatureBins
from .model_reference import ModelReference, digest_of
from .performance import Performance

__all__ = [
    "Background",
    "Explanation",
    "FeatureBins",
    "Marginal",
    "ModelReference",
    "Performance",
    "digest_of",
    "draw",
    "told_bins",
]
