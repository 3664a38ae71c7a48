"""Logs of the daemons: one line an event, as text or JSON, and no secret in any."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flaas_jupyter.errors import InvalidInput
from flaas_jupyter.governance.identity.sealing import new_secret
from flaas_jupyter.observability import logs, traces

SECRETS = {
    "token": "flaas_0123456789ab_" + "S3cret-_x" * 5,
    "bearer": "Authorization: Bearer S3cretS3cretS3cret",
    "node": "Authorization: FlaasNode eyJhbGciOi.eyJzdWIiOi.S3cretS3cret",
    "basic": "Proxy-Authorization: Basic S3cretS3cret==",
    "jwt": "got eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJzZWNyZXQifQ.S3cretS3cret",
    "url": "cannot reach postgresql://flaas:S3cret@db.example/flaas",
    "at": "postgresql://flaas:S3cret@S3cret@db/flaas",
    "proxy": "proxy http://user:S3cret%40@proxy.example:3128 said 407",
    "query": "GET /oauth/callback?code=S3cretS3cret&x=1 failed",
    "invitation": "flaas-invitation-" + "S3cret-" * 6,
    "enrolment": "secret " + "s3cret" * 8 + "abcd",
    "email": "no such user s3cret.person@clinic.example",
}


@pytest.fixture(autouse=True)
def no_traces():
    yield
    traces.stop()


def formatted(formatter: logging.Formatter, message: str, *args: object, error: Exception | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("flaas_jupyter.x", logging.WARNING, __file__, 1, message, args, info)
    return formatter.format(record)


@pytest.mark.parametrize("kind", ["text", "json"])
@pytest.mark.parametrize("name", SECRETS)
def test_no_format_shows_a_secret_or_an_address(kind, name):
    formatter = logs.JsonLines() if kind == "json" else logs.Lines()
    lines = [formatted(formatter, SECRETS[name]), formatted(formatter, "failed: %s", SECRETS[name])]
    try:
        raise ValueError(SECRETS[name])
    except ValueError as error:
        lines.append(formatted(formatter, "failed", error=error))
    for line in lines:
        assert "s3cret" not in line.lower()
        assert "[hidden]" in line


def test_a_secret_of_the_identity_provider_is_hidden():
    for _ in range(200):
        secret = new_secret()
        assert secret not in logs.redact(f"answered with {secret}.")


def test_what_is_no_secret_stays():
    node = "ab" * 32
    told = f"run 0123456789abcdef: round 3 of {node} at https://api.example:8470/v1/runs, reflector 4c1f@192.0.2.7:3478"
    assert logs.redact(told) == told


def test_hiding_takes_no_time_that_grows_with_the_square_of_a_line():
    for text in ("a" * 10**6, "a." * 500_000, "a@" * 500_000, "eyJ" * 300_000, "://" * 300_000, "Bearer " * 100_000):
        began = time.process_time()
        logs.redact(text)
        assert time.process_time() - began < 2, text[:10]


def test_a_line_of_json_has_time_level_logger_message_run_and_trace():
    traces.export("test", InMemorySpanExporter())
    with logs.about("r1"), traces.span("round"):
        entry = json.loads(formatted(logs.JsonLines(), "round %d\nis over", 3))
        trace = traces.trace_id()
    assert trace is not None
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "warning",
        "logger": "flaas_jupyter.x",
        "message": "round 3\nis over",
        "run": "r1",
        "trace": trace,
    }
    outside = json.loads(formatted(logs.JsonLines(), "x"))
    assert not {"run", "trace", "error"} & set(outside)


def test_an_error_is_on_the_same_line():
    try:
        raise KeyError("column")
    except KeyError as error:
        line = formatted(logs.JsonLines(), "failed", error=error)
    assert "\n" not in line
    assert "KeyError: 'column'" in json.loads(line)["error"]


@pytest.mark.parametrize(("variable", "argument"), [("json", None), (None, "json"), ("text", "json")])
def test_a_process_logs_as_it_is_told(variable, argument):
    code = (
        "import logging, sys; from flaas_jupyter.observability import logs\n"
        f"logs.configure({argument!r})\n"
        "logging.getLogger('flaas_jupyter.execution').info('up')\n"
        "logging.getLogger('httpx').info('chatter')\n"
    )
    environment = {"FLAAS_LOG_FORMAT": variable} if variable else {}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == ""
    assert [json.loads(line)["message"] for line in done.stderr.splitlines()] == ["up"]


def test_what_others_have_made_up_is_no_line_of_its_own():
    told = formatted(logs.Lines(), "a run named %s", "x\n2026-01-01 00:00:00 INFO flaas: all is well\x1b[2K\r")
    assert told.count("\n") == 0
    assert "\x1b" not in told
    assert "\r" not in told
    assert r"\u000a2026" in told


def test_a_secret_is_hidden_also_after_a_line_break():
    told = formatted(logs.Lines(), "got\n%s", SECRETS["token"])
    assert "S3cret" not in told


def test_a_traceback_keeps_its_lines_and_no_escapes():
    try:
        raise InvalidInput("what\x1b[2Kelse")
    except InvalidInput as error:
        told = formatted(logs.Lines(), "failed", error=error)
    assert told.count("\n") >= 3
    assert "\x1b" not in told


def test_an_unknown_format_is_told(monkeypatch):
    monkeypatch.setenv("FLAAS_LOG_FORMAT", "xml")
    with pytest.raises(InvalidInput) as caught:
        logs.configure()
    assert caught.value.code == "bad-log-format"
