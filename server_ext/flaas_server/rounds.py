"""Round reports in columns.

A simulation's journal has, for each client of each round, an object with every name spelled out. The heat map needs
numbers by client: the same reports with one list per quantity, clients by their index in one list of names, take a
fifth of the bytes and can be painted as they come.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any


def in_columns(lines: Iterable[bytes]) -> dict[str, Any]:
    """Return round reports as ``{"nodes": names, "rounds": reports}``.

    Parameters
    ----------
    lines : iterable of bytes
        One report a line, as the simulation writes them. A line that is none is left out.

    Returns
    -------
    dict
        ``nodes``: names of clients. ``rounds``: the reports; their ``clients`` are ``{"node": [index, ...],
        "columns": {quantity: [value, ...]}}`` with a value for each client of the round, null where it has no number.
    """
    index: dict[str, int] = {}
    rounds = []
    for line in lines:
        report = load_object(line)
        if isinstance(report.get("number"), int):
            rounds.append({**report, "clients": _columns(report.get("clients"), index)})
    return {"nodes": list(index), "rounds": rounds}


def load_object(text: bytes) -> dict[str, Any]:
    """Return the JSON object in `text`, an empty one if there is none; what JSON has no word for, as NaN, is None."""
    try:
        body = json.loads(text, parse_constant=lambda _: None)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _columns(clients: Any, index: dict[str, int]) -> dict[str, Any]:
    nodes: list[int] = []
    columns: dict[str, list[float | None]] = {}
    for client in clients if isinstance(clients, list) else []:
        if not isinstance(client, dict) or not isinstance(client.get("node"), str):
            continue
        own = client.get("columns")
        values = {**client, **own} if isinstance(own, dict) else client
        for name, value in values.items():
            if name in {"node", "columns"} or not isinstance(value, int | float):
                continue
            column = columns.setdefault(name, [])
            column.extend([None] * (len(nodes) - len(column)))  # clients before that have no such number
            column.append(float(value) if isinstance(value, bool) else value)
        nodes.append(index.setdefault(client["node"], len(index)))
    for column in columns.values():
        column.extend([None] * (len(nodes) - len(column)))
    return {"node": nodes, "columns": columns}
