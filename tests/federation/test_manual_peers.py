"""Nodes whose owners let each peer in by hand, in real processes: nothing moves before they have, then it does."""

from __future__ import annotations

import time
from typing import Any

from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.execution.peers import decide, listed

from .conftest import QUICK, QUICK_API, Fit, Tables, linear_model


def until(condition: Any, limit: float = 60.0) -> None:
    give_up = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < give_up, "it does not happen"
        time.sleep(0.1)


def test_a_run_waits_until_the_owners_have_let_each_other_in(tmp_path: Any) -> None:
    data = Tables(tmp_path / "data", {"north": 40, "south": 30})
    federation = LocalFederation(
        tmp_path / "federation", node_options=QUICK, api_options=QUICK_API, settings={"peers": "manual"}
    )
    try:
        federation.start(data.files, "label")
        federation.wait_online()
        homes = [node.home for node in federation.nodes.values()]
        for home in homes:
            until(lambda home=home: len(listed(home)) == 2)
            assert {row["state"] for row in listed(home)} == {"waits"}, "the other node and the developer"
        fit = Fit(federation, linear_model(secure=False), rounds=2)
        logs = [node.log for node in federation.nodes.values()]
        until(lambda: all("flaas node requests" in log.read_text() for log in logs))
        assert fit.rounds == 0
        for home in homes:
            for row in listed(home):
                decide(home, row["node_id"], accept=True)
        fit.done()
        assert fit.rounds >= 2
    finally:
        federation.stop()
