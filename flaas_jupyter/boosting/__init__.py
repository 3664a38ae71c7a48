"""Gradient-boosted trees over a federation's rows, with scikit-learn's interface.

``FederatedBoostingClassifier().fit(federation)`` trains on nodes that tell nothing but sums; ``fit(X, y)`` trains the
same trees on arrays. Both run `flaas_jupyter.protocols.boosting`.
"""

from .classifier import FederatedBoostingClassifier
from .regressor import FederatedBoostingRegressor

__all__ = ["FederatedBoostingClassifier", "FederatedBoostingRegressor"]
