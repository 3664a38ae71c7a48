"""A whole federation, each part of it in a namespace, and a notebook that trains with it.

Real processes: the API with TLS and a private authority, a node at each site, and this one, the notebook. What a test
does to the networks between them is not told to anybody here.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
from lines import Lines, say

from flaas_jupyter import FederatedModel
from flaas_jupyter.communications.coordinator import Bearer
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.network import Network, RelaySite
from flaas_jupyter.demo.local import LocalFederation, _first_line
from flaas_jupyter.errors import FlaasError
from flaas_jupyter.execution.enrolment import Enrolment
from flaas_jupyter.execution.joining import join
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.governance import domain as governance
from flaas_jupyter.governance.permissions import ORG_ADMIN
from flaas_jupyter.home import Home, write_private

FEATURES, HIDDEN = 8, 2000


class Scattered(LocalFederation):
    """The parts of a federation, in namespaces in place of machines."""

    def __init__(self, order: dict[str, Any]) -> None:
        super().__init__(Path(order["folder"]), tls=True, node_options=order["options"])
        self._order = order
        self._relay: subprocess.Popen[str] | None = None

    def start_api(self, port: int = 0) -> None:
        super().start_api(port or self._order["api"].get("port", 0))

    def _set_up_project(self, datasets: Mapping[str, object]) -> None:
        super()._set_up_project(datasets)
        if "relay" in self._order:
            self._start_relay(self._order["relay"])

    def _start_relay(self, order: dict[str, Any]) -> None:
        """Have a relay join, run, and named by the administrator, in place of the commands."""
        home = Home(self.folder / "relay")
        home.path.mkdir(mode=0o700)
        Enrolment("relay").save(home.enrolment)
        write_private(home.policy, Policy.default_toml().encode())
        key = self._admin_home.domain_key(self.project)
        self._sign(Identity.load_or_create(home.key).node_id, "laboratory", ["relay"])
        operator = Bearer(self.token("laboratory", "operator"))
        join(home, self.url, operator, self.project, Identity.load_or_create(key).node_id, trust=self.trust)
        command = ["relay", "serve", "--host", "0.0.0.0", "--port", str(order["port"]), "--tls-private"]
        command += ["--tls-name", order["name"]]
        self._relay = self._spawn(command, home.path, home.path / "relay.log", {})
        _first_line(self._relay, home.path / "relay.log")
        site = RelaySite("relay", f"https://{order['name']}", (home.tls / "ca.pem").read_text())
        document = governance.network(key, Network(self.project, relays=(site,)))
        self.call_as(ORG_ADMIN, "put", f"/v1/projects/{self.project}/network", document)

    def stop(self) -> None:
        super().stop()
        if self._relay is not None:
            self._relay.kill()
            self._relay.wait()

    def _words(self, command: Sequence[str], home: Path) -> list[str]:
        host = self._order["api"]["host"]
        place = self._order[command[0]] if command[0] in ("api", "relay") else self._order["nodes"][home.name]
        more = ["--host", host, "--tls-name", host] if command[0] == "api" else []
        return ["ip", "netns", "exec", place["space"], *super()._words([*command, *more], home)]

    def _spawn(self, command: Sequence[str], home: Path, log: Path, extra: Mapping[str, str]) -> subprocess.Popen[str]:
        own = self._order["nodes"].get(home.name, {}).get("environment", {})
        return super()._spawn(command, home, log, {**extra, **own})

    def _say_of_mesh(self, home: Home) -> None:
        told = self._order["nodes"].get(home.path.name, {}).get("mesh", "")
        write_private(home.mesh, told.encode())


def tables(folder: Path, names: Sequence[str], rows: int) -> dict[str, dict[str, Path]]:
    """Write rows with a target that can be learned."""
    chance, files = np.random.default_rng(0), {}
    for name in names:
        x = chance.normal(size=(rows, FEATURES))
        table = pd.DataFrame(x, columns=[f"x{i}" for i in range(FEATURES)])
        table.assign(label=(x.sum(axis=1) > 0).astype(int)).to_csv(folder / f"{name}.csv", index=False)
        files[name] = {"rows": folder / f"{name}.csv"}
    return files


def model() -> FederatedModel:
    keras.utils.set_random_seed(1)
    inputs = keras.Input((FEATURES,))
    outputs = keras.layers.Dense(1, activation="sigmoid")(keras.layers.Dense(HIDDEN, activation="tanh")(inputs))
    made = FederatedModel(inputs=inputs, outputs=outputs, secure_aggregation=False)
    made.compile(optimizer=keras.optimizers.SGD(0.01), loss="binary_crossentropy", metrics=["accuracy"])
    return made


def train(federation: Scattered, rounds: int, stopping: threading.Event) -> None:
    """Train until told to stop, telling each round; then tell what came of it, as the API has it, too."""
    trained = model()

    def told(epoch: int, logs: dict[str, float]) -> None:
        trained.stop_training = trained.stop_training or stopping.is_set()
        say("round", number=epoch + 1, loss=float(logs["loss"]))

    try:
        with federation.connect() as session:
            project = session.project(federation.project)
            noted = keras.callbacks.LambdaCallback(on_epoch_end=told)
            history = trained.fit(
                project.federation(dataset="rows"), rounds=rounds, batch_size=1, local_epochs=1, callbacks=[noted],
                verbose=0,
            )  # fmt: skip
            run = project.runs.iloc[0]
            say(
                "done",
                rounds=len(history.history["loss"]),
                loss=[float(history.history["loss"][index]) for index in (0, -1)],
                state=str(run["state"]),
                weights=sum(array.nbytes for array in trained.get_weights()),
            )
    except FlaasError as error:
        say("done", error=error.to_dict())


def paths(federation: Scattered) -> list[dict[str, Any]]:
    """Return how the nodes are connected, once all have told."""
    with federation.connect() as session:
        project = session.project(federation.project)
        until = time.monotonic() + 45.0
        while not set(federation.nodes) <= set((told := project.mesh)["from"]) and time.monotonic() < until:
            time.sleep(0.5)
        rows: list[dict[str, Any]] = told[["from", "to", "path"]].to_dict("records")
        return rows


async def main() -> None:
    sys.stdout = sys.stderr  # what is meant for people; the lines to the test go where they did
    lines = await Lines.open()
    order = await lines.next()
    assert order is not None
    folder = Path(order["folder"])
    await asyncio.to_thread(folder.mkdir, parents=True)
    federation = Scattered(order)
    stopping, thread = threading.Event(), None
    try:
        await asyncio.to_thread(federation.start, tables(folder, list(order["nodes"]), order["rows"]), "label")
        await asyncio.to_thread(federation.wait_online)
        say("up", port=int(federation.url.rsplit(":", 1)[1]))
        while order := await lines.next():
            if order["do"] == "train":
                thread = threading.Thread(target=train, args=(federation, order["rounds"], stopping), daemon=True)
                thread.start()
            elif order["do"] == "stop":
                stopping.set()
            elif order["do"] == "paths":
                say("paths", paths=await asyncio.to_thread(paths, federation))
    finally:
        federation.stop()


if __name__ == "__main__":
    asyncio.run(main())
