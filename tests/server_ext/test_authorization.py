"""Every verb of every endpoint is authenticated, and authorised for its own action and resource."""

from __future__ import annotations

import json
import warnings

import pytest
from flaas_server.catalogue import Catalogue
from flaas_server.handlers import FlaasHandler
from jupyter_server.auth import Authorizer
from jupyter_server.utils import JupyterServerAuthWarning
from tornado.httpclient import HTTPClientError

from .fake_api import TOKEN, FakeApi
from .simulation_files import header, write

SIMULATION = "sim-a"
UPLOAD = "ab" * 16
VERBS = [
    ("GET", "status", "read", "flaas:status"),
    ("POST", "session", "write", "flaas:session"),
    ("DELETE", "session", "write", "flaas:session"),
    ("GET", "session/device", "read", "flaas:session"),
    ("POST", "session/device", "write", "flaas:session"),
    ("DELETE", "session/device", "write", "flaas:session"),
    ("GET", "approvals/key", "read", "flaas:approvals"),
    ("POST", "approvals/key", "write", "flaas:approvals"),
    ("POST", "approvals/a1/decision", "write", "flaas:approvals"),
    ("GET", "api/v1/me", "read", "flaas:api"),
    ("POST", "api/v1/runs/r1/cancel", "write", "flaas:api"),
    ("PUT", "api/v1/me", "write", "flaas:api"),
    ("PATCH", "api/v1/me", "write", "flaas:api"),
    ("DELETE", "api/v1/me", "write", "flaas:api"),
    ("GET", "simulations", "read", "flaas:simulations"),
    ("GET", f"simulations/{SIMULATION}", "read", "flaas:simulations"),
    ("GET", f"simulations/{SIMULATION}/rounds", "read", "flaas:simulations"),
    ("POST", f"simulations/{SIMULATION}/stop", "write", "flaas:simulations"),
    ("DELETE", f"simulations/{SIMULATION}", "write", "flaas:simulations"),
    ("GET", "protocols", "read", "flaas:protocols"),
    ("POST", "uploads", "write", "flaas:uploads"),
    ("GET", f"uploads/{UPLOAD}", "read", "flaas:uploads"),
    ("DELETE", f"uploads/{UPLOAD}", "write", "flaas:uploads"),
    ("PUT", f"uploads/{UPLOAD}/chunks/0", "write", "flaas:uploads"),
    ("POST", f"uploads/{UPLOAD}/finish", "write", "flaas:uploads"),
]


class Recorder(Authorizer):
    """Remembers what it is asked; allows everything but what it was told to refuse."""

    asked: list[tuple[str, str]] = []  # noqa: RUF012 - the server makes the instance
    refused: set[tuple[str, str]] = set()  # noqa: RUF012

    def is_authorized(self, handler, user, action, resource):
        if resource.startswith("flaas"):
            self.asked.append((action, resource))
        return (action, resource) not in self.refused


@pytest.fixture
def jp_server_config(flaas_home, fake_api: FakeApi):
    Recorder.asked, Recorder.refused = [], set()
    return {
        "ServerApp": {
            "jpserver_extensions": {"flaas_server": True, "jupyter_server_terminals": False},
            "authorizer_class": Recorder,
            "allow_unauthenticated_access": False,
        },
        "FlaasServer": {"url": fake_api.url},
    }


@pytest.fixture
def simulation(flaas_home):
    return write(flaas_home, header(SIMULATION))


def body_for(method: str) -> str | None:
    return json.dumps({"token": TOKEN}) if method in {"POST", "PUT", "PATCH"} else None


@pytest.mark.parametrize("order", [1, -1])
async def test_each_verb_is_authorised_for_its_own_action_and_resource(jp_fetch, jp_serverapp, simulation, order):
    jp_serverapp.web_app.settings["flaas_catalogue"] = Catalogue(["false"])  # who may ask matters, not the answer
    for method, path, _, _ in VERBS[::order]:
        await jp_fetch("flaas", *path.split("/"), method=method, body=body_for(method), raise_error=False)

    assert Recorder.asked == [(action, resource) for _, _, action, resource in VERBS[::order]]


@pytest.mark.parametrize(("method", "path", "action", "resource"), VERBS)
async def test_what_the_authorizer_refuses_does_not_happen(
    jp_fetch, fake_api, simulation, method, path, action, resource
):
    Recorder.refused = {(action, resource)}

    with pytest.raises(HTTPClientError) as caught:
        await jp_fetch("flaas", *path.split("/"), method=method, body=body_for(method))

    assert caught.value.code == 403
    assert json.loads(caught.value.response.body)["status"] == 403
    assert fake_api.requests == []
    assert sorted(path.name for path in simulation.iterdir()) == ["rounds.jsonl", "simulation.json"]


@pytest.mark.parametrize(("method", "path", "_action", "_resource"), VERBS)
async def test_without_jupyters_token_every_verb_is_refused(
    jp_serverapp, http_server_client, jp_base_url, fake_api, simulation, method, path, _action, _resource
):
    response = await http_server_client.fetch(
        f"{jp_base_url}flaas/{path}", method=method, body=body_for(method), raise_error=False
    )

    assert response.code == 403
    assert Recorder.asked == []
    assert fake_api.requests == []
    assert sorted(path.name for path in simulation.iterdir()) == ["rounds.jsonl", "simulation.json"]


def test_no_endpoint_lacks_a_decorator(jp_configurable_serverapp):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", JupyterServerAuthWarning)
        app = jp_configurable_serverapp()

    assert app.web_app.settings["allow_unauthenticated_access"] is False
    # The server looks at each endpoint and names those without one.
    assert [str(warning.message) for warning in caught if "flaas" in str(warning.message)] == []


def test_the_server_would_name_an_endpoint_that_lacks_one(jp_configurable_serverapp, monkeypatch):
    class Open(FlaasHandler):
        def get(self):
            self.finish({})

    monkeypatch.setattr("flaas_server.extension.StatusHandler", Open)

    with pytest.warns(JupyterServerAuthWarning, match="GET of Open registered for .*flaas/status"):
        jp_configurable_serverapp()
