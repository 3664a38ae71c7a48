"""Federated analytics: statistics of rows that stay where they are, by sums that nobody sees the parts of.

``statistics.parse(data)`` reads and checks what is asked; each node computes ``statistic.local(columns)`` and sends
``statistic.encode(local)`` into a secure sum; whoever opens the sum reads it with ``statistic.decode(vector)`` and
tells what ``release.release(opened, statistic, policy, nodes)`` lets go of. `audit` and `budget` are what a node
remembers.
"""

from . import release, statistics
from .policy import ReleasePolicy
from .release import Released
from .statistics import Local, Opened, Statistic, parse, register

__all__ = ["Local", "Opened", "ReleasePolicy", "Released", "Statistic", "parse", "register", "release", "statistics"]
