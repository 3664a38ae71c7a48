"""The kinds of statistics that come with the package, under their names."""

from .counting import Count
from .histograms import Histogram
from .moments import Cross, Moments
from .orders import Order
from .statistics import register

register("count", Count)
register("moments", Moments)
register("cross", Cross)
register("histogram", Histogram)
register("order", Order)

__all__ = ["Count", "Cross", "Histogram", "Moments", "Order"]
