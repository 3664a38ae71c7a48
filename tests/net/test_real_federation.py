"""Training where networks let nothing through but one thing: a real API, a real relay, real nodes and a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from installation import Installation
from namespaces import PROXY, Lab
from scattered import proxy_of

pytestmark = [pytest.mark.anyio, pytest.mark.long]
ROUNDS = 4


async def trained(lab: Lab, folder: Path, nodes: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Train across the two sites with everything at port 443; return how they were connected."""
    federation = await Installation.start(
        lab, folder, nodes, rows=400, api={"port": 443}, relay={"port": 443, "name": "relay.example"}
    )
    federation.train(ROUNDS)
    result = await federation.done()
    assert "error" not in result, result
    assert (result["state"], result["rounds"]) == ("completed", ROUNDS)
    assert result["loss"][1] < result["loss"][0]
    # A round's weights cross the mesh four times: four rounds of one crossing are far above what is told of them.
    assert federation.bytes_of_api() < ROUNDS * result["weights"], "metadata only"
    return await federation.paths()


@pytest.fixture
async def lab() -> Any:
    with Lab() as lab:
        yield lab
        await lab.end()


async def test_both_sites_let_out_tcp_443_only(lab: Lab, tmp_path: Path) -> None:
    for site in ("a", "b"):
        lab.firewall(site, "https")
    paths = await trained(lab, tmp_path, {"north": {"site": "a"}, "south": {"site": "b"}})
    assert {path["path"] for path in paths} == {"relay"}


async def test_one_site_has_nothing_but_a_proxy_with_a_password(lab: Lab, tmp_path: Path) -> None:
    lab.firewall("a", "closed")
    await lab.start("ra", "proxy_process.py", {"host": PROXY, "port": 3128, "credentials": "ward:p@ss"})
    north = {"site": "a", "environment": proxy_of("ward:p%40ss")}
    paths = await trained(lab, tmp_path, {"north": north, "south": {"site": "b"}})
    assert "relay" in {path["path"] for path in paths if "north" in (path["from"], path["to"])}


async def test_two_symmetric_nats(lab: Lab, tmp_path: Path) -> None:
    for site in ("a", "b"):
        lab.nat(site, "symmetric")
    paths = await trained(lab, tmp_path, {"north": {"site": "a"}, "south": {"site": "b"}})
    assert {path["path"] for path in paths if {path["from"], path["to"]} == {"north", "south"}} == {"relay"}
