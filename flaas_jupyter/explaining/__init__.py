"""Explanations of models over a federation: global importance, dependence, and how well a model does at each client.

`explain` and `evaluate` are what ``model.explain(federation)`` and ``model.evaluate(federation)`` call; `explain_rows`
is for the owner of rows. What nodes compute is in `flaas_jupyter.protocols.explaining` and
`flaas_jupyter.training.prediction`; rows stay where they are.
"""

from .asking import Settings, explain, settings_of
from .explanation import Explanation
from .own_rows import explain_rows
from .performance import Performance, evaluate

__all__ = ["Explanation", "Performance", "Settings", "evaluate", "explain", "explain_rows", "settings_of"]
