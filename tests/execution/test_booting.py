"""A launched machine becoming a node: one secret used once, data fetched whole or not at all, restarts anywhere."""

from __future__ import annotations

import asyncio
import hashlib
import http.server
import json
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from flaas_jupyter.communications.coordinator import Coordinator
from flaas_jupyter.communications.directory import Membership, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.errors import InvalidInput, NotAllowed, Unreachable
from flaas_jupyter.execution import booting
from flaas_jupyter.execution.booting import BootConfig, boot, download
from flaas_jupyter.execution.enrolment import Enrolment
from flaas_jupyter.execution.policy import Policy
from flaas_jupyter.home import Home

DOMAIN = Identity(b"d" * 32)
CONTENT = b"a,y\n" + b"".join(b"%d,%d\n" % (i, i % 2) for i in range(40))


class Api:
    """Answers as the coordination API does; signs after so many looks at the directory."""

    def __init__(self, looks: int = 0) -> None:
        self.enrolled: list[dict] = []
        self.looks = looks

    async def post(self, path, body):
        assert path == "/v1/enrolments"
        if self.enrolled and self.enrolled[0]["id"] != body["id"]:
            raise NotAllowed("used", code="enrolment-used")
        self.enrolled.append(body)
        return {"organisation": "lab", "project": "credit", "node": body["id"]}

    async def get(self, path):
        assert path == "/v1/projects/credit/directory"
        self.looks -= 1
        signed = []
        if self.looks < 0:
            member = Membership("credit", self.enrolled[-1]["id"], "lab", ("node",), 1, 1 << 37, 1)
            signed = [sign_membership(DOMAIN, member)]
        return {"domain": "credit", "domain_key": DOMAIN.node_id, "memberships": signed, "records": []}


@pytest.fixture
def api(monkeypatch):
    made = Api()
    monkeypatch.setattr(Coordinator, "post", lambda self, path, body: made.post(path, body))
    monkeypatch.setattr(Coordinator, "get", lambda self, path: made.get(path))
    monkeypatch.setattr(booting, "_FIRST_LOOK", 0.01)
    return made


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


def written(tmp_path, **changes):
    path = tmp_path / "node.json"
    content = {
        "url": "http://127.0.0.1:9", "secret": "s" * 52, "organisation": "lab", "project": "credit",
        "domain_key": DOMAIN.node_id, "name": "north", "datasets": [], "listen": ["127.0.0.1:0"],
        "end_by": None, **changes,
    }  # fmt: skip
    path.write_text(json.dumps(content))
    path.chmod(0o600)
    return path


def booted(path, home):
    """Boot; return with which addresses the node was run."""
    ran = []

    async def run(home, listen):
        ran.append(listen)

    asyncio.run(boot(path, home, run))
    return ran


def test_a_machine_registers_waits_and_runs(tmp_path, home, api, caplog):
    caplog.set_level("INFO")
    api.looks = 3
    data = tmp_path / "rows.csv"
    data.write_bytes(CONTENT)
    path = written(tmp_path, datasets=[{"name": "rows", "source": str(data), "target": "y"}])
    assert booted(path, home) == [("127.0.0.1:0",)]
    assert "secret" not in json.loads(path.read_text())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Enrolment.load(home.enrolment).projects == {"credit": DOMAIN.node_id}
    assert Policy.load(home.policy).projects == ("credit",)
    assert caplog.text.count("waiting for the holders") == 1
    assert booted(path, home) == [("127.0.0.1:0",)], "a second start goes on where it was"
    assert len(api.enrolled) == 1


def test_one_that_crashed_before_it_noted_its_registration_uses_the_same_key_again(tmp_path, home, api, monkeypatch):
    path = written(tmp_path)
    with monkeypatch.context() as crash:
        crash.setattr(Enrolment, "save", lambda self, path: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            booted(path, home)
    assert booted(path, home)
    assert len({body["id"] for body in api.enrolled}) == 1


def test_a_copy_with_another_key_is_refused(tmp_path, home, api):
    path = written(tmp_path)
    booted(path, home)
    with pytest.raises(NotAllowed):
        booted(written(tmp_path), Home(tmp_path / "other"))


def test_a_file_without_its_secret_is_no_way_in(tmp_path, home, api):
    with pytest.raises(InvalidInput) as caught:
        booted(written(tmp_path, secret=None), home)
    assert caught.value.code == "enrolment-used"


def test_its_time_ends_the_wait_too(tmp_path, home, api):
    api.looks = 10**9
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    assert booted(written(tmp_path, end_by=soon.isoformat()), home) == []


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1}', "null", "\x00"])
def test_what_is_no_boot_file_is_refused_without_quoting_it(tmp_path, text):
    path = tmp_path / "node.json"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        BootConfig.load(path)
    assert caught.value.code == "bad-boot-file"


@pytest.fixture(scope="module")
def https(tmp_path_factory):
    """An https server with a file, a redirection to plain http, and an answer that breaks off."""
    folder = tmp_path_factory.mktemp("https")
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))

    class Files(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response({"/plain": 302, "/none.csv": 404}.get(self.path, 200))
            if self.path == "/plain":
                self.send_header("Location", "http://localhost:9/x.csv")
            self.send_header("Content-Length", str(len(CONTENT)) if self.path != "/plain" else "0")
            self.end_headers()
            if self.path != "/plain":
                self.wfile.write(CONTENT[:10] if self.path == "/half.csv" else CONTENT)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("localhost", 0), Files)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://localhost:{server.server_port}", ssl.create_default_context(cafile=str(folder / "ca.pem"))
    server.shutdown()


def fetched(https, path, target, **options):
    address, trusted = https
    asyncio.run(download(address + path, target, verify=trusted, **options))
    return target.read_bytes()


def test_data_are_fetched_whole_and_checked(https, tmp_path):
    digest = hashlib.sha256(CONTENT).hexdigest()
    assert fetched(https, "/rows.csv", tmp_path / "rows.csv", sha256=digest) == CONTENT


@pytest.mark.parametrize(
    ("path", "options", "code"),
    [
        ("/rows.csv", {"sha256": "0" * 64}, "wrong-digest"),
        ("/rows.csv", {"limit": 100}, "download-too-large"),
        ("/plain", {}, "bad-source"),
        ("/none.csv", {}, "download-failed"),
        ("/half.csv", {}, "download-failed"),
    ],
)
def test_what_goes_wrong_leaves_nothing(https, tmp_path, path, options, code):
    with pytest.raises((InvalidInput, Unreachable)) as caught:
        fetched(https, path, tmp_path / "rows.csv", **options)
    assert caught.value.code == code
    assert list(tmp_path.iterdir()) == []


def test_plain_http_is_never_asked(tmp_path):
    with pytest.raises(InvalidInput) as caught:
        asyncio.run(download("http://localhost:9/x.csv?signature=s", tmp_path / "x.csv"))
    assert caught.value.code == "bad-source"
    assert "signature" not in str(caught.value)
