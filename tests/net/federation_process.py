"""A whole federation, each part of it in a namespace, and a notebook that trains with it.

Real processes: the API with TLS and a private authority, a node at each site, and this one, the notebook. What a test
does to the networks between them is not told to anybody here.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
from lines import Lines, say

from flaas_jupyter import FederatedModel
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.errors import FlaasError
from flaas_jupyter.home import Home, write_private

FEATURES, HIDDEN, ROWS = 8, 2000, 24_000


class Scattered(LocalFederation):
    """The parts of a federation, in namespaces in place of machines."""

    def __init__(self, order: dict[str, Any]) -> None:
        super().__init__(Path(order["folder"]), tls=True, mesh='carriers = ["tls"]\n', node_options=order["options"])
        self._order = order

    def _words(self, command: Sequence[str], home: Path) -> list[str]:
        host = self._order["api"]["host"]
        place = self._order["api"] if command[0] == "api" else self._order["nodes"][home.name]
        more = ["--host", host, "--tls-name", host] if command[0] == "api" else []
        return ["ip", "netns", "exec", place["space"], *super()._words([*command, *more], home)]

    def _say_of_mesh(self, home: Home) -> None:
        site = self._order["nodes"].get(home.path.name)
        ports = f'listen_tls = ["0.0.0.0:8443"]\nannounce_tls = ["{site["announce"]}"]\n' if site else ""
        write_private(home.mesh, f"{self.mesh}{ports}".encode())


def tables(folder: Path, names: Sequence[str]) -> dict[str, dict[str, Path]]:
    """Write rows with a target that can be learned."""
    chance, files = np.random.default_rng(0), {}
    for name in names:
        x = chance.normal(size=(ROWS, FEATURES))
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


def train(federation: Scattered, stopping: threading.Event) -> None:
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
                project.federation(dataset="rows"), rounds=1000, batch_size=1, local_epochs=1, callbacks=[noted],
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
        await asyncio.to_thread(federation.start, tables(folder, list(order["nodes"])), "label")
        await asyncio.to_thread(federation.wait_online)
        say("up", port=int(federation.url.rsplit(":", 1)[1]))
        while order := await lines.next():
            if order["do"] == "train":
                thread = threading.Thread(target=train, args=(federation, stopping), daemon=True)
                thread.start()
            elif order["do"] == "stop":
                stopping.set()
    finally:
        federation.stop()


if __name__ == "__main__":
    asyncio.run(main())
