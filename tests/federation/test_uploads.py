"""Sealed uploads on real processes: API, node, Jupyter Server with its bridge, and what a browser does."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flaas_jupyter.communications.directory import Membership, sign_membership
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.communications.upload_key import UploadKeyStatement
from flaas_jupyter.demo.local import LocalFederation
from flaas_jupyter.execution.datasets import DatasetRegistry
from flaas_jupyter.protocols.upload import Details

from .conftest import QUICK, QUICK_API, rows
from .upload_sender import Sealed, Sender

TOKEN = "a-token-of-the-tests"


class JupyterServer:
    """A Jupyter Server of the developer's, with the extension."""

    def __init__(self, folder: Path, home: Path) -> None:
        self.folder, self.home, self.url = folder, home, ""
        self.log = folder / "jupyter.log"
        self._process: subprocess.Popen[str] | None = None

    def sender(self) -> Sender:
        """Return a browser at the server, which is started if it does not run."""
        if self._process is None or self._process.poll() is not None:
            self._start()
        return Sender(self.url, TOKEN)

    def _start(self) -> None:
        (self.folder / "notebooks").mkdir(parents=True, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FLAAS_", "JUPYTER_"))}
        settings = {"FLAAS_HOME": self.home, "JUPYTER_NO_CONFIG": 1, "JUPYTER_RUNTIME_DIR": self.folder}
        command = [
            sys.executable, "-m", "jupyter_server", "--no-browser", "--allow-root", "--ip=127.0.0.1", "--port=0",
            f"--ServerApp.root_dir={self.folder / 'notebooks'}", f"--IdentityProvider.token={TOKEN}",
            "--ServerApp.jpserver_extensions=flaas_server=True",
        ]  # fmt: skip
        self._process = subprocess.Popen(
            command,
            env=kept | {name: str(value) for name, value in settings.items()},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        ready = threading.Event()
        threading.Thread(target=self._read, args=(self._process, ready), daemon=True).start()
        assert ready.wait(60), self.log.read_text()

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stderr is not None
        with self.log.open("a") as log:
            for line in process.stderr:
                log.write(line)
                log.flush()
                if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                    self.url = found[0]
                    ready.set()
        ready.set()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(30)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LocalFederation, JupyterServer]]:
    """One node that takes files from the developer, and the developer's Jupyter Server."""
    folder = tmp_path_factory.mktemp("uploads")
    federation = LocalFederation(folder / "federation", node_options=QUICK, api_options=QUICK_API)
    sender = Identity.load_or_create(federation.developer_home.key).node_id
    federation.settings = {"uploads": [sender], "upload_limit": 4 << 20}
    server = JupyterServer(folder / "jupyter", federation.developer_home.path)
    environment = pytest.MonkeyPatch()
    environment.setenv("KERAS_BACKEND", "numpy")  # nothing is trained here, and the others take long to start
    try:
        federation.start({"north": {}}, None)
        federation.wait_online()
        yield federation, server
    finally:
        environment.undo()
        server.stop()
        federation.stop()


@pytest.fixture
def sender(place: tuple[LocalFederation, JupyterServer]) -> Sender:
    return place[1].sender()


def table(count: int = 4000, seed: int = 0) -> bytes:
    return rows(count, seed).to_csv(index=False).encode()


def sealed_for(sender: Sender, federation: LocalFederation, file: bytes, **details: Any) -> Sealed:
    node = federation.nodes["north"].node_id
    told = sender.upload_key(node, federation.project)
    statement = UploadKeyStatement.parse(told["statement"])
    assert statement.node == node
    return Sealed(file, node, statement.key, Details(**{"name": "rows of año.csv", "target": "label", **details}))


def home_of(federation: LocalFederation) -> Path:
    return federation.nodes["north"].home.path


def test_a_file_is_sent_registered_and_trained_on(place, sender):
    federation, _ = place
    file = table()
    sealed = sealed_for(sender, federation, file)
    opened = sender.open(sealed, federation.project, "sent")
    assert (opened["state"], opened["received"], opened["have"]) == ("receiving", 0, [])
    sender.send(sealed)
    receipt = sender.finish(sealed)
    assert receipt.state == "registered", receipt.problem
    assert (receipt.sha256, receipt.size, receipt.rows) == (hashlib.sha256(file).hexdigest(), len(file), 4000)
    registered = DatasetRegistry(home_of(federation)).get("sent").registration
    assert Path(registered.path).read_bytes() == file
    assert Path(registered.path).stat().st_mode & 0o077 == 0
    with federation.connect() as session:
        assert list(session.project(federation.project).datasets["name"]) == ["sent"]
        listed = session.list(f"/v1/projects/{federation.project}/uploads", "uploads")
        assert [(each["dataset"], each["node_name"]) for each in listed] == [("sent", "north")]


def test_it_goes_on_after_the_jupyter_server_and_the_node_were_killed(place, sender):
    federation, server = place
    sealed = sealed_for(sender, federation, table(seed=1))
    sender.open(sealed, federation.project, "resumed")
    middle = sealed.header.chunks // 2
    sender.send(sealed, [middle, 0, 1])
    server.kill()
    federation.kill_node("north")
    federation.start_node("north")
    federation.wait_online()
    again = server.sender()
    assert again.http.get(f"flaas/uploads/{sealed.header.upload}").json()["code"] == "upload-not-open"
    opened = again.open(sealed, federation.project, "resumed")
    assert opened["have"] == [[0, 1], [middle, middle]]
    assert again.finishing(sealed).json()["code"] == "upload-incomplete"
    again.send(sealed, [n for n in reversed(range(sealed.header.chunks)) if n not in (0, 1, middle)])
    assert again.finish(sealed).state == "registered"
    # Whoever has not heard the answer asks once more.
    assert again.open(sealed, federation.project, "resumed")["state"] == "registered"


def test_what_passes_is_neither_the_file_nor_its_hash(place, sender):
    federation, _ = place
    file = table(seed=2)
    sealed = sealed_for(sender, federation, file)
    seen: list[bytes] = []
    sender.http.event_hooks["request"].append(lambda request: seen.append(request.read()))
    sender.http.event_hooks["response"].append(lambda response: seen.append(response.read()))
    sender.open(sealed, federation.project, "unseen")
    sender.send(sealed)
    receipt = sender.finish(sealed)
    assert receipt.state == "registered"
    everything = b"".join(seen)
    assert len(everything) > len(file)
    for secret in (file[:100], file[-100:], b"x0,x1", b"label", receipt.sha256.encode(), "año".encode()):
        assert secret not in everything
    for log in (federation.folder / "api.log", home_of(federation) / "node.log", place[1].log):
        assert receipt.sha256 not in log.read_text()


def test_a_file_that_cannot_be_registered_is_corrected_without_being_sent_again(place, sender):
    federation, _ = place
    sealed = sealed_for(sender, federation, table(seed=3), target="lable")
    sender.open(sealed, federation.project, "corrected")
    sender.send(sealed)
    receipt = sender.finish(sealed)
    assert (receipt.state, receipt.problem["code"]) == ("rejected", "no-target")
    assert sender.finish(sealed, Details("rows.csv", target="label")).state == "registered"


def test_who_is_put_in_quarantine_in_the_middle_gets_no_more(place, sender):
    federation, _ = place
    node = federation.nodes["north"].node_id
    sealed = sealed_for(sender, federation, table(seed=4))
    sender.open(sealed, federation.project, "barred")
    sender.send(sealed, [0])
    federation.post(f"/v1/nodes/{node}/quarantine", {"reason": "Its disk fails."})
    try:
        give_up = time.monotonic() + 20
        while (refused := sender.put(sealed, 1)).is_success:
            assert time.monotonic() < give_up
        assert refused.json()["code"] == "node-quarantined"
        assert sender.opening(sealed_for_anew(sealed), federation.project, "other").json()["code"] == "node-quarantined"
    finally:
        federation.call_as("org-admin", "delete", f"/v1/nodes/{node}/quarantine")
    while not sender.put(sealed, 1).is_success:
        assert time.monotonic() < give_up + 20
    assert sender.abort(sealed).status_code == 204
    assert not (home_of(federation) / "uploads" / sealed.header.upload).exists()


def sealed_for_anew(sealed: Sealed) -> Sealed:
    """Return the same file, to be opened as another upload."""
    return Sealed(sealed.file, sealed.header.node, "09" + "00" * 31, sealed.details)


def test_refusals_are_told_with_a_way_out(place, sender):
    federation, _ = place
    key = UploadKeyStatement.parse(
        sender.upload_key(federation.nodes["north"].node_id, federation.project)["statement"]
    ).key
    node, details = federation.nodes["north"].node_id, Details("rows.csv", target="label")

    def refused(sealed: Sealed, dataset: str = "refused", project: str = federation.project) -> tuple[int, str]:
        problem = sender.opening(sealed, project, dataset).json()
        assert problem["hint"], problem
        return problem["status"], problem["code"]

    file = table(100)
    assert refused(sealed_for_anew(Sealed(file, node, key, details))) == (422, "upload-unreadable")
    assert refused(Sealed(file, node, key, Details("rows.exe"))) == (422, "unknown-data-format")
    assert refused(Sealed(bytes(5 << 20), node, key, details)) == (403, "policy-upload-limit")
    assert refused(Sealed(file, node, key, details), project="other") == (404, "unknown-project")
    assert refused(Sealed(file, "ab" * 32, key, details)) == (404, "unknown-node")
    with federation.connect() as session:
        states = {each["state"] for each in session.list(f"/v1/projects/{federation.project}/uploads", "uploads")}
    assert "open" not in states, "what was refused at once is closed"


def test_nothing_goes_to_a_node_that_is_revoked_in_the_middle(place, sender):
    federation, _ = place
    node = federation.nodes["north"]
    sealed = sealed_for(sender, federation, table(seed=5))
    sender.open(sealed, federation.project, "revoked")
    sender.send(sealed, [0])
    now = int(time.time())
    ended = Membership(federation.project, node.node_id, "north", ("node",), now - 200, now - 100, now * 1000)
    key = Identity.load_or_create(federation._admin_home.domain_key(federation.project))
    federation.post(f"/v1/projects/{federation.project}/memberships", sign_membership(key, ended))
    try:
        give_up = time.monotonic() + 20
        while (refused := sender.put(sealed, 1)).is_success:
            assert time.monotonic() < give_up
        assert refused.json()["code"] in ("membership-expired", "refused-by-peer")
        assert refused.json()["status"] == 403
        anew = sender.opening(sealed_for_anew(sealed), federation.project, "other")
        assert anew.json()["code"] == "node-not-a-member"
    finally:
        federation._sign(node.node_id, "north", ["node"])
    # The Jupyter server looks at the directory now and then: it may hear of the end when that is over.
    while not sender.put(sealed, 1).is_success:
        assert time.monotonic() < give_up + 20
    while sender.abort(sealed).status_code != 204:
        assert time.monotonic() < give_up + 40
