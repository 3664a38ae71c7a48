"""`flaas audit`: what it says of a sound log and of a forged one, and what it asks the API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text

from flaas_jupyter import cli
from flaas_jupyter.communications.identity import Identity
from flaas_jupyter.coordination.database import Database
from flaas_jupyter.governance import audit
from flaas_jupyter.governance.audit import checkpoints, guards, keys
from flaas_jupyter.governance.audit.tables import AuditCheckpoint, AuditEntry, AuditKey, AuditTreeHash
from flaas_jupyter.governance.audit.verification import stored, stored_checkpoints
from flaas_jupyter.governance.confidentiality import DataKey, LocalKeys, Vault
from flaas_jupyter.home import Credentials

VAULT = Vault([LocalKeys([b"k" * 32])])
NOBODY = Credentials("http://127.0.0.1:1", None)
MODELS = (AuditEntry, AuditTreeHash, AuditCheckpoint, AuditKey, DataKey)


def run(*words: object, credentials: Credentials = NOBODY) -> Result:
    known = {"FLAAS_URL": credentials.url, "FLAAS_TOKEN": credentials.token}
    return CliRunner(env=known).invoke(cli.main, ["audit", *(str(word) for word in words)])


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLAAS_HOME", str(tmp_path))
    monkeypatch.delenv("FLAAS_DATABASE_URL", raising=False)
    return tmp_path


@pytest.fixture
def log(home: Path) -> Iterator[Database]:
    """Eight entries, signed at 5 and 8, where a hosted side keeps them by default."""
    database = Database(f"sqlite:///{home / 'coordination.db'}")
    with database.writing() as session:
        AuditEntry.metadata.create_all(session.connection(), tables=[model.__table__ for model in MODELS])
        guards.install_guards(session.connection())
        for number in range(1, 9):
            entry = audit.append(
                session,
                actor="person-1",
                actor_kind="user",
                operation="run:create",
                object=f"runs/{number}",
                details={},
            )
            if number in (5, 8):
                checkpoints.sign(session, keys.active(session, VAULT, entry.time), entry.time)
    yield database
    database.close()


@pytest.fixture
def kept(log: Database, home: Path) -> Path:
    """What a node has kept."""
    with log.reading() as session:
        body = {"version": 1, "key": keys.first(session), "successions": [], "kept": stored_checkpoints(session)}
    path = home / "audit.json"
    path.write_text(json.dumps({**body, "looked": 1, "alarm": None}))
    return path


@pytest.fixture
def export(log: Database, home: Path) -> Path:
    path = home / "audit.jsonl"
    with log.reading() as session:
        path.write_text("".join(json.dumps(dict(entry)) + "\n" for entry in stored(session)))
    return path


def tamper(log: Database, *statements: str) -> None:
    with log.writing() as session:
        guards.remove_guards(session.connection())
        for statement in statements:
            session.execute(text(statement))


def test_a_sound_log(log, kept, export):
    result = run("verify")
    assert result.exit_code == 0, result.output
    assert "sound: 8 entries" in result.output
    assert "2 checkpoints" in result.output
    assert "4 checkpoints" in run("verify", "--checkpoints", kept).output
    assert "2 checkpoints" in run("verify", "--file", export, "--checkpoints", kept).output
    assert "would not be noticed" in run("verify", "--file", export).output
    body = json.loads(run("verify", "--json", "--database", f"sqlite:///{kept.parent / 'coordination.db'}").output)
    assert (body["sound"], body["finding"], body["entries"]) == (True, None, 8)


def test_a_changed_row(log):
    tamper(log, "UPDATE audit_entries SET actor = 'mallory' WHERE sequence = 4")
    result = run("verify")
    assert result.exit_code == 1
    assert result.output.startswith("Entry 4: changed.")
    body = json.loads(run("verify", "--json").output)
    assert (body["sound"], body["finding"]["sequence"], body["finding"]["kind"]) == (False, 4, "changed")


def test_a_missing_row(log):
    tamper(log, "DELETE FROM audit_entries WHERE sequence = 4")
    result = run("verify")
    assert (result.exit_code, result.output[:17]) == (1, "Entry 4: missing.")


def test_a_tail_that_was_cut_off_with_its_checkpoints_is_found_by_what_a_node_kept(log, kept):
    tamper(log, "DELETE FROM audit_entries WHERE sequence > 6", "DELETE FROM audit_checkpoints WHERE sequence > 6")
    assert run("verify").exit_code == 0
    result = run("verify", "--checkpoints", kept)
    assert result.exit_code == 1
    assert result.output.startswith("Entry 7: cut-off.")


def test_a_data_base_that_signs_with_another_key_is_not_believed(log, kept):
    assert run("verify", "--key", Identity(b"b" * 32).node_id).exit_code == 1
    body = json.loads(kept.read_text())
    assert run("verify", "--key", body["key"]).exit_code == 0
    kept.write_text(json.dumps({**body, "key": Identity(b"b" * 32).node_id}))
    assert "not one of the keys" in run("verify", "--checkpoints", kept).output


def test_checkpoints_may_be_given_in_several_forms(log, kept, export, home):
    documents = json.loads(kept.read_text())["kept"]
    forms = {
        "lines": "\n".join(map(json.dumps, documents)),
        "one": json.dumps(documents[1]),
        "list": json.dumps(documents),
        "answer": json.dumps({"key": documents[0]["body"]["key"], "_embedded": {"checkpoints": documents}}),
    }
    for name, body in forms.items():
        path = home / name
        path.write_text(body)
        result = run("verify", "--file", export, "--checkpoints", path)
        assert result.exit_code == 0, result.output
        assert f"{1 if name == 'one' else 2} checkpoints" in result.output
    for garbage in ("{", "7", "{}", '{"kept": 1}', '{"kept": [], "key": "x"}'):
        (home / "garbage").write_text(garbage)
        result = run("verify", "--file", export, "--checkpoints", home / "garbage")
        assert result.exit_code == 1
        assert "bad-checkpoint-file" in result.output


def test_a_part_of_a_log_is_checked_as_a_part(export):
    rows = export.read_text().splitlines(keepends=True)
    export.write_text("".join(rows[1:3] + rows[5:]))
    assert run("verify", "--file", export).exit_code == 1
    result = run("verify", "--file", export, "--partial")
    assert result.exit_code == 0
    assert "3 entries are not in this export" in result.output


def test_what_is_no_log_is_said_to_be_none(home, export):
    assert "audit-no-log" in run("verify", "--database", f"sqlite:///{home / 'nothing.db'}").output
    assert not (home / "nothing.db").exists()
    (home / "text.db").write_text("no data base")
    assert "audit-no-log" in run("verify", "--database", f"sqlite:///{home / 'text.db'}").output
    assert "bad-database-url" in run("verify", "--database", "mysql://x/y").output
    assert "bad-option" in run("verify", "--database", "sqlite:///x", "--file", export).output
    assert "bad-option" in run("verify", "--partial").output


# ---- the API --------------------------------------------------------------------------------------------------------


class Recorder(BaseHTTPRequestHandler):
    """Answers as the API does, and remembers what was asked."""

    asked: list[tuple[str, str]]
    status = 200

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers.get("Authorization", "")))
        media = "application/hal+json"
        if self.status != 200:
            body, media = (
                {"status": self.status, "code": "not-allowed", "detail": "No.", "title": "No"},
                ("application/problem+json"),
            )
            data = json.dumps(body).encode()
        elif self.path.startswith("/v1/audit/export"):
            data, media = b'{"sequence":1}\n{"sequence":2}\n', "application/jsonl"
        else:
            row = {"sequence": 2, "actor": "person-1", "operation": "run:create", "outcome": "done"}
            data = json.dumps({"_embedded": {"entries": [row]}, "_links": {}}).encode()
        self.send_response(self.status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def api() -> Iterator[tuple[Credentials, type[Recorder]]]:
    handler = type("Handler", (Recorder,), {"asked": [], "status": 200})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield Credentials(f"http://127.0.0.1:{server.server_port}", "secret"), handler
    server.shutdown()
    server.server_close()
    thread.join(10)


def test_listing(api):
    credentials, handler = api
    result = run("list", "--actor", "person-1", "--from", "2026-01-01", "--limit", "3", credentials=credentials)
    assert result.exit_code == 0, result.output
    assert "run:create" in result.output
    path, authorization = handler.asked[0]
    query = parse_qs(path.partition("?")[2])
    assert query == {"from": ["2026-01-01T00:00:00Z"], "actor": ["person-1"], "limit": ["3"]}
    assert authorization == "Bearer secret"
    assert "secret" not in path


def test_exporting(api, home):
    credentials, _ = api
    assert run("export", credentials=credentials).output.splitlines() == ['{"sequence":1}', '{"sequence":2}']
    assert run("export", "--output", home / "out.jsonl", credentials=credentials).exit_code == 0
    assert len((home / "out.jsonl").read_text().splitlines()) == 2


def test_a_refusal_is_told_before_a_file_is_begun(api, home):
    credentials, handler = api
    handler.status = 403
    result = run("export", "--output", home / "out.jsonl", credentials=credentials)
    assert result.exit_code == 1
    assert "[not-allowed]" in result.output
    assert not (home / "out.jsonl").exists()
    assert "[no-token]" in run("list").output


def test_what_a_node_keeps_is_shown_and_put_aside(kept, home):
    assert "checkpoint 8" in run("witness").output
    assert len(json.loads(run("witness", "--json").output)["kept"]) == 2
    assert "now in" in run("witness", "--forget").output
    assert not kept.exists()
    assert len(list(home.glob("audit-*.json"))) == 1
    assert "no checkpoint" in run("witness").output
    assert "Nothing was kept" in run("witness", "--forget").output
