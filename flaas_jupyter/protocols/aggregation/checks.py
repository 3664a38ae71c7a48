"""What rules refuse: options out of range, and a state that is not theirs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidInput


def require_option(fine: bool, rule: str, option: str, value: object, allowed: str) -> None:
    """Refuse the option's value unless it is `fine`.

    Raises
    ------
    InvalidInput
        Code ``bad-aggregation-option``; the message says what is `allowed`.
    """
    if not fine:
        raise InvalidInput(
            f"The option {option} of {rule} must be {allowed}; got {value!r}.",
            code="bad-aggregation-option",
            hint="The rule's docstring explains its options.",
            option=option,
        )


def is_number(value: object, low: float = -math.inf, high: float = math.inf) -> bool:
    """Whether the value is a finite real number within [low, high]."""
    return (
        isinstance(value, int | float | np.integer | np.floating)
        and not isinstance(value, bool)
        and low <= float(value) <= high
        and math.isfinite(value)
    )


def is_count(value: object, low: int = 0) -> bool:
    """Whether the value is an integer of at least `low`."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and int(value) >= low


def wrong_state(rule: str, problem: str) -> InvalidInput:
    """Return the error for a state that the rule cannot take up."""
    return InvalidInput(
        f"This is no state of {rule}: {problem}.",
        code="wrong-rule-state",
        hint="Load the state into the rule it was saved from.",
    )


def state_entries(state: Mapping[str, Any], rule: str, keys: Iterable[str]) -> list[Any]:
    """Return the entries of the state, which must be exactly those of `keys`, in that order."""
    wanted = list(keys)
    if not isinstance(state, Mapping) or set(state) != set(wanted):
        got = ", ".join(sorted(map(str, state))) if isinstance(state, Mapping) else type(state).__name__
        raise wrong_state(rule, f"needed is a dictionary of {', '.join(wanted)}, got {got or 'nothing'}")
    return [state[key] for key in wanted]


def state_array(value: object, rule: str, what: str, dimensions: int) -> NDArray[np.float64]:
    """Return an array, or lists that came out of JSON, as a finite float64 array of its own."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise wrong_state(rule, f"{what} is not an array of numbers") from error
    if array.ndim != dimensions or not np.isfinite(array).all():
        raise wrong_state(rule, f"{what} must be finite numbers in {dimensions} dimension(s), got shape {array.shape}")
    return array


def state_numbers(value: object, rule: str, what: str, high: float = math.inf) -> dict[str, float]:
    """Return a dictionary of one number in [0, high] per client."""
    if not isinstance(value, Mapping) or not all(
        isinstance(key, str) and is_number(number, 0.0, high) for key, number in value.items()
    ):
        raise wrong_state(rule, f"{what} must map client ids to numbers from 0 to {high}")
    return {key: float(number) for key, number in value.items()}
