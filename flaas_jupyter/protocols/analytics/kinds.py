"""The kinds of statistics that come with the package, under their names."""

from .counting import Count
from .histograms import Histogram
from .moments import Cross, Moments
from .orders import Order
from .prefixes import Prefixes
from .statistics import register

register("count", Count)
register("moments", Moments)
register("cross", Cross)
register("histogram", Histogram)
register("order", Order)
register("prefixes", Prefixes)

__all__ = ["Count", "Cross", "Histogram", "Moments", "Order", "Prefixes"]
