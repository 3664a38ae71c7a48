"""The coordination API is away while a model is trained: the nodes have each other, and go on."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from installation import Installation
from namespaces import Lab

pytestmark = [pytest.mark.anyio, pytest.mark.long, pytest.mark.timeout(1500)]
AWAY_SECONDS = float(os.environ.get("FLAAS_AWAY_SECONDS", "600"))


async def test_the_api_is_away_for_ten_minutes_in_mid_run(tmp_path: Path) -> None:
    with Lab() as lab:
        try:
            nodes = {}
            for name, site, public in (("north", "a", "198.51.100.2"), ("south", "b", "203.0.113.2")):
                lab.forward(site, 443, f"{'10.11.0.2' if site == 'a' else '10.12.0.2'}:8443")
                mesh = f'carriers = ["tls"]\nlisten_tls = ["0.0.0.0:8443"]\nannounce_tls = ["{public}:443"]\n'
                nodes[name] = {"site": site, "mesh": mesh}
            federation = await Installation.start(lab, tmp_path, nodes, rows=24_000)
            federation.train(1000)
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
