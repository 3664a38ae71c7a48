"""A Jupyter Server with the extension, under a base URL that is not the root, beside a fake coordination API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_jupyter.jupyter_server import *  # noqa: F403 - its fixtures and its hook for coroutines

from .fake_api import FakeApi


@pytest.fixture
def fake_api(jp_asyncio_loop: asyncio.AbstractEventLoop) -> Iterator[FakeApi]:
    fake = FakeApi()

    async def start() -> None:
        fake.start()

    jp_asyncio_loop.run_until_complete(start())
    yield fake
    jp_asyncio_loop.run_until_complete(fake.stop())


@pytest.fixture
def flaas_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    home = tmp_path / "flaas"
    monkeypatch.setenv("FLAAS_HOME", str(home))
    monkeypatch.delenv("FLAAS_TOKEN", raising=False)
    monkeypatch.delenv("FLAAS_URL", raising=False)
    return home


@pytest.fixture
def jp_server_config(flaas_home: Path, fake_api: FakeApi) -> dict[str, object]:
    return {
        "ServerApp": {"jpserver_extensions": {"flaas_server": True}},
        "FlaasServer": {"url": fake_api.url, "timeout": 5.0},
    }
