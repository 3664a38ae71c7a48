"""What an hour of work on a machine costs that may be taken away."""

from __future__ import annotations

import math

from ...errors import InvalidInput


def effective_spot_price(
    usd_hour: float, interruptions_per_hour: float, checkpoint_hours: float, boot_hours: float
) -> float:
    """Return USD per useful hour: usd_hour (1 + λ (k / 2 + b)).

    An interruption loses on average half a checkpoint interval of work, and the time until a new machine has started.

    Parameters
    ----------
    usd_hour : float
        Spot price.
    interruptions_per_hour : float
        λ, expected interruptions in an hour.
    checkpoint_hours : float
        k, hours between checkpoints.
    boot_hours : float
        b, hours until a new machine works.

    Raises
    ------
    InvalidInput
        ``bad-spot``: a number that is not finite or below 0.

    Examples
    --------
    >>> round(effective_spot_price(0.10, 0.05, 1.0, 0.1), 4)
    0.103
    """
    given = {
        "usd_hour": usd_hour,
        "interruptions_per_hour": interruptions_per_hour,
        "checkpoint_hours": checkpoint_hours,
        "boot_hours": boot_hours,
    }
    for name, value in given.items():
        if not (math.isfinite(value) and value >= 0):
            raise InvalidInput(
                f"{name} is {value!r}; it must be a finite number, at least 0.",
                code="bad-spot",
                hint="Mend the figure.",
            )
    return usd_hour * (1 + interruptions_per_hour * (checkpoint_hours / 2 + boot_hours))
