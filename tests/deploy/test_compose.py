"""``podman-compose up``: the demo federation in containers, each hospital on a network of its own."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest
from engine import ROOT, Engine, missing, wait_until

HOSPITALS = ("screening", "regional", "referral")
PROJECT = "flaas-test"

pytestmark = [
    pytest.mark.containers,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
    pytest.mark.skipif(shutil.which("podman-compose") is None, reason="pip install podman-compose"),
]

_TRAIN = """
import json
import flaas_jupyter as flaas
from flaas_jupyter.demo.run import model
with flaas.connect() as session:
    federation = session.project("demo").federation(dataset="biopsies")
    network = model()
    network.fit(federation, rounds=3, local_epochs=1, batch_size=16, seed=7, verbose=0)
    report = network.federated_report
print(json.dumps({"rounds": len(report), "nodes": sorted(report.weights[1])}))
"""

_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
    print("connected")
except OSError as error:
    print(type(error).__name__)
"""


class Federation:
    """The services of compose.yaml, started under a project name of the tests."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._environment = {**engine.environment, "FLAAS_LAB_PORT": str(self.port)}

    def compose(self, *words: str, check: bool = True) -> str:
        """Run ``podman-compose``."""
        done = subprocess.run(
            ["podman-compose", f"--project-name={PROJECT}", "--file=deploy/compose.yaml", *words],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=1800,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout[-5000:]
        return done.stdout

    def container(self, service: str) -> str:
        """Name of the one container of `service`."""
        return f"{PROJECT}_{service}_1"

    def healthy(self, service: str) -> bool:
        """Run the health check of `service`."""
        return self.engine("healthcheck", "run", self.container(service), check=False) in ("", "healthy")

    def ended(self, step: str) -> bool:
        """Tell whether a step has ended, as it should."""
        state = self.engine("inspect", "--format={{.State.Status}} {{.State.ExitCode}}", self.container(step))
        assert not state.startswith("exited") or state == "exited 0", state
        return state == "exited 0"

    def run_in(self, service: str, *words: str, timeout: float = 300) -> str:
        """Run a command in the container of `service`."""
        return self.engine("exec", self.container(service), *words, timeout=timeout)

    def address(self, service: str) -> str:
        """IPv4 address of `service` on its own network."""
        networks = json.loads(
            self.engine("inspect", "--format={{json .NetworkSettings.Networks}}", self.container(service))
        )
        return str(networks[f"{PROJECT}_{service}"]["IPAddress"])

    def logs(self) -> str:
        """The last lines of every service's log."""
        return "\n".join(
            f"== {name}\n" + self.engine("logs", "--tail=15", name, check=False)
            for name in self.engine("ps", "--all", f"--filter=name={PROJECT}", "--format={{.Names}}").split()
        )


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """The whole demo, with JupyterLab answering and every hospital's node up."""
    engine = Engine(tmp_path_factory.mktemp("engine"))
    print(engine.build())
    running = Federation(engine)
    began = time.monotonic()
    try:
        running.compose("up", "--detach")
        try:
            wait_until("the members are signed for", lambda: running.ended("members-setup"), 600)
            for service in ("api", "relay", *HOSPITALS, "laboratory"):
                wait_until(f"{service} is healthy", lambda service=service: running.healthy(service), 300)
        except AssertionError as failure:
            raise AssertionError(f"{failure}\n{running.logs()}") from failure
        print(f"podman-compose up: everything is healthy after {time.monotonic() - began:.0f} s")
        yield running
    finally:
        running.compose("down", "--volumes", "--timeout=5", check=False)


def test_jupyterlab_answers_this_machine_and_wants_its_token(federation: Federation) -> None:
    token = federation.run_in("laboratory", "cat", "/var/lib/flaas/jupyter-token")
    address = f"http://127.0.0.1:{federation.port}"
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{address}/api/contents", timeout=30)
    assert refused.value.code == 403
    asked = urllib.request.Request(f"{address}/flaas/status", headers={"Authorization": f"token {token}"})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        assert answer.status == 200
    asked = urllib.request.Request(f"{address}/api/contents", headers={"Authorization": f"token {token}"})
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert "01-first-federation.ipynb" in {entry["name"] for entry in json.load(answer)["content"]}
    assert token not in federation.logs()


def test_hospitals_reach_the_api_and_the_relay_and_nothing_else(federation: Federation) -> None:
    for service, port in (("api", "8470"), ("relay", "8443")):
        assert federation.run_in("screening", "python3", "-c", _CONNECT, service, port) == "connected"
    other = federation.address("regional")
    assert federation.run_in("screening", "python3", "-c", _CONNECT, other, "41641") != "connected"
    outside = "192.0.2.1"  # TEST-NET-1, RFC 5737
    assert federation.run_in("screening", "python3", "-c", _CONNECT, outside, "443") == "OSError"


def test_three_hospitals_that_cannot_reach_each_other_train_together(federation: Federation) -> None:
    told = json.loads(federation.run_in("laboratory", "python3", "-c", _TRAIN, timeout=900).splitlines()[-1])
    assert told["rounds"] == 3
    assert told["nodes"] == sorted(HOSPITALS)
    status = ("flaas", "mesh", "status", "demo", "--json")
    links = wait_until(
        "nodes say how they are connected", lambda: json.loads(federation.run_in("laboratory", *status))["links"]
    )
    assert {link["kind"] for link in links} == {"relay"}


@pytest.mark.parametrize("service", ["api", "relay", *HOSPITALS, "laboratory"])
def test_a_running_service_has_no_rights_and_no_secret_in_its_environment(federation: Federation, service: str) -> None:
    about = json.loads(federation.engine("inspect", federation.container(service)))[0]
    assert about["EffectiveCaps"] in (None, [])
    assert about["BoundingCaps"] in (None, [])
    assert about["HostConfig"]["ReadonlyRootfs"] is True
    assert about["Config"]["User"] == "10001:10001"
    assert "no-new-privileges" in about["HostConfig"]["SecurityOpt"]
    kept = {entry.partition("=")[0] for entry in about["Config"]["Env"]}
    assert not [
        name
        for name in kept
        if any(word in name for word in ("TOKEN", "KEY", "SECRET", "PASSWORD")) and not name.endswith("_FILE")
    ]


def test_a_node_stays_healthy_while_the_api_is_away_and_not_when_it_hangs(federation: Federation) -> None:
    """Peers and runs go on without the API; restarting the node would end them for nothing."""
    federation.engine("pause", federation.container("api"))
    try:
        wait_until("the API does not answer", lambda: not _answers(federation, "api"))
        assert federation.healthy("screening")
    finally:
        federation.engine("unpause", federation.container("api"))
    federation.engine("kill", "--signal=STOP", federation.container("screening"))
    try:
        assert not federation.healthy("screening")
    finally:
        federation.engine("kill", "--signal=CONT", federation.container("screening"))
    wait_until("the node goes on", lambda: federation.healthy("screening"))


def _answers(federation: Federation, service: str) -> bool:
    asked = ["flaas-healthcheck", f"https://{service}:8470/v1/health"]
    done = subprocess.run(
        ["podman", "exec", federation.container("screening"), *asked],
        env={**os.environ, **federation.engine.environment},
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def test_a_second_start_goes_on_with_the_same_federation(federation: Federation) -> None:
    before = federation.run_in("screening", "flaas", "node", "status", "--json")
    federation.compose("down", "--timeout=10")
    federation.compose("up", "--detach")
    wait_until("the node is up again", lambda: federation.healthy("screening"), 300)
    after = federation.run_in("screening", "flaas", "node", "status", "--json")
    assert json.loads(before)["node_id"] == json.loads(after)["node_id"]
    assert json.loads(after)["state"] == "online"
