"""What a federated project costs in each cloud, and where it would be cheapest.

The public names load on first use, so that importing the package costs neither pandas nor a solver.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import templates
    from .catalog import Catalog, Offer
    from .egress import EgressTable
    from .estimation import Calibration, Estimate, estimate
    from .need import Need
    from .overlays import NegotiatedPrice, PriceOverlay
    from .placement import Plan, place
    from .regions import Region, Regions
    from .templates import Template

__all__ = [
    "Calibration",
    "Catalog",
    "EgressTable",
    "Estimate",
    "Need",
    "NegotiatedPrice",
    "Offer",
    "Plan",
    "PriceOverlay",
    "Region",
    "Regions",
    "Template",
    "estimate",
    "place",
    "templates",
]

_HOME = {
    "Calibration": ".estimation",
    "Catalog": ".catalog",
    "EgressTable": ".egress",
    "Estimate": ".estimation",
    "Need": ".need",
    "NegotiatedPrice": ".overlays",
    "Offer": ".catalog",
    "Plan": ".placement",
    "PriceOverlay": ".overlays",
    "Region": ".regions",
    "Regions": ".regions",
    "Template": ".templates",
    "estimate": ".estimation",
    "place": ".placement",
}


def __getattr__(name: str) -> Any:
    if name == "templates":
        return importlib.import_module(".templates", __name__)
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
