"""Domain keys are pinned by the project that was asked for, whatever the API calls the one that it answers with."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

import flaas_jupyter as flaas
from flaas_jupyter.errors import FlaasError, InvalidInput, NotAuthenticated
from flaas_jupyter.home import Credentials, Home
from flaas_jupyter.ids import SLUG
from flaas_jupyter.pinned_keys import pin
from flaas_jupyter.upload_bridge import Bridge

KEYS = {"credit": "a" * 64, "renamed": "b" * 64}


class Renaming(BaseHTTPRequestHandler):
    """An API that shows a project of its own, with a key of its own, where another was asked for."""

    def do_GET(self) -> None:
        me = {"subject": "ana", "organisation": "north", "roles": [], "permissions": []}
        project = {"id": "renamed", "name": "Credit", "domain_key": KEYS["renamed"], "organisations": ["north"]}
        body = json.dumps(me if self.path == "/v1/me" else project).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Renaming) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def home(tmp_path, url) -> Home:
    home = Home(tmp_path)
    home.save_credentials(Credentials(url, "flaas_token"))
    pin(home.path / "pinned.json", url, "credit", KEYS["credit"])
    return home


def test_a_notebook_does_not_take_another_project_than_it_asked_for(url, home):
    with flaas.connect(url, token="flaas_token", home=home) as session:
        with pytest.raises(NotAuthenticated) as caught:
            session.project("credit")
        assert caught.value.code == "wrong-project"
        assert session.project("renamed").id == "renamed"


def test_nor_do_uploads_and_nothing_is_pinned(monkeypatch, url, home):
    monkeypatch.delenv("FLAAS_TOKEN", raising=False)
    monkeypatch.setenv("FLAAS_URL", url)
    before = (home.path / "pinned.json").read_bytes()
    with pytest.raises(NotAuthenticated) as caught:
        asyncio.run(Bridge(home)._joined("credit"))
    assert caught.value.code == "wrong-project"
    assert (home.path / "pinned.json").read_bytes() == before


@pytest.mark.parametrize("project", ["", "../credit", "a/b", "Credit", "credit\n", ".", "-credit", "c" * 64], ids=ascii)
def test_what_cannot_be_a_project_names_no_file(tmp_path, project):
    home = Home(tmp_path)
    for named in (home.domain_key, lambda name: home.domain_statements(name, KEYS["credit"])):
        with pytest.raises(InvalidInput) as caught:
            named(project)
        assert caught.value.code == "bad-project-id"


def test_a_domain_key_that_is_none_names_no_file(tmp_path):
    with pytest.raises(FlaasError) as caught:
        Home(tmp_path).domain_statements("credit", "../" * 20)
    assert caught.value.code == "bad-domain-key"


def test_what_was_signed_is_kept_by_project_and_key(tmp_path):
    kept = {Home(tmp_path).domain_statements("credit", key) for key in KEYS.values()}
    assert {path.name for path in kept} == {f"credit-{'a' * 16}.json", f"credit-{'b' * 16}.json"}


def test_the_api_registers_no_other_ids():
    from flaas_jupyter.coordination.schemas import Slug

    (constraints,) = Slug.__metadata__
    assert constraints.pattern == f"^{SLUG}$"
