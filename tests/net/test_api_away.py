"""The coordination API is away while a model is trained: the nodes have each other, and go on."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from namespaces import Lab, Process

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(1500)]
API = "192.0.2.1"
AWAY_SECONDS = float(os.environ.get("FLAAS_AWAY_SECONDS", "600"))


class Installation:
    """A federation over the lab's networks; the notebook is in the namespace of the server."""

    def __init__(self, lab: Lab, process: Process) -> None:
        self._lab, self._process = lab, process
        self._port = process.up["port"]
        self._count = "table inet api {\n chain in { type filter hook input priority 0; tcp dport PORT counter; }\n"
        self._count += " chain out { type filter hook output priority 0; tcp sport PORT counter; }\n}\n"
        lab.load("internet", self._count.replace("PORT", str(self._port)))

    @classmethod
    async def start(cls, lab: Lab, folder: Path) -> Installation:
        nodes = {}
        for name, site, public in (("north", "a", "198.51.100.2"), ("south", "b", "203.0.113.2")):
            lab.forward(site, 443, f"{'10.11.0.2' if site == 'a' else '10.12.0.2'}:8443")
            nodes[name] = {"space": lab.space(site), "announce": f"{public}:443"}
        order = {
            "folder": str(folder / "federation"),
            "options": ["--peer-timeout", "5"],
            "api": {"space": lab.space("internet"), "host": API},
            "nodes": nodes,
        }
        return cls(lab, await lab.start("server", "federation_process.py", order))

    def cut(self) -> None:
        """Have every packet to the API lost, as when its network is down."""
        rule = f"tcp dport {self._port} drop"
        self._lab.load(
            "internet", f"table inet cut {{\n chain in {{ type filter hook input priority -10; {rule}; }}\n}}\n"
        )

    def mend(self) -> None:
        self._lab.inside("internet", "nft", "delete", "table", "inet", "cut")

    def bytes_of_api(self) -> int:
        """Return the bytes that have gone to the API and come from it."""
        shown = self._lab.inside("internet", "nft", "list", "table", "inet", "api")
        return sum(map(int, re.findall(r"bytes (\d+)", shown)))

    def train(self) -> None:
        self._process.tell(do="train")

    def stop(self) -> None:
        self._process.tell(do="stop")

    async def round(self, seconds: float = 60.0) -> int:
        """Wait for the next round, and return its number."""
        ended = [line for line in self._process.said if line["event"] == "done"]
        assert not ended, ended
        return int((await self._process.expect("round", seconds))["number"])

    async def done(self) -> dict[str, object]:
        return await self._process.expect("done", 180.0)


async def test_the_api_is_away_for_ten_minutes_in_mid_run(tmp_path: Path) -> None:
    with Lab() as lab:
        try:
            federation = await Installation.start(lab, tmp_path)
            federation.train()
            while await federation.round() < 3:
                pass
            federation.cut()
            loop = asyncio.get_running_loop()
            until, first, last = loop.time() + AWAY_SECONDS, None, 0
            while loop.time() < until:
                last = await federation.round()
                first = first or last
            assert last - first > AWAY_SECONDS / 20, "it goes on all the time"
            federation.mend()
            for _ in range(5):
                last = await federation.round()
            federation.stop()
            result = await federation.done()
            assert "error" not in result, result
            assert result["state"] == "completed"
            assert result["rounds"] > last - 1
            assert result["loss"][1] < result["loss"][0]
            assert federation.bytes_of_api() / result["rounds"] < result["weights"], "metadata only"
        finally:
            await lab.end()
