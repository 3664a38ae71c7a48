"""States of a launch and of its nodes.

A node's state is moved by what is known of it: what its cloud says, whether it has registered, whether the domain key's
holders have signed for it, whether it trains. A launch's state follows from its nodes'.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

PLANNED, LAUNCHING, BOOTING, REGISTERED, JOINED, TRAINING, ENDING, ENDED, FAILED = (
    "planned",
    "launching",
    "booting",
    "registered",
    "joined",
    "training",
    "ending",
    "ended",
    "failed",
)
NODE_STATES: Final = (PLANNED, LAUNCHING, BOOTING, REGISTERED, JOINED, TRAINING, ENDING, ENDED, FAILED)

JOINING, READY, STUCK = "joining", "ready", "stuck"
LAUNCH_STATES: Final = (LAUNCHING, BOOTING, JOINING, READY, TRAINING, ENDING, ENDED, FAILED, STUCK)
OVER: Final = (ENDED, FAILED)
"""States in which nothing of a launch is left anywhere."""

UP: Final = (BOOTING, REGISTERED, JOINED, TRAINING)
"""States of a node whose machine is there and is meant to be."""

_BY_SLOWEST: Final = (
    (PLANNED, LAUNCHING),
    (LAUNCHING, LAUNCHING),
    (BOOTING, BOOTING),
    (REGISTERED, JOINING),
)


def of_launch(nodes: Iterable[tuple[str, bool]], *, ending: bool) -> str:
    """Return the state of a launch.

    Parameters
    ----------
    nodes : iterable of (str, bool)
        Of every attempt that counts: its state, and whether nothing of it is left in its cloud.
    ending : bool
        Whether the launch is to end.
    """
    known = list(nodes)
    states = {state for state, _ in known}
    all_over = all(over for _, over in known)
    if ending:
        return ENDED if all_over else ENDING
    if states <= {FAILED, ENDED}:
        return FAILED if all_over else ENDING
    if FAILED in states:
        return STUCK
    for state, name in _BY_SLOWEST:
        if state in states:
            return name
    return TRAINING if TRAINING in states else READY
