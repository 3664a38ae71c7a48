"""Federated learning as a service, from a notebook: ``import flaas_jupyter as flaas``.

The public names load on first use, so that importing the package stays quick for the command line, the magics and
the hosted side, which need no Keras.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import FlaasError

if TYPE_CHECKING:
    from . import attacks, costs, datasets, widgets
    from .boosting import FederatedBoostingClassifier, FederatedBoostingRegressor
    from .connected import ConnectedFederation, Project, Session, connect
    from .explaining import explain_rows
    from .exploration import Exploration
    from .federatedmodel import FederatedModel, SecureAggregation
    from .metrics import AttackSuccessRate, SourceRecall
    from .notebook.magics import load_ipython_extension
    from .own_exploration import explore
    from .preprocessing import ColumnMap, DateParts, Impute, Mapping, OneHot, Preprocessing, Scale, TextVectorize
    from .protocols.aggregation import aggregation
    from .protocols.analytics import ReleasePolicy
    from .protocols.compression import compression
    from .protocols.privacy import DifferentialPrivacy
    from .simulation.behaviour import Behaviour
    from .simulation.partition import IID, ByColumn, Dirichlet, QuantitySkew, Shards
    from .simulation.simulated import SimulatedFederation, simulate
    from .vertical_federation import simulate_vertical
    from .verticalmodel import VerticalModel

__all__ = [
    "IID",
    "AttackSuccessRate",
    "Behaviour",
    "ByColumn",
    "ColumnMap",
    "ConnectedFederation",
    "DateParts",
    "DifferentialPrivacy",
    "Dirichlet",
    "Exploration",
    "FederatedBoostingClassifier",
    "FederatedBoostingRegressor",
    "FederatedModel",
    "FlaasError",
    "Impute",
    "Mapping",
    "OneHot",
    "Preprocessing",
    "Project",
    "QuantitySkew",
    "ReleasePolicy",
    "Scale",
    "SecureAggregation",
    "Session",
    "Shards",
    "SimulatedFederation",
    "SourceRecall",
    "TextVectorize",
    "VerticalModel",
    "__version__",
    "aggregation",
    "attacks",
    "compression",
    "connect",
    "costs",
    "datasets",
    "explain_rows",
    "explore",
    "load_ipython_extension",
    "simulate",
    "simulate_vertical",
    "widgets",
]

_HOME = {
    "ColumnMap": ".preprocessing",
    "TextVectorize": ".preprocessing",
    "Scale": ".preprocessing",
    "Preprocessing": ".preprocessing",
    "OneHot": ".preprocessing",
    "Mapping": ".preprocessing",
    "Impute": ".preprocessing",
    "DateParts": ".preprocessing",
    "IID": ".simulation.partition",
    "AttackSuccessRate": ".metrics",
    "Behaviour": ".simulation.behaviour",
    "ByColumn": ".simulation.partition",
    "ConnectedFederation": ".connected",
    "DifferentialPrivacy": ".protocols.privacy",
    "Dirichlet": ".simulation.partition",
    "Exploration": ".exploration",
    "FederatedBoostingClassifier": ".boosting",
    "FederatedBoostingRegressor": ".boosting",
    "FederatedModel": ".federatedmodel",
    "Project": ".connected",
    "QuantitySkew": ".simulation.partition",
    "ReleasePolicy": ".protocols.analytics",
    "SecureAggregation": ".federatedmodel",
    "Session": ".connected",
    "Shards": ".simulation.partition",
    "SimulatedFederation": ".simulation.simulated",
    "SourceRecall": ".metrics",
    "VerticalModel": ".verticalmodel",
    "aggregation": ".protocols.aggregation",
    "compression": ".protocols.compression",
    "connect": ".connected",
    "explain_rows": ".explaining",
    "explore": ".own_exploration",
    "load_ipython_extension": ".notebook.magics",
    "simulate": ".simulation.simulated",
    "simulate_vertical": ".vertical_federation",
}


_MODULES = ("attacks", "costs", "datasets", "widgets")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "@flaas/labextension"}]
