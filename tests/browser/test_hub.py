"""The panel below a JupyterHub: every request goes to the person's own server, and nobody sees another's sign-in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Page, Request, expect

from . import hub as jupyterhub
from .fake_api import TOKEN, FakeApi
from .hub import Hub
from .lab import Lab

# Two JupyterLabs start below the hub, one after the other.
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    proxy = jupyterhub.find()
    if proxy is None:
        pytest.skip(jupyterhub.MISSING)
    pytest.importorskip("jupyterhub")
    with Hub(tmp_path_factory.mktemp("hub"), proxy) as running:
        yield running


@pytest.fixture
def other_page(browser: Browser) -> Iterator[Page]:
    """The browser of somebody else."""
    context = browser.new_context(viewport={"width": 1400, "height": 900}, locale="en-GB")
    yield context.new_page()
    context.close()


def fetched(page: Page, path: str, **options: str) -> int:
    """Have the page itself make a request, with its cookies; return the status."""
    return int(page.evaluate("async ([path, options]) => (await fetch(path, options)).status", [path, {**options}]))


def test_two_people_of_a_hub_have_a_panel_each(hub: Hub, page: Page, other_page: Page, fake_api: FakeApi) -> None:
    requests: list[Request] = []
    page.on("request", lambda request: requests.append(request))
    fake_api.add_run("r1", "first federation")
    hub.sign_in(page, "ada")
    panel = Lab(page, hub).wait_ready().panel
    panel.sign_in(fake_api.url, TOKEN)
    expect(panel.nodes).to_have_count(3)
    fake_api.advance("r1")
    expect(panel.run("first federation")).to_contain_text("round 1 of 10")  # by the event stream
    panel.stop_run("first federation")  # a request that changes something: the hub wants its XSRF token
    expect(panel.run("first federation")).to_contain_text("cancelled")

    ours = [urlsplit(request.url) for request in requests if "/flaas/" in request.url]
    assert {"status", "session", "api"} <= {parts.path.partition("/flaas/")[2].split("/")[0] for parts in ours}
    assert any(parts.path.endswith("/events") for parts in ours)
    for parts in ours:
        assert f"{parts.scheme}://{parts.netloc}" == hub.origin
        assert parts.path.startswith(f"{hub.server('ada')}flaas/"), parts.path
    assert {urlsplit(request.url).netloc for request in requests if request.url.startswith("http")} == {
        urlsplit(hub.origin).netloc
    }, "the browser speaks to the hub only"
    assert json.loads((hub.flaas_home("ada") / "credentials.json").read_text())["token"] == TOKEN

    hub.sign_in(other_page, "ben")
    other = Lab(other_page, hub).wait_ready().panel
    expect(other.root.get_by_role("button", name="Sign in")).to_be_visible()
    expect(other.nodes).to_have_count(0)
    assert not (hub.flaas_home("ben") / "credentials.json").exists()

    # Ben's browser at Ada's server, as a link or a script would send it there.
    for path in ("flaas/status", "flaas/api/v1/me", "flaas/api/v1/projects"):
        assert fetched(other_page, f"{hub.server('ada')}{path}", redirect="manual") in (0, 403), path
    assert fetched(other_page, f"{hub.server('ada')}flaas/session", method="DELETE") in (403, 404)
    # Her own page without the XSRF token, as another site's form would come.
    assert fetched(page, f"{hub.server('ada')}flaas/session", method="DELETE") == 403
    page.reload()
    expect(Lab(page, hub).wait_ready().panel.nodes).to_have_count(3)  # she is signed in still
    assert fake_api.requests.count(("POST", "/v1/runs/r1/cancel")) == 1
    assert TOKEN not in hub.output.read_text()
