"""How long a node waits for what. Nothing in a run waits without one of these limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timing:
    """Limits in seconds.

    Parameters
    ----------
    peer : float
        A peer that has been silent for so long is lost.
    assembly : float
        How long the aggregator waits for every participant before it starts with those that are there.
    patience : float
        How long a run waits for enough participants, or for its plan, before it fails.
    preparation : float
        How long one participant may take to read its rows and build the model: large data sets are written to its
        store first.
    round : float
        How long one participant may take for one step of a round before it is left out.
    """

    peer: float = 10.0
    assembly: float = 30.0
    patience: float = 60.0
    preparation: float = 900.0
    round: float = 3600.0
