"""What the coordination API gets to see of a run: everything that is asked of it is recorded and looked through."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import uvicorn

from flaas_jupyter.coordination.app import create_app
from flaas_jupyter.coordination.settings import Settings
from flaas_jupyter.demo.local import LocalFederation

from .conftest import Fit, Tables, linear_model

HIDDEN = 4000  # 32,001 parameters: 128 kB that could not be overlooked


@dataclass
class Recorder:
    """An ASGI wrapper that keeps every request's headers, path and body."""

    app: Any
    requests: list[tuple[str, str, bytes, bytes]] = field(default_factory=list)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = bytearray()

        async def listening() -> Any:
            message = await receive()
            body.extend(message.get("body", b""))
            return message

        headers = b"\n".join(name + b": " + value for name, value in scope["headers"])
        try:
            await self.app(scope, listening, send)
        finally:
            path = scope["path"] + "?" + scope["query_string"].decode()
            self.requests.append((scope["method"], path, headers, bytes(body)))


class RecordedFederation(LocalFederation):
    """A federation whose API runs in this process, behind a `Recorder`."""

    recorder: Recorder

    def start_api(self, port: int = 0) -> None:
        self.folder.mkdir(parents=True)
        self.take_office()
        self.recorder = Recorder(create_app(Settings(database_url=self._database)))
        config = uvicorn.Config(self.recorder, host="127.0.0.1", port=0, log_level="warning")
        self.server = uvicorn.Server(config)
        started = threading.Event()
        startup = self.server.startup

        async def announce(*args: Any, **kwargs: Any) -> None:
            await startup(*args, **kwargs)
            started.set()

        self.server.startup = announce
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        assert started.wait(30)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def stop(self) -> None:
        super().stop()
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(10)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> Iterator[tuple[RecordedFederation, Tables]]:
    folder = tmp_path_factory.mktemp("recorded")
    data = Tables(folder / "data", {"north": 40, "south": 25, "west": 90})
    federation = RecordedFederation(folder / "federation")
    try:
        federation.start(data.files, "label")
        federation.wait_online()
        yield federation, data
    finally:
        federation.stop()


@pytest.mark.parametrize(
    "secure", [pytest.param(False, id="plain"), pytest.param(True, id="secure", marks=pytest.mark.long)]
)
def test_no_request_of_a_run_carries_weights_gradients_or_data(recorded, secure):
    federation, data = recorded
    before = len(federation.recorder.requests)
    model = Fit(federation, linear_model(secure, hidden=HIDDEN), rounds=3, batch_size=1000).done()
    requests = federation.recorder.requests[before:]
    assert any("/rounds/3" in path for _, path, _, _ in requests), "the recorder saw the run"
    weights = np.concatenate([array.ravel() for array in model.get_weights()])
    for method, path, headers, body in requests:
        assert len(body) < 16_384, f"{method} {path}"
        assert b"octet-stream" not in headers
        if body:
            assert longest_list_of_numbers(json.loads(body)) <= 8, f"{method} {path}"
    everything = b"\n".join(path.encode() + headers + body for _, path, headers, body in requests)
    assert len(everything) < weights.nbytes, "all requests together are smaller than the model"
    for table in data.tables.values():
        for value in table.drop(columns="label").to_numpy().ravel()[:200]:
            assert repr(float(value))[:9].encode() not in everything
            assert np.float32(value).tobytes() not in everything
    for value in weights[np.abs(weights) > 1e-3][:500]:
        assert np.float32(value).tobytes() not in everything


def longest_list_of_numbers(value: Any) -> int:
    """Length of the longest list of numbers anywhere in a JSON value."""
    if isinstance(value, dict):
        return max((longest_list_of_numbers(v) for v in value.values()), default=0)
    if isinstance(value, list):
        own = len(value) if value and all(isinstance(v, int | float) for v in value) else 0
        return max([own, *(longest_list_of_numbers(v) for v in value)], default=0)
    return 0
