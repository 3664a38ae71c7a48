"""Nodes that the API launches on its own machine: they register, wait for the domain key, join and train."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from flaas_jupyter.communications import blocking
from flaas_jupyter.communications.coordinator import Bearer, Coordinator
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.domain_command import approve

from .conftest import QUICK_API, Fit, linear_model, rows

LIMIT = 120.0
NAMES = ("bank-a", "bank-b")


class Launcher:
    """A federation without nodes, whose API may launch on this machine."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "machine"
        self.data.mkdir()
        for number, name in enumerate(NAMES):
            rows(60, seed=number).to_csv(self.data / f"{name}.csv", index=False)
        options = {
            **QUICK_API,
            "FLAAS_LOCAL_MACHINES": str(self.data),
            "FLAAS_LAUNCH_TICK": "0.2",
            "FLAAS_LAUNCH_LOOK": "0.5",
            "FLAAS_LAUNCH_LEASE": "2",
        }
        self.federation = LocalFederation(folder / "federation", api_options=options)
        self.federation.start({}, None)
        self.token = self.federation.token("laboratory", "operator")

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        async def ask() -> dict[str, Any]:
            async with Coordinator(self.federation.url, Bearer(self.token)) as coordinator:
                return await (coordinator.get(path) if method == "get" else coordinator.post(path, body or {}))

        return blocking.run(ask())

    def launch(self) -> str:
        nodes = [
            {
                "name": name,
                "provider": "local",
                "region": "here",
                "instance_type": "process",
                "dataset": {"name": "rows", "source": f"{name}.csv", "target": "label"},
            }
            for name in NAMES
        ]
        return str(
            self.call("post", "/v1/projects/demo/launches", {"hours": 1.0, "accepted_usd": 0.0, "nodes": nodes})["id"]
        )

    def until(self, launch: str, what: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            found = self.call("get", f"/v1/launches/{launch}")
            if what(found):
                return found
            time.sleep(0.1)
        logs = "\n".join(log.read_text()[-1500:] for log in self.data.glob("machines/*/node.log"))
        raise AssertionError(f"{json.dumps(found, indent=1)}\n{logs}")

    def pids(self) -> list[int]:
        return [json.loads(path.read_text())["pid"] for path in self.data.glob("machines/*/process.json")]


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path)
    try:
        yield launcher
        for found in launcher.call("get", "/v1/projects/demo/launches")["_embedded"]["launches"]:
            if found["state"] not in ("ended", "failed"):
                launcher.call("post", f"/v1/launches/{found['id']}/terminate")
                launcher.until(found["id"], lambda found: found["state"] == "ended")
    finally:
        launcher.federation.stop()


def state_is(*states: str) -> Callable[[dict[str, Any]], bool]:
    return lambda launch: launch["state"] in states


@pytest.mark.slow
@pytest.mark.long
def test_launched_nodes_wait_for_the_domain_key_then_join_train_and_end(launcher):
    federation = launcher.federation
    launch = launcher.launch()
    launcher.until(launch, lambda found: all(node["state"] == "registered" for node in found["nodes"]))
    # The API is killed while its machines run: they outlive it, and it goes on where it was.
    before = launcher.pids()
    federation.kill_api()
    federation.start_api()
    shown = []
    signed = approve(
        launcher.call,
        federation._admin_home.domain_key("demo"),
        "demo",
        launch,
        agreed=lambda text: shown.append(text) or True,
    )
    assert sorted(signed) == sorted(NAMES)
    ready = launcher.until(launch, state_is("ready"))
    assert all(node["node_id"] in shown[0] and node["name"] in shown[0] for node in ready["nodes"])
    assert launcher.pids() == before, "nothing was launched twice"
    configs = [json.loads(path.read_text()) for path in launcher.data.glob("machines/*/node.json")]
    assert [config.get("secret") for config in configs] == [None, None]
    deadline = time.monotonic() + LIMIT
    while not launcher.call("get", "/v1/projects/demo/datasets")["_embedded"]["datasets"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    fit = Fit(federation, linear_model(secure=False), rounds=60, local_epochs=1, batch_size=60)
    fit.wait_round(2)
    launcher.until(launch, lambda found: found["state"] == "training" and found["run"] is not None)
    assert len(fit.done().history.history["loss"]) == 60
    launcher.call("post", f"/v1/launches/{launch}/terminate")
    ended = launcher.until(launch, state_is("ended"))
    assert all(node["state"] == "ended" and node["ended"] for node in ended["nodes"])
    for pid in before:
        assert not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2]
    assert not list(launcher.data.glob("machines/*/home"))
    assert launcher.call("get", "/v1/nodes")["_embedded"]["nodes"] == []
