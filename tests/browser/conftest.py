"""A real Chromium, a real JupyterLab process under a base URL that is not the root, and a fake coordination API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from . import browser as chromium
from .fake_api import FakeApi
from .lab import Lab, LabServer

ARTIFACTS = Path(__file__).parent / "artifacts"
# Two browsers, two JupyterLabs and their kernels may share two slow cores; what must be quick says so itself.
expect.set_options(timeout=60_000)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        # What takes minutes is run by `make test-long`, with all else that does.
        if Path(__file__).parent in item.path.parents and item.get_closest_marker("long") is None:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for one module: while it is open its event loop runs in this thread, where others then cannot.

    A module's own services come up before it, and go down after it.
    """
    executable = chromium.ensure()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=executable, args=chromium.FLAGS)
        yield running
        running.close()


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page of its own; what it says on the console as an error fails the test."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, locale="en-GB")
    page = context.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(f"{error}\n{error.stack}"))
    yield page
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"end-of-{request.node.name}.png")
    context.close()
    assert errors == []


@pytest.fixture
def fake_api() -> Iterator[FakeApi]:
    api = FakeApi()
    api.start()
    yield api
    api.stop()


@pytest.fixture(scope="module")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    with LabServer(tmp_path_factory.mktemp("lab")) as server:
        yield server


@pytest.fixture
def lab(page: Page, lab_server: LabServer) -> Lab:
    """JupyterLab, open, signed in nowhere, and without a sign-in that another test has left half done."""
    (lab_server.flaas_home / "credentials.json").unlink(missing_ok=True)
    given_up = httpx.delete(
        f"{lab_server.url}flaas/session/device", headers={"Authorization": f"token {lab_server.token}"}
    )
    assert given_up.status_code == 204
    return Lab(page, lab_server).open()
