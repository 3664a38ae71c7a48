"""``flaas mesh``: how the nodes of a project are connected."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from .answers import without_links
from .mesh_status import advice, rows, unconnected
from .terminal import as_json, at_api, show, table, told

Json = dict[str, Any]


@click.group()
def mesh() -> None:
    """Connections between nodes."""


@mesh.command()
@click.argument("project")
@as_json
@told
def status(project: str, json_output: bool) -> None:
    """Show how the nodes of PROJECT are connected, as they have said in the last minute."""
    found = at_api(lambda api: api.get(f"/v1/projects/{quote(project, safe='')}/mesh"))
    apart = [[node["id"] for node in pair] for pair in unconnected(found)]
    shown = [
        {
            "FROM": row["from"],
            "TO": row["to"],
            "PATH": row["path"],
            "RTT": milliseconds(row["rtt"]),
            "THROUGHPUT": rate(row["throughput"]),
        }
        for row in rows(found)
    ]
    lines = [table(shown, ["FROM", "TO", "PATH", "RTT", "THROUGHPUT"]) if shown else "No connections.", *advice(found)]
    show({**without_links(found), "unconnected": apart}, json_output, "\n".join(lines))


def milliseconds(seconds: float | None) -> str:
    """Return a time as people read it; "-" if it is not known."""
    return "-" if seconds is None else f"{seconds * 1000:.3g} ms"


def rate(bytes_per_second: float | None) -> str:
    """Return a rate in decimal units; "-" if nothing was measured."""
    if bytes_per_second is None:
        return "-"
    for unit, size in (("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3)):
        if bytes_per_second >= size:
            return f"{bytes_per_second / size:.3g} {unit}"
    return f"{bytes_per_second:.0f} B/s"
