"""Real nodes tell how they are connected, and people see it."""

from __future__ import annotations

import pytest

from .conftest import Fit, linear_model
from .test_control import until


@pytest.mark.long
def test_the_connections_of_a_run_are_seen_and_those_of_a_killed_node_go(three):
    federation, _ = three
    fit = Fit(federation, linear_model(secure=True), rounds=2, local_epochs=1, batch_size=1000)
    fit.done()
    with federation.connect() as session:
        project = session.project(federation.project)

        def connected():
            rows = project.mesh
            return [rows] if {"north", "south", "west"} <= {*rows["from"], *rows["to"]} else []

        (rows,) = until(connected)
        assert set(rows["path"]) == {"direct"}
        assert (rows["rtt"] < 1.0).all()
        assert (rows["bytes"] > 0).all()
        answer = str(session.get(f"/v1/projects/{federation.project}/mesh"))
        assert "127.0.0.1" not in answer, "nodes tell no addresses"
        federation.kill_node("west")
        until(lambda: "west" not in {*project.mesh["from"], *project.mesh["to"]}, 90.0)
