"""How a project's nodes are connected, out of what the coordination API tells: rows, and what to do where nothing is.

Each row is what one node says of its connection with another; the other says so too, and both may differ: each has
measured by itself.
"""

from __future__ import annotations

import itertools
from typing import Any

Json = dict[str, Any]

COLUMNS = ["from", "to", "path", "rtt", "throughput", "bytes"]
_NAMED = 12
"""Pairs that are named one by one; of more it is told how many."""


def rows(mesh: Json) -> list[Json]:
    """Return a row for each connection: names of the nodes, `path`, `rtt` in s, `throughput` in bytes/s, `bytes`."""
    names = {node["id"]: node["name"] for node in mesh["nodes"]}
    found = [
        {
            "from": names[link["from"]],
            "to": names[link["to"]],
            "path": link["kind"],
            "rtt": link["rtt"],
            "throughput": link["throughput"],
            "bytes": link["bytes"],
        }
        for link in mesh["links"]
    ]
    return sorted(found, key=lambda row: (row["from"], row["to"]))


def unconnected(mesh: Json) -> list[tuple[Json, Json]]:
    """Return the pairs of nodes of which neither says that they are connected; relays alone have no need to be."""
    linked = {frozenset((link["from"], link["to"])) for link in mesh["links"]}
    nodes = sorted((node for node in mesh["nodes"] if not _is_relay_alone(node)), key=lambda node: node["name"])
    return [pair for pair in itertools.combinations(nodes, 2) if frozenset(node["id"] for node in pair) not in linked]


def advice(mesh: Json) -> list[str]:
    """Return a line for each node that is away or silent, and for the pairs that could be connected and are not."""
    lines = []
    for node in mesh["nodes"]:
        if _is_relay_alone(node):
            continue
        if not node["online"]:
            lines.append(f"{node['name']} of {node['organisation']} is offline: start it with `flaas node run`.")
        elif node["reported"] is None:
            lines.append(
                f"{node['name']} of {node['organisation']} has told nothing of its connections for a minute: "
                "its log says why, or it runs an older version."
            )
    pairs = [pair for pair in unconnected(mesh) if all(node["online"] and node["reported"] for node in pair)]
    if pairs:
        named = ", ".join(f"{first['name']} and {second['name']}" for first, second in pairs[:_NAMED])
        left = len(pairs) - _NAMED
        more = f", and {left} {'pair' if left == 1 else 'pairs'} more" if left > 0 else ""
        lines.append(
            f"Not connected: {named}{more}. Nodes connect when they have something to tell each other, so this is no "
            "fault in itself; if a run fails for it, `flaas doctor --network` at both says what is blocked."
        )
    return lines


def _is_relay_alone(node: Json) -> bool:
    return bool(node["roles"] == ["relay"])
