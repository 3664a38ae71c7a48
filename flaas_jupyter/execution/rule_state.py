"""What an aggregation rule remembers (budgets, reputations, momentum), on its way to disk, notebook and nodes.

A rule's state is a nested dictionary of JSON values and arrays. `pack` takes the arrays out, since they travel and
are stored as tensors, and `unpack` puts them back. A state that no longer exists anywhere is None; it is not the same
as the empty state of a rule that has not begun.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

State = dict[str, Any]

TRAVELS_BELOW = 256 << 10
"""Bytes up to which a state goes with every round to every participant, which then can restore it."""

_TENSOR = "rule/"
_ARRAY = "$array"


def pack(state: State) -> tuple[State, list[NDArray[Any]]]:
    """Split a state into JSON values and the arrays that they refer to."""
    arrays: list[NDArray[Any]] = []

    def taken_out(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            arrays.append(value)
            return {_ARRAY: len(arrays) - 1}
        if isinstance(value, np.generic):
            return value.item()
        if isinstance(value, dict):
            return {str(key): taken_out(entry) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [taken_out(entry) for entry in value]
        return value

    return taken_out(state), arrays


def unpack(values: State, arrays: Mapping[int, NDArray[Any]]) -> State:
    """Put a state together again."""

    def put_back(value: Any) -> Any:
        if isinstance(value, dict):
            if value.keys() == {_ARRAY}:
                return arrays[value[_ARRAY]]
            return {key: put_back(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [put_back(entry) for entry in value]
        return value

    state: State = put_back(values)
    return state


def to_message(state: State | None) -> tuple[State | None, dict[str, NDArray[Any]]]:
    """Return a state as a value of a message's body and tensors of the message."""
    if state is None:
        return None, {}
    values, arrays = pack(state)
    return values, {f"{_TENSOR}{place}": array for place, array in enumerate(arrays)}


def from_message(values: State | None, tensors: Mapping[str, NDArray[Any]]) -> State | None:
    """Return the state that `to_message` put into a message; other tensors of the message may be there."""
    if values is None:
        return None
    return unpack(values, {int(name.removeprefix(_TENSOR)): array for name, array in of_message(tensors).items()})


def of_message(tensors: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return those tensors of a message that belong to a state."""
    return {name: tensor for name, tensor in tensors.items() if name.startswith(_TENSOR)}


def travels(state: State) -> bool:
    """Tell whether a state is small enough to go with every round to every participant."""
    values, arrays = pack(state)
    return sum(array.nbytes for array in arrays) + len(json.dumps(values)) <= TRAVELS_BELOW
