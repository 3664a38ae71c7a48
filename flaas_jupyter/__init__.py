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
    from .connected import ConnectedFederation, Project, Session, connect
    from .federatedmodel import FederatedModel, SecureAggregation
    from .notebook.magics import load_ipython_extension
    from .protocols.aggregation import aggregation

__all__ = [
    "ConnectedFederation",
    "FederatedModel",
    "FlaasError",
    "Project",
    "SecureAggregation",
    "Session",
    "__version__",
    "aggregation",
    "connect",
    "load_ipython_extension",
]

_HOME = {
    "ConnectedFederation": ".connected",
    "FederatedModel": ".federatedmodel",
    "Project": ".connected",
    "SecureAggregation": ".federatedmodel",
    "Session": ".connected",
    "aggregation": ".protocols.aggregation",
    "connect": ".connected",
    "load_ipython_extension": ".notebook.magics",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    return [{"src": "labextension", "dest": "@flaas/labextension"}]
