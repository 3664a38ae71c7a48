"""Jupyter Server with TLS of its own, and behind it a coordination API with another: a real process."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import trustme
from flaas_server import __version__
from tls_server import TlsServer, pem_of, server_context, write_pair

START_SECONDS = 90.0
TOKEN = "jupyter-token"
BASE = "/user/ada/"
OF_JUPYTER, OF_API = trustme.CA(), trustme.CA()


@pytest.fixture
def api() -> Iterator[TlsServer]:
    with TlsServer(server_context(OF_API)) as server:
        body = json.dumps({"api": "v1", "version": __version__, "subject": "ada", "roles": []}).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/hal+json\r\nContent-Length: {len(body)}\r\n"
        server.answer = f"{head}Connection: close\r\n\r\n".encode() + body
        yield server


@pytest.fixture
def jupyter(api: TlsServer, tmp_path: Path) -> Iterator[httpx.Client]:
    """A browser, more or less, at a Jupyter Server that is reached by https."""
    chain, key = write_pair(OF_JUPYTER, tmp_path)
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "ca.pem").write_text(pem_of(OF_API))
    command = [
        sys.executable, "-P", "-m", "jupyter_server", "--no-browser", "--allow-root", "--ServerApp.port=0",
        f"--ServerApp.certfile={chain}", f"--ServerApp.keyfile={key}", f"--ServerApp.base_url={BASE}",
        f"--ServerApp.root_dir={home}", f"--IdentityProvider.token={TOKEN}",
    ]  # fmt: skip
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("FLAAS_", "JUPYTER_"))},
        "HOME": str(home),
        "FLAAS_HOME": str(home / ".flaas"),
        "FLAAS_URL": api.url,
        "FLAAS_CA_FILE": str(tmp_path / "ca.pem"),
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        trust = httpx.create_ssl_context(trust_env=False)
        trust.load_verify_locations(cadata=pem_of(OF_JUPYTER))
        with httpx.Client(
            base_url=_address(process, tmp_path / "log"), verify=trust, trust_env=False, timeout=60
        ) as browser:
            yield browser
    finally:
        process.terminate()
        process.wait(30)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if found := re.search(rf"https://127\.0\.0\.1:\d+{BASE}", log.read_text()):
            return found[0]
        time.sleep(0.1)
    raise AssertionError(log.read_text()[-3000:])


def test_the_extension_works_under_https(jupyter: httpx.Client, api: TlsServer) -> None:
    jupyter.get("tree", params={"token": TOKEN})  # signs the browser in with a cookie
    jupyter.headers["Referer"] = str(jupyter.base_url)
    assert all(cookie.secure for cookie in jupyter.cookies.jar if cookie.name.startswith("username-"))
    assert any(cookie.name.startswith("username-") for cookie in jupyter.cookies.jar)

    status = jupyter.get("flaas/status")
    assert status.status_code == 200, status.text
    told = status.json()["api"]
    assert (told["url"], told["reachable"], told["problem"]) == (api.url, True, None)
    assert "frame-ancestors 'self'" in status.headers["Content-Security-Policy"]
    assert "http://" not in status.text + json.dumps(dict(status.headers))

    form = {"url": api.url, "token": "a-token"}
    assert jupyter.post("flaas/session", json=form).status_code == 403, "without the XSRF token"
    xsrf = next(cookie.value for cookie in jupyter.cookies.jar if cookie.name == "_xsrf")
    signed_in = jupyter.post("flaas/session", json=form, headers={"X-XSRFToken": xsrf})
    assert (signed_in.status_code, signed_in.json()["subject"]) == (201, "ada"), signed_in.text
    assert any("Bearer a-token" in request for request in api.requests)

    outside = httpx.get(f"{jupyter.base_url}flaas/status", verify=False, trust_env=False, timeout=60)
    assert outside.status_code == 403
    assert "Location" not in outside.headers
