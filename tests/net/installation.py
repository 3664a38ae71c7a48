"""A whole federation in a lab: the API, nodes at sites, perhaps a relay, and a notebook that trains."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from namespaces import Lab, Process

API = "192.0.2.1"
"""Of the namespace in which the sites' networks meet."""


class Installation:
    """Real processes; the notebook is in the namespace of the server, beside the relay if there is one."""

    def __init__(self, lab: Lab, process: Process) -> None:
        self._lab, self._process = lab, process
        self._port = process.up["port"]
        self._count = "table inet api {\n chain in { type filter hook input priority 0; tcp dport PORT counter; }\n"
        self._count += " chain out { type filter hook output priority 0; tcp sport PORT counter; }\n}\n"
        lab.load("internet", self._count.replace("PORT", str(self._port)))

    @classmethod
    async def start(
        cls,
        lab: Lab,
        folder: Path,
        nodes: Mapping[str, Mapping[str, Any]],
        *,
        rows: int,
        api: Mapping[str, Any] | None = None,
        relay: Mapping[str, Any] | None = None,
    ) -> Installation:
        """Start all of it.

        Parameters
        ----------
        lab : Lab
        folder : Path
            For the homes of all.
        nodes : mapping
            By name: ``site``, and what it is told beside (``mesh``, lines of mesh.toml; ``environment``).
        rows : int
            Of each node's table: how long a round takes.
        api, relay : mapping, optional
            ``port``; without `relay` there is none.
        """
        order: dict[str, Any] = {
            "folder": str(folder / "federation"),
            "options": ["--peer-timeout", "5"],
            "rows": rows,
            "api": {"space": lab.space("internet"), "host": API, **(api or {})},
            "nodes": {name: {**node, "space": lab.space(node["site"])} for name, node in nodes.items()},
        }
        if relay is not None:
            order["relay"] = {"space": lab.space("server"), **relay}
        return cls(lab, await lab.start("server", "federation_process.py", order))

    def cut(self) -> None:
        """Have every packet to the API lost, as when its network is down."""
        rule = f"tcp dport {self._port} drop"
        self._lab.load(
            "internet", f"table inet cut {{\n chain in {{ type filter hook input priority -10; {rule}; }}\n}}\n"
        )

    def mend(self) -> None:
        """Let packets to the API through again."""
        self._lab.inside("internet", "nft", "delete", "table", "inet", "cut")

    def bytes_of_api(self) -> int:
        """Return the bytes that have gone to the API and come from it."""
        shown = self._lab.inside("internet", "nft", "list", "table", "inet", "api")
        return sum(map(int, re.findall(r"bytes (\d+)", shown)))

    def train(self, rounds: int) -> None:
        """Begin to train."""
        self._process.tell(do="train", rounds=rounds)

    def stop(self) -> None:
        """Have the training stop after the round that is under way."""
        self._process.tell(do="stop")

    async def round(self, seconds: float = 60.0) -> int:
        """Wait for the next round, and return its number."""
        ended = [line for line in self._process.said if line["event"] == "done"]
        assert not ended, ended
        return int((await self._process.expect("round", seconds))["number"])

    async def done(self, seconds: float = 180.0) -> dict[str, Any]:
        """Wait for the end of the training; return what came of it."""
        return await self._process.expect("done", seconds)

    async def paths(self) -> list[dict[str, Any]]:
        """Return how the nodes are connected, as they have told the API."""
        told: list[dict[str, Any]] = (await self._process.ask("paths"))["paths"]
        return told
