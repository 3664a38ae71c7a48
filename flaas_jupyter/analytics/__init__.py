"""Questions about rows that stay where they are: ``federation.analytics`` and ``federation.frame()``.

`Analytics` has the questions, ``analytics.mean("age", by="sex")``; `Frame` is a small lazy table with pandas' words.

Answers are pandas objects and numbers that equal pandas' own on the table of all rows, and say who is in them, what was
withheld, and what they are off by at most. Where sums come from is a *source*: nodes, or clients of a simulation.
"""

from .column import Column
from .frame import Frame
from .groupby import GroupBy
from .queries import Analytics
from .results import AnalyticsFrame, AnalyticsNumber, AnalyticsResult, AnalyticsSeries
from .source import Query, Source

__all__ = [
    "Analytics",
    "AnalyticsFrame",
    "AnalyticsNumber",
    "AnalyticsResult",
    "AnalyticsSeries",
    "Column",
    "Frame",
    "GroupBy",
    "Query",
    "Source",
]
