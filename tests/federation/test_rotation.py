"""A node process goes over to a new key: the same node to everybody, and the old key is nobody."""

from __future__ import annotations

import json
import time
from typing import Any

from click.testing import CliRunner

from flaas_jupyter import domain_command
from flaas_jupyter.cli import main
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.errors import FlaasError

from .conftest import Fit, linear_model

PROJECT = "demo"


def until(condition: Any, limit: float = 120.0) -> None:
    give_up = time.monotonic() + limit
    while not condition():
        assert time.monotonic() < give_up, "it does not happen"
        time.sleep(0.1)


def test_a_node_goes_over_to_a_new_key_and_trains_with_it(three: Any, monkeypatch: Any) -> None:
    federation, _ = three
    north = federation.nodes["north"]
    old = north.node_id
    before = federation.get(f"/v1/nodes/{old}")
    rotate = CliRunner().invoke(main, ["node", "rotate", "--json"], env={"FLAAS_HOME": str(north.home.path)})
    assert rotate.exit_code == 0, rotate.output
    new = json.loads(rotate.output)["new"]
    key_file = north.home.key.stat().st_ino

    def call(method: str, path: str, *body: dict[str, Any]) -> dict[str, Any]:
        return federation.get(path) if method == "get" else federation.post(path, *body)

    monkeypatch.setattr(domain_command, "_call", call)
    monkeypatch.setattr(domain_command, "_listing", lambda project: federation.get(f"/v1/projects/{project}/directory"))
    assert north.home.key.stat().st_ino == key_file, "nothing happens until it is signed for"
    renew = CliRunner().invoke(
        main, ["domain", "renew", PROJECT, old, "--yes"], env={"FLAAS_HOME": str(federation._admin_home.path)}
    )
    assert renew.exit_code == 0, (renew.output, renew.exception)

    def is_online() -> bool:
        try:
            return bool(federation.get(f"/v1/nodes/{new}")["state"] == "online")
        except FlaasError:
            return False

    until(is_online)
    assert Identity.load_or_create(north.home.key).node_id == north.node_id == new
    assert Identity.load_or_create(north.home.key.with_name("node.key.old")).node_id == old
    node = federation.get(f"/v1/nodes/{new}")
    for kept in ("name", "organisation", "projects", "datasets"):
        assert node[kept] == before[kept]
    until(lambda: federation.get(f"/v1/nodes/{new}")["addresses"] > 0)
    model = linear_model(secure=False)
    fit = Fit(federation, model, rounds=2)
    fit.wait_round(1)
    run = fit.run_id()
    fit.done()
    participants = federation.get(f"/v1/runs/{run}")["participants"]
    assert {part["node"] for part in participants} == {one.node_id for one in federation.nodes.values()}
    assert {part["state"] for part in participants} == {"accepted"}
